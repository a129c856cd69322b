"""The work directory of `altiplano up`: its lock, its token, and the record of who runs there.

up.lock    held by the parent as long as it lives
up.json    where the pool is; for its owner only
token      what opens it; for its owner only
master/ agent/ frameworks/   the state of each process
log/       what each of them says
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

import msgspec

from altiplano.cli.failures import Failure
from altiplano.sdk import credentials
from altiplano.sdk.credentials import UpRecord

TOKEN_BYTES = 18
"""144 random bits."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""A log that is longer when the pool starts is put aside; the one put aside before goes."""


class Running(Failure):
    """A pool runs in this directory already."""


class PoolDirectory:
    """One work directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def token_path(self) -> Path:
        return self.path / credentials.TOKEN_FILE

    def prepare(self) -> None:
        """Make it, for its owner only.  Raises Failure with a sentence."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            for name in ("master", "agent", "frameworks", "log"):
                (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise Failure(
                f"the work directory {self.path} cannot be used: {error.strerror}; choose another with --work-dir"
            ) from error

    def lock(self) -> None:
        """Become the only pool in this directory.  Raises Running."""
        descriptor = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            record = credentials.read_up(self.path)
            where = "it is starting" if record is None else f"http://{record.master} (process {record.pid})"
            raise Running(
                f"a pool runs in {self.path} already: {where}. Use it, end it with 'altiplano down', "
                "or choose another --work-dir"
            ) from None
        self._lock = descriptor

    def locked_by_other(self) -> bool:
        """Whether a pool runs here."""
        try:
            descriptor = os.open(self.path / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def token(self) -> str:
        """The token that opens the pool; made at the first start, kept over all others."""
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.token_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return credentials.read_token(self.token_path)

    def record(self, record: UpRecord) -> None:
        """Let the command line find this pool."""
        fresh = self.path / (credentials.UP_FILE + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record))
        fresh.replace(self.path / credentials.UP_FILE)

    def open_log(self, name: str) -> int:
        """A file that a child writes its lines to."""
        path = self.path / "log" / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat, which tells apart two processes of one pid; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
