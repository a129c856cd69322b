"""A framework's session with the master: the protocol of `core` on real connections.

One connection carries the stream of events, a second one all calls, in order.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping

from altiplano.kit import recordio
from altiplano.model.time import Instant
from altiplano.sdk import calls, core, events, http
from altiplano.sdk.credentials import Place
from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos, scheduler

CALLS_MAX = 100_000
"""Calls that may wait to be sent; a framework that asks for more is not keeping up and is told so."""

CALLS_UNDER_WAY_MAX = 128
"""Calls sent behind each other before their answers are read."""

LEAVE_S_MAX = 5.0
"""How long the last calls may take when a session ends."""

PATH = "/api/v1/scheduler"
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


class SessionEnded(Exception):
    """The master ended the framework's session for good; the text says why."""


class MasterRefused(SessionEnded):
    """The master does not accept our credentials."""


class CallsFull(Exception):
    """Too many calls wait for the master: wait for what was asked before."""


def system_now() -> Instant:
    return Instant(mono_s=time.monotonic(), wall_s=time.time())


class Session:
    """Keeps a framework subscribed until it leaves, and tells it what happens.

    `listener` is called for every event, in order, and must not block; an error it raises ends the
    session.  `room`, if given, is awaited before more is read from the master: how a listener that
    only queues keeps its queue short.
    """

    def __init__(
        self,
        info: mesos.FrameworkInfo,
        place: Place,
        listener: Callable[[events.SchedulerEvent], None],
        *,
        tasks: Mapping[str, str | None] | None = None,
        suppressed_roles: Iterable[str] = (),
        constraints: scheduler.OfferConstraints | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
        now: Callable[[], Instant] = system_now,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self.core = core.Scheduler(
            info, place.masters, tasks=tasks, suppressed_roles=suppressed_roles, constraints=constraints
        )
        self._headers = place.headers
        self._listener = listener
        self._room = room
        self._now = now
        self._fraction = fraction
        self._acts: deque[core.Act] = deque()
        self._acting = False
        self._calls: deque[core.Send] = deque()
        self._ring = asyncio.Event()
        self._idle = asyncio.Event()
        self._finish: core.Finish | None = None
        self._finished = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connection: http.Connection | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def framework_id(self) -> str | None:
        """The id that the master gave, or that the framework brought along."""
        return None if self.core.info.id is None else self.core.info.id.value

    @property
    def subscribed(self) -> bool:
        return self.core.phase is core.Phase.SUBSCRIBED

    def perform(self, call: calls.FrameworkCall) -> None:
        """Ask the master for something.  Never waits; what comes of it is told as events."""
        self._do(self.core.perform(call, self._now()))

    def leave(self) -> None:
        """End the session; the framework stays registered for its failover time, and its tasks go on."""
        self._do(self.core.leave())

    async def run(self) -> None:
        """Serve until the framework leaves.  Raises SessionEnded when the master ended it."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            sender = group.create_task(self._send_calls())
            self._do(self.core.start(self._now()))
            try:
                await self._finished.wait()
                await self._flush()
            finally:
                sender.cancel()
                self._close()
                if self._timer is not None:
                    self._timer.cancel()
        assert self._finish is not None
        if self._finish.sentence is not None:
            raise (MasterRefused if self._finish.credentials else SessionEnded)(self._finish.sentence)

    def _do(self, acts: list[core.Act]) -> None:
        """Carry out acts in order; those that a listener causes meanwhile come after them."""
        self._acts.extend(acts)
        if self._acting:
            return
        self._acting = True
        try:
            while self._acts:
                self._act(self._acts.popleft())
        finally:
            self._acting = False
        self._set_timer()

    def _act(self, act: core.Act) -> None:
        match act:
            case core.Open():
                assert self._group is not None
                self._reader = self._group.create_task(self._read(act))
            case core.Send():
                if len(self._calls) >= CALLS_MAX:
                    raise CallsFull(f"{CALLS_MAX} calls wait for the master: wait for what was asked before")
                self._idle.clear()
                self._calls.append(act)
                self._ring.set()
            case core.Close():
                self._close()
            case core.Tell():
                self._listener(act.event)
            case core.Finish():
                self._finish = act
                self._finished.set()

    def _close(self) -> None:
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        self._reader = None
        self._calls.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self.core.wake_at()
        if wake_at is not None:
            delay_s = max(0.0, wake_at - self._now().mono_s)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        try:
            self._do(self.core.wake(self._now(), self._fraction()))
        except Exception as error:  # a timer's bug ends the session, as any other does
            assert self._group is not None
            self._group.create_task(_raise(error))

    async def _read(self, act: core.Open) -> None:
        """One subscription: from SUBSCRIBE to the end of its stream."""
        connection = http.Connection(act.master, headers={**_JSON, **self._headers})
        try:
            with await connection.stream("POST", PATH, json.encode(act.call)) as stream:
                if stream.status != 200:
                    text = (await stream.read()).decode("utf-8", "replace")
                    location = stream.headers.get("location")
                    refused = self.core.refused(stream.status, text, location, self._now(), self._fraction())
                    self._end_of(asyncio.current_task(), refused)
                    return
                self._do(self.core.opened(stream.headers.get("mesos-stream-id", ""), self._now()))
                await self._follow(stream)
            reason = "the master closed the stream of events"
        except (http.ConnectionFailed, TimeoutError) as error:
            reason = str(error) or "the master did not answer in time"
        except (recordio.RecordError, WireError) as error:
            reason = f"the master sent what cannot be read: {error}"
        if self._reader is asyncio.current_task():
            self._end_of(self._reader, self.core.broken(reason, self._now(), self._fraction()))

    def _end_of(self, reader: asyncio.Task[None] | None, acts: list[core.Act]) -> None:
        if self._reader is reader:
            self._reader = None
        self._do(acts)

    async def _follow(self, stream: http.Stream) -> None:
        decoder = recordio.Decoder()
        me = asyncio.current_task()
        async for chunk in stream.chunks():
            for record in decoder.feed(chunk):
                if self._reader is not me:
                    return
                self._do(self.core.received(json.decode(scheduler.Event, record), self._now()))
            if self._room is not None:
                await self._room()

    async def _send_calls(self) -> None:
        while True:
            if not self._calls:
                self._idle.set()
                self._ring.clear()
                await self._ring.wait()
                continue
            await self._post(self._batch())

    def _batch(self) -> list[core.Send]:
        """The oldest calls that may leave together: of one subscription."""
        first = self._calls[0]
        same = itertools.takewhile(
            lambda send: send.master == first.master and send.stream_id == first.stream_id, self._calls
        )
        return list(itertools.islice(same, CALLS_UNDER_WAY_MAX))

    async def _post(self, batch: list[core.Send]) -> None:
        send = batch[0]
        if self._connection is None or self._connection.base != send.master:
            self._connection = http.Connection(send.master, headers={**_JSON, **self._headers})
        connection = self._connection
        headers = {"Mesos-Stream-Id": send.stream_id}
        waiting = iter(batch)
        try:
            async for answer in connection.requests("POST", PATH, [json.encode(one.call) for one in batch], headers):
                send = next(waiting)
                if self._calls and self._calls[0] is send:
                    self._calls.popleft()
                if answer.status >= 300 and connection is self._connection:
                    refused = self.core.call_refused(
                        send.call, answer.status, answer.text, self._now(), self._fraction()
                    )
                    self._do(refused)
        except http.ConnectionFailed as error:
            # Whether the master took the call is not known.  A new subscription reconciles, and that tells.
            for send in waiting:
                if self._calls and self._calls[0] is send:
                    self._calls.popleft()
            if connection is self._connection:
                self._do(self.core.broken(str(error), self._now(), self._fraction()))

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_S_MAX):
                if self._calls:
                    await self._idle.wait()
        except TimeoutError:
            if self._finish is not None and self._finish.sentence is None:
                raise SessionEnded(
                    f"the master took no call for {LEAVE_S_MAX:g} s, so it may not know that we left"
                ) from None


async def _raise(error: Exception) -> None:
    raise error
