"""A key–value store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from altiplano.ports.store import VALUE_BYTES_MAX, Stored, StoreFailed
from altiplano.testing.log import at_once


@dataclass(slots=True)
class MemoryTable:
    """What survives a crash: keys with their values and versions."""

    flush_s: Callable[[], float] = at_once
    size_bytes_max: int | None = None
    entries: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(len(key) + len(value) for key, (value, _) in self.entries.items())


class MemoryStore:
    """One process that has a `MemoryTable` open (port: `altiplano.ports.store.Store`).

    Operations take effect one after the other, each at the end of its flush: one that a crash
    interrupts has not happened.
    """

    def __init__(self, table: MemoryTable | None = None) -> None:
        self._table = table if table is not None else MemoryTable()
        self._turn = asyncio.Lock()

    async def get(self, key: str) -> tuple[bytes, int] | None:
        async with self._turn:
            return self._table.entries.get(key)

    async def put(self, key: str, value: bytes, *, version: int | None = None) -> int:
        if len(value) > VALUE_BYTES_MAX:
            raise StoreFailed(f"cannot write {key}: {len(value)} bytes are more than the store's {VALUE_BYTES_MAX}")
        async with self._turn:
            await asyncio.sleep(self._table.flush_s())
            present = self._table.entries.get(key, (b"", 0))[1]
            if version is not None and version != present:
                raise Stored(f"{key} has version {present}, not {version}: read it again before writing")
            limit = self._table.size_bytes_max
            if limit is not None and self._table.size_bytes + len(key) + len(value) > limit:
                raise StoreFailed(f"cannot write {key} in the store in memory: the disk is full")
            self._table.entries[key] = (bytes(value), present + 1)
            return present + 1

    async def delete(self, key: str) -> None:
        async with self._turn:
            await asyncio.sleep(self._table.flush_s())
            self._table.entries.pop(key, None)

    async def list(self, prefix: str) -> Mapping[str, bytes]:
        async with self._turn:
            entries = sorted(self._table.entries.items())
            return {key: value for key, (value, _) in entries if key.startswith(prefix)}

    async def close(self) -> None:
        """Nothing to let go: what was answered is kept already."""
