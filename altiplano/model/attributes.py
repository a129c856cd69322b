"""Attributes of an agent: facts about a machine that frameworks may choose by, such as its rack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from altiplano.model import values

AttributeValue: TypeAlias = values.Milli | values.Ranges | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One fact: a number (in thousandths), ranges of whole numbers, or a text.  A name may occur several times."""

    name: str
    value: AttributeValue


def parse(text: str) -> tuple[Attribute, ...]:
    """The attributes in `rack:r1;slots:4;x:[1-3]`, or a `ValueError` that says what is wrong.

    >>> parse("rack:r1;slots:4")[1]
    Attribute(name='slots', value=4000)
    """
    return tuple(_one(part) for part in text.replace("\n", ";").split(";") if part.strip())


def _one(text: str) -> Attribute:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not (name and colon and value):
        raise ValueError(f"an attribute is written as name:value, not as {text.strip()!r}")
    try:
        read = values.parse(value)
    except ValueError as error:
        raise ValueError(f"attribute {name}: {error}") from error
    if isinstance(read, frozenset):
        raise ValueError(f"attribute {name}: sets are for resources; name the attribute once for each of {value}")
    return Attribute(name=name, value=read)
