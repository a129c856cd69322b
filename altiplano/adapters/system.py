"""Time, names and random numbers of this machine."""

from __future__ import annotations

import random
import secrets
import time
import uuid

from altiplano.model.time import Instant

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

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def uuid_bytes(self) -> bytes:
        return uuid.uuid4().bytes

    def token(self) -> str:
        return secrets.token_urlsafe(TOKEN_BYTES)

    def fraction(self) -> float:
        return self._jitter.random()
