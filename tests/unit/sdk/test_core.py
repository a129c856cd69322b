"""The scheduler's protocol: what the connection met goes in, acts come out."""

from __future__ import annotations

from typing import TypeVar

from altiplano.model.time import Instant
from altiplano.sdk import calls, core, events
from altiplano.wire.messages import mesos, scheduler
from altiplano.wire.messages.scheduler import CallType, EventType

INFO = mesos.FrameworkInfo(
    user="eva",
    name="probe",
    roles=("dev",),
    capabilities=(
        mesos.FrameworkInfoCapability(type=mesos.FrameworkInfoCapabilityType.PARTITION_AWARE),
        mesos.FrameworkInfoCapability(type=mesos.FrameworkInfoCapabilityType.MULTI_ROLE),
    ),
)
A, B = "http://a:5050", "http://b:5050"
T = TypeVar("T")


def at(seconds: float) -> Instant:
    return Instant(mono_s=1000 + seconds, wall_s=5000 + seconds)


def only(acts: list[core.Act], kind: type[T]) -> list[T]:
    return [act for act in acts if isinstance(act, kind)]


def told(acts: list[core.Act], kind: type[T]) -> list[T]:
    return [act.event for act in only(acts, core.Tell) if isinstance(act.event, kind)]


def sent(acts: list[core.Act]) -> list[scheduler.Call]:
    return [act.call for act in only(acts, core.Send)]


def subscribed_event(framework_id: str = "fw-1") -> scheduler.Event:
    body = scheduler.EventSubscribed(framework_id=mesos.FrameworkID(value=framework_id), heartbeat_interval_seconds=15)
    return scheduler.Event(type=EventType.SUBSCRIBED, subscribed=body)


def offer_event(*ids: str) -> scheduler.Event:
    offers = tuple(
        mesos.Offer(
            id=mesos.OfferID(value=i),
            framework_id=mesos.FrameworkID(value="fw-1"),
            agent_id=mesos.AgentID(value="agent-1"),
            hostname="alps1",
        )
        for i in ids
    )
    return scheduler.Event(type=EventType.OFFERS, offers=scheduler.EventOffers(offers=offers))


def update_event(state: mesos.TaskState, uuid: bytes | None = b"u" * 16, task: str = "t1") -> scheduler.Event:
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value=task), state=state, uuid=uuid, agent_id=mesos.AgentID(value="agent-1")
    )
    return scheduler.Event(type=EventType.UPDATE, update=scheduler.EventUpdate(status=status))


def launch(task: str = "t1") -> mesos.OfferOperation:
    info = mesos.TaskInfo(name=task, task_id=mesos.TaskID(value=task), agent_id=mesos.AgentID(value="agent-1"))
    body = mesos.OfferOperationLaunch(task_infos=(info,))
    return mesos.OfferOperation(type=mesos.OfferOperationType.LAUNCH, launch=body)


def subscribe(tasks: dict[str, str | None] | None = None, info: mesos.FrameworkInfo = INFO) -> core.Scheduler:
    protocol = core.Scheduler(info, (A, B), tasks=tasks)
    protocol.start(at(0))
    protocol.opened("stream-1", at(0))
    protocol.received(subscribed_event(), at(0))
    protocol.check()
    return protocol


def test_a_new_framework_subscribes_without_an_id_and_is_given_one() -> None:
    protocol = core.Scheduler(INFO, (A,))
    (opening,) = only(protocol.start(at(0)), core.Open)
    assert opening.master == A
    assert opening.call.framework_id is None
    protocol.opened("stream-1", at(0))
    acts = protocol.received(subscribed_event("fw-7"), at(0))
    (event,) = told(acts, events.Subscribed)
    assert (event.framework_id, event.again) == ("fw-7", False)
    assert sent(acts) == [], "a new framework has nothing to reconcile"


