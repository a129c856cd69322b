"""What happened in the last minutes, for plots: bounded, oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

POINTS_MAX = 360
"""With one point each 5 s: half an hour."""


class Series:
    """Named columns of numbers over time.  A point that lacks a column is a gap there."""

    def __init__(self, names: Sequence[str], *, points_max: int = POINTS_MAX) -> None:
        self.names = tuple(names)
        self._points: deque[tuple[float, tuple[float | None, ...]]] = deque(maxlen=points_max)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, wall_s: float, values: Mapping[str, float]) -> None:
        """Append a point.  One that is older than the last is dropped: the clock was set back."""
        if self._points and wall_s <= self._points[-1][0]:
            return
        self._points.append((wall_s, tuple(values.get(name) for name in self.names)))

    def columns(self) -> list[list[float | None]]:
        """Times, then one list for each name, all of the same length: the form that uPlot takes."""
        times: list[float | None] = [wall_s for wall_s, _ in self._points]
        return [times, *([values[i] for _, values in self._points] for i in range(len(self.names)))]
