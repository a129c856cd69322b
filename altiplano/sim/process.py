"""A simulated process: an engine with its core on a disk, which may die at any moment.

What is real: core, engine, outbox, records.  What is a twin: the log.  The subclasses `master` and
`agent` are shells, as small as a simulation allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altiplano.engine.core import Core, Effect, Event, Note
from altiplano.engine.journal import Journal
from altiplano.engine.loop import Engine
from altiplano.engine.outbox import Outbox
from altiplano.engine.records import FactCodec
from altiplano.ports.log import LogFailed
from altiplano.sim.history import Violation
from altiplano.sim.loop import VirtualClock
from altiplano.testing.log import MemoryDisk, MemoryLog

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

COMPACT_AFTER_RECORDS = 25
"""Few, so that every run has recoveries from snapshots."""

MakeOutbox = Callable[[Callable[[Effect], None]], Outbox]


class WatchedOutbox(Outbox):
    """Remembers what each effect rests on, for the checkers."""

    def __init__(self, inner: Outbox, rests_on: deque[int]) -> None:
        self._inner = inner
        self._rests_on = rests_on

    def __len__(self) -> int:
        return len(self._inner)

    def put(self, effects: Sequence[Effect], *, after: int) -> None:
        self._rests_on.extend(after for _ in effects)
        self._inner.put(effects, after=after)

    def flush(self, durable: int) -> bool:
        return self._inner.flush(durable)


@dataclass(slots=True)
class Parts:
    """What processes are made of; a planted fault replaces one."""

    make_log: Callable[[MemoryDisk, bool], MemoryLog]
    make_outbox: MakeOutbox = Outbox
    change_core: Callable[[str, Any], Any] = lambda name, core: core
    change_effects: Callable[[str, Any, Effect], Sequence[Effect]] = lambda name, process, effect: (effect,)
    change_event: Callable[[str, Any, Any], Any] = lambda name, process, event: event


class Process:
    """One life of a master or an agent; a restart is a new object on the same disk."""

    def __init__(self, cluster: Cluster, name: str, disk: MemoryDisk, *, registry: bool) -> None:
        self.cluster = cluster
        self.name = name
        self.disk = disk
        self.alive = True
        self.dice = random.Random(f"{cluster.seed} {name} {cluster.lives(name)}")
        self.log = cluster.parts.make_log(disk, registry)
        self.crash_after_effects: int | None = None
        self.engine: Engine[Any]
        self._rests_on: deque[int] = deque()
        # In the order of their start: a set would be walked by addresses, and no two runs would be the same.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def order_stop(self, *, with_tasks: bool, for_good: bool) -> None:
        raise AssertionError(f"nobody tells {self.name} to stop: it is killed")

    def begin(self) -> None:
        """Start the process."""
        self.spawn(self._live())

    def make_engine(self, core: Core[Any], codec: FactCodec[Any], wake: Callable[[str], Any]) -> Engine[Any]:
        return Engine(
            self.cluster.parts.change_core(self.name, core),
            log=self.log,
            codec=codec,
            clock=VirtualClock(asyncio.get_running_loop()),
            perform=self._perform,
            bug=self._bug,
            wake=wake,
            journal=Journal(self.name),
            check=self.cluster.check,
            outbox=self._make_outbox,
            compact_after_records=COMPACT_AFTER_RECORDS,
        )

    async def recovered(self) -> None:
        """The log is applied: post the first event and connect to the world."""
        raise AssertionError("each process begins in its own way")

    def carry_out(self, effect: Effect) -> None:
        """Carry out one effect."""
        raise AssertionError("each process has its own effects")

    def post(self, event: Event) -> None:
        """Give an event to the core, if the process still lives."""
        if self.alive:
            event = self.cluster.parts.change_event(self.name, self, event)
            self.cluster.history.line(f"{self.name} <- {type(event).__name__} {event.cause}")
            self.engine.post(event)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something as long as the process lives; an error is a finding."""
        task = asyncio.ensure_future(self._guard(work))
        self._tasks[task] = None
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)

    def later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call something after a while, if the process still lives."""

        def due() -> None:
            if self.alive:
                call(*arguments)

        asyncio.get_running_loop().call_later(delay_s, due)

    def crash(self, *, silently: bool = False) -> None:
        """Die at once, as by kill -9, and lose what was not flushed."""
        if self.alive:
            flying = self.log.unsynced
            survive = self.dice.choice((0, 0, flying, self.dice.randint(0, flying)))
            torn = self.dice.random() < 0.3
            self.cluster.history.line(f"{self.name} dies; {survive} of {flying} unflushed groups survive, torn {torn}")
            self.log.crash(survive=survive, torn=torn)
            self._end(silently=silently)

    def _end(self, *, silently: bool) -> None:
        self.alive = False
        self.cluster.weather.kill(self.name, silently=silently)
        for task in list(self._tasks):
            # The task that dies of its own effect is in the middle of a turn; it ends with that turn.
            asyncio.get_running_loop().call_soon(task.cancel)
        self.cluster.ended(self)

    async def _live(self) -> None:
        try:
            await self.engine.recover()
            await self.recovered()
            await self.engine.run()
        except LogFailed as failure:
            self.cluster.history.line(f"{self.name} stops: {failure}")
            self.log.crash()
            self._end(silently=False)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await work
            except Exception as error:  # whatever breaks a process is what we look for
                if self.alive:
                    violation = Violation(f"processes do not break: {self.name}: {error!r}")
                    violation.__cause__ = error
                    self.cluster.history.fail(violation)

    def _bug(self, event: Any, error: Exception) -> None:
        violation = Violation(f"deciding does not fail: {self.name} on {type(event).__name__}: {error!r}")
        violation.__cause__ = error
        self.cluster.history.fail(violation)

    def _make_outbox(self, perform: Callable[[Effect], None]) -> Outbox:
        return WatchedOutbox(self.cluster.parts.make_outbox(perform_of(self, perform)), self._rests_on)

    def watch(self, effect: Effect) -> None:
        """An effect leaves: was all it rests on kept?"""
        after = self._rests_on.popleft()
        if self.alive:
            self.cluster.history.said(self.name, effect, after, self.disk.end)

    def _perform(self, effect: Effect) -> None:
        if not self.alive:
            return
        if self.crash_after_effects is not None:
            self.crash_after_effects -= 1
            if self.crash_after_effects < 0:
                self.crash()
                return
        self.cluster.history.line(f"{self.name} -> {type(effect).__name__}")
        for changed in self.cluster.parts.change_effects(self.name, self, effect):
            self.carry_out(changed)


def perform_of(process: Process, perform: Callable[[Effect], None]) -> Callable[[Effect], None]:
    """The engine's own way to perform, watched."""

    def watched(effect: Effect) -> None:
        process.watch(effect)
        if isinstance(effect, Note) and process.alive:
            process.cluster.history.line(f"{process.name} notes: {effect.sentence}")
        perform(effect)

    return watched
