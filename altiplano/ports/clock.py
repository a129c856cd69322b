"""Time from outside."""

from __future__ import annotations

from typing import Protocol

from altiplano.model.time import Instant


class Clock(Protocol):
    """Reads the time; the only place where a process may."""

    def now(self) -> Instant:
        """Both clocks at this moment; `mono_s` never goes back."""
        ...
