"""What a clock promises (`altiplano.ports.clock.Clock`)."""

from __future__ import annotations

import pytest

from altiplano.adapters.system import SystemClock
from altiplano.ports.clock import Clock
from altiplano.testing.clock import ManualClock


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_the_monotonic_clock_never_goes_back(clock: Clock) -> None:
    times = [clock.now().mono_s for _ in range(100)]
    assert times == sorted(times)


def test_the_manual_clock_goes_when_told_and_its_wall_may_jump() -> None:
    clock = ManualClock()
    before = clock.now()
    after = clock.advance(5)
    assert (after.mono_s - before.mono_s, after.wall_s - before.wall_s) == (5, 5)
    clock.set_wall(0.0)
    assert clock.now().mono_s == after.mono_s
    assert clock.now().wall_s == 0.0
