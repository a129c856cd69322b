"""The election of a pool that has one master: whoever stands, leads.

Two masters cannot run on one work directory: the registry's lock keeps the second one out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from altiplano.ports.election import Leader


class SingleMachineElection:
    """Won by the first who stands, never lost."""

    def __init__(self) -> None:
        self._leader: Leader | None = None
        self._changed = asyncio.Event()
        self._closed = False

    async def contend(self, me: Leader) -> None:
        self._leader = me
        self._tell()

    async def leaders(self) -> AsyncIterator[Leader | None]:
        """The leader now and at each change; ends when the election is closed."""
        while not self._closed:
            changed = self._changed
            yield self._leader
            await changed.wait()

    async def lost(self) -> None:
        """Never returns: there is nobody who could take over."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        self._closed = True
        self._leader = None
        self._tell()

    def _tell(self) -> None:
        # Everyone who waits holds the old bell; the next reader gets a new one.
        self._changed.set()
        self._changed = asyncio.Event()
