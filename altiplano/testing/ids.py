"""Names and random numbers that repeat with their seed."""

from __future__ import annotations

import random
from uuid import UUID


class SeededIds:
    """The same seed gives the same names in the same order."""

    def __init__(self, seed: int | str = 0) -> None:
        self._random = random.Random(f"ids {seed}")

    def uuid(self) -> str:
        return str(self._uuid())

    def uuid_bytes(self) -> bytes:
        return self._uuid().bytes

    def token(self) -> str:
        return f"{self._random.getrandbits(144):036x}"

    def fraction(self) -> float:
        return self._random.random()

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)
