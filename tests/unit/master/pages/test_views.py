"""What pages show, from the master's answers."""

from __future__ import annotations

import doctest

import pytest

from altiplano.master.pages import views
from altiplano.master.pages.snapshot import Snapshot
from altiplano.testing.showcase import Showcase
from altiplano.wire.messages import master, mesos
from altiplano.wire.messages.mesos import TaskState

NOW = 1_700_000_000.0


@pytest.fixture
def showcase() -> Showcase:
    return Showcase(now=NOW, agents=12, tasks=60)


def pool_of(showcase: Showcase) -> views.Pool:
    return views.pool(Snapshot(state=showcase._state(), leader=master.ResponseGetMaster(), version=1))


def test_the_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(views).failed == 0


def test_every_state_of_a_task_belongs_to_a_group() -> None:
    assert set(views.GROUPS) == set(TaskState)
    assert set(views.GROUPS.values()) == set(views.GROUP_ORDER)


def test_totals_are_the_sums_of_the_agents(showcase: Showcase) -> None:
    pool = pool_of(showcase)
    assert pool.totals["cpus"].total == sum(agent.cpus.total for agent in pool.agents)
    assert pool.totals["cpus"].used == sum(task.cpus for task in pool.tasks if task.live)


def test_tasks_that_changed_last_come_first(showcase: Showcase) -> None:
    times = [task.changed_s or 0.0 for task in pool_of(showcase).tasks]
    assert times == sorted(times, reverse=True)


def test_a_task_that_ended_has_run_until_then(showcase: Showcase) -> None:
    job = showcase.start("short", age_s=100)
    showcase.say(job, TaskState.TASK_FINISHED, NOW - 40)
    row = pool_of(showcase).by_task[job.framework_id, job.id]
    assert row.seconds(NOW + 1000) == pytest.approx(60)


def test_a_task_without_any_status_waits(showcase: Showcase) -> None:
    job = showcase.start("new")
    job.statuses.clear()
    row = pool_of(showcase).by_task[job.framework_id, job.id]
    assert (row.group, row.seconds(NOW), row.changed_s) == ("waiting", None, None)


def test_a_master_without_anything_is_an_empty_pool() -> None:
    pool = views.pool(Snapshot(state=master.ResponseGetState(), leader=master.ResponseGetMaster(), version=1))
    assert (pool.agents, pool.frameworks, pool.tasks) == ((), (), ())
    assert pool.totals["cpus"].total == 0


def test_a_remembered_agent_counts_nothing_until_it_is_back() -> None:
    info = mesos.AgentInfo(hostname="node1", id=mesos.AgentID(value="S1"))
    state = master.ResponseGetState(get_agents=master.ResponseGetAgents(recovered_agents=(info,)))
    pool = views.pool(Snapshot(state=state, leader=master.ResponseGetMaster(), version=1))
    assert (pool.agents[0].state, pool.totals["cpus"].total) == ("not back yet", 0)


def task_with(container: mesos.ContainerID | None, executor: str = "") -> mesos.Task:
    task_id = mesos.TaskID(value="t1")
    status = mesos.TaskStatus(
        task_id=task_id,
        state=TaskState.TASK_RUNNING,
        container_status=mesos.ContainerStatus(container_id=container) if container else None,
    )
    return mesos.Task(
        name="t",
        task_id=task_id,
        framework_id=mesos.FrameworkID(value="f1"),
        agent_id=mesos.AgentID(value="a1"),
        executor_id=mesos.ExecutorID(value=executor) if executor else None,
        state=TaskState.TASK_RUNNING,
        statuses=(status,),
    )


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (task_with(None), "/frameworks/f1/executors/t1/runs/latest"),
        (task_with(mesos.ContainerID(value="c"), "own"), "/frameworks/f1/executors/own/runs/latest"),
        (
            task_with(mesos.ContainerID(value="c", parent=mesos.ContainerID(value="p")), "pod"),
            "/frameworks/f1/executors/pod/runs/latest/tasks/t1",
        ),
    ],
    ids=["command", "custom executor", "group"],
)
def test_a_sandbox_is_where_mesos_has_it(task: mesos.Task, path: str) -> None:
    assert views.sandbox(task) == path


def test_numbers_that_are_none_do_not_break_the_sums() -> None:
    def cpus(value: float) -> mesos.Resource:
        return mesos.Resource(name="cpus", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))

    assert views.scalars([cpus(1.5), cpus(float("nan")), cpus(float("inf")), cpus(-2.0)]) == {"cpus": 1500}
