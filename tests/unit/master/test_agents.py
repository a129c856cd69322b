"""The life of an agent: joining, breaking, returning, vanishing, leaving."""

from __future__ import annotations

import base64

import msgspec
import pytest

from altiplano.link import messages as link_messages
from altiplano.master import effects, events, offers
from altiplano.master.state import Config
from altiplano.model.tasks import State
from altiplano.wire.messages import master, mesos
from tests.unit.master.pool import Agent, Capability, Framework, Pool, amounts, durable

Reason = mesos.TaskStatusReason


def with_task(
    *capabilities: mesos.FrameworkInfoCapabilityType, **options: object
) -> tuple[Pool, Agent, Framework, str]:
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework(capabilities=capabilities, **options)
    pool.run()
    task_id = framework.start("cpus:2;mem:256")
    agent.obey()
    framework.acknowledge(agent.update(framework.id, task_id, "TASK_RUNNING"))
    return pool, agent, framework, task_id


def test_a_new_agent_is_admitted_before_it_is_welcomed():
    pool = Pool()
    agent = pool.agent()
    (welcome,) = agent.heard(link_messages.Welcome)
    assert (welcome.agent_id, welcome.epoch, welcome.silence_s) == ("m-S0", 1, 75.0)
    assert durable(pool)[-1] == "AgentAdmitted"


@pytest.mark.parametrize(
    ("changes", "words", "final"),
    [
        ({"version": 99}, "version 99", True),
        ({"epoch": 7}, "not in office", False),
        (
            {
                "agent": mesos.AgentInfo(
                    hostname="h",
                    resources=amounts("cpus:1") * 1
                    + (mesos.Resource(name="", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=1.0)),),
                )
            },
            "not valid",
            True,
        ),
    ],
)
def test_an_agent_that_cannot_be_admitted_hears_why(changes: dict[str, object], words: str, final: bool):
    pool = Pool()
    agent = Agent(pool, "cpus:1;mem:100")
    agent.hello(**changes)
    (refused,) = agent.heard(link_messages.Refused)
    assert words in refused.sentence
    assert refused.final is final
    assert not pool.state.agents


def test_a_broken_link_leaves_checkpointed_tasks_alone():
    pool, agent, framework, task_id = with_task()
    agent.cut()
    assert pool.state.task(framework.id, task_id).state is State.RUNNING
    agent.hello()
    assert pool.state.task(framework.id, task_id).state is State.RUNNING
    assert agent.heard(link_messages.Welcome)[0].agent_id == agent.id
    assert len(framework.updates(task_id)) == 1


def test_a_broken_link_loses_tasks_of_frameworks_that_do_not_checkpoint_and_the_agent_ends_them():
    pool, agent, framework, task_id = with_task(checkpoint=False)
    agent.cut()
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.reason, status.uuid) == ("TASK_LOST", Reason.REASON_AGENT_DISCONNECTED, None)
    assert list(pool.state.frameworks[framework.id].completed) == [task_id]
    agent.hello()
    assert [order.framework_id for order in agent.heard(link_messages.ShutdownFramework)] == [framework.id]
    assert pool.state.agents[agent.id].used.is_empty


def test_a_new_link_replaces_an_older_one_that_still_seems_alive():
    pool, agent, framework, task_id = with_task()
    old = agent.link
    agent.hello()
    assert any(effect.link == old for effect in pool.of(effects.CloseLink))
    assert pool.state.by_link == {agent.link: agent.id}
    assert pool.state.task(framework.id, task_id) is not None


@pytest.mark.parametrize(("aware", "state"), [(False, "TASK_LOST"), (True, "TASK_GONE")])
def test_a_task_the_agent_does_not_know_is_gone(aware: bool, state: str):
    pool, agent, framework, task_id = with_task(*((Capability.PARTITION_AWARE,) if aware else ()))
    agent.tasks.clear()
    agent.cut()
    agent.hello()
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.reason) == (state, Reason.REASON_RECONCILIATION)
    assert pool.state.agents[agent.id].used.is_empty


def test_silence_makes_an_agent_unreachable_and_its_return_brings_its_tasks_back():
    pool, agent, framework, task_id = with_task(Capability.PARTITION_AWARE, failover_timeout=1e6)
    agent.cut()
    pool.run(100)
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.reason) == ("TASK_UNREACHABLE", Reason.REASON_AGENT_REMOVED)
    assert status.unreachable_time is not None
    assert framework.types()[-1] == "FAILURE"
    assert list(pool.state.frameworks[framework.id].unreachable) == [task_id]
    assert durable(pool)[-1] == "AgentUnreachable"
    agent.hello()
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.reason, status.uuid) == (
        "TASK_RUNNING",
        Reason.REASON_AGENT_REREGISTERED,
        None,
    )
    assert not pool.state.frameworks[framework.id].unreachable
    assert pool.state.unreachable == {}
    assert pool.state.agents[agent.id].used.scalar("cpus") == 2000


