"""A simulated scheduler process: the SDK's protocol core, and a framework that keeps a diary.

The shell does what `altiplano.sdk.session` does, on conduits: one connection for the stream, one for calls,
one call at a time.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from altiplano.sdk import calls, core, events
from altiplano.sim.fence import Fenced, FencedStore
from altiplano.sim.history import Violation
from altiplano.sim.loop import VirtualClock
from altiplano.sim.master import Answer, Request
from altiplano.sim.weather import End
from altiplano.testing.store import MemoryTable
from altiplano.wire import json
from altiplano.wire.messages import mesos, scheduler

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster


class Framework(Protocol):
    """One life of a framework: what it does with events.  Its store is all that it remembers of earlier lives."""

    async def recover(self) -> tuple[mesos.FrameworkInfo, dict[str, str | None]]:
        """Who it is, and its tasks that have not ended, with their agents."""
        ...

    async def take(self, event: events.SchedulerEvent) -> list[calls.FrameworkCall]:
        """Take an event; what it asks for is asked once this returns."""
        ...

    async def tick(self) -> list[calls.FrameworkCall]:
        """Called once a second."""
        ...

    async def finished(self, sentence: str) -> None:
        """Its session is over for ever; the next life begins after this."""
        ...


class SchedulerProcess:
    """One life of a scheduler."""

    def __init__(self, cluster: Cluster, name: str, table: MemoryTable) -> None:
        self.cluster = cluster
        self.name = name
        self.alive = True
        self.crash_after_effects: int | None = None
        """Nobody asks this of a scheduler: what it says rests on its store, not on an outbox."""
        self.core: core.Scheduler | None = None
        life = self._life = cluster.lives(name)
        store = FencedStore(table, lambda: cluster.lives(name) == life)
        self.framework = cluster.workload.framework(cluster, name, store)
        self._frozen = False
        """Another instance has its store: it is still there, and does nothing."""
        self._dice = random.Random(f"{cluster.seed} {name} {cluster.lives(name)}")
        self._clock = VirtualClock(asyncio.get_running_loop())
        self._acts: deque[core.Act] = deque()
        self._acting = False
        self._events: deque[events.SchedulerEvent | core.Finish | None] = deque()
        self._ring = asyncio.Event()
        self._stream: End | None = None
        self._calls: deque[core.Send] = deque()
        self._calling: End | None = None
        self._timer: asyncio.TimerHandle | None = None
        # In the order of their start: a set would be walked by addresses, and no two runs would be the same.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def order_stop(self, *, with_tasks: bool, for_good: bool) -> None:
        raise AssertionError(f"nobody tells {self.name} to stop: it is killed")

    def begin(self) -> None:
        self.spawn(self._live())

    def crash(self, *, silently: bool = False) -> None:
        """Die at once: what was not stored is gone."""
        if not self.alive:
            return
        self.alive = False
        self.cluster.history.line(f"{self.name} dies")
        if self.cluster.processes.get(self.name) is self:
            self.cluster.history.unsubscribed(self.name)
        self.cluster.weather.kill(self.name, silently=silently)
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            asyncio.get_running_loop().call_soon(task.cancel)
        self.cluster.ended(self)

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks[task] = None
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            return
        except Fenced:
            self._frozen = True
            self.cluster.history.line(f"{self.name}: its store belongs to another instance")
        except Exception as error:  # whatever breaks a process is what we look for
            if self.alive:
                violation = Violation(f"processes do not break: {self.name}: {error!r}")
                violation.__cause__ = error
                self.cluster.history.fail(violation)

    async def _live(self) -> None:
        info, tasks = await self.framework.recover()
        self.core = core.Scheduler(info, ("http://master:5050",), tasks=tasks)
        self._do(self.core.start(self._clock.now()))
        self.spawn(self._tick())
        while True:
            await self._ring.wait()
            self._ring.clear()
            while self._events:
                event = self._events.popleft()
                if isinstance(event, core.Finish):
                    await self._finish(event.sentence or "")
                    return
                wanted = await (self.framework.tick() if event is None else self.framework.take(event))
                for call in wanted:
                    self._do(self.core.perform(call, self._clock.now()))

    async def _tick(self) -> None:
        """Once a second the framework looks around; ticks queue with the events."""
        while True:
            await asyncio.sleep(1.0)
            self._events.append(None)
            self._ring.set()

    # -- acts

    def _do(self, acts: list[core.Act]) -> None:
        assert self.core is not None
        self._acts.extend(acts)
        if self._acting or not self.alive:
            return
        self._acting = True
        try:
            while self._acts:
                self._act(self._acts.popleft())
        finally:
            self._acting = False
        self.core.check()
        self._set_timer()

    def _act(self, act: core.Act) -> None:
        match act:
            case core.Open():
                self.spawn(self._open(act))
            case core.Send():
                self._calls.append(act)
                if len(self._calls) == 1:
                    self._post()
            case core.Close():
                self._close()
            case core.Tell():
                if self._frozen or self.cluster.lives(self.name) != self._life:
                    return
                self._note(act.event)
                self._events.append(act.event)
                self._ring.set()
            case core.Finish():
                # A SUBSCRIBE that was held up may arrive after its successor and look like another instance.
                self.cluster.history.line(f"{self.name}: the session ended: {act.sentence}")
                # After all that was told before: what the framework does with that is still under way.
                self._events.append(act)
                self._ring.set()
            case _:
                assert_never(act)

    def _note(self, event: events.SchedulerEvent) -> None:
        history = self.cluster.history
        match event:
            case events.Updated():
                history.told(self.name, event.status)
            case events.Received():
                history.message(self.name, event.data)
            case events.Subscribed():
                history.subscribed(self.name, event.framework_id)
            case events.Disconnected():
                history.unsubscribed(self.name)
            case _:
                history.line(f"{self.name}: {type(event).__name__}")

    async def _finish(self, sentence: str) -> None:
        if not self._frozen and self.cluster.lives(self.name) == self._life:
            assert self.core is not None
            if "removed" in sentence and self.core.info.id is not None:
                self.cluster.history.removed(self.name, self.core.info.id.value)
            await self.framework.finished(sentence)
        self.crash()

    async def _open(self, act: core.Open) -> None:
        end = await self.cluster.connect_master(self.name)
        if self._stream is not None or self.core is None or self.core.phase is not core.Phase.OPENING:
            return
        if end is None:
            self._broken("the master cannot be reached")
            return
        self._stream = end
        end.heard = lambda answer: self._heard(end, answer)
        end.ended = lambda reason: self._ended(end, reason)
        end.send(Request(json.encode(act.call)))

    def _heard(self, end: End, answer: Answer) -> None:
        assert self.core is not None
        if not self.alive or self._stream is not end:
            return
        event = json.decode(scheduler.Event, answer.body)
        if event.subscribed is not None:
            self._do(self.core.opened(answer.stream_id, self._clock.now()))
        self._do(self.core.received(event, self._clock.now()))

    def _ended(self, end: End, reason: str) -> None:
        if self.alive and self._stream is end:
            self._stream = None
            self._broken(reason)

    def _broken(self, reason: str) -> None:
        assert self.core is not None
        self._do(self.core.broken(reason, self._clock.now(), self._dice.random()))

    def _close(self) -> None:
        self._calls.clear()
        for end in (self._stream, self._calling):
            if end is not None:
                end.ended = lambda _: None
                end.heard = lambda _: None
                end.close("closed by the scheduler")
        self._stream = self._calling = None

    # -- calls

    def _post(self) -> None:
        """Send the first call that waits."""
        if self._calling is None:
            self.spawn(self._dial_and_post(self._stream))
        elif self._calls:
            send = self._calls[0]
            self._calling.send(Request(json.encode(send.call), send.stream_id))

    async def _dial_and_post(self, stream: End | None) -> None:
        end = await self.cluster.connect_master(self.name)
        if self._stream is not stream or stream is None:
            return
        if end is None:
            self._broken("the master cannot be reached")
            return
        self._calling = end
        end.heard = lambda answer: self._answered(end, answer)
        end.ended = lambda reason: self._call_lost(end, reason)
        self._post()

    def _answered(self, end: End, answer: Answer) -> None:
        assert self.core is not None
        if not self.alive or self._calling is not end or not self._calls:
            return
        send = self._calls.popleft()
        if answer.status >= 300:
            text = answer.body.decode()
            now = self._clock.now()
            self.cluster.history.line(f"{self.name}: {send.call.type} is refused: {answer.status} {text}")
            self._do(self.core.call_refused(send.call, answer.status, text, now, self._dice.random()))
        if self._calls and self._calling is end:
            self._post()

    def _call_lost(self, end: End, reason: str) -> None:
        """Whether the master took the call is not known."""
        if self.alive and self._calling is end:
            self._calling = None
            self._broken(reason)

    def _set_timer(self) -> None:
        assert self.core is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self.core.wake_at()
        if wake_at is not None and self.alive:
            self._timer = asyncio.get_running_loop().call_at(wake_at, self._wake)

    def _wake(self) -> None:
        assert self.core is not None
        if self.alive:
            self._do(self.core.wake(self._clock.now(), self._dice.random()))
