"""Tasks: accepted or refused, updated, acknowledged, killed, reconciled."""

from __future__ import annotations

import math

import pytest

from altiplano.link import messages as link_messages
from altiplano.link.session import Session, Side
from altiplano.master.state import Config
from altiplano.model.tasks import State
from altiplano.wire import json
from altiplano.wire.messages import mesos, scheduler
from tests.unit.master.pool import Agent, CallType, Capability, Framework, Pool, amounts, value_of

Reason = mesos.TaskStatusReason


def pool_of_one(*capabilities: mesos.FrameworkInfoCapabilityType, **info: object) -> tuple[Pool, Agent, Framework]:
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework(capabilities=capabilities, **info)
    pool.run()
    return pool, agent, framework


def only_status(framework: Framework, task_id: str) -> mesos.TaskStatus:
    (status,) = framework.updates(task_id)
    return status


def custom(executor_id: str = "x", wants: str = "cpus:0.5;mem:64", **fields: object) -> mesos.ExecutorInfo:
    return mesos.ExecutorInfo(
        type=mesos.ExecutorInfoType.CUSTOM,
        executor_id=mesos.ExecutorID(value=executor_id),
        command=mesos.CommandInfo(value="run"),
        resources=amounts(wants),
        **fields,
    )


def test_a_launched_task_is_ordered_with_its_role_filled_in():
    _, agent, framework = pool_of_one()
    task_id = framework.start()
    (order,) = agent.heard(link_messages.RunTask)
    assert order.framework.id.value == framework.id
    agent.obey()
    assert b'"allocation_info":{"role":"*"}' in bytes(order.task)
    assert framework.pool.state.task(framework.id, task_id).state is State.STAGING
    assert framework.updates() == []


def test_an_update_reaches_the_framework_with_its_uuid_and_the_acknowledgement_the_agent():
    pool, agent, framework = pool_of_one()
    task_id = framework.start()
    told = agent.update(framework.id, task_id, "TASK_RUNNING", data=b"x")
    assert only_status(framework, task_id) == told
    framework.acknowledge(told)
    (acknowledgement,) = agent.heard(link_messages.Acknowledge)
    assert acknowledgement.uuid == told.uuid
    task = pool.state.task(framework.id, task_id)
    assert (task.state, task.update_state, task.statuses[-1].data) == (State.RUNNING, State.RUNNING, None)


def test_an_ended_task_frees_its_resources_at_once_and_is_complete_when_acknowledged():
    pool, agent, framework = pool_of_one()
    task_id = framework.start("cpus:3;mem:512")
    told = agent.update(framework.id, task_id, "TASK_FINISHED")
    assert pool.state.agents[agent.id].used.is_empty
    assert pool.state.task(framework.id, task_id).state is State.FINISHED
    framework.acknowledge(told)
    assert pool.state.task(framework.id, task_id) is None
    assert list(pool.state.frameworks[framework.id].completed) == [task_id]


def test_resources_are_free_by_the_latest_state_even_while_older_updates_are_under_way():
    pool, agent, framework = pool_of_one()
    task_id = framework.start()
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value=task_id),
        state=mesos.TaskState.TASK_RUNNING,
        agent_id=mesos.AgentID(value=agent.id),
        uuid=b"1234567890123456",
    )
    agent.say(link_messages.StatusUpdate(framework_id=framework.id, status=status, latest_state="TASK_FINISHED"))
    assert pool.state.agents[agent.id].used.is_empty
    framework.acknowledge(status)
    assert pool.state.task(framework.id, task_id).update_state is State.RUNNING


def test_an_ended_task_keeps_its_state():
    pool, agent, framework = pool_of_one()
    task_id = framework.start()
    agent.update(framework.id, task_id, "TASK_FINISHED")
    agent.update(framework.id, task_id, "TASK_RUNNING")
    assert pool.state.task(framework.id, task_id).state is State.FINISHED
    assert len(framework.updates(task_id)) == 2


def test_a_framework_that_is_away_is_not_told():
    pool, agent, framework = pool_of_one()
    task_id = framework.start()
    framework.close()
    agent.update(framework.id, task_id, "TASK_RUNNING")
    assert framework.updates() == []
    assert any("away" in note for note in pool.notes(task_id))


