"""Clocks that go when told."""

from __future__ import annotations

from altiplano.model.time import Instant

START_WALL_S = 1_700_000_000.0
"""Where the wall clock of tests and simulations begins: late in 2023."""


class ManualClock:
    """Stands still until `advance`."""

    def __init__(self, *, mono_s: float = 1000.0, wall_s: float = START_WALL_S) -> None:
        self._mono_s = mono_s
        self._wall_s = wall_s

    def now(self) -> Instant:
        return Instant(mono_s=self._mono_s, wall_s=self._wall_s)

    def advance(self, seconds: float) -> Instant:
        """Let time pass on both clocks."""
        assert seconds >= 0, "time does not go back; for a wall clock that is set anew use `set_wall`"
        self._mono_s += seconds
        self._wall_s += seconds
        return self.now()

    def set_wall(self, wall_s: float) -> None:
        """Set the wall clock, as an operator or a time server may: forwards or back."""
        self._wall_s = wall_s
