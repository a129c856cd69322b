"""Twins and real adapters under one name, so that each contract runs on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from altiplano.adapters.sqlite import SqliteLog, SqliteRegistry, SqliteStore
from altiplano.testing.log import MemoryDisk, MemoryLog, MemoryRegistry
from altiplano.testing.store import MemoryStore, MemoryTable

Log = SqliteLog | MemoryLog
SMALL_DISK_BYTES = 256 * 1024


@dataclass
class Place:
    """Where logs live: opening it again finds what was kept."""

    open: Callable[[], Log]
    open_registry: Callable[[], SqliteRegistry | MemoryRegistry]
    open_small: Callable[[], Log]
    name: str
    opened: list[Log] = field(default_factory=list)


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(
            open=lambda: SqliteLog(tmp_path / "log"),
            open_registry=lambda: SqliteRegistry(tmp_path / "registry"),
            open_small=lambda: SqliteLog(tmp_path / "small", size_bytes_max=SMALL_DISK_BYTES),
            name=str(tmp_path),
        )
    log, registry, small = MemoryDisk(), MemoryDisk(), MemoryDisk(size_bytes_max=SMALL_DISK_BYTES)
    return Place(
        open=lambda: MemoryLog(log),
        open_registry=lambda: MemoryRegistry(registry),
        open_small=lambda: MemoryLog(small),
        name="in memory",
    )


@dataclass
class StorePlace:
    open: Callable[[], SqliteStore | MemoryStore]
    open_small: Callable[[], SqliteStore | MemoryStore]


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StorePlace:
    if request.param == "sqlite":
        return StorePlace(
            open=lambda: SqliteStore(tmp_path / "store"),
            open_small=lambda: SqliteStore(tmp_path / "small", size_bytes_max=SMALL_DISK_BYTES),
        )
    table, small = MemoryTable(), MemoryTable(size_bytes_max=SMALL_DISK_BYTES)
    return StorePlace(open=lambda: MemoryStore(table), open_small=lambda: MemoryStore(small))