def test_kill_is_ordered_each_time():
    _, agent, framework = pool_of_one()
    task_id = framework.start()
    framework.kill(task_id)
    framework.kill(task_id)
    assert len(agent.heard(link_messages.KillTask)) == 2


def test_a_kill_during_a_broken_link_is_ordered_when_the_agent_returns_with_the_task():
    _, agent, framework = pool_of_one()
    task_id = framework.start()
    agent.obey()
    agent.cut()
    framework.kill(task_id)
    agent.hello()
    assert [order.task_id for order in agent.heard(link_messages.KillTask)] == [task_id]


@pytest.mark.parametrize(("aware", "state"), [(False, mesos.TaskState.TASK_LOST), (True, mesos.TaskState.TASK_UNKNOWN)])
def test_kill_of_an_unknown_task_is_answered_as_by_reconciliation(aware: bool, state: mesos.TaskState):
    _, _, framework = pool_of_one(*((Capability.PARTITION_AWARE,) if aware else ()))
    framework.kill("nobody")
    status = only_status(framework, "nobody")
    assert (status.state, status.reason, status.uuid) == (state, Reason.REASON_RECONCILIATION, None)


def test_one_invalid_offer_loses_all_tasks_and_gives_back_all_offers():
    pool, _, framework = pool_of_one()
    offer = framework.offer()
    task = framework.task(offer)
    fake = mesos.Offer(
        id=mesos.OfferID(value="fake"), framework_id=offer.framework_id, agent_id=offer.agent_id, hostname="h"
    )
    launch = mesos.OfferOperation(
        type=mesos.OfferOperationType.LAUNCH, launch=mesos.OfferOperationLaunch(task_infos=(task,))
    )
    framework.accept((offer, fake), launch)
    status = only_status(framework, task.task_id.value)
    assert (status.state, status.reason) == (mesos.TaskState.TASK_LOST, Reason.REASON_INVALID_OFFERS)
    assert "fake is no longer valid" in status.message
    pool.run()
    assert value_of(framework.offer().resources).scalar("cpus") == 8000


def test_a_task_that_wants_too_much_fails_alone():
    _, _, framework = pool_of_one()
    offer = framework.offer()
    good, bad = framework.task(offer, "cpus:8;mem:64"), framework.task(offer, "cpus:1;mem:64")
    framework.launch(offer, good, bad)
    assert framework.updates(good.task_id.value) == []
    status = only_status(framework, bad.task_id.value)
    assert status.state is mesos.TaskState.TASK_ERROR
    assert "more than available" in status.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "a/b"}, "invalid id"),
        ({"wants": ""}, "no resources"),
        ({"command": None}, "at least one (but not both)"),
        ({"executor": custom()}, "at least one (but not both)"),
        ({"kill_policy": mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=-1))}, "grace_period"),
        ({"max_completion_time": mesos.DurationInfo(nanoseconds=-1)}, "max_completion_time"),
        ({"health_check": mesos.HealthCheck()}, "'type'"),
        ({"check": mesos.CheckInfo()}, "'type'"),
        ({"limits": {"disk": mesos.ValueScalar(value=1.0)}}, "only cpus and mem"),
        ({"limits": {"mem": mesos.ValueScalar(value=1.0)}}, "below its request"),
    ],
)
def test_a_task_that_makes_no_sense_is_an_error_with_a_sentence(changes: dict[str, object], words: str):
    pool, _, framework = pool_of_one()
    offer = framework.offer()
    if "executor" in changes:
        changes = {**changes, "command": mesos.CommandInfo(value="true")}
    wants = str(changes.pop("wants", "cpus:1;mem:64"))
    task = framework.task(offer, wants, **changes)
    framework.launch(offer, task)
    status = only_status(framework, task.task_id.value)
    assert (status.state, status.reason) == (mesos.TaskState.TASK_ERROR, Reason.REASON_TASK_INVALID)
    assert words in status.message
    assert any(words in note for note in pool.notes(task.task_id.value))


