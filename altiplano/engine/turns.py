"""Whose small requests are begun next: everybody in turn, a few at a time.

A connection may bring thousands of calls in one read, and a client may have many connections.  Begun as they come,
they would all stand before the one call of somebody else.  So requests are begun in rounds, and those who
have some stand in a ring.

What stands in the ring are *lanes*: a connection, or all connections whose requests carry one stream id, since
those are one client.  A lane that is alone has the whole round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Protocol

REQUESTS_PER_ROUND: Final = 64
"""Small requests that are begun before the event loop gets a turn; fewer while the process cannot keep up."""


class Member(Protocol):
    """Has requests to begin."""

    def take_turn(self, most: int) -> int:
        """Begin up to so many requests; how many it were.  If there are more, `Turns.join` is called again."""
        ...


def nothing_waits() -> int:
    return 0


class Turns:
    """The ring of one server.

    `soon` calls back in the next turn of the event loop.  `waiting` says how much of what was begun the process has
    not looked at yet: while that is anything, rounds shrink, so that requests wait here, where the order is
    fair, and not there.  A round has at least one request.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object], waiting: Callable[[], int]) -> None:
        self._soon = soon
        self._waiting = waiting
        self._lanes: dict[Hashable, deque[Member]] = {}
        """In the order of their turns; none is empty."""
        self._most = self._left = REQUESTS_PER_ROUND
        self._serving = False
        self._armed = False

    def join(self, member: Member, lane: Hashable) -> None:
        """Give a member its turn: now, if nobody waits and the round has room, else when those before it had theirs.

        It must not be in the ring.
        """
        self._lanes.setdefault(lane, deque()).append(member)
        if not self._serving and len(self._lanes) == 1:
            self._serve()
        self._arm()

    def _arm(self) -> None:
        if not self._armed and not self._serving:
            self._armed = True
            self._soon(self._round)

    def _round(self) -> None:
        self._armed = False
        if self._waiting():
            self._most = max(1, self._most // 2)
        else:
            self._most = min(REQUESTS_PER_ROUND, self._most * 2)
        self._left = self._most
        self._serve()
        if self._lanes:
            self._arm()

    def _serve(self) -> None:
        self._serving = True
        while self._lanes and self._left > 0:
            share = max(1, min(self._left, self._most // len(self._lanes)))
            lane = next(iter(self._lanes))
            members = self._lanes.pop(lane)
            member = members.popleft()
            if members:
                self._lanes[lane] = members
            # One that has nothing any more counts too: the ring may be long.
            self._left -= max(1, member.take_turn(share))
        self._serving = False
