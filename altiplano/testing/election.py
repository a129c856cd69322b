"""An election in memory, among any number of contenders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from altiplano.ports.election import Leader


@dataclass(slots=True, eq=False)
class _Candidate:
    leader: Leader
    won: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class Ballot:
    """The place where contenders queue; the first in the queue leads."""

    def __init__(self) -> None:
        self._queue: list[_Candidate] = []
        self._changed = asyncio.Event()

    @property
    def leader(self) -> Leader | None:
        return self._queue[0].leader if self._queue else None

    async def changed(self) -> None:
        await self._changed.wait()

    def enter(self, candidate: _Candidate) -> None:
        self._queue.append(candidate)
        self._settle()

    def leave(self, candidate: _Candidate) -> None:
        if candidate in self._queue:
            self._queue.remove(candidate)
            if candidate.won.is_set():
                candidate.lost.set()
            self._settle()

    def _settle(self) -> None:
        if self._queue:
            self._queue[0].won.set()
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryElection:
    """One contender or observer of a `Ballot` (port: `altiplano.ports.election.Election`)."""

    def __init__(self, ballot: Ballot | None = None) -> None:
        self._ballot = ballot or Ballot()
        self._candidate: _Candidate | None = None
        self._closed = asyncio.Event()

    async def contend(self, me: Leader) -> None:
        assert self._candidate is None, "a contender stands once"
        self._candidate = _Candidate(me)
        self._ballot.enter(self._candidate)
        await self._candidate.won.wait()

    async def leaders(self) -> AsyncIterator[Leader | None]:
        told: list[Leader | None] = []
        while not self._closed.is_set():
            now = self._ballot.leader
            if told != [now]:
                told = [now]
                yield now
            else:
                await self._next()

    async def lost(self) -> None:
        assert self._candidate is not None, "only a contender can lose"
        await self._candidate.lost.wait()

    async def close(self) -> None:
        self._closed.set()
        self.expire()

    def expire(self) -> None:
        """End the session with the ballot, as after a pause that was too long: a leadership is lost."""
        if self._candidate is not None:
            self._ballot.leave(self._candidate)

    async def _next(self) -> None:
        waits = [asyncio.ensure_future(self._ballot.changed()), asyncio.ensure_future(self._closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