def test_a_framework_that_does_not_know_partitions_is_told_lost():
    pool, agent, framework, task_id = with_task()
    agent.cut()
    pool.run(100)
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.unreachable_time) == ("TASK_LOST", None)
    agent.hello()
    assert pool.state.task(framework.id, task_id).state is State.RUNNING


def test_pings_that_are_answered_keep_an_agent():
    pool = Pool(Config(ping_interval_s=1.0, ping_misses_max=2))
    agent = pool.agent()
    for _ in range(10):
        pool.run(1.0)
        agent.say(link_messages.Pong())
    assert len(agent.heard(link_messages.Ping)) == 10
    pool.run(3.1)
    assert list(pool.state.unreachable) == [agent.id]


def test_goodbye_ends_everything_at_once():
    pool, agent, framework, task_id = with_task(Capability.PARTITION_AWARE)
    agent.say(link_messages.Goodbye(sentence="maintenance"))
    assert framework.updates(task_id)[-1].state.value == "TASK_LOST"
    assert not pool.state.agents
    assert durable(pool)[-1] == "AgentRemoved"


def test_an_agent_marked_gone_never_returns():
    pool, agent, framework, task_id = with_task(Capability.PARTITION_AWARE)
    gone = master.CallMarkAgentGone(agent_id=mesos.AgentID(value=agent.id))
    assert pool.operator(type=master.CallType.MARK_AGENT_GONE, mark_agent_gone=gone).status == 200
    status = framework.updates(task_id)[-1]
    assert (status.state.value, status.reason) == (
        "TASK_GONE_BY_OPERATOR",
        Reason.REASON_AGENT_REMOVED_BY_OPERATOR,
    )
    assert agent.heard(link_messages.ShutdownAgent)
    pool.restart()
    agent.hello()
    # What it still runs ends: the frameworks were told that it is gone.
    assert agent.heard(link_messages.ShutdownAgent)
    assert not agent.heard(link_messages.Refused)
    nobody = master.CallMarkAgentGone(agent_id=mesos.AgentID(value="nobody"))
    assert pool.operator(type=master.CallType.MARK_AGENT_GONE, mark_agent_gone=nobody).status == 404


def test_after_a_restart_tasks_and_their_frameworks_come_back_with_the_agent():
    pool, agent, framework, task_id = with_task()
    pool.restart()
    agent.hello()
    assert pool.state.task(framework.id, task_id).state is State.RUNNING
    assert pool.state.frameworks[framework.id].presence.value == "recovered"
    framework.subscribe()
    framework.reconcile()
    assert framework.updates(task_id)[-1].state.value == "TASK_RUNNING"
    pool.run()
    assert len(framework.offers()) == 1


def test_an_agent_that_does_not_return_after_a_restart_is_unreachable():
    pool = Pool()
    agent = pool.agent()
    pool.restart()
    pool.run(599)
    assert list(pool.state.awaited) == [agent.id]
    pool.run(2)
    assert list(pool.state.unreachable) == [agent.id]


def test_tasks_of_a_removed_framework_are_ended_when_their_agent_returns():
    pool, agent, framework, _ = with_task(failover_timeout=0.0)
    agent.cut()
    framework.close()
    agent.hello()
    assert agent.heard(link_messages.Welcome)[0].completed_frameworks == (framework.id,)
    assert [order.framework_id for order in agent.heard(link_messages.ShutdownFramework)] == [framework.id]
    assert pool.state.agents[agent.id].used.is_empty


def test_an_agent_whose_tasks_use_more_than_it_has_is_refused():
    _, agent, _, _ = with_task()
    agent.cut()
    agent.total = "cpus:1;mem:8192"
    agent.hello()
    assert "its tasks use" in agent.heard(link_messages.Refused)[0].sentence


def test_an_agent_that_returns_with_more_is_offered_with_more():
    pool = Pool()
    agent = pool.agent("cpus:2;mem:1024")
    framework = pool.framework()
    pool.run()
    framework.decline(framework.offer(), seconds=1000)
    agent.cut()
    agent.total = "cpus:4;mem:1024"
    agent.hello()
    pool.run()
    (cpus,) = [one for one in framework.offer().resources if one.name == "cpus"]
    assert cpus.scalar.value == 4.0


