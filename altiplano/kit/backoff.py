"""How long to wait before the next attempt, as a value.

>>> first = BackOff(base_s=1.0, cap_s=8.0)
>>> delay_s, second = first.next(0.0)
>>> delay_s
0.5
>>> second.next(0.0)[0]
1.0
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Waits that grow by `factor` from `base_s` to `cap_s`.

    Each is drawn from the upper half of its range: `fraction`, a random number in [0, 1) from
    outside, spreads clients that failed together, and none of them comes back at once.
    """

    base_s: float
    cap_s: float
    factor: float = 2.0
    range_s: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.base_s <= self.cap_s and self.factor >= 1):
            raise ValueError(
                f"a back-off from {self.base_s} s to {self.cap_s} s by {self.factor} never grows: "
                "the base must be above 0 and not above the cap, the factor at least 1"
            )

    def next(self, fraction: float) -> tuple[float, BackOff]:
        """The delay before the next attempt, and the back-off for the attempt after that."""
        range_s = self.base_s if self.range_s is None else self.range_s
        delay_s = range_s * (1 + fraction) / 2
        return delay_s, replace(self, range_s=min(self.cap_s, range_s * self.factor))

    def reset(self) -> BackOff:
        """The back-off after a success."""
        return replace(self, range_s=None)