def test_an_id_can_be_used_by_one_live_task_only():
    _, agent, framework = pool_of_one()
    offer = framework.offer()
    framework.launch(offer, framework.task(offer, id="same"), framework.task(offer, id="same"))
    assert "duplicate" in only_status(framework, "same").message
    assert len(agent.heard(link_messages.RunTask)) == 1


def test_an_executor_is_charged_once_and_must_stay_the_same():
    pool, agent, framework = pool_of_one()
    offer = framework.offer()
    tasks = [framework.task(offer, "cpus:1;mem:64", executor=custom()) for _ in range(2)]
    other = framework.task(offer, "cpus:1;mem:64", executor=custom(name="changed"))
    framework.launch(offer, *tasks, other)
    assert pool.state.agents[agent.id].used.scalar("cpus") == 2500
    assert "same ExecutorID" in only_status(framework, other.task_id.value).message
    agent.say(link_messages.ExecutorEnded(framework_id=framework.id, executor_id="x", status=9))
    assert pool.state.agents[agent.id].used.scalar("cpus") == 2000
    assert framework.events()[-1].failure.status == 9


@pytest.mark.parametrize("status", [0, 1 << 8])
def test_the_end_of_a_groups_executor_is_told_with_its_wait_status(status):
    pool, agent, framework = pool_of_one()
    offer = framework.offer()
    info = mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value="default"),
        type=mesos.ExecutorInfoType.DEFAULT,
        resources=amounts("cpus:0.1;mem:32;disk:10"),
    )
    task = framework.task(offer, "cpus:1;mem:64")
    framework.accept(
        (offer,),
        mesos.OfferOperation(
            type=mesos.OfferOperationType.LAUNCH_GROUP,
            launch_group=mesos.OfferOperationLaunchGroup(executor=info, task_group=mesos.TaskGroupInfo(tasks=(task,))),
        ),
    )
    assert pool.state.agents[agent.id].executors
    agent.say(link_messages.ExecutorEnded(framework_id=framework.id, executor_id="default", status=status))
    assert [event.failure.status for event in framework.events() if event.failure is not None] == [status]
    assert not pool.state.agents[agent.id].executors


def test_task_and_executor_cannot_have_the_same_ports():
    _, _, framework = pool_of_one()
    offer = framework.offer()
    task = framework.task(offer, "cpus:1;ports:[31000-31002]", executor=custom(wants="cpus:1;ports:[31002-31003]"))
    framework.launch(offer, task)
    assert "the same ports" in only_status(framework, task.task_id.value).message


def test_a_group_is_launched_as_a_whole_or_not_at_all():
    pool, agent, framework = pool_of_one()
    offer = framework.offer()
    executor = mesos.ExecutorInfo(
        type=mesos.ExecutorInfoType.DEFAULT,
        executor_id=mesos.ExecutorID(value="g"),
        resources=amounts("cpus:0.1;mem:32;disk:10"),
    )

    def group(*tasks: mesos.TaskInfo) -> mesos.OfferOperation:
        return mesos.OfferOperation(
            type=mesos.OfferOperationType.LAUNCH_GROUP,
            launch_group=mesos.OfferOperationLaunchGroup(
                executor=executor, task_group=mesos.TaskGroupInfo(tasks=tasks)
            ),
        )

    good, bad = framework.task(offer, "cpus:1;mem:64"), framework.task(offer, "cpus:100;mem:64")
    fine = [framework.task(offer, "cpus:1;mem:64") for _ in range(2)]
    framework.accept((offer,), group(good, bad), group(*fine))
    for refused in (good, bad):
        assert only_status(framework, refused.task_id.value).reason is Reason.REASON_TASK_GROUP_INVALID
    (order,) = agent.heard(link_messages.RunTaskGroup)
    assert len(order.tasks) == 2
    assert pool.state.agents[agent.id].used.scalar("cpus") == 2100


def test_implicit_reconciliation_tells_every_task_and_ended_ones_until_acknowledged():
    _, agent, framework = pool_of_one()
    offer = framework.offer()
    tasks = [framework.task(offer) for _ in range(2)]
    framework.launch(offer, *tasks)
    first, second = (task.task_id.value for task in tasks)
    agent.update(framework.id, first, "TASK_FINISHED")
    framework.reconcile()
    assert [status.state.value for status in framework.updates(first)] == ["TASK_FINISHED"] * 2
    status = only_status(framework, second)
    assert (status.state.value, status.uuid, status.message) == (
        "TASK_STAGING",
        None,
        "Reconciliation: Latest task state",
    )


