"""A log of records that survives a crash, and its snapshots.

Master and agent keep what they must not forget as a sequence of facts.  Appending never waits:
a record gets a position, and the log tells later up to which position everything is durable.
Records become durable in order and in groups, so one slow disk flush carries many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

RECORD_BYTES_MAX = 16 * 1024 * 1024


class LogFailed(Exception):
    """The log could not be written.  Whoever relied on it must stop: nothing later can be kept."""


class LogDamaged(LogFailed):
    """What is on the disk is not what was written: opening it once more changes nothing, and people must decide."""


class LogInUse(Exception):
    """Another live process holds this log; two writers would destroy each other's state."""


class LogMismatch(Exception):
    """The log was written by a version that this program cannot read."""


class Log(Protocol):
    """Records in order.  Positions count from 1 and go on over restarts."""

    @property
    def durable(self) -> int:
        """Everything up to this position survives a crash."""
        ...

    @property
    def end(self) -> int:
        """The position of the newest record, durable or not."""
        ...

    async def recover(self) -> tuple[bytes | None, Sequence[bytes]]:
        """The newest snapshot, if any, and the records after it, oldest first.  Called once, before any append.

        A torn tail (a record that was never told to be durable) is cut off.
        """
        ...

    def append(self, records: Sequence[bytes]) -> int:
        """Queue records, all or none of which survive a crash; the position of the last one.  Never waits."""
        ...

    def notify(self, callback: Callable[[int], None]) -> None:
        """Call back on the event loop with the new `durable` whenever it has grown.  Once per log."""
        ...

    async def wait(self, position: int) -> None:
        """Return when `position` is durable; raise LogFailed if it never will be."""
        ...

    async def failed(self) -> None:
        """Raise LogFailed when a commit has failed; otherwise never return."""
        ...

    def compact(self, snapshot: bytes, upto: int) -> None:
        """Replace the records up to `upto` (inclusive) by a snapshot of the state they led to.  Never waits."""
        ...

    async def close(self) -> None:
        """Make everything durable that was appended, and let others open the log."""
        ...


class Registry(Log, Protocol):
    """The log of a master, which belongs to one leadership at a time."""

    @property
    def epoch(self) -> int:
        """The number of this leadership; larger than that of any earlier one.  Known after `recover`."""
        ...
