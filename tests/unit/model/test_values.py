from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.model import values

NUMBERS = st.sets(st.integers(0, 40))


@pytest.mark.parametrize(
    ("number", "amount"), [(7.7, 7700), (0.1 + 0.2, 300), (0.0005, 1), (0.00049, 0), (-0.0005, -1), (1e12, 10**15)]
)
def test_numbers_round_to_the_nearest_thousandth(number: float, amount: int) -> None:
    assert values.milli(number) == amount


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 1e16])
def test_numbers_without_thousandths_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="is not a number from"):
        values.milli(number)


def test_thousandths_survive_the_way_through_a_double() -> None:
    for amount in (1, 7, 7700, 123_456_789, 10**12 + 1):
        assert values.milli(amount / 1000) == amount
        assert values.milli(float(values.number_text(amount))) == amount


@given(whole=NUMBERS, few=st.sets(st.integers(0, 40), max_size=3), many=NUMBERS)
def test_ranges_are_sets_of_numbers(whole: set[int], few: set[int], many: set[int]) -> None:
    for other in (few, many):
        a, b = _ranges(whole), _ranges(other)
        assert values.ranges_with(a, b) == _ranges(whole | other)
        assert values.ranges_without(a, b) == _ranges(whole - other)
        assert values.ranges_contain(a, b) is (other <= whole)


def _ranges(numbers: set[int]) -> values.Ranges:
    return values.ranges((number, number) for number in numbers)


def test_ranges_that_touch_become_one() -> None:
    assert values.ranges([(3, 4), (1, 2), (6, 6)]) == ((1, 4), (6, 6))


def test_taking_ranges_away_splits_what_is_left() -> None:
    assert values.ranges_without(((1, 10), (20, 30)), ((5, 5), (8, 22), (30, 30))) == ((1, 4), (6, 7), (23, 29))
    assert values.ranges_without(((1, 10),), ()) == ((1, 10),)
    assert values.ranges_without(((1, 10),), ((0, 99),)) == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8000),
        (" 1e3 ", 1_000_000),
        (".5", 500),
        ("[1-2,3-4, 9-9]", ((1, 4), (9, 9))),
        ("[]", ()),
        ("{ a , b }", frozenset({"a", "b"})),
        ("rack 1", "rack 1"),
        ("nan", "nan"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_the_form_of_a_text_says_what_it_is(text: str, value: object) -> None:
    assert values.parse(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1-2", "has no ']'"),
        ("{a", "has no '}'"),
        ("[5]", "written as 1-5, not as '5'"),
        ("[5-1]", "ends before it begins"),
        ("[1-99999999999999999999]", "at most"),
        ("{a,a}", "names an item twice"),
    ],
)
def test_a_malformed_amount_is_refused_with_the_rule(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        values.parse(text)
