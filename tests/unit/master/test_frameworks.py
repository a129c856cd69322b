"""The life of a framework: subscribing, failing over, going away, ending."""

from __future__ import annotations

import msgspec
import pytest

from altiplano.link import messages as link_messages
from altiplano.master import effects, events
from altiplano.master.state import Config, Presence
from altiplano.model.tasks import State
from altiplano.wire.messages import master, mesos, scheduler
from tests.unit.master.pool import CallType, Capability, Framework, Pool, durable


def error_of(framework: Framework) -> str:
    (event,) = [event for event in framework.events() if event.error is not None]
    return event.error.message


def test_the_first_events_are_subscribed_and_a_heartbeat_then_one_every_fifteen_seconds():
    pool = Pool()
    framework = pool.framework()
    assert [event.type.value for event in framework.events()] == ["SUBSCRIBED", "HEARTBEAT"]
    info = framework.events()[0].subscribed.master_info
    assert (info.version, info.ip, info.port) == ("1.11.0", 127 + (1 << 24), 5050)
    pool.run(46)
    assert [event.type.value for event in framework.events()][2:] == ["HEARTBEAT"] * 3


def test_a_new_framework_is_registered_before_it_is_told_its_id():
    pool = Pool()
    framework = pool.framework()
    assert durable(pool)[-1] == "FrameworkRegistered"
    assert framework.id == "m-0000"
    assert pool.framework().id == "m-0001"


def test_a_second_subscription_ends_the_first_and_takes_over_its_offers_anew():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    first, old = framework.stream, framework.offer().id
    framework.subscribe()
    gone = [send.event for send in pool.of(effects.Send) if send.stream == first]
    assert gone[-1].error.message == "Framework failed over"
    assert effects.CloseStream(stream=first) in pool.said
    pool.run()
    assert framework.offer().id != old


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roles": ("/a",)}, "slash"),
        ({"roles": ("a", "a")}, "duplicate"),
        ({"role": "a"}, "'FrameworkInfo.role' must not be set"),
        ({"capabilities": ()}, "not MULTI_ROLE capable"),
        ({"failover_timeout": -1.0}, "failover_timeout"),
        ({"failover_timeout": float("nan")}, "failover_timeout"),
    ],
)
def test_a_description_that_makes_no_sense_is_answered_by_an_error_event_and_the_end(
    changes: dict[str, object], words: str
):
    pool = Pool()
    framework = Framework(pool)
    framework.info = msgspec.structs.replace(framework.info, **changes)
    framework.subscribe()
    assert words in error_of(framework)
    assert framework.closed
    assert not pool.state.frameworks


def test_suppressed_roles_must_be_roles_of_the_framework():
    assert "Suppressed roles" in error_of(Pool().framework(suppressed=("other",)))


def test_roles_can_be_limited_by_the_operator():
    pool = Pool(Config(roles=frozenset({"a"})))
    assert "not present in the master's --roles" in error_of(pool.framework(roles=("b",)))
    assert pool.framework(roles=("a",)).id is not None


def test_user_and_checkpoint_stay_as_they_were_and_the_principal_must():
    pool = Pool()
    framework = pool.framework(checkpoint=True)
    framework.info = msgspec.structs.replace(framework.info, user="other", checkpoint=False, name="new")
    framework.subscribe()
    info = pool.state.frameworks[framework.id].info
    assert (info.user, info.checkpoint, info.name) == ("root", True, "new")
    framework.info = msgspec.structs.replace(framework.info, principal="somebody")
    framework.subscribe()
    assert error_of(framework) == "Changing framework's principal is not allowed."


def test_calls_are_refused_in_the_order_of_mesos():
    pool = Pool()
    framework = pool.framework()
    stream = framework.stream
    for spoiled, status, words in (
        ({"id": "nobody"}, 400, "Framework cannot be found"),
        ({"stream": None}, 400, "Mesos-Stream-Id"),
        ({"stream": "other"}, 400, "stream ID"),
    ):
        framework.stream = spoiled.get("stream", stream)
        known, framework.id = framework.id, spoiled.get("id", framework.id)
        reply = framework.call(CallType.REVIVE)
        framework.id, framework.stream = known, stream
        assert reply.status == status
        assert words in reply.body
    assert framework.call(CallType.UNKNOWN).status == 501
    framework.close()
    assert framework.call(CallType.REVIVE).status == 403


