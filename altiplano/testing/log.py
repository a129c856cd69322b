"""A log in memory that can crash.

`MemoryDisk` is what survives; a `MemoryLog` is one process that has it open.  As on a real disk,
what was appended is not yet kept: it waits for a flush, and a crash before the flush has ended loses
it, or a part of it, or leaves the last group half written for the next recovery to cut off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from altiplano.adapters.durability import Durability
from altiplano.ports.log import RECORD_BYTES_MAX, LogFailed, LogInUse


@dataclass(slots=True)
class Group:
    """Records that were appended together."""

    records: tuple[bytes, ...]
    end: int
    torn: bool = False


@dataclass(slots=True)
class _Snapshot:
    body: bytes
    upto: int


def at_once() -> float:
    """The flush of a disk that needs no time."""
    return 0.0


@dataclass(slots=True)
class MemoryDisk:
    """What a crash leaves: groups that were flushed, a snapshot, the number of the last leadership.

    `flush_s` is asked for the length of every flush.  `broken` makes the next flush fail with its
    text.  Beyond `size_bytes_max` the disk is full.
    """

    flush_s: Callable[[], float] = at_once
    size_bytes_max: int | None = None
    broken: str | None = None
    groups: list[Group] = field(default_factory=list)
    snapshot: _Snapshot | None = None
    epoch: int = 0
    holder: object | None = None

    @property
    def size_bytes(self) -> int:
        size = sum(len(record) for group in self.groups for record in group.records)
        return size + (len(self.snapshot.body) if self.snapshot else 0)

    @property
    def end(self) -> int:
        """The position up to which a recovery would find everything."""
        whole = [group for group in self.groups if not group.torn]
        return whole[-1].end if whole else self.snapshot.upto if self.snapshot else 0

    def records(self) -> list[bytes]:
        """What a recovery would find after the snapshot."""
        return [record for group in self.groups if not group.torn for record in group.records]

    def write(self, operation: Group | _Snapshot) -> None:
        if isinstance(operation, Group):
            self.groups.append(operation)
            return
        upto = operation.upto
        kept = []
        for group in self.groups:
            if group.end > upto:
                count = min(len(group.records), group.end - upto)
                kept.append(Group(group.records[-count:], group.end, group.torn))
        self.groups = kept
        self.snapshot = operation


class MemoryLog:
    """One process that has a `MemoryDisk` open (port: `altiplano.ports.log.Log`)."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._recovered = False
        self._dead = False
        self._end = 0
        self._epoch = 0
        self._queued: deque[Group | _Snapshot] = deque()
        self._flying: list[Group | _Snapshot] = []
        self._timer: asyncio.Handle | None = None
        self._durability = Durability()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def durable(self) -> int:
        return self._durability.position

    @property
    def end(self) -> int:
        return self._end

    @property
    def unsynced(self) -> int:
        """Groups that a crash now may lose."""
        return sum(isinstance(operation, Group) for operation in (*self._flying, *self._queued))

    async def recover(self) -> tuple[bytes | None, Sequence[bytes]]:
        assert not self._recovered, "a log is recovered once"
        disk = self._disk
        if disk.holder is not None:
            raise LogInUse("the log in memory is in use by another process (pid 0): stop that one first")
        disk.holder = self
        if disk.groups and disk.groups[-1].torn:
            disk.groups.pop()
        self._begin_epoch(disk)
        self._end = disk.end
        self._durability.reach(self._end)
        self._recovered = True
        return disk.snapshot.body if disk.snapshot else None, disk.records()

    def append(self, records: Sequence[bytes]) -> int:
        assert self._recovered, "a log is recovered before anything is appended"
        assert not self._dead, "the log is closed"
        for record in records:
            if len(record) > RECORD_BYTES_MAX:
                raise ValueError(f"a record of {len(record)} bytes is larger than the log's {RECORD_BYTES_MAX}")
        if records:
            self._end += len(records)
            self._queue(Group(tuple(records), self._end))
        return self._end

    def notify(self, callback: Callable[[int], None]) -> None:
        self._durability.notify(callback)

    async def wait(self, position: int) -> None:
        await self._durability.wait(position)

    async def failed(self) -> None:
        await self._durability.failed()

    def compact(self, snapshot: bytes, upto: int) -> None:
        assert 0 < upto <= self._end, f"cannot compact up to {upto} a log that ends at {self._end}"
        self._queue(_Snapshot(snapshot, upto))

    async def close(self) -> None:
        if self._dead:
            return
        await self._idle.wait()
        self._leave()

    def crash(self, *, survive: int = 0, torn: bool = False) -> None:
        """End the process that has the log open, at once.

        Of the flush under way the first `survive` operations reached the disk although nobody was
        told; with `torn` the next one did by half.  What was only queued is gone.
        """
        for operation in self._flying[:survive]:
            self._disk.write(operation)
        rest = self._flying[survive : survive + 1]
        if torn and rest and isinstance(rest[0], Group):
            records = rest[0].records
            self._disk.write(Group(records[: len(records) // 2], rest[0].end, torn=True))
        self._leave()

    def _begin_epoch(self, disk: MemoryDisk) -> None:
        """A log has no leaderships; a registry counts them."""

    def _leave(self) -> None:
        self._dead = True
        if self._timer is not None:
            self._timer.cancel()
        self._durability.forget()
        if self._disk.holder is self:
            self._disk.holder = None

    def _queue(self, operation: Group | _Snapshot) -> None:
        if self._durability.failure is not None:
            return
        self._queued.append(operation)
        self._idle.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._begin_flush)

    def _begin_flush(self) -> None:
        self._flying = list(self._queued)
        self._queued.clear()
        self._timer = asyncio.get_running_loop().call_later(self._disk.flush_s(), self._end_flush)

    def _end_flush(self) -> None:
        self._timer = None
        flying, self._flying = self._flying, []
        problem = self._disk.broken or self._overflow(flying)
        if problem is not None:
            self._fail(problem)
            return
        for operation in flying:
            self._disk.write(operation)
        if self._queued:
            self._timer = asyncio.get_running_loop().call_soon(self._begin_flush)
        else:
            self._idle.set()
        self._durability.reach(max((op.end for op in flying if isinstance(op, Group)), default=0))

    def _overflow(self, flying: Sequence[Group | _Snapshot]) -> str | None:
        if self._disk.size_bytes_max is None:
            return None
        more = sum(len(r) for op in flying if isinstance(op, Group) for r in op.records)
        return "the disk is full" if self._disk.size_bytes + more > self._disk.size_bytes_max else None

    def _fail(self, problem: str) -> None:
        self._queued.clear()
        self._idle.set()
        self._durability.fail(LogFailed(f"the log in memory could not be written: {problem}"))


class MemoryRegistry(MemoryLog):
    """The registry's twin (port: `altiplano.ports.log.Registry`)."""

    @property
    def epoch(self) -> int:
        return self._epoch

    def _begin_epoch(self, disk: MemoryDisk) -> None:
        disk.epoch += 1
        self._epoch = disk.epoch