def test_calls_carry_the_framework_and_the_stream() -> None:
    protocol = subscribe()
    (send,) = only(protocol.perform(calls.Suppress(), at(1)), core.Send)
    assert (send.master, send.stream_id) == (A, "stream-1")
    assert send.call.framework_id == mesos.FrameworkID(value="fw-1")
    assert send.call.type is CallType.SUPPRESS


def test_a_redirection_leads_to_the_leader_at_once() -> None:
    protocol = core.Scheduler(INFO, (A,))
    protocol.start(at(0))
    acts = protocol.refused(307, "", "//leader:5055/api/v1/scheduler", at(0), 0.5)
    assert only(acts, core.Open)[0].master == "http://leader:5055"


def test_redirections_in_a_circle_end() -> None:
    protocol = core.Scheduler(INFO, (A,))
    acts = protocol.start(at(0))
    for _ in range(core.REDIRECTS_MAX + 1):
        assert only(acts, core.Open)
        acts = protocol.refused(307, "", "//b:5050/x", at(0), 0.5)
    assert told(acts, events.Disconnected)
    assert protocol.wake_at() is not None


def test_masters_that_do_not_answer_are_asked_in_turn_with_growing_pauses() -> None:
    protocol = core.Scheduler(INFO, (A, B))
    asked, pauses, now = [], [], 0.0
    acts = protocol.start(at(now))
    for _ in range(4):
        asked.append(only(acts, core.Open)[0].master)
        protocol.broken("nobody answers", at(now), 0.99)
        wake_at = protocol.wake_at()
        assert wake_at is not None
        pauses.append(wake_at - at(now).mono_s)
        now += pauses[-1]
        acts = protocol.wake(at(now), 0.5)
    assert asked == [A, B, A, B]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]


def test_silence_for_three_heartbeats_breaks_the_connection() -> None:
    protocol = subscribe()
    protocol.received(scheduler.Event(type=EventType.HEARTBEAT), at(15))
    assert protocol.wake_at() == at(60).mono_s
    acts = protocol.wake(at(60), 0.5)
    assert only(acts, core.Close)
    (event,) = told(acts, events.Disconnected)
    assert "nothing heard from the master at a:5050 for 45 s" in event.sentence


def test_a_master_that_never_says_subscribed_is_given_up() -> None:
    protocol = core.Scheduler(INFO, (A, B))
    protocol.start(at(0))
    protocol.opened("stream-1", at(0))
    assert told(protocol.wake(at(core.OPEN_S_MAX), 0.5), events.Disconnected)
    assert protocol.master == B


def test_offers_are_void_after_a_disconnection() -> None:
    protocol = subscribe()
    protocol.received(offer_event("o1"), at(1))
    protocol.broken("gone", at(2), 0.5)
    acts = protocol.perform(calls.Accept(offer_ids=("o1",), operations=(launch(),)), at(3))
    (event,) = told(acts, events.Updated)
    assert event.status.state is mesos.TaskState.TASK_DROPPED
    assert event.status.reason is mesos.TaskStatusReason.REASON_INVALID_OFFERS
    assert sent(acts) == []
    protocol.check()


def test_accepting_a_rescinded_offer_gives_the_other_one_back() -> None:
    protocol = subscribe()
    protocol.received(offer_event("o1", "o2"), at(1))
    rescind = scheduler.EventRescind(offer_id=mesos.OfferID(value="o1"))
    acts = protocol.received(scheduler.Event(type=EventType.RESCIND, rescind=rescind), at(2))
    assert told(acts, events.Rescinded)
    acts = protocol.perform(calls.Accept(offer_ids=("o1", "o2"), operations=(launch(),)), at(3))
    (call,) = sent(acts)
    assert call.decline is not None
    assert call.decline.offer_ids == (mesos.OfferID(value="o2"),)
    assert told(acts, events.Updated)[0].status.state is mesos.TaskState.TASK_DROPPED


