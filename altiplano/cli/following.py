"""Reading output of a task while it grows."""

from __future__ import annotations

from collections.abc import Callable

from altiplano.sdk.operator import READ_BYTES_MAX, Missing, Operator, sandbox_file

LOOK_AGAIN_S = 0.15
"""Pause between two looks at a file that is being written; it doubles while nothing comes."""

LOOK_AGAIN_S_MAX = 1.0


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
