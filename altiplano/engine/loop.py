"""The loop of a process: events in, one at a time; facts to the log; effects out, in order.

Nothing else calls the core.  The loop never waits for the log: it goes on deciding while records
become durable, and the outbox holds back what rests on them.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from altiplano.engine.core import Core, Effect, Event, Fact, Note
from altiplano.engine.histogram import Histogram
from altiplano.engine.journal import Journal
from altiplano.engine.outbox import Outbox
from altiplano.engine.recorder import Recorder
from altiplano.engine.records import FactCodec
from altiplano.kit import crash
from altiplano.model.time import Instant
from altiplano.ports.clock import Clock
from altiplano.ports.log import Log

EVENTS_MAX = 100_000
"""Events that may wait for the core."""

EVENTS_PER_SLICE = 64
"""Events decided before the event loop gets a turn."""

SLICE_S = 0.004
"""Time after which no further event is decided in a slice: an event may take as long again, and what is said too."""

FACTS_PER_SLICE = 500
"""Facts of a snapshot that are written down before the event loop gets a turn: a millisecond or two."""

COMPACT_AFTER_RECORDS = 20_000
"""Records since the last snapshot after which the log is compacted, unless the snapshot itself had more."""

POINTS = (
    "event_decided",
    "facts_applied",
    "facts_appended",
    "facts_durable",
    "one_of_several_said",
    "all_said",
)
"""Crash points of every process with an engine (`altiplano.kit.crash`)."""

E = TypeVar("E", bound=Event)


class _Settled(Effect, frozen=True, kw_only=True):
    """Tells one waiter that all that was put into the outbox before has left."""

    done: asyncio.Future[None]


log = structlog.get_logger("altiplano.engine")


class _Compaction:
    """A snapshot that is being written: the state at one position of the log, as facts and in bytes so far."""

    def __init__(self, facts: list[Any], position: int) -> None:
        self.facts = facts
        self.position = position
        self.parts: list[bytes] = []


class InboxFull(Exception):
    """More events wait for this process than it can take: try again in a moment."""


class Statistics(msgspec.Struct):
    """Counts and times since the start of the process."""

    events: int = 0
    facts: int = 0
    records: int = 0
    effects: int = 0
    bugs: int = 0
    slices: int = 0
    compactions: int = 0
    wait: Histogram = msgspec.field(default_factory=Histogram)
    slice: Histogram = msgspec.field(default_factory=Histogram)
    commit: Histogram = msgspec.field(default_factory=Histogram)


class Engine(Generic[E]):
    """Owner of a core.

    `perform` carries out one effect and must not block; it is called for every effect but notes,
    which go to the journal.  `bug(event, error)` is told when `decide` failed on an event: the call
    that brought the event costs a 500, nothing else happened.
    """

    def __init__(
        self,
        core: Core[E],
        *,
        log: Log,
        codec: FactCodec[Any],
        clock: Clock,
        perform: Callable[[Effect], None],
        bug: Callable[[E, Exception], None],
        wake: Callable[[str], E],
        journal: Journal,
        recorder: Recorder | None = None,
        check: bool = False,
        outbox: Callable[[Callable[[Effect], None]], Outbox] = Outbox,
        compact_after_records: int = COMPACT_AFTER_RECORDS,
    ) -> None:
        self.core = core
        self.journal = journal
        self.recorder = recorder or Recorder(enabled=False)
        self.statistics = Statistics()
        self._log = log
        self._codec = codec
        self._clock = clock
        self._perform_effect = perform
        self._bug = bug
        self._make_wake = wake
        self._check = check
        self._compact_after_records = compact_after_records
        self._inbox: deque[E] = deque()
        self._outbox = outbox(self._perform)
        self._position = 0
        self._since_snapshot = 0
        self._snapshot_facts = 0
        self._behind = False
        """Whether there is more to say at once than a slice holds: nothing is decided then that makes it more."""
        self._wakes = itertools.count(1)
        self._followed: tuple[E, float] | None = None
        """An event that waits, and since when: one at a time is enough to know how long they wait."""
        self._committing: tuple[int, float] | None = None
        self._compaction: _Compaction | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Set while `run` serves."""
        self._server: asyncio.Task[Any] | None = None
        self._context: contextvars.Context | None = None
        self._ended: asyncio.Future[None]
        self._rung = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf

    async def recover(self) -> int:
        """Apply the facts of the log, decide nothing; how many there were."""
        snapshot, records = await self._log.recover()
        count = 0
        for fact in self._codec.recover(snapshot, records):
            self.core.apply(fact)
            count += 1
        self.core.check()
        self._position = self._log.end
        self._since_snapshot = len(records)
        self._log.notify(self._became_durable)
        return count

    def post(self, event: E) -> None:
        """Queue an event for the core.  Raises InboxFull beyond EVENTS_MAX."""
        if len(self._inbox) >= EVENTS_MAX:
            raise InboxFull
        if self._followed is None:
            self._followed = event, self._clock.now().mono_s
        self._inbox.append(event)
        self._ring()

    @property
    def settled(self) -> bool:
        """Whether all that the core knows is durable and said: then its state may be shown."""
        return not self._outbox and self._log.durable >= self._position

    @property
    def waiting(self) -> int:
        """Events that wait for the core."""
        return len(self._inbox)

    async def settle(self) -> None:
        """Return when all that the core knows by now is durable and said."""
        if not self.settled:
            done = asyncio.get_running_loop().create_future()
            self._outbox.put((_Settled(done=done),), after=self._position)
            self._ring()
            await done

    async def run(self) -> None:
        """Serve events until cancelled.

        Raises LogFailed when a commit failed, and whatever `apply` raised: the process must then stop.
        """
        self._loop = asyncio.get_running_loop()
        self._server = asyncio.current_task()
        self._context = contextvars.copy_context()
        self._ended = self._loop.create_future()
        failed = asyncio.ensure_future(self._log.failed())
        failed.add_done_callback(self._log_failed)
        self._ring()
        try:
            await self._ended
        finally:
            self._loop = None
            failed.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def _ring(self) -> None:
        """There is something to do, in the next turn of the event loop: what comes until then is done with it."""
        if not self._rung and self._loop is not None:
            self._rung = True
            self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._rung = False
        # Whoever cancels the process wants no further step, also before the cancellation has reached `run`.
        if self._loop is None or self._server is None or self._server.cancelling():
            return
        try:
            more = self._slice()
        except Exception as error:  # a bug in `apply` or an effect leaves a state in doubt: `run` raises it
            self._loop = None
            if not self._ended.done():
                self._ended.set_exception(error)
            return
        if more:
            self._ring()

    def _log_failed(self, failed: asyncio.Future[None]) -> None:
        if not failed.cancelled() and not self._ended.done() and (error := failed.exception()) is not None:
            self._loop = None
            self._ended.set_exception(error)

    def _slice(self) -> bool:
        """Decide up to a slice of events and say what may be said; whether there is more to do at once."""
        self.statistics.slices += 1
        began_s = self._clock.now().mono_s
        if not self._behind:
            self._decide_waiting()
        now_s = self._clock.now().mono_s
        wake_at = self.core.wake_at()
        if wake_at is not None and wake_at <= now_s:
            self._step(self._make_wake(f"wake-{next(self._wakes)}"), self._clock.now())
            wake_at = self.core.wake_at()
        more = self._behind = self._outbox.flush(self._log.durable)
        self._maybe_compact()
        self.statistics.slice.observe(self._clock.now().mono_s - began_s)
        more = more or self._compaction is not None
        if self._inbox or more or (wake_at is not None and wake_at <= now_s):
            return True
        self._set_timer(wake_at, now_s)
        return False

    def _decide_waiting(self) -> None:
        if not self._inbox:
            return
        now = self._clock.now()
        end_s = now.mono_s + SLICE_S
        for _ in range(EVENTS_PER_SLICE):
            self._step(self._inbox.popleft(), now)
            if not self._inbox:
                return
            now = self._clock.now()
            if now.mono_s > end_s:
                return

    def _set_timer(self, wake_at: float | None, now_s: float) -> None:
        """Be here again at the time the core asked for; a timer that fires earlier does no harm, and is left."""
        if self._loop is None or wake_at is None or (self._timer is not None and self._timer_s <= wake_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = wake_at
        self._timer = self._loop.call_later(wake_at - now_s, self._timer_fired, context=self._context)

    def _timer_fired(self) -> None:
        self._timer = None
        self._ring()

    def _step(self, event: E, now: Instant) -> None:
        self.statistics.events += 1
        if self._followed is not None and event is self._followed[0]:
            self.statistics.wait.observe(now.mono_s - self._followed[1])
            self._followed = None
        self.recorder.record(self.core, event, now)
        try:
            decision = self.core.decide(event, now)
        except Exception as error:  # a bug in `decide` has changed nothing and costs one event
            self.statistics.bugs += 1
            log.exception(
                "deciding failed; the event is dropped",
                action="bug",
                cause=event.cause,
                event_type=type(event).__name__,
            )
            self._bug(event, error)
            return
        crash.at("event_decided")
        self._apply(decision.facts)
        self.statistics.effects += len(decision.effects)
        self._outbox.put(decision.effects, after=self._position)
        if self._check:
            self.core.check()

    def _apply(self, facts: tuple[Fact, ...]) -> None:
        records = []
        for fact in facts:
            self.core.apply(fact)
            if fact.durable:
                records.append(self._codec.encode(fact))
        crash.at("facts_applied")
        self.statistics.facts += len(facts)
        if records:
            self.statistics.records += len(records)
            self._since_snapshot += len(records)
            self._position = self._log.append(records)
            if self._committing is None:
                self._committing = self._position, self._clock.now().mono_s
            crash.at("facts_appended")

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Note):
            wall_s = self._clock.now().wall_s
            self.journal.note(effect.subjects, effect.sentence, cause=effect.cause, wall_s=wall_s)
        elif isinstance(effect, _Settled):
            if not effect.done.done():
                effect.done.set_result(None)
        else:
            self._perform_effect(effect)

    def _became_durable(self, position: int) -> None:
        if self._committing is not None and position >= self._committing[0]:
            self.statistics.commit.observe(self._clock.now().mono_s - self._committing[1])
            self._committing = None
        crash.at("facts_durable")
        self._ring()

    def _maybe_compact(self) -> None:
        """Compact once as many records were added as the snapshot holds: each is then rewritten once on average."""
        if self._compaction is not None:
            self._compact_further(self._compaction)
            return
        if self._since_snapshot < max(self._compact_after_records, self._snapshot_facts):
            return
        # Facts are frozen, so the state may go on while they are written; records that follow stay behind the snapshot.
        facts = list(self.core.summary())
        self._compaction = _Compaction(facts, self._position)
        self._snapshot_facts = len(facts)
        self._since_snapshot = 0

    def _compact_further(self, compaction: _Compaction) -> None:
        """Write down some more facts of a snapshot, and hand it to the log when all of them are."""
        first = len(compaction.parts) * FACTS_PER_SLICE
        compaction.parts.append(self._codec.snapshot(compaction.facts[first : first + FACTS_PER_SLICE]))
        if first + FACTS_PER_SLICE >= len(compaction.facts):
            self._log.compact(b"".join(compaction.parts), compaction.position)
            self._compaction = None
            self.statistics.compactions += 1
