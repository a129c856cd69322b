"""How far a log is durable, and who wants to hear of it: the half of `altiplano.ports.log.Log` that all logs share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from altiplano.ports.log import LogFailed


class Durability:
    """The durable position of one log, which grows until the log fails."""

    def __init__(self) -> None:
        self.position = 0
        self.failure: LogFailed | None = None
        self._broken = asyncio.Event()
        self._callback: Callable[[int], None] | None = None
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    def notify(self, callback: Callable[[int], None]) -> None:
        """Call back with every new position.  Once per log."""
        assert self._callback is None, "a log has one listener"
        self._callback = callback

    async def wait(self, position: int) -> None:
        """Return when `position` is durable; raise LogFailed if it never will be."""
        if position <= self.position:
            return
        if self.failure is not None:
            raise self.failure
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((position, done))
        await done

    async def failed(self) -> None:
        """Raise LogFailed when the log has failed; otherwise never return."""
        await self._broken.wait()
        assert self.failure is not None
        raise self.failure

    def reach(self, position: int) -> None:
        """Everything up to a position is durable; after a failure nothing more becomes so."""
        if self.failure is not None or position <= self.position:
            return
        self.position = position
        waiters, self._waiters = self._waiters, deque()
        for wanted, done in waiters:
            if wanted > position:
                self._waiters.append((wanted, done))
            elif not done.done():
                done.set_result(None)
        if self._callback is not None:
            self._callback(position)

    def fail(self, failure: LogFailed) -> None:
        """The log could not be written; the first failure is the one that is told."""
        if self.failure is not None:
            return
        self.failure = failure
        self._broken.set()
        for _, done in self._waiters:
            if not done.done():
                done.set_exception(failure)
        self._waiters.clear()

    def forget(self) -> None:
        """The process that had the log open has died: nobody waits any more."""
        for _, done in self._waiters:
            done.cancel()
        self._waiters.clear()
