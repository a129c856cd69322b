"""The transaction log of a flow: one text file next to the workflow file.

The first line names the form and the position before the first record.  Every other line is one
transaction: a checksum, a blank, and its records with TABs between, so that all records of a
decision survive a crash or none does.  Records are the facts' JSON, for people to read and for
`FactCodec` to decode.  The file is locked while a run has it open.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from altiplano.engine.records import unpack
from altiplano.ports.log import RECORD_BYTES_MAX, LogFailed, LogInUse, LogMismatch

SUFFIX = ".altiplanolog"
DAMAGED_SUFFIX = ".damaged"
FORM = b"altiplano-flow-log 1"
BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Written between two disk flushes at most."""

LOOKS_MAX, LOOK_AGAIN_S = 5, 0.01
"""Who asks whether a run goes on takes the lock for a moment, and must not keep another run from beginning."""

_Transaction = tuple[int, bytes]
"""The position of its last record, and its line."""


def holder(path: Path) -> int | None:
    """The process that has a log locked; None if nobody has, 0 if it cannot be told who."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        status = os.fstat(fd)
        return _locked_by(os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    finally:
        os.close(fd)


def _locked_by(major: int, minor: int, inode: int) -> int:
    """The pid that the kernel names for a lock, 0 where it names none: another machine, another namespace."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        # "1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF"
        match line.split():
            case [_, "FLOCK", _, _, pid, place, *_] if place == f"{major:02x}:{minor:02x}:{inode}":
                return max(0, int(pid))
    return 0


def log_path(workflow_file: str) -> Path:
    return Path(workflow_file + SUFFIX)


def read_records(path: Path) -> list[bytes]:
    """The records of a log that may be in use by its run; what is torn at its end is left out."""
    content = path.read_bytes()
    return [record for _, records in transactions_in(content, body_at(content, path)) for record in records]