def test_an_accepted_offer_is_used_up() -> None:
    protocol = subscribe()
    protocol.received(offer_event("o1"), at(1))
    accept = calls.Accept(offer_ids=("o1",), operations=(launch(),), refuse_s=7)
    (call,) = sent(protocol.perform(accept, at(2)))
    assert call.accept is not None
    assert call.accept.filters == mesos.Filters(refuse_seconds=7)
    assert protocol.tasks == {"t1": "agent-1"}
    assert protocol.perform(calls.Decline(offer_ids=("o1",)), at(3)) == []


def test_an_update_that_comes_twice_is_told_once_and_acknowledged_when_taken() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    first = protocol.received(update_event(mesos.TaskState.TASK_RUNNING), at(1))
    assert len(told(first, events.Updated)) == 1
    assert protocol.received(update_event(mesos.TaskState.TASK_RUNNING), at(2)) == [], "not taken yet"
    status = told(first, events.Updated)[0].status
    (acknowledged,) = sent(protocol.perform(calls.Acknowledge(status=status), at(3)))
    assert acknowledged.acknowledge is not None
    assert acknowledged.acknowledge.uuid == b"u" * 16
    again = protocol.received(update_event(mesos.TaskState.TASK_RUNNING), at(4))
    assert told(again, events.Updated) == []
    assert [call.type for call in sent(again)] == [CallType.ACKNOWLEDGE]


def test_an_update_taken_while_disconnected_is_acknowledged_when_it_comes_again() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    acts = protocol.received(update_event(mesos.TaskState.TASK_FINISHED), at(1))
    protocol.broken("gone", at(2), 0.5)
    assert protocol.perform(calls.Acknowledge(status=told(acts, events.Updated)[0].status), at(2)) == []
    protocol.wake(at(10), 0.5)
    protocol.opened("stream-2", at(10))
    protocol.received(subscribed_event(), at(10))
    again = protocol.received(update_event(mesos.TaskState.TASK_FINISHED), at(11))
    assert told(again, events.Updated) == []
    assert [(s.stream_id, s.call.type) for s in only(again, core.Send)] == [("stream-2", CallType.ACKNOWLEDGE)]


def test_a_status_without_uuid_is_never_acknowledged() -> None:
    protocol = subscribe()
    acts = protocol.received(update_event(mesos.TaskState.TASK_LOST, uuid=None), at(1))
    assert protocol.perform(calls.Acknowledge(status=told(acts, events.Updated)[0].status), at(1)) == []


def test_every_new_subscription_reconciles_and_asks_again_until_answered() -> None:
    protocol = subscribe(tasks={"t1": "agent-1", "t2": None})
    protocol.broken("gone", at(1), 0.5)
    protocol.wake(at(10), 0.5)
    protocol.opened("stream-2", at(10))
    acts = protocol.received(subscribed_event(), at(10))
    asked = [[t.task_id.value for t in c.reconcile.tasks] for c in sent(acts) if c.reconcile is not None]
    assert asked == [[], ["t1", "t2"]]
    protocol.received(update_event(mesos.TaskState.TASK_RUNNING, uuid=None), at(11))
    protocol.received(scheduler.Event(type=EventType.HEARTBEAT), at(17))
    wake_at = protocol.wake_at()
    assert wake_at is not None
    later = protocol.wake(Instant(mono_s=wake_at, wall_s=0), 0.5)
    asked = [[t.task_id.value for t in c.reconcile.tasks] for c in sent(later) if c.reconcile is not None]
    assert asked == [["t2"]]


def reconciled(state: mesos.TaskState) -> scheduler.Event:
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value="t1"), state=state, reason=mesos.TaskStatusReason.REASON_RECONCILIATION
    )
    return scheduler.Event(type=EventType.UPDATE, update=scheduler.EventUpdate(status=status))


def test_a_new_master_that_knows_of_an_end_does_not_get_ahead_of_the_update_that_tells_how() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    assert protocol.received(reconciled(mesos.TaskState.TASK_FAILED), at(1)) == []
    assert protocol.received(reconciled(mesos.TaskState.TASK_FAILED), at(1)) == [], "asked for twice at a subscription"
    (end,) = told(protocol.received(update_event(mesos.TaskState.TASK_FAILED), at(2)), events.Updated)
    assert end.status.uuid is not None