def test_a_framework_may_be_away_for_its_failover_timeout_and_no_longer():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework(failover_timeout=10.0)
    pool.run()
    task_id = framework.start()
    framework.close()
    assert pool.state.offers == {}
    pool.run(9.9)
    assert pool.state.task(framework.id, task_id).state is State.STAGING
    pool.run(0.2)
    assert pool.state.completed[framework.id].completed[task_id].state is State.KILLED
    assert [order.framework_id for order in agent.heard(link_messages.ShutdownFramework)] == [framework.id]
    assert pool.state.agents[agent.id].used.is_empty


def test_a_return_in_time_lifts_the_deadline():
    pool = Pool()
    framework = pool.framework(failover_timeout=10.0)
    framework.close()
    pool.run(9)
    framework.subscribe()
    pool.run(100)
    assert pool.state.frameworks[framework.id].connected


def test_without_failover_timeout_the_end_of_the_stream_is_the_end():
    pool = Pool()
    framework = pool.framework(failover_timeout=0.0)
    framework.close()
    assert list(pool.state.completed) == [framework.id]
    framework.subscribe()
    assert error_of(framework) == "Framework has been removed"


def test_teardown_ends_tasks_offers_and_the_stream():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    framework.start()
    assert framework.call(CallType.TEARDOWN).status == 202
    assert framework.closed
    assert pool.state.agents[agent.id].used.is_empty
    assert durable(pool)[-1] == "FrameworkRemoved"
    other = pool.framework()
    pool.run()
    assert len(other.offers()) == 1


def test_an_operator_can_tear_down_what_exists():
    pool = Pool()
    framework = pool.framework()
    for framework_id, status in ((framework.id, 200), ("nobody", 400)):
        call = master.CallTeardown(framework_id=mesos.FrameworkID(value=framework_id))
        assert pool.operator(type=master.CallType.TEARDOWN, teardown=call).status == status


def test_the_description_can_be_changed_on_a_living_stream():
    pool = Pool()
    pool.agent()
    framework = pool.framework(roles=("a",))
    pool.run()
    info = msgspec.structs.replace(
        framework.info, id=mesos.FrameworkID(value=framework.id), roles=("b",), name="renamed"
    )
    update = scheduler.CallUpdateFramework(framework_info=info)
    assert framework.call(CallType.UPDATE_FRAMEWORK, update_framework=update).status == 200
    pool.run()
    assert framework.types()[2:] == ["RESCIND", "OFFERS"]
    assert framework.offer().allocation_info.role == "b"
    changed = scheduler.CallUpdateFramework(framework_info=msgspec.structs.replace(info, user="nobody"))
    assert framework.call(CallType.UPDATE_FRAMEWORK, update_framework=changed).status == 400


def test_after_a_restart_a_framework_is_unknown_until_it_subscribes_and_its_deadline_runs():
    pool = Pool()
    framework = pool.framework(failover_timeout=100.0)
    pool.restart()
    assert framework.call(CallType.REVIVE).body == "Framework cannot be found"
    pool.run(99)
    framework.subscribe()
    assert pool.state.frameworks[framework.id].presence is Presence.CONNECTED
    pool.restart()
    pool.run(101)
    assert framework.id in pool.state.completed


def test_a_deadline_outlives_a_restart():
    pool = Pool()
    framework = pool.framework(failover_timeout=100.0)
    framework.close()
    pool.run(60)
    pool.restart()
    pool.run(41)
    assert framework.id in pool.state.completed


def test_a_framework_with_one_role_sees_no_allocation():
    pool = Pool()
    pool.agent()
    framework = Framework(pool)
    framework.info = msgspec.structs.replace(framework.info, roles=(), role="old", capabilities=())
    framework.subscribe()
    pool.run()
    offer = framework.offer()
    assert offer.allocation_info is None
    assert all(resource.allocation_info is None for resource in offer.resources)
    assert pool.state.offers[offer.id.value].role == "old"


def test_operators_that_follow_are_told_the_state_first_and_then_each_change():
    pool = Pool()
    agent = pool.agent()
    pool.post(events.OperatorSubscribes(stream="op", cause="op"))
    framework = pool.framework(capabilities=(Capability.PARTITION_AWARE,))
    pool.run()
    task_id = framework.start()
    agent.update(framework.id, task_id, "TASK_RUNNING")
    framework.call(CallType.TEARDOWN)
    told = [effect.event for effect in pool.of(effects.Publish)]
    assert [event.type.value for event in told] == [
        "FRAMEWORK_ADDED",
        "TASK_ADDED",
        "TASK_UPDATED",
        "FRAMEWORK_REMOVED",
    ]
    (show,) = pool.of(effects.Show)
    assert (len(show.shot.agents), len(show.shot.frameworks)) == (1, 0)
    assert pool.said.index(show) < next(n for n, one in enumerate(pool.said) if isinstance(one, effects.Publish))
