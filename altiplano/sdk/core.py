"""The protocol of a scheduler, without its connection.

    WAITING ──► OPENING ──► SUBSCRIBED
       ▲           │            │
       └───────────┴────────────┘        any ──► FINISHED

What comes in: the framework's calls (`perform`), and what the connection met (`opened`, `received`,
`refused`, `broken`, `call_refused`, `wake`).  What comes out: a list of acts for the shell to carry
out in order.  The one thing to know before changing it: nothing here is durable.  Whatever the
framework must remember over a restart – its id, its tasks – it remembers itself and gives to the
next session; everything else the master and the agents say again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from altiplano.kit.backoff import BackOff
from altiplano.model.tasks import ENDS
from altiplano.model.time import Instant
from altiplano.sdk import calls, events, masters
from altiplano.wire.messages import mesos, scheduler

OPEN_S_MAX = 20.0
"""A master that has not answered a SUBSCRIBE with SUBSCRIBED by then is given up."""

HEARTBEATS_MISSED_MAX = 3
"""After so many intervals of silence the connection counts as broken."""

HEARTBEAT_S_DEFAULT = 15.0
RETRY = BackOff(base_s=0.2, cap_s=15.0)
RECONCILE_AGAIN = BackOff(base_s=10.0, cap_s=300.0)
END_FOLLOWS_S_MAX = 60.0
"""How long the update of an end may come after a new master's word of it: its agent may have to start first."""
KILL_AGAIN = BackOff(base_s=30.0, cap_s=300.0)
"""A kill may get lost between a master and an agent that both restart; it is harmless to ask twice."""

REDIRECTS_MAX = 8
"""Redirections in a row that are followed at once; after that the next attempt waits."""

SEEN_MAX = 100_000
"""Tasks whose last update is remembered, to know it again when it comes twice."""

TASKS_PER_RECONCILE_MAX = 1_000
_DAY_S = 86_400.0
_ENDED = frozenset(state.value for state in ENDS)
_AWAY = frozenset({mesos.TaskState.TASK_UNREACHABLE, mesos.TaskState.TASK_UNKNOWN})
_TOLD_BY_AGENTS = frozenset({mesos.TaskState.TASK_FAILED, mesos.TaskState.TASK_KILLED})
"""Ends of which only an update from the agent says how they came."""


class Phase(Enum):
    WAITING = "waiting"
    OPENING = "opening"
    SUBSCRIBED = "subscribed"
    FINISHED = "finished"