def test_an_end_that_nobody_explains_counts_when_the_master_says_so_again() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    protocol.received(reconciled(mesos.TaskState.TASK_FAILED), at(1))
    protocol.received(scheduler.Event(type=EventType.HEARTBEAT), at(9))
    later = protocol.wake(at(16), 0.5)
    assert [c.reconcile.tasks[0].task_id.value for c in sent(later) if c.reconcile is not None] == ["t1"]
    assert protocol.received(reconciled(mesos.TaskState.TASK_FAILED), at(17)) == [], "its agent may be starting"
    acts = protocol.received(reconciled(mesos.TaskState.TASK_FAILED), at(1 + core.END_FOLLOWS_S_MAX))
    assert len(told(acts, events.Updated)) == 1
    assert protocol.tasks == {}


def test_what_only_a_master_tells_is_told_at_once() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    assert len(told(protocol.received(reconciled(mesos.TaskState.TASK_GONE), at(1)), events.Updated)) == 1


def test_a_kill_is_repeated_after_a_new_subscription_until_the_task_has_ended() -> None:
    protocol = subscribe(tasks={"t1": "agent-1"})
    protocol.broken("gone", at(1), 0.5)
    assert protocol.perform(calls.Kill(task_id="t1", grace_s=2), at(2)) == []
    protocol.wake(at(10), 0.5)
    protocol.opened("stream-2", at(10))
    kills = [c.kill for c in sent(protocol.received(subscribed_event(), at(10))) if c.kill is not None]
    assert [k.task_id.value for k in kills] == ["t1"]
    assert kills[0].kill_policy == mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=2_000_000_000))
    acts = protocol.received(update_event(mesos.TaskState.TASK_KILLED), at(11))
    protocol.perform(calls.Acknowledge(status=told(acts, events.Updated)[0].status), at(11))
    protocol.check()
    assert protocol.tasks == {}


def test_suppression_is_kept_over_subscriptions() -> None:
    protocol = subscribe()
    protocol.perform(calls.Suppress(), at(1))
    protocol.broken("gone", at(2), 0.5)
    (opening,) = only(protocol.wake(at(10), 0.5), core.Open)
    assert opening.call.subscribe is not None
    assert opening.call.subscribe.suppressed_roles == ("dev",)


def test_what_was_revived_while_the_subscription_was_on_its_way_is_said_afterwards() -> None:
    protocol = subscribe()
    protocol.perform(calls.Suppress(), at(1))
    protocol.broken("gone", at(2), 0.5)
    protocol.wake(at(10), 0.5)
    assert not only(protocol.perform(calls.Revive(), at(10)), core.Send)
    protocol.opened("s2", at(11))
    acts = protocol.received(subscribed_event(), at(11))
    assert CallType.REVIVE in [call.type for call in sent(acts)]


def test_a_call_from_a_lost_subscription_leads_to_a_new_one() -> None:
    for status, text in ((400, "Framework cannot be found"), (403, "Framework is not subscribed"), (307, "")):
        protocol = subscribe()
        acts = protocol.call_refused(scheduler.Call(type=CallType.REVIVE), status, text, at(1), 0.5)
        assert told(acts, events.Disconnected), (status, text)


def test_a_call_that_is_wrong_is_told_to_the_framework() -> None:
    protocol = subscribe()
    acts = protocol.call_refused(scheduler.Call(type=CallType.KILL), 400, "task_id is empty", at(1), 0.5)
    (event,) = told(acts, events.CallRefused)
    assert event.sentence == "the master at a:5050 refused KILL (400): task_id is empty"


def test_refused_credentials_end_the_session() -> None:
    protocol = core.Scheduler(INFO, (A,))
    protocol.start(at(0))
    (finish,) = only(protocol.refused(401, "Authentication required", None, at(0), 0.5), core.Finish)
    assert finish.credentials
    assert finish.sentence is not None
    assert "a:5050" in finish.sentence


