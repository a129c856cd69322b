"""Random messages of any class, out of a seed, leaning towards the borders of each type."""

from __future__ import annotations

import math
import random
from typing import Any, TypeVar

from altiplano.wire import shape
from altiplano.wire.messages.fields import Message
from altiplano.wire.shape import Kind, Label

M = TypeVar("M", bound=Message)

_TEXTS = ("", "a", "cpus", "ä\U0001f40d", "x" * 127, "x" * 128, 'quote " and \\ and \n', ":null", "\x00", "y" * 300)
# None begins with another, since Google sorts such pairs of map keys in an order of its own.
_KEYS = ("cpus", "disk", "mem\x00", "ä\U0001f40d", "y" * 300)
_DOUBLES = (0.0, -0.0, 1.0, 7.7, 0.1 + 0.2, -1e300, 5e-324, math.inf, -math.inf, 1e15, 123456789.123)


def message(cls: type[M], seed: int) -> M:
    return _message(cls, random.Random(seed), depth=3, density=0.5)


def _message(cls: type[M], rng: random.Random, depth: int, density: float) -> M:
    arguments: dict[str, Any] = {}
    taken: set[str] = set()
    for field in shape.fields_of(cls):
        if field.label is not Label.REQUIRED and (
            rng.random() > density or (field.kind is Kind.MESSAGE and depth <= 0) or field.group in taken
        ):
            continue
        if field.group is not None:
            taken.add(field.group)
        if field.label is Label.REPEATED:
            arguments[field.name] = tuple(_value(field, rng, depth, density) for _ in range(rng.randrange(4)))
        elif field.label is Label.MAP:
            keys = sorted(rng.sample(_KEYS, rng.randrange(3)))
            arguments[field.name] = {key: _value(field, rng, depth, density) for key in keys}
        else:
            arguments[field.name] = _value(field, rng, depth, density)
    return cls(**arguments)


def _value(field: shape.Field, rng: random.Random, depth: int, density: float) -> Any:
    match field.kind:
        case Kind.MESSAGE:
            return _message(field.type, rng, depth - 1, density * 0.7)
        case Kind.ENUM:
            return rng.choice(list(field.type))  # type: ignore[call-overload]
        case Kind.STRING:
            return rng.choice(_TEXTS)
        case Kind.BYTES:
            return rng.randbytes(rng.choice((0, 1, 2, 3, 16, 200)))
        case Kind.BOOL:
            return rng.random() < 0.5
        case Kind.DOUBLE:
            return rng.choice(_DOUBLES)
        case _:
            low, high = shape.INTEGER_BOUNDS[field.kind]
            near = (low, low + 1, -1, 0, 1, 127, 128, 255, 256, 16383, 16384, high - 1, high, rng.randint(low, high))
            return rng.choice([number for number in near if low <= number <= high])
