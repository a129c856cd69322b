"""Who leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """The process that leads, as the others find it."""

    hostname: str
    ip: str
    port: int
    id: str


class Election(Protocol):
    """A contest that at most one process wins at a time.

    A pause may make an old leader believe in itself for a while: what protects from that is the
    epoch that the registry checks, not the election.
    """

    async def contend(self, me: Leader) -> None:
        """Stand for election; returns once `me` leads."""
        ...

    def leaders(self) -> AsyncIterator[Leader | None]:
        """The leader now and at each change; None while there is none."""
        ...

    async def lost(self) -> None:
        """Return when a leadership that was won is gone.  The process must then end."""
        ...

    async def close(self) -> None: ...
