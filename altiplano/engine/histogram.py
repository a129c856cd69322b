"""How long something takes, counted in a few buckets.

Cheap enough for the hottest path: one look-up among a dozen bounds and two sums of whole numbers.  There is no lock,
because each process has one loop.
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the buckets: finest around 10 ms, which nothing should exceed."""


class Histogram:
    __slots__ = ("_counts", "_sum_us")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_us = 0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_us += int(seconds * 1e6)

    @property
    def count(self) -> int:
        return sum(self._counts)

    @property
    def sum_s(self) -> float:
        return self._sum_us / 1e6

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds as texts, and how many took that long at most."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found