def test_messages_of_links_that_are_not_members_are_ignored():
    pool, agent, framework, task_id = with_task()
    link = agent.link
    agent.cut()
    agent.link = link
    status = mesos.TaskStatus(task_id=mesos.TaskID(value=task_id), state=mesos.TaskState.TASK_FINISHED)
    agent.say(link_messages.StatusUpdate(framework_id=framework.id, status=status, latest_state="TASK_FINISHED"))
    assert pool.state.task(framework.id, task_id).state is State.RUNNING


def test_an_update_for_a_removed_framework_makes_the_agent_end_it():
    pool, agent, framework, task_id = with_task()
    pool.operator(
        type=master.CallType.TEARDOWN,
        teardown=master.CallTeardown(framework_id=mesos.FrameworkID(value=framework.id)),
    )
    agent.update(framework.id, task_id, "TASK_KILLED")
    assert len(agent.heard(link_messages.ShutdownFramework)) == 2


def test_a_report_that_cannot_be_read_is_refused_and_changes_nothing():
    pool, agent, framework, task_id = with_task()
    key = (framework.id, task_id)
    agent.tasks[key] = msgspec.structs.replace(agent.tasks[key], task=msgspec.Raw(b'{"name":1}'))
    agent.cut()
    agent.hello()
    assert "cannot be read" in agent.heard(link_messages.Refused)[0].sentence
    assert pool.state.task(framework.id, task_id) is not None


def test_an_agent_has_no_say_about_a_task_of_the_same_id_on_another_agent():
    pool, agent, framework, task_id = with_task(Capability.PARTITION_AWARE)
    other = pool.agent()
    other.update(framework.id, task_id, "TASK_FINISHED")
    assert pool.state.task(framework.id, task_id).state is State.RUNNING
    assert framework.updates(task_id)[-1].agent_id.value == other.id
    assert pool.state.agents[agent.id].used.scalar("cpus") == 2000


def gone(pool: Pool, agent_id: str | None) -> int:
    call = master.CallMarkAgentGone(agent_id=mesos.AgentID(value=agent_id or ""))
    return pool.operator(type=master.CallType.MARK_AGENT_GONE, mark_agent_gone=call).status


@pytest.mark.parametrize("aware", [True, False])
def test_tasks_of_an_unreachable_agent_that_is_marked_gone_are_gone(aware: bool):
    pool, agent, framework, task_id = with_task(*((Capability.PARTITION_AWARE,) if aware else ()))
    agent.cut()
    pool.run(100.0)
    assert agent.id in pool.state.unreachable
    assert gone(pool, agent.id) == 200
    last = framework.updates(task_id)[-1]
    expected = ("TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR") if aware else None
    if expected is not None:
        assert (last.state.value, last.reason.value if last.reason else "") == expected
        assert pool.state.frameworks[framework.id or ""].completed[task_id].state is State.GONE_BY_OPERATOR
    else:
        assert last.state.value == "TASK_LOST", "a framework that knows no partitions was told before"
    assert not pool.state.frameworks[framework.id or ""].unreachable
    pool.core.check()


@pytest.mark.parametrize("how", ["goodbye", "gone", "silence"])
def test_operators_hear_of_every_end_of_an_agent(how: str):
    pool, agent, _, _ = with_task()
    pool.post(events.OperatorSubscribes(stream="follow", cause="follow"))
    if how == "goodbye":
        agent.say(link_messages.Goodbye(sentence="bye"))
    elif how == "gone":
        gone(pool, agent.id)
    else:
        agent.cut()
        pool.run(100.0)
    told = [effect.event for effect in pool.of(effects.Publish)]
    removed = [event.agent_removed.agent_id.value for event in told if event.agent_removed is not None]
    assert removed == [agent.id]


def test_operators_hear_of_tasks_that_an_agent_brings_and_not_of_what_it_repeats():
    pool, agent, framework, task_id = with_task()
    agent.cut()
    pool.run(100.0)
    pool.post(events.OperatorSubscribes(stream="follow", cause="follow"))
    agent.hello()
    status = agent.update(framework.id or "", task_id, "TASK_RUNNING")
    again = link_messages.StatusUpdate(framework_id=framework.id or "", status=status, latest_state="TASK_RUNNING")
    agent.say(again)
    told = [effect.event for effect in pool.of(effects.Publish)]
    assert [event.task_added.task.task_id.value for event in told if event.task_added is not None] == [task_id]
    assert sum(1 for event in told if event.task_updated is not None) == 1