def test_an_error_event_ends_the_session_with_its_text() -> None:
    protocol = subscribe()
    error = scheduler.Event(type=EventType.ERROR, error=scheduler.EventError(message="Framework failed over"))
    (finish,) = only(protocol.received(error, at(1)), core.Finish)
    assert finish.sentence == "the master at a:5050 ended the subscription: Framework failed over"
    assert protocol.perform(calls.Revive(), at(2)) == []


def test_teardown_while_disconnected_is_said_at_the_next_subscription() -> None:
    protocol = subscribe()
    protocol.broken("gone", at(1), 0.5)
    assert protocol.perform(calls.Teardown(), at(2)) == []
    protocol.wake(at(10), 0.5)
    protocol.opened("stream-2", at(10))
    acts = protocol.received(subscribed_event(), at(10))
    assert [call.type for call in sent(acts)] == [CallType.TEARDOWN]
    assert only(acts, core.Finish)


def test_a_kill_is_repeated_when_the_task_is_told_to_run_although_it_was_asked_to_end() -> None:
    """A new master does not know the task before its agent is back, and drops the kill."""
    machine = subscribe({"t1": "agent-1"})
    machine.perform(calls.Kill(task_id="t1"), at(1))
    acts = machine.received(update_event(mesos.TaskState.TASK_RUNNING, uuid=None), at(2))
    assert [call.type for call in sent(acts)] == [CallType.KILL]
    assert sent(machine.received(update_event(mesos.TaskState.TASK_KILLING, b"k" * 16), at(3))) == []
    assert sent(machine.received(update_event(mesos.TaskState.TASK_KILLED, b"e" * 16), at(4))) == []


def test_a_task_that_is_out_of_reach_is_asked_about_until_more_is_known() -> None:
    """Its agent may return without it, and then nobody tells."""
    machine = subscribe({"t1": "agent-1"})
    machine.received(update_event(mesos.TaskState.TASK_RUNNING, uuid=None), at(1))
    machine.received(update_event(mesos.TaskState.TASK_UNREACHABLE, uuid=None), at(100))
    asked_s = []
    for _ in range(3):
        wake_at = machine.wake_at()
        assert wake_at is not None
        while not sent(machine.wake(at(wake_at - 1000), 0.5)):
            machine.received(scheduler.Event(type=EventType.HEARTBEAT), at(wake_at - 1000))
            wake_at = machine.wake_at()
            assert wake_at is not None
        asked_s.append(wake_at - 1000)
        machine.received(update_event(mesos.TaskState.TASK_UNREACHABLE, uuid=None), at(asked_s[-1]))
    assert asked_s[1] - asked_s[0] > asked_s[0] - 100
    machine.received(update_event(mesos.TaskState.TASK_GONE, uuid=None), at(asked_s[-1]))
    for seconds in range(100):
        assert sent(machine.wake(at(asked_s[-1] + 10 * seconds), 0.5)) == []
        machine.received(scheduler.Event(type=EventType.HEARTBEAT), at(asked_s[-1] + 10 * seconds))


def test_a_kill_that_nothing_came_of_is_asked_for_again_and_again() -> None:
    """It may get lost between a master and an agent that both restart at that moment."""
    protocol = subscribe(tasks={"t1": "agent-1"})
    protocol.received(update_event(mesos.TaskState.TASK_RUNNING, b"r" * 16), at(1))
    protocol.perform(calls.Kill(task_id="t1"), at(2))
    due = at(2 + core.KILL_AGAIN.base_s)
    assert [c.kill.task_id.value for c in sent(protocol.wake(due, 0.5)) if c.kill is not None] == ["t1"]
    acts = protocol.received(update_event(mesos.TaskState.TASK_KILLED), at(40))
    protocol.perform(calls.Acknowledge(status=told(acts, events.Updated)[0].status), at(40))
    assert not [c for c in sent(protocol.wake(at(10_000), 0.5)) if c.kill is not None]
