"""Files of sandboxes by the paths that the API uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

from altiplano.agent import sandbox
from altiplano.agent.shell import Agent
from altiplano.engine import http
from altiplano.ports.files import READ_BYTES_MAX, FileInfo, FilesFailed

T = TypeVar("T")


class SandboxFiles:
    """Reads of sandboxes.  What is not in one, by its path or through a link, is not found (Refusal 404)."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def browse(self, path: str) -> Sequence[FileInfo]:
        """The entries of a directory, under the path that was asked for."""
        place = await self.locate(path)
        shown = path.rstrip("/")
        return [_renamed(entry, place, shown) for entry in await self._try(self._agent.outside.files.browse(place))]

    async def read(self, path: str, offset: int, length: int) -> bytes:
        place = await self.locate(path)
        return await self._try(self._agent.outside.files.read(place, offset, min(length, READ_BYTES_MAX)))

    async def size(self, path: str) -> int:
        return await self._try(self._agent.outside.files.size(await self.locate(path)))

    async def whole(self, path: str) -> AsyncIterator[bytes]:
        """A file from its beginning to what is its end by then."""
        place = await self.locate(path)
        offset = 0
        while data := await self._try(self._agent.outside.files.read(place, offset, READ_BYTES_MAX)):
            offset += len(data)
            yield data

    async def locate(self, path: str) -> str:
        """The real path of what a requested path names."""
        found = sandbox.resolve(self._agent.core.state, self._agent.node.work_dir, path)
        if found is None:
            raise http.Refusal(404, f"'{path}' is in no sandbox of this agent")
        root, rest = found
        return await asyncio.to_thread(_inside, root, rest, path)

    async def _try(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except FilesFailed as error:
            raise http.Refusal(404, str(error)) from error


def _inside(root: str, rest: str, path: str) -> str:
    """Follow links, and refuse those that lead out of the sandbox: the agent can read more than the task could."""
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, rest)) if rest else real_root
    if real != real_root and not real.startswith(real_root + "/"):
        raise http.Refusal(404, f"'{path}' leads out of its sandbox")
    if not os.path.exists(real):
        raise http.Refusal(404, f"'{path}' does not exist")
    return real


def _renamed(entry: FileInfo, place: str, shown: str) -> FileInfo:
    name = entry.path[len(place) :] if entry.path.startswith(place) else "/" + os.path.basename(entry.path)
    return FileInfo(
        path=shown + name,
        nlink=entry.nlink,
        size=entry.size,
        mtime_s=entry.mtime_s,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
    )