def test_explicit_reconciliation_knows_where_an_unknown_task_would_be():
    pool, agent, framework = pool_of_one(Capability.PARTITION_AWARE)
    framework.reconcile(("a", agent.id), ("b", "nowhere"), ("c", None))
    assert [one.state.value for one in framework.updates()] == ["TASK_GONE", "TASK_UNKNOWN", "TASK_UNKNOWN"]
    assert framework.updates("c")[0].agent_id is None
    agent.cut()
    pool.run(100)
    framework.reconcile(("d", agent.id))
    assert framework.updates("d")[0].state.value == "TASK_UNREACHABLE"
    assert framework.updates("d")[0].unreachable_time is not None


def test_nothing_is_said_of_tasks_whose_agent_may_still_come_back_after_a_restart():
    pool, agent, framework = pool_of_one()
    pool.restart()
    framework.subscribe()
    framework.reconcile(("a", agent.id), ("b", None))
    assert framework.updates() == []
    agent.hello()
    framework.reconcile(("a", agent.id), ("b", None))
    assert len(framework.updates()) == 2


def test_messages_pass_both_ways_and_unknown_agents_are_ignored():

    pool, agent, framework = pool_of_one()
    for agent_id in (agent.id, "nobody"):
        message = scheduler.CallMessage(
            agent_id=mesos.AgentID(value=agent_id), executor_id=mesos.ExecutorID(value="x"), data=b"hello"
        )
        assert framework.call(CallType.MESSAGE, message=message).status == 202
    assert [one.data for one in agent.heard(link_messages.FrameworkMessage)] == [b"hello"]
    agent.say(link_messages.ExecutorMessage(framework_id=framework.id, executor_id="x", data=b"you"))
    assert framework.events()[-1].message.data == b"you"
    assert pool.state.frameworks[framework.id].connected


def test_the_memory_of_completed_tasks_is_bounded():

    pool = Pool(Config(allocation_interval_s=0.1, completed_tasks_max=2))
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    tasks = [framework.task(offer) for _ in range(3)]
    framework.launch(offer, *tasks)
    for task in tasks:
        framework.acknowledge(agent.update(framework.id, task.task_id.value, "TASK_FINISHED"))
    assert list(pool.state.frameworks[framework.id].completed) == [task.task_id.value for task in tasks[1:]]


def test_tasks_of_one_framework_may_use_the_same_port_on_two_machines():
    pool = Pool()
    agents = [pool.agent(), pool.agent()]
    framework = pool.framework()
    pool.run()
    for offer in framework.offers():
        framework.launch(offer, framework.task(offer, "cpus:1;mem:128;ports:[31000-31000]"))
    assert pool.state.frameworks[framework.id].used == {"cpus": 2000, "mem": 256_000}
    for agent in agents:
        agent.obey()
        ((framework_id, task_id),) = agent.tasks
        framework.acknowledge(agent.update(framework_id, task_id, "TASK_FINISHED"))
    assert pool.state.frameworks[framework.id].used == {}


def test_a_task_with_an_endless_limit_travels_the_link_and_comes_back_as_it_was():
    pool, agent, framework = pool_of_one()
    endless = {"mem": mesos.ValueScalar(value=math.inf)}
    framework.start(limits=endless)
    (order,) = agent.heard(link_messages.RunTask)
    sending, receiving = Session(Side.MASTER, epoch=1), Session(Side.AGENT, epoch=1)
    sending.send(order)
    ((arrived,),) = map(receiving.receive, sending.outgoing())
    assert isinstance(arrived, link_messages.RunTask)
    assert json.decode(mesos.TaskInfo, bytes(arrived.task)).limits == endless

    agent.obey()
    pool.restart()
    agent.hello()
    (task,) = pool.state.agents[agent.id].tasks.values()
    assert b'"value":Infinity' in task.info