class FlowLog:
    """Implements the `Log` port on a text file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: Path | None = None
        """Where an unreadable end was put that `recover` has cut off."""
        self._fd = -1
        self._end = 0
        self._durable = 0
        self._queue: list[_Transaction] = []
        self._compaction: tuple[bytes, int] | None = None
        self._callback: Callable[[int], None] = lambda position: None
        self._ring = asyncio.Event()
        self._grown = asyncio.Condition()
        self._failure: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def durable(self) -> int:
        return self._durable

    @property
    def end(self) -> int:
        return self._end

    async def recover(self) -> tuple[bytes | None, Sequence[bytes]]:
        """All records.  Raises LogInUse if another run has the log, LogMismatch if it is none."""
        self._fd = _open_locked(self.path)
        records, base = self._read()
        self._end = self._durable = base + len(records)
        self._failure = asyncio.get_running_loop().create_future()
        self._writer = asyncio.create_task(self._write_on())
        return None, records

    def append(self, records: Sequence[bytes]) -> int:
        assert records, "a transaction holds at least one record"
        assert self._writer is not None, "append before recover"
        assert not any(b"\n" in record or b"\t" in record for record in records), "JSON holds no raw line end"
        assert all(len(record) <= RECORD_BYTES_MAX for record in records)
        self._end += len(records)
        self._queue.append((self._end, _line(records)))
        self._ring.set()
        return self._end

    def notify(self, callback: Callable[[int], None]) -> None:
        self._callback = callback

    async def wait(self, position: int) -> None:
        async with self._grown:
            while self._durable < position:
                if self._failure is not None and self._failure.done():
                    self._failure.result()
                await self._grown.wait()

    async def failed(self) -> None:
        assert self._failure is not None, "failed before recover"
        await asyncio.shield(self._failure)

    def compact(self, snapshot: bytes, upto: int) -> None:
        self._compaction = (snapshot, upto)
        self._ring.set()

    async def close(self) -> None:
        self._closing = True
        self._ring.set()
        if self._writer is not None:
            await self._writer
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> tuple[list[bytes], int]:
        """Records and the position before the first; cuts off a torn end and keeps it beside the log."""
        with open(self._fd, "rb", closefd=False) as stream:
            content = stream.read()
        if not content:
            _write_all(self._fd, FORM + b" 0\n")
            os.fsync(self._fd)
            _sync_directory(self.path)
            return [], 0
        at = body_at(content, self.path)
        base = int(content[:at].rsplit(b" ", 1)[1])
        records: list[bytes] = []
        for end, some in transactions_in(content, at):
            at = end
            records.extend(some)
        if at < len(content):
            self.damaged = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
            self.damaged.write_bytes(content[at:])
            os.ftruncate(self._fd, at)
            os.fsync(self._fd)
        os.lseek(self._fd, 0, os.SEEK_END)
        return records, base

    async def _write_on(self) -> None:
        """Write what is queued, in groups, until the log is closed."""
        loop = asyncio.get_running_loop()
        while self._queue or self._compaction or not self._closing:
            await self._ring.wait()
            self._ring.clear()
            try:
                while self._queue:
                    position, batch = self._next_batch()
                    await loop.run_in_executor(None, self._commit, batch)
                    await self._became_durable(position)
                if self._compaction is not None:
                    snapshot, upto = self._compaction
                    self._compaction = None
                    await loop.run_in_executor(None, self._rewrite, snapshot, upto)
            except OSError as error:
                await self._fail(error)
                return
            if self._closing:
                self._ring.set()

    def _next_batch(self) -> tuple[int, bytes]:
        """As many whole transactions as one flush shall carry, and the position they lead to."""
        size = count = 0
        for _, line in self._queue:
            size, count = size + len(line), count + 1
            if size >= BATCH_BYTES_MAX:
                break
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch[-1][0], b"".join(line for _, line in batch)

    async def _became_durable(self, position: int) -> None:
        async with self._grown:
            self._durable = position
            self._grown.notify_all()
        self._callback(position)

    async def _fail(self, error: OSError) -> None:
        assert self._failure is not None
        reason = LogFailed(
            f"the transaction log {self.path} could not be written: {error.strerror}; make room or mend it, "
            "and run the flow again: it goes on from there"
        )
        reason.__cause__ = error
        if not self._failure.done():
            self._failure.set_exception(reason)
            self._failure.exception()
        async with self._grown:
            self._grown.notify_all()

    def _commit(self, batch: bytes) -> None:
        _write_all(self._fd, batch)
        os.fdatasync(self._fd)

    def _rewrite(self, snapshot: bytes, upto: int) -> None:
        """Put a snapshot in place of all records up to `upto`.  Positions go on."""
        content = self.path.read_bytes()
        at = body_at(content, self.path)
        position = int(content[:at].rsplit(b" ", 1)[1])
        for end, records in transactions_in(content, at):
            if position >= upto:
                break
            position, at = position + len(records), end
        facts = list(unpack(snapshot))
        beside = self.path.with_name(self.path.name + ".new")
        new = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(new, FORM + b" %d\n" % (position - len(facts)) + _line(facts) + content[at:])
        os.fsync(new)
        os.rename(beside, self.path)
        _sync_directory(self.path)
        os.close(self._fd)
        self._fd = new


def _open_locked(path: Path) -> int:
    """Open the log for this process alone."""
    looks = 0
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that had it may have put a new file in its place before it let go.
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
        except BlockingIOError as error:
            os.close(fd)
            looks += 1
            if looks < LOOKS_MAX:
                time.sleep(LOOK_AGAIN_S)
                continue
            pid = holder(path)
            who = f" (process {pid})" if pid else ""
            raise LogInUse(
                f"another run of this workflow goes on{who}: it holds {path}. Wait for it, or end it with Ctrl-C"
            ) from error
        except FileNotFoundError:
            pass
        os.close(fd)


def body_at(content: bytes, path: Path) -> int:
    """Where the first transaction begins."""
    head, line_end, _ = content.partition(b"\n")
    form, _, base = head.rpartition(b" ")
    if form != FORM or not line_end or not base.lstrip(b"-").isdigit():
        raise LogMismatch(f"{path} is not a transaction log of this version of altiplano: move it away to start anew")
    return len(head) + 1


def transactions_in(content: bytes, at: int) -> Iterator[tuple[int, list[bytes]]]:
    """Where each transaction ends and its records, up to the first line that is not as it was written."""
    while at < len(content):
        end = content.find(b"\n", at)
        if end < 0 or content[at + 8 : at + 9] != b" ":
            return
        body = content[at + 9 : end]
        if content[at : at + 8] != b"%08x" % zlib.crc32(body):
            return
        at = end + 1
        yield at, body.split(b"\t")


def _line(records: Sequence[bytes]) -> bytes:
    body = b"\t".join(records)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
