"""Files of sandboxes: made, filled, read and removed off the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec

READ_BYTES_MAX = 64 * 1024


class FilesFailed(Exception):
    """A file operation failed; the text names the path and the reason."""


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a directory, as `/files/browse` shows it."""

    path: str
    nlink: int
    size: int
    mtime_s: float
    mode: str
    uid: str
    gid: str


class Files(Protocol):
    """Paths are absolute.  Errors are FilesFailed."""

    def make_sandbox(self, path: str, user: str | None, links: Sequence[tuple[str, str]]) -> Awaitable[None]:
        """Make a directory (mode 0750, owned by `user`) and its parents, then links (name, target) anew.

        It is begun by the call, whoever awaits the answer and when.
        """
        ...

    async def browse(self, path: str) -> Sequence[FileInfo]:
        """The entries of a directory, by name; a file is its own only entry."""
        ...

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """Up to `length` (at most READ_BYTES_MAX) bytes from `offset`; empty at the end."""
        ...

    async def size(self, path: str) -> int:
        """Size of a file in bytes."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file or a whole tree; no error if it is gone already."""
        ...