STEPS: Mapping[Phase, frozenset[Phase]] = {
    Phase.WAITING: frozenset({Phase.OPENING, Phase.FINISHED}),
    Phase.OPENING: frozenset({Phase.SUBSCRIBED, Phase.WAITING, Phase.FINISHED}),
    Phase.SUBSCRIBED: frozenset({Phase.WAITING, Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Connect to a master, post this SUBSCRIBE, read the stream."""

    master: str
    call: scheduler.Call


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Post a call to the master that the stream comes from, after all calls before it."""

    master: str
    stream_id: str
    call: scheduler.Call


class Close(msgspec.Struct, frozen=True, kw_only=True):
    """Close the stream, and forget calls that were not sent."""


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the framework."""

    event: events.SchedulerEvent


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The session is over once the calls before it are sent; `sentence` says why, if not as asked for."""

    sentence: str | None = None
    credentials: bool = False


Act = Open | Send | Close | Tell | Finish


class Scheduler:
    """One framework's side of the scheduler API."""

    def __init__(
        self,
        info: mesos.FrameworkInfo,
        master_urls: Sequence[str],
        *,
        tasks: Mapping[str, str | None] | None = None,
        suppressed_roles: Iterable[str] = (),
        constraints: scheduler.OfferConstraints | None = None,
    ) -> None:
        assert master_urls
        self.info = info
        self.phase = Phase.WAITING
        self.offers: dict[str, str] = {}
        """Offers that may be accepted, and their agents."""
        self.tasks: dict[str, str | None] = dict(tasks or {})
        """Tasks that have not ended as far as the framework knows, and their agents."""
        self.suppressed_roles: set[str] = set(suppressed_roles)
        self._asked_suppressed: frozenset[str] = frozenset()
        """Roles that the last SUBSCRIBE named as suppressed."""
        self._constraints = constraints
        self._masters = tuple(master_urls)
        self._at = 0
        self._leader: str | None = None
        self._redirects = 0
        self._stream_id = ""
        self._was_subscribed = False
        self._causes = 0
        self._silence_s = HEARTBEAT_S_DEFAULT * HEARTBEATS_MISSED_MAX
        self._deadline: float | None = None
        self._retry = RETRY
        self._kills: dict[str, calls.Kill] = {}
        self._kill_again = KILL_AGAIN
        self._kill_at: float | None = None
        self._seen: OrderedDict[str, tuple[bytes, bool]] = OrderedDict()
        self._unanswered: dict[str, str | None] = {}
        self._ask_again = RECONCILE_AGAIN
        self._announced: dict[str, float] = {}
        """Tasks that have ended by the master's word and whose own update is still to come, and since when."""
        self._ask_at: float | None = None
        self._leaving = False

    @property
    def master(self) -> str:
        """The master that is asked at present."""
        return self._leader or self._masters[self._at]

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.info.roles or (self.info.role or "*",))

    def wake_at(self) -> float | None:
        """When (`mono_s`) `wake` shall be called; None for never."""
        times = [t for t in (self._deadline, self._ask_at, self._kill_at) if t is not None]
        return min(times) if times and self.phase is not Phase.FINISHED else None

    def start(self, now: Instant) -> list[Act]:
        """Subscribe for the first time."""
        return self._open(now)

    def wake(self, now: Instant, fraction: float) -> list[Act]:
        """Do what is due."""
        acts: list[Act] = []
        if self._deadline is not None and self._deadline <= now.mono_s:
            match self.phase:
                case Phase.WAITING:
                    acts += self._open(now)
                case Phase.OPENING:
                    acts += self._lost(f"no answer from {self._who()} within {OPEN_S_MAX:g} s", now, fraction)
                case Phase.SUBSCRIBED:
                    silence = f"nothing heard from {self._who()} for {self._silence_s:g} s"
                    acts += self._lost(silence, now, fraction)
                case Phase.FINISHED:
                    self._deadline = None
        if self._ask_at is not None and self._ask_at <= now.mono_s:
            acts += self._ask(now, fraction)
        if self._kill_at is not None and self._kill_at <= now.mono_s:
            acts += self._repeat_kills(now, fraction)
        return acts

    def opened(self, stream_id: str, now: Instant) -> list[Act]:
        """The master took the SUBSCRIBE; its events follow."""
        self._stream_id = stream_id
        return []

    def refused(self, status: int, text: str, location: str | None, now: Instant, fraction: float) -> list[Act]:
        """The master answered the SUBSCRIBE with something else than a stream."""
        if self.phase is not Phase.OPENING:
            return []
        if status == 307 and location is not None:
            return self._redirected(location, now, fraction)
        sentence = f"{self._who()} answered {status}: {_short(text)}"
        if status in (401, 403):
            return self._finish(f"{self._who()} does not accept our credentials ({status}: {_short(text)})", True)
        if 400 <= status < 500 and status not in (408, 429):
            return self._finish(sentence)
        return self._lost(sentence, now, fraction)

    def broken(self, reason: str, now: Instant, fraction: float) -> list[Act]:
        """The connection could not be made, or ended."""
        return self._lost(reason, now, fraction)

    def call_refused(self, call: scheduler.Call, status: int, text: str, now: Instant, fraction: float) -> list[Act]:
        """The master did not take a call.

        That it does not know the framework, its stream, or no longer leads, means that the
        subscription is gone, though its stream may not have ended yet.
        """
        if self.phase is not Phase.SUBSCRIBED:
            return []
        gone = status in (307, 403, 503) or (status == 400 and "cannot be found" in text)
        if gone or (status == 400 and "stream id" in text.lower()):
            return self._lost(f"{self._who()} answered {status}: {_short(text)}", now, fraction)
        name = call.type.value if call.type is not None else "call"
        sentence = f"{self._who()} refused {name} ({status}): {_short(text)}"
        return [Tell(event=events.CallRefused(cause=self._cause(), call=name, sentence=sentence))]

    def received(self, event: scheduler.Event, now: Instant) -> list[Act]:
        """One event of the stream."""
        if self.phase is Phase.OPENING:
            if event.type is scheduler.EventType.ERROR:
                return self._error(event)
            if event.subscribed is None:
                return []
            return self._subscribed(event.subscribed, now)
        if self.phase is not Phase.SUBSCRIBED:
            return []
        self._deadline = now.mono_s + self._silence_s
        kind = scheduler.EventType
        told: events.SchedulerEvent | None = None
        if event.type is kind.OFFERS and event.offers is not None:
            self.offers.update((offer.id.value, offer.agent_id.value) for offer in event.offers.offers)
            told = events.Offered(cause=self._cause(), offers=event.offers.offers)
        elif event.type is kind.UPDATE and event.update is not None:
            return self._update(event.update.status, now)
        elif event.type is kind.RESCIND and event.rescind is not None:
            if self.offers.pop(event.rescind.offer_id.value, None) is not None:
                told = events.Rescinded(cause=self._cause(), offer_id=event.rescind.offer_id.value)
        elif event.type is kind.MESSAGE and event.message is not None:
            told = events.Received(
                cause=self._cause(),
                agent_id=event.message.agent_id.value,
                executor_id=event.message.executor_id.value,
                data=event.message.data,
            )
        elif event.type is kind.FAILURE and event.failure is not None:
            told = self._failure(event.failure)
        elif event.type is kind.ERROR:
            return self._error(event)
        elif event.type is kind.INVERSE_OFFERS and event.inverse_offers is not None:
            inverse = event.inverse_offers.inverse_offers
            told = events.InverseOffered(cause=self._cause(), inverse_offers=inverse)
        elif event.type is kind.RESCIND_INVERSE_OFFER and event.rescind_inverse_offer is not None:
            gone = event.rescind_inverse_offer.inverse_offer_id.value
            told = events.InverseRescinded(cause=self._cause(), inverse_offer_id=gone)
        elif event.type is kind.UPDATE_OPERATION_STATUS and event.update_operation_status is not None:
            told = events.OperationUpdated(cause=self._cause(), status=event.update_operation_status.status)
        return [] if told is None else [Tell(event=told)]

    def leave(self) -> list[Act]:
        """End the session and leave the framework registered; its tasks go on for its failover time."""
        return [] if self.phase is Phase.FINISHED else self._finish(None)

    def perform(self, call: calls.FrameworkCall, now: Instant) -> list[Act]:
        """Do what the framework asks for."""
        if self.phase is Phase.FINISHED:
            return []
        match call:
            case calls.Accept():
                return self._accept(call, now)
            case calls.Decline():
                live = tuple(mesos.OfferID(value=o) for o in call.offer_ids if self.offers.pop(o, None) is not None)
                decline = scheduler.CallDecline(offer_ids=live, filters=_filters(call.refuse_s))
                return self._send(scheduler.CallType.DECLINE, decline=decline) if live else []
            case calls.Kill():
                if call.task_id in self.tasks:
                    self._kills[call.task_id] = call
                    self._kill_again = KILL_AGAIN
                    self._kill_at = now.mono_s + KILL_AGAIN.base_s
                return self._kill(call)
            case calls.Acknowledge():
                return self._acknowledge(call.status)
            case calls.Suppress():
                self.suppressed_roles |= frozenset(call.roles) or self.roles
                return self._send(scheduler.CallType.SUPPRESS, suppress=scheduler.CallSuppress(roles=call.roles))
            case calls.Revive():
                self.suppressed_roles -= frozenset(call.roles) or self.roles
                return self._send(scheduler.CallType.REVIVE, revive=scheduler.CallRevive(roles=call.roles))
            case calls.Reconcile():
                self._unanswered.update(call.tasks)
                return self._reconcile(call.tasks)
            case calls.SendMessage():
                message = scheduler.CallMessage(
                    agent_id=mesos.AgentID(value=call.agent_id),
                    executor_id=mesos.ExecutorID(value=call.executor_id),
                    data=call.data,
                )
                return self._send(scheduler.CallType.MESSAGE, message=message)
            case calls.ShutdownExecutor():
                shutdown = scheduler.CallShutdown(
                    agent_id=mesos.AgentID(value=call.agent_id), executor_id=mesos.ExecutorID(value=call.executor_id)
                )
                return self._send(scheduler.CallType.SHUTDOWN, shutdown=shutdown)
            case calls.UpdateFramework():
                return self._update_framework(call)
            case calls.Teardown():
                self._leaving = True
                if self.phase is not Phase.SUBSCRIBED:
                    # A new framework that never subscribed leaves nothing behind; a known one must say it first.
                    return [] if self.info.id is not None else self._finish(None)
                return [*self._send(scheduler.CallType.TEARDOWN), *self._finish(None)]
            case _:
                return self._perform_rare(call)

    def _perform_rare(
        self,
        call: calls.AcceptInverse | calls.DeclineInverse | calls.AcknowledgeOperation | calls.ReconcileOperations,
    ) -> list[Act]:
        kind = scheduler.CallType
        match call:
            case calls.AcceptInverse():
                ids = tuple(mesos.OfferID(value=o) for o in call.inverse_offer_ids)
                accept = scheduler.CallAcceptInverseOffers(inverse_offer_ids=ids)
                return self._send(kind.ACCEPT_INVERSE_OFFERS, accept_inverse_offers=accept)
            case calls.DeclineInverse():
                ids = tuple(mesos.OfferID(value=o) for o in call.inverse_offer_ids)
                decline = scheduler.CallDeclineInverseOffers(inverse_offer_ids=ids, filters=_filters(call.refuse_s))
                return self._send(kind.DECLINE_INVERSE_OFFERS, decline_inverse_offers=decline)
            case calls.AcknowledgeOperation(status=status):
                if status.uuid is None or status.operation_id is None:
                    return []
                taken = scheduler.CallAcknowledgeOperationStatus(
                    agent_id=status.agent_id,
                    resource_provider_id=status.resource_provider_id,
                    uuid=status.uuid.value,
                    operation_id=status.operation_id,
                )
                return self._send(kind.ACKNOWLEDGE_OPERATION_STATUS, acknowledge_operation_status=taken)
            case calls.ReconcileOperations():
                asked = tuple(
                    scheduler.CallReconcileOperationsOperation(
                        operation_id=mesos.OperationID(value=o), agent_id=mesos.AgentID(value=a) if a else None
                    )
                    for o, a in call.operations
                )
                reconcile = scheduler.CallReconcileOperations(operations=asked)
                return self._send(kind.RECONCILE_OPERATIONS, reconcile_operations=reconcile)
            case _:
                assert_never(call)

    def check(self) -> None:
        """Assert every invariant."""
        assert self.phase is Phase.SUBSCRIBED or not self.offers, "offers without a subscription"
        assert len(self._seen) <= SEEN_MAX
        assert self._kills.keys() <= self.tasks.keys(), "a kill is remembered for a task that has ended"
        assert self.suppressed_roles <= self.roles
        assert self.phase is Phase.FINISHED or self._deadline is not None or not self._was_subscribed

    def _step(self, phase: Phase) -> None:
        assert phase in STEPS[self.phase], f"{self.phase} -> {phase}"
        self.phase = phase

    def _who(self) -> str:
        return f"the master at {masters.authority(self.master)}"

    def _cause(self) -> str:
        self._causes += 1
        return f"{self.info.name}-{self._stream_id[:8]}-{self._causes}"

    def _open(self, now: Instant) -> list[Act]:
        self._step(Phase.OPENING)
        self._deadline = now.mono_s + OPEN_S_MAX
        self._asked_suppressed = frozenset(self.suppressed_roles)
        call = scheduler.Call(
            type=scheduler.CallType.SUBSCRIBE,
            framework_id=self.info.id,
            subscribe=scheduler.CallSubscribe(
                framework_info=self.info,
                suppressed_roles=tuple(sorted(self.suppressed_roles)),
                offer_constraints=self._constraints,
            ),
        )
        return [Open(master=self.master, call=call)]

    def _subscribed(self, event: scheduler.EventSubscribed, now: Instant) -> list[Act]:
        self._step(Phase.SUBSCRIBED)
        interval_s = event.heartbeat_interval_seconds or HEARTBEAT_S_DEFAULT
        self._silence_s = interval_s * HEARTBEATS_MISSED_MAX
        self._deadline = now.mono_s + self._silence_s
        self._retry = self._retry.reset()
        self._redirects = 0
        known_before = self.info.id is not None
        self.info = replace(self.info, id=event.framework_id)
        told = events.Subscribed(
            cause=self._cause(),
            framework_id=event.framework_id.value,
            master=masters.authority(self.master),
            again=self._was_subscribed,
        )
        self._was_subscribed = True
        acts: list[Act] = [Tell(event=told)]
        if self._leaving:
            return [*acts, *self._send(scheduler.CallType.TEARDOWN), *self._finish(None)]
        acts += self._settle_suppressed()
        for kill in self._kills.values():
            acts += self._kill(kill)
        if known_before:
            acts += self._reconcile(())
            self._unanswered = dict(self.tasks)
            self._ask_again = RECONCILE_AGAIN
            acts += self._ask(now, 0.5)
        return acts

    def _settle_suppressed(self) -> list[Act]:
        """Say what the framework changed its mind about while the SUBSCRIBE was on its way."""
        acts: list[Act] = []
        if wanted := self._asked_suppressed - self.suppressed_roles:
            revive = scheduler.CallRevive(roles=tuple(sorted(wanted)))
            acts += self._send(scheduler.CallType.REVIVE, revive=revive)
        if unwanted := self.suppressed_roles - self._asked_suppressed:
            suppress = scheduler.CallSuppress(roles=tuple(sorted(unwanted)))
            acts += self._send(scheduler.CallType.SUPPRESS, suppress=suppress)
        return acts

    def _ask(self, now: Instant, fraction: float) -> list[Act]:
        """Ask about every task that no update has come for since the subscription, and again later.

        A master that has just begun to lead leaves some unanswered until their agents are back.
        """
        self._unanswered = {task: agent for task, agent in self._unanswered.items() if task in self.tasks}
        if not self._unanswered or self.phase is not Phase.SUBSCRIBED:
            self._ask_at = None
            return []
        delay_s, self._ask_again = self._ask_again.next(fraction)
        self._ask_at = now.mono_s + delay_s
        asked = tuple(self._unanswered.items())
        acts: list[Act] = []
        for first in range(0, len(asked), TASKS_PER_RECONCILE_MAX):
            acts += self._reconcile(asked[first : first + TASKS_PER_RECONCILE_MAX])
        return acts

    def _ask_later(self, task_id: str, now: Instant) -> None:
        """Go on asking about a task that is out of reach: if its agent returns without it, nobody tells by itself."""
        if task_id not in self.tasks:
            return
        self._unanswered[task_id] = self.tasks[task_id]
        if self._ask_at is None:
            delay_s, self._ask_again = RECONCILE_AGAIN.next(0.5)
            self._ask_at = now.mono_s + delay_s

    def _reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> list[Act]:
        asked = tuple(
            scheduler.CallReconcileTask(
                task_id=mesos.TaskID(value=task), agent_id=mesos.AgentID(value=agent) if agent else None
            )
            for task, agent in tasks
        )
        return self._send(scheduler.CallType.RECONCILE, reconcile=scheduler.CallReconcile(tasks=asked))

    def _redirected(self, location: str, now: Instant, fraction: float) -> list[Act]:
        leader = masters.redirected(location, self.master)
        if leader is None or self._redirects >= REDIRECTS_MAX:
            return self._lost(f"{self._who()} points to '{_short(location)}', which leads nowhere", now, fraction)
        self._redirects += 1
        self._leader = leader
        self._step(Phase.WAITING)
        return [Close(), *self._open(now)]

    def _lost(self, reason: str, now: Instant, fraction: float) -> list[Act]:
        if self.phase not in (Phase.OPENING, Phase.SUBSCRIBED):
            return []
        was_subscribed = self.phase is Phase.SUBSCRIBED
        self._step(Phase.WAITING)
        self.offers.clear()
        self._redirects = 0
        self._ask_at = None
        if not was_subscribed:
            # The one that was asked does not help, so the next is asked, and the list from its beginning in the end.
            self._leader = None
            self._at = (self._at + 1) % len(self._masters)
        delay_s, self._retry = self._retry.next(fraction)
        self._deadline = now.mono_s + delay_s
        told = events.Disconnected(cause=self._cause(), sentence=f"{reason}; next attempt in {delay_s:.1f} s")
        return [Close(), Tell(event=told)]

    def _finish(self, sentence: str | None, credentials: bool = False) -> list[Act]:
        self._step(Phase.FINISHED)
        self.offers.clear()
        self._deadline = self._ask_at = None
        return [Finish(sentence=sentence, credentials=credentials)]

    def _error(self, event: scheduler.Event) -> list[Act]:
        text = event.error.message if event.error is not None else "no reason given"
        return [Close(), *self._finish(f"{self._who()} ended the subscription: {_short(text)}")]

    def _send(self, kind: scheduler.CallType, **fields: object) -> list[Act]:
        """A call, if there is a subscription to send it on."""
        if self.phase is not Phase.SUBSCRIBED:
            return []
        call = scheduler.Call(type=kind, framework_id=self.info.id, **fields)  # type: ignore[arg-type]  # one payload by its name
        return [Send(master=self.master, stream_id=self._stream_id, call=call)]

    def _accept(self, call: calls.Accept, now: Instant) -> list[Act]:
        void = [offer for offer in call.offer_ids if offer not in self.offers]
        live = tuple(offer for offer in call.offer_ids if self.offers.pop(offer, None) is not None)
        infos = launched(call.operations)
        ids = tuple(mesos.OfferID(value=offer) for offer in live)
        if not void:
            self.tasks.update((info.task_id.value, info.agent_id.value) for info in infos)
            accept = scheduler.CallAccept(offer_ids=ids, operations=call.operations, filters=_filters(call.refuse_s))
            return self._send(scheduler.CallType.ACCEPT, accept=accept)
        acts: list[Act] = []
        if live:
            back = scheduler.CallDecline(offer_ids=ids, filters=_filters(0.0))
            acts += self._send(scheduler.CallType.DECLINE, decline=back)
        return acts + [Tell(event=self._dropped(info, void[0], now)) for info in infos]

    def _dropped(self, info: mesos.TaskInfo, offer_id: str, now: Instant) -> events.Updated:
        aware = mesos.FrameworkInfoCapabilityType.PARTITION_AWARE
        partition_aware = any(capability.type is aware for capability in self.info.capabilities)
        status = mesos.TaskStatus(
            task_id=info.task_id,
            state=mesos.TaskState.TASK_DROPPED if partition_aware else mesos.TaskState.TASK_LOST,
            source=mesos.TaskStatusSource.SOURCE_MASTER,
            reason=mesos.TaskStatusReason.REASON_INVALID_OFFERS,
            message=f"The task was not launched: offer {offer_id} was void by then. Take another offer.",
            agent_id=info.agent_id,
            timestamp=now.wall_s,
        )
        return events.Updated(cause=self._cause(), status=status)

    def _kill(self, call: calls.Kill) -> list[Act]:
        policy = None
        if call.grace_s is not None:
            policy = mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=round(call.grace_s * 1e9)))
        agent_id = call.agent_id or self.tasks.get(call.task_id)
        kill = scheduler.CallKill(
            task_id=mesos.TaskID(value=call.task_id),
            agent_id=mesos.AgentID(value=agent_id) if agent_id else None,
            kill_policy=policy,
        )
        return self._send(scheduler.CallType.KILL, kill=kill)

    def _repeat_kills(self, now: Instant, fraction: float) -> list[Act]:
        """Ask once more for every task that should have ended by now."""
        if not self._kills:
            self._kill_at = None
            return []
        delay_s, self._kill_again = self._kill_again.next(fraction)
        self._kill_at = now.mono_s + delay_s
        if self.phase is not Phase.SUBSCRIBED:
            return []
        return [act for kill in self._kills.values() for act in self._kill(kill)]

    def _update(self, status: mesos.TaskStatus, now: Instant) -> list[Act]:
        task_id = status.task_id.value
        if status.state in _AWAY:
            self._ask_later(task_id, now)
        else:
            self._unanswered.pop(task_id, None)
        if status.uuid is None:
            if self._end_follows(status, now):
                self._ask_later(task_id, now)
                return []
            self._forget_ended(status)
            return [Tell(event=events.Updated(cause=self._cause(), status=status)), *self._kill_if_asked(status)]
        uuid, taken = self._seen.get(task_id, (b"", False))
        if uuid == status.uuid:
            # It comes again because the acknowledgement was lost, or because the framework is not done with it yet.
            return self._send_acknowledgement(status) if taken else []
        self._seen[task_id] = (status.uuid, False)
        self._seen.move_to_end(task_id)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        told = events.Updated(cause=f"update-{status.uuid.hex()}", status=status)
        return [Tell(event=told), *self._kill_if_asked(status)]

    def _end_follows(self, status: mesos.TaskStatus, now: Instant) -> bool:
        """Whether a master only repeats that a task has ended, and how it did is still on its way from the agent.

        Such an answer has no exit status and no reason.  It counts when it is given once more after
        `END_FOLLOWS_S_MAX`: by then the agent that would know better had its time.
        """
        task_id = status.task_id.value
        repeated = status.reason is mesos.TaskStatusReason.REASON_RECONCILIATION and status.state in _TOLD_BY_AGENTS
        if not repeated or task_id not in self.tasks:
            return False
        return now.mono_s - self._announced.setdefault(task_id, now.mono_s) < END_FOLLOWS_S_MAX

    def _kill_if_asked(self, status: mesos.TaskStatus) -> list[Act]:
        """Repeat a kill of a task that is told to run: a new master that did not know the task yet has dropped it."""
        kill = self._kills.get(status.task_id.value)
        if kill is None or status.state in (mesos.TaskState.TASK_KILLING, mesos.TaskState.TASK_UNREACHABLE):
            return []
        return [] if status.state.value in _ENDED else self._kill(kill)

    def _acknowledge(self, status: mesos.TaskStatus) -> list[Act]:
        self._forget_ended(status)
        if status.uuid is None:
            return []
        if self._seen.get(status.task_id.value, (b"", False))[0] == status.uuid:
            self._seen[status.task_id.value] = (status.uuid, True)
        return self._send_acknowledgement(status)

    def _send_acknowledgement(self, status: mesos.TaskStatus) -> list[Act]:
        if status.uuid is None or status.agent_id is None:
            return []
        taken = scheduler.CallAcknowledge(agent_id=status.agent_id, task_id=status.task_id, uuid=status.uuid)
        return self._send(scheduler.CallType.ACKNOWLEDGE, acknowledge=taken)

    def _forget_ended(self, status: mesos.TaskStatus) -> None:
        if status.state.value in _ENDED:
            self.tasks.pop(status.task_id.value, None)
            self._kills.pop(status.task_id.value, None)
            self._announced.pop(status.task_id.value, None)

    def _failure(self, failure: scheduler.EventFailure) -> events.SchedulerEvent | None:
        if failure.agent_id is None:
            return None
        agent_id = failure.agent_id.value
        if failure.executor_id is None:
            return events.AgentFailed(cause=self._cause(), agent_id=agent_id)
        status = -1 if failure.status is None else failure.status
        return events.ExecutorFailed(
            cause=self._cause(), agent_id=agent_id, executor_id=failure.executor_id.value, wait_status=status
        )

    def _update_framework(self, call: calls.UpdateFramework) -> list[Act]:
        self.info = replace(call.info, id=self.info.id)
        self.suppressed_roles = set(call.suppressed_roles) & self.roles
        self._constraints = call.constraints
        update = scheduler.CallUpdateFramework(
            framework_info=self.info,
            suppressed_roles=tuple(sorted(self.suppressed_roles)),
            offer_constraints=call.constraints,
        )
        return self._send(scheduler.CallType.UPDATE_FRAMEWORK, update_framework=update)


def launched(operations: Iterable[mesos.OfferOperation]) -> list[mesos.TaskInfo]:
    """The tasks that operations launch, in order."""
    infos: list[mesos.TaskInfo] = []
    for operation in operations:
        if operation.launch is not None:
            infos += operation.launch.task_infos
        if operation.launch_group is not None:
            infos += operation.launch_group.task_group.tasks
    return infos


def _filters(refuse_s: float) -> mesos.Filters:
    return mesos.Filters(refuse_seconds=min(max(refuse_s, 0.0), 365 * _DAY_S))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"
