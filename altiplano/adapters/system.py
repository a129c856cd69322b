"""Time, names and random numbers of this machine."""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid

from altiplano.model.time import Instant

POOL_BYTES = 4096
"""Random bytes asked of the system at once: every event of an agent takes some."""

TOKEN_BYTES = 18
"""144 random bits: 24 characters without padding."""


class SystemClock:
    """The clocks of the operating system."""

    def now(self) -> Instant:
        return Instant(mono_s=time.monotonic(), wall_s=time.time())


class SystemIds:
    """Names from the system's source of randomness."""

    def __init__(self) -> None:
        # Jitter needs no secrecy, and a system call per back-off would be a waste.
        self._jitter = random.Random()
        self._pool = b""
        self._taken = 0

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.uuid_bytes()))

    def uuid_bytes(self) -> bytes:
        start = self._taken
        if start + 16 > len(self._pool):
            self._pool, start = os.urandom(POOL_BYTES), 0
        self._taken = start + 16
        raw = bytearray(self._pool[start : self._taken])
        # Version 4, variant of RFC 9562.
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        return bytes(raw)

    def token(self) -> str:
        return secrets.token_urlsafe(TOKEN_BYTES)

    def fraction(self) -> float:
        return self._jitter.random()
