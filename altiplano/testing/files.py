"""A file system in memory, as much of it as the port shows."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from altiplano.ports.files import READ_BYTES_MAX, FileInfo, FilesFailed
from altiplano.testing.clock import START_WALL_S

LINKS_FOLLOWED_MAX = 40


@dataclass(slots=True)
class _Node:
    mode: str
    owner: str
    data: bytearray = field(default_factory=bytearray)
    target: str | None = None


class MemoryFiles:
    """Paths and what they hold.  `users` are the names that the machine knows."""

    def __init__(self, *, users: Sequence[str] = ("root",)) -> None:
        self._users = frozenset(users)
        self._nodes: dict[str, _Node] = {"/": _Node("drwxr-xr-x", "root")}

    async def make_sandbox(self, path: str, user: str | None, links: Sequence[tuple[str, str]]) -> None:
        if user is not None and user not in self._users:
            raise FilesFailed(f"cannot make the sandbox {path}: this machine has no such user: {user}")
        parents = []
        parent = posixpath.dirname(path)
        while parent not in self._nodes:
            parents.append(parent)
            parent = posixpath.dirname(parent)
        self._directory(parent, f"make the sandbox {path}")
        for missing in reversed(parents):
            self._nodes[missing] = _Node("drwxr-xr-x", "root")
        self._nodes[path] = _Node("drwxr-x---", user or "root")
        for name, target in links:
            self._nodes[posixpath.join(path, name)] = _Node("lrwxrwxrwx", "root", target=target)

    async def browse(self, path: str) -> Sequence[FileInfo]:
        found = self._resolve(path, f"list {path}")
        if self._nodes[found].mode[0] != "d":
            return [self._info(path, self._nodes[found])]
        inside = sorted(name for name in self._nodes if posixpath.dirname(name) == found and name != "/")
        return [self._info(posixpath.join(path, posixpath.basename(name)), self._nodes[name]) for name in inside]

    async def read(self, path: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise FilesFailed(f"cannot read {path}: offset {offset} and length {length} must not be negative")
        node = self._nodes[self._resolve(path, f"read {path}")]
        if node.mode[0] != "-":
            raise FilesFailed(f"cannot read {path}: it is not an ordinary file")
        return bytes(node.data[offset : offset + min(length, READ_BYTES_MAX)])

    async def size(self, path: str) -> int:
        return len(self._nodes[self._resolve(path, f"look at {path}")].data)

    async def remove(self, path: str) -> None:
        for name in [name for name in self._nodes if name == path or name.startswith(f"{path}/")]:
            del self._nodes[name]

    def write(self, path: str, data: bytes) -> None:
        """Append to a file as a task does; makes it where missing."""
        self._directory(posixpath.dirname(path), f"write {path}")
        self._nodes.setdefault(path, _Node("-rw-r--r--", "root")).data.extend(data)

    def _directory(self, path: str, what: str) -> None:
        node = self._nodes[self._resolve(path, what)]
        if node.mode[0] != "d":
            raise FilesFailed(f"cannot {what}: {path} is not a directory")

    def _resolve(self, path: str, what: str) -> str:
        """The node that a path leads to, links followed."""
        for _ in range(LINKS_FOLLOWED_MAX):
            name = path
            while name not in self._nodes or self._nodes[name].target is None:
                if name == "/":
                    if path in self._nodes:
                        return path
                    raise FilesFailed(f"cannot {what}: no such file or directory")
                name = posixpath.dirname(name)
            target = self._nodes[name].target
            assert target is not None
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target) + path[len(name) :])
        raise FilesFailed(f"cannot {what}: too many levels of symbolic links")

    def _info(self, path: str, node: _Node) -> FileInfo:
        directory = node.mode[0] == "d"
        return FileInfo(
            path=path,
            nlink=2 if directory else 1,
            size=0 if directory else len(node.data),
            mtime_s=START_WALL_S,
            mode=node.mode,
            uid=node.owner,
            gid=node.owner,
        )
