"""Files of sandboxes on the disks of this machine; every call runs on a thread.

What a task left in its sandbox is not to be trusted: only ordinary files are read (a pipe would
hold the thread for ever), and removing a tree follows no link out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from altiplano.ports.files import READ_BYTES_MAX, FileInfo, FilesFailed

SANDBOX_MODE = 0o750
PARENT_MODE = 0o755
LINKS_REMEMBERED = 64
"""Links of many sandboxes that need not be looked at again."""

OFFSET_MAX = 2**63 - 1
"""Bytes into a file that the system takes as a position."""

T = TypeVar("T")


class LocalFiles:
    """The file system."""

    def __init__(self) -> None:
        self._wanted: list[tuple[_Sandbox, asyncio.Future[None]]] = []
        self._making: asyncio.Task[None] | None = None
        self._maker = _Maker()

    def make_sandbox(self, path: str, user: str | None, links: Sequence[tuple[str, str]]) -> asyncio.Future[None]:
        """Queue a sandbox: those of a moment are made by one thread in one go, each taking less than a handover."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.append((_Sandbox(path, user, links), done))
        if self._making is None:
            self._making = asyncio.create_task(self._make_all(), name="sandboxes")
        return done

    async def _make_all(self) -> None:
        try:
            while self._wanted:
                batch, self._wanted = self._wanted, []
                failures = await asyncio.to_thread(self._maker.make, [sandbox for sandbox, _ in batch])
                for (_, done), failure in zip(batch, failures, strict=True):
                    if done.done():
                        continue
                    if failure is None:
                        done.set_result(None)
                    else:
                        done.set_exception(failure)
        finally:
            self._making = None

    async def browse(self, path: str) -> Sequence[FileInfo]:
        return await _run(f"list {path}", lambda: _browse(path))

    async def read(self, path: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise FilesFailed(f"cannot read {path}: offset {offset} and length {length} must not be negative")
        return await _run(f"read {path}", lambda: _read(path, offset, min(length, READ_BYTES_MAX)))

    async def size(self, path: str) -> int:
        return await _run(f"look at {path}", lambda: os.stat(path).st_size)

    async def remove(self, path: str) -> None:
        await _run(f"remove {path}", lambda: _remove(path))


async def _run(what: str, work: Callable[[], T]) -> T:
    with _failing(what):
        return await asyncio.to_thread(work)


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FilesFailed(f"cannot {what}: {error.strerror or error}") from error
    except ValueError as error:
        raise FilesFailed(f"cannot {what}: {error}") from error


@dataclass(slots=True, frozen=True)
class _Sandbox:
    path: str
    user: str | None
    links: Sequence[tuple[str, str]]


class _Maker:
    """Makes sandboxes, on one thread at a time, and remembers which links of many sandboxes are right already."""

    def __init__(self) -> None:
        self._right: dict[str, str] = {}

    def make(self, sandboxes: Sequence[_Sandbox]) -> list[FilesFailed | None]:
        """How each of them failed, or None."""
        failures: list[FilesFailed | None] = []
        for sandbox in sandboxes:
            try:
                with _failing(f"make the sandbox {sandbox.path}"):
                    self._make_one(sandbox)
            except FilesFailed as failure:
                failures.append(failure)
            else:
                failures.append(None)
        return failures

    def _make_one(self, sandbox: _Sandbox) -> None:
        owner = _owner(sandbox.user) if sandbox.user is not None else None
        _make_directory(sandbox.path)
        if owner is not None:
            os.chown(sandbox.path, owner.pw_uid, owner.pw_gid)
        for name, target in sandbox.links:
            if self._right.get(name) == target:
                continue
            self._right.pop(name, None)
            if _link(os.path.join(sandbox.path, name), target):
                if len(self._right) >= LINKS_REMEMBERED:
                    self._right.clear()
                self._right[name] = target


def _make_directory(path: str) -> None:
    """Make a sandbox and what is missing above it.

    That of a task is two levels below what is there, so they are tried in this order and nobody looks before.
    """
    runs = os.path.dirname(path)
    for parent in (os.path.dirname(runs), runs):
        _make_parents(parent)
    try:
        os.mkdir(path, SANDBOX_MODE)
    except FileExistsError:
        os.chmod(path, SANDBOX_MODE)
    else:
        if _UMASK & SANDBOX_MODE:
            os.chmod(path, SANDBOX_MODE)


def _make_parents(path: str) -> None:
    """Make a directory and those above it, from below: most are there, and nobody looks before."""
    try:
        os.mkdir(path, PARENT_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_parents(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, PARENT_MODE)


def _umask() -> int:
    """What this process takes away from the modes of new files; Linux tells it without changing it."""
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask:")), 0o777)


_UMASK = _umask()


def _owner(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ValueError(f"this machine has no such user: {user}") from None


def _link(name: str, target: str) -> bool:
    """Point a link to `target`, replacing an older link in one step: readers find one or the other.

    Whether it was there and right already.
    """
    try:
        try:
            os.symlink(target, name)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(name), exist_ok=True)
            os.symlink(target, name)
    except FileExistsError:
        with contextlib.suppress(OSError):
            if os.readlink(name) == target:
                return True
    else:
        return False
    # Sandboxes are made on several threads, and some of their links have the same name.
    fresh = f"{name}.new-{threading.get_native_id()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.rename(fresh, name)
    return False


def _browse(path: str) -> list[FileInfo]:
    if not stat.S_ISDIR(os.stat(path).st_mode):
        return [_info(path)]
    entries = []
    for name in sorted(os.listdir(path)):
        # A file may go while the directory is read.
        with contextlib.suppress(FileNotFoundError):
            entries.append(_info(os.path.join(path, name)))
    return entries


def _info(path: str) -> FileInfo:
    found = os.lstat(path)
    return FileInfo(
        path=path,
        nlink=found.st_nlink,
        size=found.st_size,
        mtime_s=found.st_mtime,
        mode=stat.filemode(found.st_mode),
        uid=_user_name(found.st_uid),
        gid=_group_name(found.st_gid),
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _read(path: str, offset: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not an ordinary file")
        # The system takes no offset beyond its own limit, and no file is that long.
        return os.pread(descriptor, length, offset) if offset <= OFFSET_MAX else b""
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            # A task that still writes may add a file behind the walk; what is gone already is no error.
            shutil.rmtree(path, onerror=_unless_gone)
        else:
            os.unlink(path)


def _unless_gone(function: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
