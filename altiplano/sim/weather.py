"""What lies between simulated hosts when messages are values: delays, holds, cuts, silence.

A `Conduit` is a connection: two ends, each direction in order.  Its items are delayed by the seed's
dice.  A path that is held (a blocked network) keeps what is under way until it is released, as TCP
does.  A cut loses what is under way and tells the two ends at different times.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from altiplano.sim.net import GIVEN_UP_S, one_machine

DELAY_S_MIN = 0.0002
DELAY_S_TYPICAL = 0.005
SLOW_SHARE = 0.01
"""Of all items, so many take up to `SLOW_S_MAX`."""

SLOW_S_MAX = 3.0
NOTICE_S_MAX = 2.0
"""A cut is noticed by each end within this time."""


class End:
    """One end of a conduit.  `heard` gets what the other end sent, `ended` the reason of the end, once."""

    def __init__(self, weather: Weather, host: str) -> None:
        self.host = host
        self.peer: End
        self.alive = True
        self.heard: Callable[[Any], None] = lambda item: None
        self.ended: Callable[[str], None] = lambda reason: None
        self._weather = weather
        self._way: deque[Any] = deque()
        self._last_arrival_s = 0.0
        self._due = 0
        self._copies = 1
        self._swapping = False
        self._late: list[Any] = []

    def send(self, item: Any) -> None:
        if self._swapping and self.alive:
            # It waits for the next item and follows it.
            self._swapping = False
            self._late.append(item)
            return
        copies, self._copies = self._copies, 1
        for _ in range(copies if self.alive else 0):
            self._put(item)
        while self._late:
            self._put(self._late.pop())

    def close(self, reason: str) -> None:
        """Hang up: the other end hears of it after all that was sent; this one at once."""
        if self.alive:
            self._put(None)
            self.finish(reason)

    def die(self, *, silently: bool) -> None:
        """The process of this end is gone.  The other end is told, unless the whole machine went silent."""
        if self.alive:
            self.alive = False
            self._weather.forget(self)
            if not silently:
                self._put(None)
            else:
                # Whoever has something to say, such as a heartbeat, is told by the system in the end.
                loop = asyncio.get_running_loop()
                loop.call_later(GIVEN_UP_S, self.peer.finish, "the other side does not answer")

    def finish(self, reason: str) -> None:
        if self.alive:
            self.alive = False
            self._weather.forget(self)
            self.ended(reason)

    def spoil(self, *, repeat: bool) -> None:
        """Lose or double the next item that is sent: what no TCP does, and a broken middle box may."""
        self._copies = 2 if repeat else 0

    @property
    def is_busy(self) -> bool:
        """Whether something it has sent is still under way."""
        return bool(self._way)

    def swap(self) -> None:
        """Let the next item that is sent arrive after the one behind it."""
        self._swapping = True

    def lose_all(self) -> None:
        self._way.clear()

    def pass_on(self) -> None:
        """Deliver what is due, unless the path is held."""
        while self._due and not self._weather.is_held(self.host, self.peer.host):
            self._due -= 1
            if not self._way:
                continue
            item = self._way.popleft()
            if not self.peer.alive:
                continue
            if item is None:
                self.peer.finish("the other side closed the connection")
            else:
                self.peer.heard(item)

    def _put(self, item: Any) -> None:
        loop = asyncio.get_running_loop()
        self._way.append(item)
        self._weather.travels(self)
        self._last_arrival_s = max(self._last_arrival_s, loop.time() + self._weather.delay_s())
        loop.call_at(self._last_arrival_s, self._arrive)

    def _arrive(self) -> None:
        self._due += 1
        self.pass_on()
        self._weather.arrived(self)


class Weather:
    """All connections of a simulation."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._held: dict[tuple[str, str], int] = {}
        self._ends: dict[End, None] = {}
        self._ways: dict[End, None] = {}

    def delay_s(self) -> float:
        if self._dice.random() < SLOW_SHARE:
            return self._dice.uniform(DELAY_S_TYPICAL, SLOW_S_MAX)
        return DELAY_S_MIN + self._dice.expovariate(1 / DELAY_S_TYPICAL)

    def connect(self, here: str, there: str) -> tuple[End, End]:
        """A connection between two hosts; its first end is `here`."""
        one: End = End(self, here)
        other: End = End(self, there)
        one.peer, other.peer = other, one
        self._ends[one] = None
        self._ends[other] = None
        return one, other

    def travels(self, end: End) -> None:
        """Something that an end has sent is under way, whether the end still lives or not."""
        self._ways[end] = None

    def arrived(self, end: End) -> None:
        if not end.is_busy:
            self._ways.pop(end, None)

    def forget(self, end: End) -> None:
        self._ends.pop(end, None)

    def is_held(self, source: str, target: str) -> bool:
        return self._held.get((source, target), 0) > 0

    def hold(self, source: str, target: str) -> None:
        """Nothing passes from source to target until `release`."""
        self._held[source, target] = self._held.get((source, target), 0) + 1

    def release(self, source: str, target: str) -> None:
        self._held[source, target] -= 1
        for end in [end for end in self._ways if (end.host, end.peer.host) == (source, target)]:
            end.pass_on()
            self.arrived(end)

    def between(self, one: str, other: str) -> list[End]:
        """All living ends of connections between two hosts."""
        return [end for end in self._ends if {end.host, end.peer.host} == {one, other}]

    def cut(self, one: str, other: str) -> None:
        """Break all connections between two hosts; each end notices for itself."""
        loop = asyncio.get_running_loop()
        for end in self.between(one, other):
            end.lose_all()
            loop.call_later(self._dice.uniform(0, NOTICE_S_MAX), end.finish, "the connection was reset")

    def kill(self, host: str, *, silently: bool) -> None:
        """The process on a host is gone, and its ends of all connections with it."""
        for end in [end for end in self._ends if end.host == host]:
            end.die(silently=silently and not one_machine(host, end.peer.host))
