"""Points in time as the cores see them."""

from __future__ import annotations

import msgspec


class Instant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Now, read twice: a clock that never jumps and the clock people agree on.

    Timeouts are measured with `mono_s` (seconds of CLOCK_MONOTONIC, meaningless after a reboot).
    Deadlines that outlive a restart are stored by `wall_s` (seconds since the epoch) and
    re-based to `mono_s` at recovery.
    """

    mono_s: float
    wall_s: float

    def mono_of(self, wall_s: float, *, within_s: float | None = None) -> float:
        """The monotonic time at which the wall clock is going to show `wall_s`, if it does not jump.

        A deadline that an earlier process set is at most its whole length away.  `within_s` is that length: a wall
        clock that was set back meanwhile must not make the wait longer.
        """
        left_s = wall_s - self.wall_s
        return self.mono_s + (left_s if within_s is None else min(left_s, within_s))
