"""The loop of a process: events in, one at a time; facts to the log; effects out, in order.

Nothing else calls the core.  The loop never waits for the log: it goes on deciding while records
become durable, and the outbox holds back what rests on them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from altiplano.engine.core import Core, Effect, Event, Fact, Note
from altiplano.engine.journal import Journal
from altiplano.engine.outbox import Outbox
from altiplano.engine.recorder import Recorder
from altiplano.engine.records import FactCodec
from altiplano.kit import crash
from altiplano.ports.clock import Clock
from altiplano.ports.log import Log

EVENTS_MAX = 100_000
"""Events that may wait for the core."""

EVENTS_PER_SLICE = 64
"""Events decided before the event loop gets a turn: a few milliseconds."""

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


class InboxFull(Exception):
    """More events wait for this process than it can take: try again in a moment."""


class Statistics(msgspec.Struct):
    """Counts since the start of the process."""

    events: int = 0
    facts: int = 0
    records: int = 0
    effects: int = 0
    bugs: int = 0
    slices: int = 0
    compactions: int = 0


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
        self._ring = asyncio.Event()
        self._position = 0
        self._since_snapshot = 0
        self._snapshot_facts = 0
        self._wakes = itertools.count(1)

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
        self._inbox.append(event)
        self._ring.set()

    @property
    def settled(self) -> bool:
        """Whether all that the core knows is durable and said: then its state may be shown."""
        return not self._outbox and self._log.durable >= self._position

    async def settle(self) -> None:
        """Return when all that the core knows by now is durable and said."""
        if not self.settled:
            done = asyncio.get_running_loop().create_future()
            self._outbox.put((_Settled(done=done),), after=self._position)
            self._ring.set()
            await done

    async def run(self) -> None:
        """Serve events until cancelled.

        Raises LogFailed when a commit failed, and whatever `apply` raised: the process must then stop.
        """
        failed = asyncio.ensure_future(self._log.failed())
        failed.add_done_callback(lambda _: self._ring.set())
        try:
            while not failed.done():
                if self._slice():
                    await asyncio.sleep(0)
                else:
                    await self._rest()
            failed.result()
        finally:
            failed.cancel()

    def _slice(self) -> bool:
        """Decide up to a slice of events and say what may be said; whether there is more to do at once."""
        self._ring.clear()
        self.statistics.slices += 1
        for _ in range(EVENTS_PER_SLICE):
            if not self._inbox:
                break
            self._step(self._inbox.popleft())
        wake_at = self.core.wake_at()
        if wake_at is not None and wake_at <= self._clock.now().mono_s:
            self._step(self._make_wake(f"wake-{next(self._wakes)}"))
        more = self._outbox.flush(self._log.durable)
        self._maybe_compact()
        if self._inbox or more:
            return True
        wake_at = self.core.wake_at()
        return wake_at is not None and wake_at <= self._clock.now().mono_s

    def _step(self, event: E) -> None:
        now = self._clock.now()
        self.statistics.events += 1
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
            crash.at("facts_appended")

    async def _rest(self) -> None:
        """Wait for an event, a durable position, the time the core asked for, or the end of the log."""
        wake_at = self.core.wake_at()
        timeout = None if wake_at is None else max(0.0, wake_at - self._clock.now().mono_s)
        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._ring.set)
        try:
            await self._ring.wait()
        finally:
            if timer is not None:
                timer.cancel()

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
        crash.at("facts_durable")
        self._ring.set()

    def _maybe_compact(self) -> None:
        """Compact once as many records were added as the snapshot holds: each is then rewritten once on average."""
        if self._since_snapshot < max(self._compact_after_records, self._snapshot_facts):
            return
        facts = list(self.core.summary())
        self._log.compact(self._codec.snapshot(facts), self._position)
        self._snapshot_facts = len(facts)
        self._since_snapshot = 0
        self.statistics.compactions += 1
