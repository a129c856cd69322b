"""Dividing one agent among several frameworks that wait for it."""

from __future__ import annotations

from altiplano.model.resources import Kind, Resources
from altiplano.model.values import Ranges, Value

PART_MIN = {"cpus": 1000, "mem": 128_000}
"""An agent is not cut into parts with less than one cpu or 128 MB: few tasks would fit."""

DECLINES_MAX = 2
"""A framework that declined so many parts in a row is offered a whole agent next: parts are too small for it."""


def parts_max(free: Resources) -> int:
    """Into how many parts these resources may be cut."""
    scalars = free.scalars
    return min((scalars.get(name, 0) // least for name, least in PART_MIN.items()), default=1) or 1


def part(free: Resources, count: int) -> Resources:
    """One of `count` equal parts; what cannot be divided goes with it whole.

    Numbers are divided down to their thousandths, ranges by length, sets by items, so after `count`
    calls on what is left each time, nothing is left.

    >>> from altiplano.model.resources import parse
    >>> print(part(parse("cpus:8;mem:1000;ports:[1-10]"), 3))
    cpus:2.666; mem:333.333; ports:[1-3]
    """
    if count <= 1:
        return free
    return Resources((kind, _part(kind, value, count)) for kind, value in free)


def _part(kind: Kind, value: Value, count: int) -> Value:
    if kind.is_whole or kind.shared:
        return value
    match value:
        case int():
            # A GPU is not divided.
            return value // count if kind.name != "gpus" else value // 1000 // count * 1000
        case tuple():
            return _first(value, sum(end - begin + 1 for begin, end in value) // count)
        case frozenset():
            return frozenset(sorted(value)[: len(value) // count])


def _first(ranges: Ranges, length: int) -> Ranges:
    taken: list[tuple[int, int]] = []
    for begin, end in ranges:
        if length <= 0:
            break
        taken.append((begin, min(end, begin + length - 1)))
        length -= end - begin + 1
    return tuple(taken)
