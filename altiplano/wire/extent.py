"""How much a body holds, told before it is read: an empty object costs its sender two bytes and us a hundred.

Both counts stop soon after the number that matters, and neither holds the interpreter for long, so that they can be
made on a thread beside an event loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from altiplano.wire import shape
from altiplano.wire.messages.fields import Message
from altiplano.wire.protobuf import FIXED32, FIXED64, LENGTH, VARINT
from altiplano.wire.shape import Kind, Label

WINDOW_BYTES = 256 * 1024
"""What is looked at in one go."""

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_FIXED_BYTES: Mapping[int, int] = {FIXED64: 8, FIXED32: 4}


def json_elements(body: bytes, most: int) -> int:
    """Objects, lists and values of a JSON text, about; exact in what it says of `most`: at most so many, or more.

    >>> json_elements(b'{"a":[1,2,",,,"]}', 3)
    4
    """
    count = _marks(body)
    if count <= most:
        return count
    # What stands in strings is left out only where that matters.
    count, start, inside = 0, 0, False
    while start < len(body) and count <= most:
        stop = min(start + WINDOW_BYTES, len(body))
        while stop < len(body) and body[stop - 1] == 0x5C:
            stop += 1
        parts = _ESCAPED.sub(b"", body[start:stop]).split(b'"')
        count += _marks(b" ".join(parts[inside::2]))
        inside ^= len(parts) % 2 == 0
        start = stop
    return count


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"{") + text.count(b"[")


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a map whose values are messages."""

    value: type[Message]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A list of numbers, which may be packed into one field."""


def protobuf_elements(message: type[Message], body: bytes, most: int) -> int:
    """Fields of a body, those of the messages in it included, or some number above `most`.

    What is malformed is passed over: whoever reads it finds the words.
    """
    count = 0
    waiting: list[tuple[type[Message] | _Entry, int, int]] = [(message, 0, len(body))]
    while waiting and count <= most:
        holder, pos, end = waiting.pop()
        known = _holds(holder)
        while pos < end and count <= most:
            count += 1
            tag, pos = _varint(body, pos)
            if tag & 7 == VARINT:
                _, pos = _varint(body, pos)
            elif tag & 7 == LENGTH:
                size, pos = _varint(body, pos)
                inner = known.get(tag >> 3)
                if isinstance(inner, _Numbers):
                    # A byte each, or more.
                    count += size
                elif inner is not None:
                    waiting.append((inner, pos, min(pos + size, end)))
                pos += size
            elif tag & 7 in _FIXED_BYTES:
                pos += _FIXED_BYTES[tag & 7]
            else:
                break
    return count


def _varint(body: bytes, pos: int) -> tuple[int, int]:
    """A number and what follows it; beyond the end everything is 0."""
    value = shift = 0
    while pos < len(body):
        byte = body[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            break
    return value, pos


@cache
def _holds(holder: type[Message] | _Entry) -> Mapping[int, type[Message] | _Entry | _Numbers]:
    """The fields of a message that hold more than one value."""
    if isinstance(holder, _Entry):
        return {2: holder.value}
    found: dict[int, type[Message] | _Entry | _Numbers] = {}
    for field in shape.fields_of(holder):
        if field.kind is Kind.MESSAGE:
            found[field.number] = _Entry(field.type) if field.label is Label.MAP else field.type
        elif field.label is Label.REPEATED and field.kind not in (Kind.STRING, Kind.BYTES):
            found[field.number] = _Numbers()
    return found
