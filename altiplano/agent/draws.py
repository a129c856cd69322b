"""New ids and jitter for one decision, all drawn from the 16 random bytes that came with the event.

A core has no source of randomness; the same event gives the same ids when a recording is played.
"""

from __future__ import annotations

import hashlib


class Draws:
    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def uuid_bytes(self) -> bytes:
        """A UUID of version 4 as 16 bytes, different from all others drawn."""
        raw = bytearray(self._next())
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        return bytes(raw)

    def uuid(self) -> str:
        """A UUID of version 4 as text."""
        text = self.uuid_bytes().hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return int.from_bytes(self._next()[:6], "big") / 2.0**48

    def _next(self) -> bytes:
        self._count += 1
        return hashlib.blake2b(b"%d" % self._count, key=self._seed, digest_size=16).digest()
