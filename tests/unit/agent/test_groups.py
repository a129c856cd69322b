"""Task groups: under the built-in executor, and given to a custom one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from altiplano.agent import effects, events
from altiplano.engine.core import Decision
from altiplano.link import messages
from altiplano.ports import launcher
from altiplano.wire import json
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import FRAMEWORK, Agent, fetching, framework, of, task

KEY = (FRAMEWORK, "default")


def member() -> Agent:
    agent = Agent()
    agent.recover()
    agent.join()
    return agent


def group(
    agent: Agent,
    *names: str,
    kind: mesos.ExecutorInfoType = mesos.ExecutorInfoType.DEFAULT,
    make: Callable[..., mesos.TaskInfo] = task,
) -> Decision:
    command = mesos.CommandInfo(value="./executor") if kind is mesos.ExecutorInfoType.CUSTOM else None
    info = mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="default"), type=kind, command=command)
    tasks = tuple(msgspec.Raw(json.encode(make(name, executor=info))) for name in names)
    return agent.hear(messages.RunTaskGroup(framework=framework(), executor=info, tasks=tasks))


def up(*names: str) -> Agent:
    agent = member()
    group(agent, *names)
    for name in names:
        agent.started(name)
        agent.ack(name)
        agent.ack(name)
    return agent


def ended(agent: Agent) -> list[int]:
    return [said.status for said in agent.said() if isinstance(said, messages.ExecutorEnded)]


def test_each_task_has_a_container_of_its_own_within_the_sandbox_of_the_executor():
    agent = member()
    first, second = (launch.sandbox for launch in of(effects.Launch, group(agent, "a", "b")))
    assert first is not None
    assert second is not None
    base = agent.core.state.executors[KEY].directory
    assert {first.directory, second.directory} == {
        f"{base}/containers/{agent.container('a')}",
        f"{base}/containers/{agent.container('b')}",
    }
    assert (f"{base}/tasks/a", first.directory) in first.links


def test_a_task_that_finishes_leaves_the_others_alone_and_the_executor_ends_with_the_last():
    agent = up("a", "b")
    assert not of(effects.Terminate, agent.exited("a"))
    assert ended(agent) == []
    agent.exited("b")
    assert ended(agent) == [0]
    agent.ack("a")
    agent.ack("b")
    assert agent.states("a") == agent.states("b") == ["STARTING", "RUNNING", "FINISHED"]
    assert agent.updates("a")[-1].executor_id == mesos.ExecutorID(value="default")
    assert not agent.core.state.executors


def test_when_one_fails_the_others_are_killed_whether_they_run_or_not():
    agent = member()
    group(agent, "a", "b", "c", make=fetching)
    for name in ("a", "b"):
        agent.sandbox_made(name)
        agent.fetched(name)
        agent.started(name)
    decision = agent.exited("a", 1 << 8)
    assert [one.container_id for one in of(effects.Terminate, decision)] == [agent.container("b")]
    agent.exited("b", 15)
    for _ in range(3):
        for name in ("a", "b", "c"):
            if (FRAMEWORK, name) in agent.core.state.streams:
                agent.ack(name)
    ends = [agent.states(name)[-1] for name in ("a", "b", "c")]
    assert ends == ["FAILED", "KILLED", "KILLED"]
    assert not agent.core.state.tasks


def test_a_kill_of_one_kills_its_group_and_no_other_group_of_the_executor():
    agent = up("a", "b")
    group(agent, "other")
    agent.kill("a")
    decision = agent.exited("a", 15)
    assert [one.container_id for one in of(effects.Terminate, decision)] == [agent.container("b")]
    agent.exited("b", 15)
    assert agent.core.state.tasks[FRAMEWORK, "other"].killing is None
    assert KEY in agent.core.state.executors


def test_a_group_with_a_task_that_cannot_run_here_is_not_started():
    agent = member()
    network = mesos.ContainerInfo(type=mesos.ContainerInfoType.MESOS, network_infos=(mesos.NetworkInfo(name="blue"),))
    info = mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="default"), type=mesos.ExecutorInfoType.DEFAULT)
    tasks = (task("good", executor=info), task("bad", executor=info, container=network))
    order = messages.RunTaskGroup(
        framework=framework(), executor=info, tasks=tuple(msgspec.Raw(json.encode(one)) for one in tasks)
    )
    assert not of(effects.MakeSandbox, agent.hear(order))
    assert agent.states("good") == agent.states("bad") == ["FAILED"]
    assert ended(agent) == [1 << 8]


def test_a_group_is_taken_up_again_by_a_new_agent_process_and_told_with_its_executor():
    agent = up("a", "b")
    boxes = [launcher.Container(container_id=agent.container(name), outcome=agent.running(name)) for name in ("a", "b")]
    for fresh in (agent.restarted(), agent.summarised()):
        fresh.recover(*boxes)
        fresh.join(epoch=2)
        hello = next(said for said in fresh.said() if isinstance(said, messages.Hello))
        assert [report.executor_id for report in hello.tasks] == ["default", "default"]
        assert len(hello.executors) == 1
        assert of(effects.Terminate, fresh.exited("a", 1 << 8))


def test_a_custom_executor_gets_its_group_in_one_event():
    agent = member()
    group(agent, "a", "b", kind=mesos.ExecutorInfoType.CUSTOM)
    box = agent.core.state.executors[KEY].container_id
    agent.post(events.SandboxMade(cause="x", seed=agent.seed(), container_id=box))
    started = launcher.Started(container_id=box, pid=7, start_ticks=1, started_wall_s=agent.now().wall_s)
    agent.post(events.LaunchAnswered(cause="x", seed=agent.seed(), outcome=started))
    subscribed = events.ExecutorSubscribed(
        cause="x",
        seed=agent.seed(),
        framework_id=FRAMEWORK,
        executor_id="default",
        stream="s",
        task_ids=(),
        updates=(),
    )
    told = [effect.event for effect in of(effects.Tell, agent.post(subscribed))]
    assert [event.type for event in told] == [api.EventType.SUBSCRIBED, api.EventType.LAUNCH_GROUP]
    assert told[1].launch_group is not None
    assert [one.task_id.value for one in told[1].launch_group.task_group.tasks] == ["a", "b"]
