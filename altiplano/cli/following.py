"""Reading output of a task while it grows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from altiplano.sdk.operator import READ_BYTES_MAX, Missing, Operator, sandbox_file

LOOK_AGAIN_S = 0.15
"""Pause between two looks at a file that is being written; it doubles while nothing comes."""

LOOK_AGAIN_S_MAX = 1.0
LINE_BYTES_MAX = 64 * 1024
"""A line that is longer is told in parts of this size."""


class Follower:
    """Gives each byte of a file of a task to `write`, once and in order."""

    def __init__(
        self, framework_id: str, executor_id: str, agent_id: str, name: str, write: Callable[[bytes], None]
    ) -> None:
        self.name = name
        self._path = sandbox_file(framework_id, executor_id, name)
        self._agent_id = agent_id
        self._offset = 0
        self._write = write

    @property
    def offset(self) -> int:
        """Where the next byte stands in the file; for `write`, where its own begin."""
        return self._offset

    async def skip_to_last(self, operator: Operator, size_bytes: int) -> None:
        """Begin so many bytes before the present end."""
        _, size = await operator.read_file(self._agent_id, self._path, 0, 1)
        self._offset = max(0, size - size_bytes)

    async def read(self, operator: Operator, *, size_bytes_max: int | None = None) -> bool:
        """Read to the present end, or so many bytes; whether anything came.

        A file that is not there yet is an empty one: a sandbox exists before its files do.
        """
        start = self._offset
        while size_bytes_max is None or self._offset - start < size_bytes_max:
            try:
                data, size = await operator.read_file(self._agent_id, self._path, self._offset, READ_BYTES_MAX)
            except Missing:
                return False
            if data:
                self._write(data)
                self._offset += len(data)
            if not data or self._offset >= size:
                break
        return self._offset > start


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a task's output, as `task logs --json` prints it."""

    stream: str
    offset: int
    """Of its first byte in the file."""
    text: str
    """With its line end, if it has one; bytes that are no UTF-8 stand as U+FFFD."""


class Lines:
    """Cuts output into lines, whatever pieces it comes in."""

    def __init__(self, stream: str, tell: Callable[[Said], None]) -> None:
        self._stream = stream
        self._tell = tell
        self._begun = b""
        self._offset = 0

    def take(self, data: bytes, offset: int) -> None:
        """Tell what is whole of a piece that begins at `offset`; pieces follow on each other."""
        if not self._begun:
            self._offset = offset
        *whole, self._begun = (self._begun + data).split(b"\n")
        for line in whole:
            self._say(line + b"\n")
        while len(self._begun) >= LINE_BYTES_MAX:
            rest = self._begun[LINE_BYTES_MAX:]
            self._say(self._begun[:LINE_BYTES_MAX])
            self._begun = rest

    def end(self) -> None:
        """Tell the line that has no end."""
        if self._begun:
            self._say(self._begun)
            self._begun = b""

    def _say(self, line: bytes) -> None:
        self._tell(Said(stream=self._stream, offset=self._offset, text=line.decode("utf-8", "replace")))
        self._offset += len(line)
