"""An event loop in which time costs nothing.

When nothing is ready, the clock jumps to the next timer.  A run depends on its inputs alone:
there are no threads, no sockets, no files to wait for, and whoever asks for them is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

from altiplano.model.time import Instant
from altiplano.sim.net import Net
from altiplano.testing.clock import START_WALL_S

TURNS_PER_INSTANT_MAX = 200_000
"""Turns of the loop at one point in time, after which something is taken to spin for ever."""

START_MONO_S = 1000.0
"""Where the monotonic clock begins: not at zero, which a core could mistake for 'never'."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(Exception):
    """Nothing is ready and no timer runs: nothing will ever happen again."""


class Livelock(Exception):
    """The loop turns and turns, and time stands still."""


class NotSimulated(Exception):
    """Something real was asked for inside of a simulation: put a twin behind its port."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop.  Connections go over `net`, if there is one."""

    def __init__(self, net: Net | None = None) -> None:
        super().__init__()
        self.net = net
        self._now_s = START_MONO_S
        self._turns = 0
        self._thread = threading.get_ident()
        # The base class asks its selector for events and passes on what it found.
        self._selector = self
        # Timers less than this apart fire together; `select` moves the clock before any of them does.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now_s

    # -- the selector's side

    def select(self, timeout: float | None) -> list[NoReturn]:
        """Instead of waiting, be there."""
        self._turns += 1
        if timeout is None:
            raise Deadlock("nothing is ready and no timer runs: what is awaited will never come")
        if timeout > 0:
            scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # typeshed hides it
            self._now_s = max(self._now_s, min(scheduled[0].when(), self._now_s + timeout))
            self._turns = 0
        elif self._turns > TURNS_PER_INSTANT_MAX:
            raise Livelock(f"{self._turns} turns at {self._now_s:.6f} s: something spins without letting time pass")
        return []

    def _process_events(self, events: list[NoReturn]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in `select`, so nobody has to be woken."""

    # -- what is refused, what is replaced

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            raise NotSimulated("a thread called into the simulation: threads have no place on a virtual clock")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]  # it never returns
        # `asyncio.to_thread` wraps what it was given: context first, then the function.
        wanted = func.args[0] if isinstance(func, functools.partial) and func.args else func
        name = getattr(wanted, "__qualname__", repr(wanted))
        raise NotSimulated(f"{name} was to run on a thread: in a simulation its port needs a twin")

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        address = self._network().resolve(str(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, int(port or 0)))]

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        return self._network().listen(self, protocol_factory, str(host), int(port))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket that is only a handle: no packet leaves it."""
        await self._network().dial(self, sock, address)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **options: Any
    ) -> tuple[asyncio.Transport, Any]:
        net = self._network()
        if sock is not None:
            return net.claim(self, sock, protocol_factory)
        return await net.connect(self, protocol_factory, str(host), int(port))

    def _network(self) -> Net:
        if self.net is None:
            raise NotSimulated("a connection was asked for, and this simulation has no network")
        return self.net


class VirtualClock:
    """The clocks of one simulated machine (port: `altiplano.ports.clock.Clock`).

    `wall_offset_s` is the error of its wall clock; the monotonic clocks of all machines agree.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, wall_offset_s: float = 0.0) -> None:
        self._loop = loop
        self.wall_offset_s = wall_offset_s

    def now(self) -> Instant:
        mono_s = self._loop.time()
        return Instant(mono_s=mono_s, wall_s=START_WALL_S - START_MONO_S + mono_s + self.wall_offset_s)


def run(main: Coroutine[Any, Any, T], *, net: Net | None = None) -> T:
    """Run a coroutine on a new virtual loop to its end; tasks it leaves behind are cancelled."""
    loop = VirtualLoop(net)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        # What the runner does last, ending its executor, has nothing to do here.
        return runner.run(main)
