"""Reads a transaction log while its run writes it.

The one thing to know: the file may be replaced by a shorter one (a compaction), and then all begins anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from altiplano.frameworks.flows.transactions import body_at, transactions_in

READ_BYTES_MAX = 4 * 1024 * 1024
"""Read at one time; what is beyond comes with the next look."""


class Tail:
    """The records of one log, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self._at = 0
        self._rest = b""

    def read(self) -> tuple[bool, list[bytes]]:
        """Whether the log was begun anew, and its records since the last time.

        Raises FileNotFoundError when the log is gone, LogMismatch when it is none.
        """
        with self._path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            anew = status.st_ino != self._inode or status.st_size < self._at
            if anew:
                self._inode, self._at, self._rest = status.st_ino, 0, b""
            stream.seek(self._at)
            content = stream.read(READ_BYTES_MAX)
        begins = self._at == 0
        self._at += len(content)
        content = self._rest + content
        if begins:
            if b"\n" not in content:
                # Its first line is being written.
                self._inode = -1
                return False, []
            content = content[body_at(content, self._path) :]
        records: list[bytes] = []
        end = 0
        for at, some in transactions_in(content, 0):
            end = at
            records.extend(some)
        # A line that is not whole yet; one that is damaged stays here until the run cuts it off.
        self._rest = content[end:]
        return anew, records

    @property
    def behind(self) -> bool:
        """Whether more is there than one look has read."""
        try:
            return self._path.stat().st_size > self._at
        except FileNotFoundError:
            return False
