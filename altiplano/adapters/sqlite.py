"""Log, registry and store in an SQLite database of a directory.

One thread per database writes.  Whatever was queued while it wrote goes into its next commit, so a
slow disk makes commits larger, not the queue longer.  A commit is `synchronous=FULL` in write-ahead
mode: when it returns, its rows survive the loss of power.

The directory also holds `lock` (a second process is refused, with the pid of the first), `version` (a
directory of another form is refused, with both versions) and, while the database is open, `open`.

The one thing to know before changing it: SQLite takes an empty file for a new database, and a database without
its write-ahead file for one that was closed.  So what tells the difference is written in this order: `version`
after the tables, `open` after the write-ahead file; `open` goes before that file does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from altiplano.adapters.durability import Durability
from altiplano.kit import crash
from altiplano.ports.log import RECORD_BYTES_MAX, LogDamaged, LogFailed, LogInUse, LogMismatch
from altiplano.ports.store import VALUE_BYTES_MAX, Stored, StoreFailed

FORM: Final = 1
"""Version of the tables below; a directory of another one is refused."""

DATABASE_BYTES_MAX: Final = 64 * 1024**3
"""A database beyond this fails as on a full disk."""

PAGE_BYTES: Final = 4096

COMMIT_JOBS_MAX: Final = 4096
"""Appends or writes that go into one commit."""

CLOSE_TIMEOUT_S: Final = 30.0

POINTS: Final = ("before_commit", "after_commit")
"""Crash points of the thread that writes (`altiplano.kit.crash`)."""

_LOG_TABLES = """
CREATE TABLE IF NOT EXISTS record (position INTEGER PRIMARY KEY, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 1), upto INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS epoch (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
"""

_STORE_TABLES = """
CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
"""

Work = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do within the next commit; `done` is called on the loop with its result after it."""

    work: Work
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]


