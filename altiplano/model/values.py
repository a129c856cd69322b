"""Amounts: numbers with three decimals, ranges of whole numbers, sets of names; and how people write them.

A number is an `int` of thousandths throughout, because Mesos rounds to three decimals after every sum and a
scheduler must not lose or gain anything by adding and taking away.  Only what leaves or enters a process is a float.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import TypeAlias

Milli: TypeAlias = int
# Sorted, disjoint, not adjacent; both ends belong to a range.
Ranges: TypeAlias = tuple[tuple[int, int], ...]
Value: TypeAlias = Milli | Ranges | frozenset[str]

# The largest number whose thousandths a double still tells apart.
NUMBER_MAX = 2**53 // 1000
RANGE_END_MAX = 2**64 - 1

FEW = 8
"""Ranges are looked up one by one where there are so many times fewer of them than of those they go into."""

_begin = itemgetter(0)
_end = itemgetter(1)

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_RANGE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_BLANKS: Mapping[int, None] = dict.fromkeys(map(ord, " \t\r\n\v\f"))


def milli(number: float) -> Milli:
    """`number` in thousandths, rounded to the nearest, halves away from zero.

    >>> milli(7.7), milli(0.0005), milli(0.0004), milli(-0.0005)
    (7700, 1, 0, -1)
    """
    if not abs(number) <= NUMBER_MAX:
        raise ValueError(f"{number} is not a number from -{NUMBER_MAX} to {NUMBER_MAX}")
    return int(math.copysign(math.floor(abs(number) * 1000 + 0.5), number))


def number_text(amount: Milli) -> str:
    """A number of thousandths as people write it.

    >>> number_text(7700), number_text(8000), number_text(5), number_text(-1250)
    ('7.7', '8', '0.005', '-1.25')
    """
    whole, rest = divmod(abs(amount), 1000)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{rest:03}".rstrip("0") if rest else f"{sign}{whole}"


def ranges(parts: Iterable[tuple[int, int]]) -> Ranges:
    """The same numbers in the fewest ranges.

    >>> ranges([(5, 9), (1, 2), (3, 3), (8, 12)])
    ((1, 3), (5, 12))
    """
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(parts):
        if begin > end:
            raise ValueError(f"the range {begin}-{end} ends before it begins")
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def ranges_with(whole: Ranges, added: Ranges) -> Ranges:
    """The numbers of both.

    >>> ranges_with(((1, 2), (8, 9)), ((3, 3), (12, 12)))
    ((1, 3), (8, 9), (12, 12))
    """
    if len(added) * FEW > len(whole):
        return ranges((*whole, *added))
    # A task's few ports go into the many of a machine: looking for their places beats sorting all of them.
    for begin, end in added:
        first = bisect_left(whole, begin - 1, key=_end)
        last = bisect_right(whole, end + 1, key=_begin)
        if first < last:
            begin, end = min(begin, whole[first][0]), max(end, whole[last - 1][1])
        whole = (*whole[:first], (begin, end), *whole[last:])
    return whole


def ranges_without(whole: Ranges, taken: Ranges) -> Ranges:
    """What is left of `whole` when `taken` is gone.

    >>> ranges_without(((1, 9),), ((3, 4), (9, 12)))
    ((1, 2), (5, 8))
    """
    if len(taken) * FEW > len(whole):
        return _ranges_without(whole, taken)
    for begin, end in taken:
        first = bisect_left(whole, begin, key=_end)
        last = bisect_right(whole, end, key=_begin)
        if first < last:
            before, after = (whole[first][0], begin - 1), (end + 1, whole[last - 1][1])
            left = tuple(one for one in (before, after) if one[0] <= one[1])
            whole = (*whole[:first], *left, *whole[last:])
    return whole


def _ranges_without(whole: Ranges, taken: Ranges) -> Ranges:
    left: list[tuple[int, int]] = []
    rest = iter(taken)
    hole = next(rest, None)
    for begin, end in whole:
        while hole is not None and hole[0] <= end:
            if hole[1] < begin:
                hole = next(rest, None)
                continue
            if hole[0] > begin:
                left.append((begin, hole[0] - 1))
            begin = hole[1] + 1
            if hole[1] > end:
                break
            hole = next(rest, None)
        if begin <= end:
            left.append((begin, end))
    return tuple(left)


def ranges_contain(whole: Ranges, part: Ranges) -> bool:
    """Whether all numbers of `part` are in `whole`."""
    for begin, end in part:
        place = bisect_right(whole, begin, key=_begin) - 1
        if place < 0 or whole[place][1] < end:
            return False
    return True


def parse(text: str) -> Value | str:
    """What an amount, or the value of an attribute, is: a number, ranges, a set, or else the text itself.

    >>> parse("7.5"), parse("[1-3, 5-5]"), sorted(parse("{a,b}")), parse("r1")
    (7500, ((1, 3), (5, 5)), ['a', 'b'], 'r1')
    """
    bare = text.translate(_BLANKS)
    if bare.startswith("["):
        return _parse_ranges(bare)
    if bare.startswith("{"):
        return _parse_set(bare)
    if _NUMBER.fullmatch(bare):
        return milli(float(bare))
    return text.strip()


def text_of(value: Value | str) -> str:
    """A value as Mesos prints it.

    >>> text_of(((31000, 31009), (31013, 31019)))
    '[31000-31009, 31013-31019]'
    """
    match value:
        case int():
            return number_text(value)
        case tuple():
            return "[" + ", ".join(f"{begin}-{end}" for begin, end in value) + "]"
        case frozenset():
            return "{" + ", ".join(sorted(value)) + "}"
        case str():
            return value


def _parse_ranges(text: str) -> Ranges:
    if not text.endswith("]"):
        raise ValueError(f"ranges are written as [1-5,8-9], but {text!r} has no ']' at its end")
    parts = []
    for part in filter(None, text[1:-1].split(",")):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"a range is written as 1-5, not as {part!r}")
        begin, end = int(match[1]), int(match[2])
        if end > RANGE_END_MAX:
            raise ValueError(f"a range ends at {RANGE_END_MAX} at most, not at {end}")
        parts.append((begin, end))
    return ranges(parts)


def _parse_set(text: str) -> frozenset[str]:
    if not text.endswith("}"):
        raise ValueError(f"a set is written as {{a,b}}, but {text!r} has no '}}' at its end")
    items = [item for item in text[1:-1].split(",") if item]
    if len(set(items)) < len(items):
        raise ValueError(f"the set {text} names an item twice")
    return frozenset(items)
