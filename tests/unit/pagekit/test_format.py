from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.pagekit import format as formats


def test_the_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(formats).failed == 0


@pytest.mark.parametrize("show", [formats.size, formats.megabytes, formats.cpus, formats.duration])
def test_what_is_unknown_is_a_dash(show: object) -> None:
    assert show(None) == "–"  # type: ignore[operator]


@given(st.floats(min_value=0, max_value=1e15))
def test_sizes_stay_short(count: float) -> None:
    assert len(formats.size(count)) <= 10


@given(st.floats(min_value=-1e18, max_value=1e18))
def test_any_time_can_be_shown(wall_s: float) -> None:
    assert formats.absolute(wall_s)


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0, max_value=1e9))
def test_bars_never_leave_their_room(part: float, whole: float) -> None:
    assert 0 <= formats.ratio(part, whole) <= 100
