"""A JSON body with one very long list, read piece by piece.

A decoder written in C holds the interpreter for as long as it reads, so a list of a hundred thousand elements read on a
thread would hold up the event loop all the same.  Here no piece takes longer than some milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec

from altiplano.wire import json, shape
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)

PIECE_BYTES = 64 * 1024
"""Elements are read in pieces of about this size."""

BORDERS_MAX = 64
"""Places tried for the end of a piece; whoever fills strings with what looks like one is refused."""

ELEMENTS_MAX = 200_000
"""Elements of such a list."""

Path = tuple[str, str]
"""Where in a call a list may be long: the field of its payload, and the list in it."""

_BORDER = re.compile(rb"\}\s*,\s*(?=\{)")


class TooMany(WireError):
    """A call brings more than one may."""


def decode(message: type[M], body: bytes, paths: Iterable[Path], most: int) -> M:
    """The message in a body, which apart from the lists at `paths` has at most `most` bytes.  Raises WireError."""
    try:
        top = _parts(body)
        found: dict[Path, tuple[Any, ...]] = {}
        for path in paths:
            payload, name = path
            if payload not in top:
                continue
            inner = _parts(bytes(top[payload]))
            if name in inner:
                found[path] = tuple(_elements(_element(message, payload, name), bytes(inner[name])))
                inner[name] = msgspec.Raw(b"[]")
                top[payload] = msgspec.Raw(msgspec.json.encode(inner))
        rest = msgspec.json.encode(top)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"Failed to parse the body as JSON: {error}") from error
    if len(rest) > most:
        raise TooMany(f"the call has {len(rest)} bytes outside its long lists, and {most} are the most")
    result = json.decode(message, rest)
    for (payload, name), elements in found.items():
        held = getattr(result, payload)
        if held is not None:
            changed = msgspec.structs.replace(held, **{name: elements})
            result = msgspec.structs.replace(result, **{payload: changed})
    return result


def _parts(body: bytes) -> dict[str, msgspec.Raw]:
    """The values of an object, unread."""
    return _outline.decode(body)


_outline = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _elements(kind: type[Message], text: bytes) -> Iterator[Message]:
    """The elements of a list.

    A piece ends where two objects meet.  That may be within a string or a list in a list, but then the piece is not
    valid by itself and a later border is tried; a piece that is valid ends between two elements.
    """
    text = text.strip()
    if not text.startswith(b"["):
        raise WireError(f"Failed to convert JSON into protobuf: expected an array of {kind.__name__}")
    decoder, start, count = _decoder(kind), 1, 0
    while start < len(text) - 1:
        for border in _borders(text, start + PIECE_BYTES):
            piece = text[start : border.start() + 1] if border is not None else text[start:-1]
            try:
                elements = decoder.decode(b"[%b]" % piece)
            except msgspec.DecodeError as error:
                if border is None:
                    raise WireError(f"Failed to convert JSON into protobuf: {kind.__name__}: {error}") from error
                continue
            count += len(elements)
            if count > ELEMENTS_MAX:
                raise TooMany(f"a list of a call has at most {ELEMENTS_MAX} elements: send several calls")
            yield from elements
            start = len(text) if border is None else border.end()
            break
        else:
            raise WireError(f"Failed to parse the body as JSON: where an element of {kind.__name__} ends is not clear")


def _borders(text: bytes, pos: int) -> Iterator[re.Match[bytes] | None]:
    """Where a piece may end, from a position on; None for the end of the text."""
    for _ in range(BORDERS_MAX):
        border = _BORDER.search(text, pos) if pos < len(text) else None
        yield border
        if border is None:
            return
        pos = border.end()


@cache
def _decoder(kind: type[Message]) -> msgspec.json.Decoder[list[Any]]:
    return msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]  # a class that is known when this runs


@cache
def _element(message: type[Message], payload: str, name: str) -> type[Message]:
    """The class of the elements of a list."""
    holder = next(field.type for field in shape.fields_of(message) if field.name == payload)
    return next(field.type for field in shape.fields_of(holder) if field.name == name)
