"""Named moments at which a core wants to be woken: set, moved and cleared in logarithmic time."""

from __future__ import annotations

import heapq

Timer = tuple[str, ...]
"""A kind, then the ids it is about: `("resend", framework, task)`."""

STALE_MIN = 1024
"""Entries of moved and cleared timers that are kept in the heap before it is built anew."""


class Timers:
    def __init__(self) -> None:
        self._at: dict[Timer, float] = {}
        self._heap: list[tuple[float, Timer]] = []

    def __contains__(self, timer: Timer) -> bool:
        return timer in self._at

    def __len__(self) -> int:
        return len(self._at)

    def at(self, timer: Timer) -> float | None:
        return self._at.get(timer)

    def set(self, timer: Timer, at: float) -> None:
        self._at[timer] = at
        heapq.heappush(self._heap, (at, timer))
        if len(self._heap) > 2 * len(self._at) + STALE_MIN:
            self._heap = [(moment, name) for name, moment in self._at.items()]
            heapq.heapify(self._heap)

    def clear(self, timer: Timer) -> None:
        self._at.pop(timer, None)

    def first(self) -> float | None:
        """The earliest moment set."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Timer]:
        """Timers whose moment has come, earliest first.  They stay set until moved or cleared."""
        first = self.first()
        if first is None or first > now:
            return []
        return [name for _, name in sorted((at, name) for name, at in self._at.items() if at <= now)]