def test_an_agent_that_nobody_remembers_to_look_at_is_found_by_the_review():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    pool.agent()
    pool.state.allocator.marked.clear()  # what a bug would forget
    pool.state.allocator.due_s = None
    pool.run(1.0)
    assert len(framework.offers()) == 1
    pool.run(offers.REVIEW_S)
    assert len(framework.offers()) == 2


def test_a_review_looks_at_a_bounded_number_of_agents_and_at_all_of_them_in_turn():
    pool = Pool()
    for _ in range(7):
        pool.agent()
    allocator = pool.state.allocator
    pool.run()
    seen = []
    for _ in range(4):
        allocator.marked.clear()
        allocator.review(2)
        seen.append(set(allocator.marked))
    assert [len(one) for one in seen] == [2, 2, 2, 1]
    assert set().union(*seen) == set(allocator.members)


def test_weights_that_an_operator_sets_survive_the_restart():
    pool = Pool(Config(weights=(("a", 2.0),)))
    infos = (mesos.WeightInfo(role="b", weight=1.5),)
    call = master.CallUpdateWeights(weight_infos=infos)
    assert pool.operator(type=master.CallType.UPDATE_WEIGHTS, update_weights=call).status == 200
    pool.restart()
    assert pool.state.weights == {"a": 2.0, "b": 1.5}
    assert pool.state.allocator.shares.weight("b") == 1.5


@pytest.mark.parametrize(
    "info",
    [
        mesos.WeightInfo(weight=1.0),
        mesos.WeightInfo(role="a//b", weight=1.0),
        mesos.WeightInfo(role="a", weight=0.0),
        mesos.WeightInfo(role="a", weight=float("inf")),
        mesos.WeightInfo(role="a", weight=float("nan")),
    ],
)
def test_weights_that_are_none_change_nothing(info: mesos.WeightInfo):
    pool = Pool()
    call = master.CallUpdateWeights(weight_infos=(mesos.WeightInfo(role="x", weight=3.0), info))
    assert pool.operator(type=master.CallType.UPDATE_WEIGHTS, update_weights=call).status == 400
    assert pool.state.weights == {}


def test_what_was_declared_lost_is_shut_before_the_agent_tells_of_it_again():
    _, agent, framework, _ = with_task(checkpoint=False)
    agent.cut()
    agent.hello()
    (welcome,) = agent.heard(link_messages.Welcome)
    assert welcome.completed_frameworks == (framework.id,)


def test_who_asks_is_told_no_newer_state_than_the_agent_goes_on_to_tell():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    task_id = framework.start()
    agent.obey()
    agent.cut()
    key = (framework.id, task_id)
    uuid = base64.b64encode(b"0123456789abcdef").decode()
    agent.tasks[key] = msgspec.structs.replace(
        agent.tasks[key], state="TASK_RUNNING", status_state="TASK_STARTING", status_uuid=uuid
    )
    agent.hello()
    framework.reconcile()
    assert framework.updates(task_id)[-1].state.value == "TASK_STARTING"


def test_who_follows_is_told_how_far_a_task_is_and_not_only_what_was_told():
    pool, agent, framework, task_id = with_task()
    pool.post(events.OperatorSubscribes(stream="follow", cause="follow"))
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value=task_id),
        state=mesos.TaskState.TASK_RUNNING,
        agent_id=mesos.AgentID(value=agent.id),
        uuid=b"0123456789abcdef",
    )
    agent.say(link_messages.StatusUpdate(framework_id=framework.id, status=status, latest_state="TASK_FAILED"))
    updates = [effect.event.task_updated for effect in pool.of(effects.Publish) if effect.event.task_updated]
    assert [(update.status.state.value, update.state.value) for update in updates] == [("TASK_RUNNING", "TASK_FAILED")]


def test_who_follows_is_told_of_a_state_that_an_agent_brings_when_it_returns():
    pool, agent, framework, task_id = with_task()
    pool.post(events.OperatorSubscribes(stream="follow", cause="follow"))
    agent.cut()
    key = (framework.id, task_id)
    agent.tasks[key] = msgspec.structs.replace(agent.tasks[key], state="TASK_FINISHED")
    agent.hello()
    updates = [effect.event.task_updated for effect in pool.of(effects.Publish) if effect.event.task_updated]
    assert [update.state.value for update in updates] == ["TASK_FINISHED"]