class _Database:
    """One database file, its lock, and the thread that alone touches it."""

    def __init__(self, directory: Path, name: str, tables: str, size_bytes_max: int, *, ends_at_failure: bool) -> None:
        self.path = directory / f"{name}.sqlite"
        self._directory = directory
        self._name = name
        self._tables = tables
        self._size_bytes_max = size_bytes_max
        self._ends_at_failure = ends_at_failure
        self._failure: Exception | None = None
        self._jobs: deque[_Job] = deque()
        self._bell = threading.Condition()
        self._closing = False
        self._lock: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._file: tuple[int, int] | None = None
        """Device and number of the database's file."""

    async def open(self) -> None:
        """Take the lock, check what is there, make the tables, start the thread.

        Raises LogInUse, LogMismatch, LogDamaged, and OSError or sqlite3.Error when the world failed.
        """
        self._loop = asyncio.get_running_loop()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(self._directory / f"{self._name}.lock", self.path)
        try:
            self._check_files()
        except BaseException:  # also when interrupted, nothing stays held
            self._unlock()
            raise
        opened = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name=f"sqlite-{self._name}", daemon=True)
        self._thread.start()
        await opened

    def submit(self, job: _Job) -> None:
        """Queue a job.  Never waits."""
        with self._bell:
            self._jobs.append(job)
            self._bell.notify()

    async def close(self) -> None:
        """Finish what is queued, then let others open it."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._bell:
            self._closing = True
            self._bell.notify()
        await asyncio.to_thread(thread.join, CLOSE_TIMEOUT_S)
        # A disk that hangs may still take the last commit: then the lock stays until the process ends.
        if not thread.is_alive():
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- the thread

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:  # whoever waits on the thread hears of every end
            self._unlock()
            self._call(_settle, opened, error)
            return
        self._call(_settle, opened, None)
        with contextlib.closing(connection):
            while True:
                with self._bell:
                    while not self._jobs and not self._closing:
                        self._bell.wait()
                    jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), COMMIT_JOBS_MAX))]
                if not jobs:
                    self._open_mark.unlink(missing_ok=True)
                    return
                self._commit(connection, jobs)

    @property
    def _version(self) -> Path:
        return self._directory / f"{self._name}.version"

    @property
    def _open_mark(self) -> Path:
        return self._directory / f"{self._name}.open"

    def _check_files(self) -> None:
        """Refuse a directory of another form, and one that somebody took files from."""
        _check_version(self._version, self.path)
        if self._version.exists() and (not self.path.exists() or self.path.stat().st_size == 0):
            raise LogDamaged(
                f"{self.path} is gone or empty, but was in use: put a copy in its place, "
                f"or remove {self._version} as well to start anew"
            )
        ahead = self.path.with_name(f"{self.path.name}-wal")
        if self._open_mark.exists() and not ahead.exists():
            raise LogDamaged(
                f"{ahead} is gone, and with it what was written last before a process was killed: put it back, "
                f"or remove {self._open_mark} to go on with what {self.path} holds"
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA max_page_count={max(1, self._size_bytes_max // PAGE_BYTES)}")
            connection.executescript(self._tables)
            _sync_directory(self._directory)
            _sync_directory(self._directory.parent)
            _write_version(self._version)
            self._open_mark.touch(mode=0o600)
            found = self.path.stat()
            self._file = found.st_dev, found.st_ino
        except BaseException:  # also when interrupted, nothing stays held
            connection.close()
            raise
        return connection

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        if self._failure is not None:
            # Rows behind a lost commit would leave a hole: nothing is ever written after one.
            self._call(_tell_failure, jobs, self._failure)
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [job.work(connection) for job in jobs]
            crash.at("before_commit")
            connection.execute("COMMIT")
            crash.at("after_commit")
            self._check_removed()
        except Exception as error:  # whoever waits on the thread hears of every end
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if self._ends_at_failure:
                self._failure = error
            self._call(_tell_failure, jobs, error)
        else:
            self._call(_tell_results, jobs, results)

    def _check_removed(self) -> None:
        """A commit to a file that has no name any more is lost with this process: it is none."""
        try:
            found = self.path.stat()
            there = (found.st_dev, found.st_ino) == self._file
        except FileNotFoundError:
            there = False
        if not there:
            raise FileNotFoundError(errno.ENOENT, "somebody removed or replaced the file while it was in use")

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        # A loop that was closed while the last commit ran has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


class SqliteLog:
    """A log (`altiplano.ports.log.Log`) in a directory of its own process."""

    _name: str = "log"

    def __init__(self, directory: str | Path, *, size_bytes_max: int = DATABASE_BYTES_MAX) -> None:
        self._database = _Database(Path(directory), self._name, _LOG_TABLES, size_bytes_max, ends_at_failure=True)
        self._recovered = False
        self._closed = False
        self._end = 0
        self._epoch = 0
        self._durability = Durability()
        # Appends of one turn of the loop reach the thread as one job.
        self._batch: list[tuple[int, int, bytes]] = []

    @property
    def durable(self) -> int:
        return self._durability.position

    @property
    def end(self) -> int:
        return self._end

    async def recover(self) -> tuple[bytes | None, Sequence[bytes]]:
        assert not self._recovered, "a log is recovered once"
        path = self._database.path
        try:
            await self._database.open()
            loaded: asyncio.Future[tuple[int, bytes | None, list[bytes], int]] = (
                asyncio.get_running_loop().create_future()
            )
            self._database.submit(_Job(self._load, lambda r: _settle(loaded, None, r), lambda e: _settle(loaded, e)))
            self._end, snapshot, records, self._epoch = await loaded
        except (sqlite3.Error, OSError) as error:
            await self._database.close()
            if type(error) is sqlite3.DatabaseError:  # its subclasses tell of disks and locks, this one of the contents
                raise LogDamaged(
                    f"the log {path} could not be opened: {error}. Put a copy in its place, or start anew"
                ) from error
            raise LogFailed(f"the log {path} could not be opened: {error}") from error
        except LogFailed:
            await self._database.close()
            raise
        self._durability.reach(self._end)
        self._recovered = True
        return snapshot, records

    def append(self, records: Sequence[bytes]) -> int:
        assert self._recovered, "a log is recovered before anything is appended"
        assert not self._closed, "the log is closed"
        for record in records:
            if len(record) > RECORD_BYTES_MAX:
                raise ValueError(f"a record of {len(record)} bytes is larger than the log's {RECORD_BYTES_MAX}")
        if not records:
            return self._end
        rows = []
        for record in records:
            self._end += 1
            rows.append((self._end, zlib.crc32(record), record))
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._batch.extend(rows)
        return self._end

    def notify(self, callback: Callable[[int], None]) -> None:
        self._durability.notify(callback)

    async def wait(self, position: int) -> None:
        await self._durability.wait(position)

    async def failed(self) -> None:
        await self._durability.failed()

    def compact(self, snapshot: bytes, upto: int) -> None:
        assert 0 < upto <= self._end, f"cannot compact up to {upto} a log that ends at {self._end}"
        self._hand_over()
        crc = zlib.crc32(snapshot)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("REPLACE INTO snapshot VALUES (1, ?, ?, ?)", (upto, crc, snapshot))
            connection.execute("DELETE FROM record WHERE position <= ?", (upto,))

        self._database.submit(_Job(work, lambda _: None, self._fail))

    async def close(self) -> None:
        if self._closed:
            return
        self._hand_over()
        self._closed = True
        await self._database.close()

    def _load(self, connection: sqlite3.Connection) -> tuple[int, bytes | None, list[bytes], int]:
        path = self._database.path
        snapshot: bytes | None = None
        end = 0
        for upto, crc, body in connection.execute("SELECT upto, crc, body FROM snapshot"):
            if zlib.crc32(body) != crc:
                raise LogDamaged(f"the snapshot in {path} is damaged: put a copy in its place, or start anew")
            end, snapshot = upto, body
        records = []
        for position, crc, body in connection.execute("SELECT position, crc, body FROM record ORDER BY position"):
            # A hole or a changed byte is damage by somebody else: SQLite itself cuts off what was not committed.
            if position != end + 1 or zlib.crc32(body) != crc:
                raise LogDamaged(
                    f"the log {path} is damaged at record {end + 1}: put a copy in its place, or start anew"
                )
            end = position
            records.append(body)
        return end, snapshot, records, self._begin_epoch(connection)

    def _begin_epoch(self, connection: sqlite3.Connection) -> int:
        return 0

    def _hand_over(self) -> None:
        rows, self._batch = self._batch, []
        if not rows or self._durability.failure is not None:
            return
        end = rows[-1][0]

        def work(connection: sqlite3.Connection) -> int:
            connection.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            return end

        self._database.submit(_Job(work, self._durability.reach, self._fail))

    def _fail(self, error: Exception) -> None:
        failure = LogFailed(f"the log {self._database.path} could not be written: {error}")
        failure.__cause__ = error
        self._durability.fail(failure)


class SqliteRegistry(SqliteLog):
    """The registry (`altiplano.ports.log.Registry`) of a pool with one master.

    Every opening is a new leadership: its number is durable before `recover` returns.
    """

    _name = "registry"

    @property
    def epoch(self) -> int:
        return self._epoch

    def _begin_epoch(self, connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO epoch VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET number = number + 1")
        (number,) = connection.execute("SELECT number FROM epoch").fetchone()
        return int(number)


class SqliteStore:
    """A key–value store (`altiplano.ports.store.Store`) in a directory; opened at its first use."""

    def __init__(self, directory: str | Path, *, size_bytes_max: int = DATABASE_BYTES_MAX) -> None:
        self._database = _Database(Path(directory), "store", _STORE_TABLES, size_bytes_max, ends_at_failure=False)
        self._opening: asyncio.Task[None] | None = None

    async def get(self, key: str) -> tuple[bytes, int] | None:
        def work(connection: sqlite3.Connection) -> tuple[bytes, int] | None:
            row = connection.execute("SELECT value, version FROM entry WHERE key = ?", (key,)).fetchone()
            return None if row is None else (row[0], row[1])

        found: tuple[bytes, int] | None = await self._do(f"read {key}", work)
        return found

    async def put(self, key: str, value: bytes, *, version: int | None = None) -> int:
        if len(value) > VALUE_BYTES_MAX:
            raise StoreFailed(f"cannot write {key}: {len(value)} bytes are more than the store's {VALUE_BYTES_MAX}")

        def work(connection: sqlite3.Connection) -> int | Stored:
            row = connection.execute("SELECT version FROM entry WHERE key = ?", (key,)).fetchone()
            present = 0 if row is None else int(row[0])
            if version is not None and version != present:
                return Stored(f"{key} has version {present}, not {version}: read it again before writing")
            connection.execute("REPLACE INTO entry VALUES (?, ?, ?)", (key, present + 1, value))
            return present + 1

        outcome: int | Stored = await self._do(f"write {key}", work)
        if isinstance(outcome, Stored):
            raise outcome
        return outcome

    async def delete(self, key: str) -> None:
        await self._do(f"delete {key}", lambda connection: _execute(connection, "DELETE FROM entry WHERE key = ?", key))

    async def list(self, prefix: str) -> Mapping[str, bytes]:
        def work(connection: sqlite3.Connection) -> dict[str, bytes]:
            # The keys are ordered as their bytes are, so those with the prefix are neighbours.
            rows = connection.execute("SELECT key, value FROM entry WHERE key >= ? ORDER BY key", (prefix,))
            return dict(itertools.takewhile(lambda row: row[0].startswith(prefix), rows))

        found: dict[str, bytes] = await self._do(f"list {prefix}", work)
        return found

    async def close(self) -> None:
        if self._opening is not None:
            with contextlib.suppress(Exception):
                await self._opening
            await self._database.close()

    async def _do(self, what: str, work: Work) -> Any:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._database.open())
        try:
            await asyncio.shield(self._opening)
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._database.submit(_Job(work, lambda r: _settle(done, None, r), lambda e: _settle(done, e)))
            return await done
        except (sqlite3.Error, OSError, LogDamaged, LogInUse, LogMismatch) as error:
            raise StoreFailed(f"cannot {what} in {self._database.path}: {error}") from error


def _execute(connection: sqlite3.Connection, statement: str, *values: object) -> None:
    connection.execute(statement, values)


def _settle(future: asyncio.Future[Any], error: Exception | None, result: Any = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tell_results(jobs: list[_Job], results: list[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        job.done(result)


def _tell_failure(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        job.failed(error)


def _take_lock(path: Path, what: Path) -> int:
    """Lock a file until its descriptor is closed, by us or by our end, and write our pid into it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise LogInUse(
            f"{what} is in use by the process with pid {holder}: stop that process, or use another work directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _check_version(path: Path, what: Path) -> None:
    """Refuse another form than ours."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return
    if text != str(FORM):
        raise LogMismatch(
            f"{what} has form {text[:20]}, and this program reads form {FORM}: "
            "use the program that wrote it, or another work directory"
        )


def _write_version(path: Path) -> None:
    """Say of what form a directory is, once its tables are there."""
    if path.exists():
        return
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="ascii") as file:
        file.write(f"{FORM}\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make new names in a directory survive the loss of power."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
