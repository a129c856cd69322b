"""A small key–value store in which a framework keeps its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

VALUE_BYTES_MAX = 1024 * 1024


class StoreFailed(Exception):
    """The store could not carry out an operation; nothing of it happened."""


class Stored(Exception):
    """A conditional write was refused: the key has another version by now."""


class Store(Protocol):
    """Keys are texts with "/" between their parts; values are bytes with a version that counts from 1."""

    async def get(self, key: str) -> tuple[bytes, int] | None:
        """Value and version of a key; None if there is none."""
        ...

    async def put(self, key: str, value: bytes, *, version: int | None = None) -> int:
        """Write durably and return the new version.

        With `version` only if the key has it now (0: does not exist), else `Stored` is raised.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove a key durably; no error if there is none."""
        ...

    async def list(self, prefix: str) -> Mapping[str, bytes]:
        """All keys that begin with `prefix`, in order, with their values."""
        ...

    async def close(self) -> None: ...
