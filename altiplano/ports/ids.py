"""New names and random numbers from outside."""

from __future__ import annotations

from typing import Protocol


class Ids(Protocol):
    """Makes what must not repeat.  Cores never do this: new ids come in with events."""

    def uuid(self) -> str:
        """A new UUID (RFC 4122, version 4) as text."""
        ...

    def uuid_bytes(self) -> bytes:
        """A new UUID (RFC 4122, version 4) as 16 bytes."""
        ...

    def token(self) -> str:
        """A secret of at least 128 random bits, safe in URLs and file names."""
        ...

    def fraction(self) -> float:
        """A random number in [0, 1), for jitter."""
        ...
