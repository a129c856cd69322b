"""Reading protobuf slowly and completely.

`altiplano.wire.protobuf` turns here when its compiled decoders meet something out of the ordinary.  This one knows
the whole format: messages sent in pieces that are to be merged, packed numbers, groups of which the last member
counts.  What it refuses, it refuses with the path and the rule.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from altiplano.wire import shape
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import UINT32_MAX, Message
from altiplano.wire.shape import Field, Kind, Label

M = TypeVar("M", bound=Message)

# Messages within messages; Google's decoders draw the line at the same depth.
DEPTH_MAX = 100
# A 64 bit number in groups of seven bits.
VARINT_SIZE_MAX_BYTES = 10

_WIRE_TYPES = {
    0: "a varint",
    1: "64 bits",
    2: "bytes",
    3: "the start of a group",
    4: "the end of a group",
    5: "32 bits",
}


@dataclass(slots=True)
class _Found:
    """What was found of one field: numbers, or the bytes of each occurrence."""

    numbers: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)


def decode(message: type[M], data: bytes) -> M:
    """The message that `data` holds, or a `WireError` that names the path and the rule."""
    missing: list[str] = []
    try:
        result: M | None = _message(message, data, message.__name__, DEPTH_MAX, missing)
    except WireError as error:
        raise WireError(f"Failed to parse the body as {message.__name__} protobuf: {error}") from error
    if result is None:
        fields = "field" if len(missing) == 1 else "fields"
        raise WireError(
            f"Failed to parse the body as {message.__name__} protobuf: missing required {fields}: {', '.join(missing)}"
        )
    return result


def _message(message: type[M], data: bytes, path: str, depth: int, missing: list[str]) -> M | None:
    """The message in `data`; None when something that it requires is missing."""
    if not depth:
        raise WireError(f"{path}: messages are nested more than {DEPTH_MAX} deep")
    known = {one.number: one for one in shape.fields_of(message)}
    found: dict[int, _Found] = {}
    for number, wire_type, value in _fields(data, path):
        one = known.get(number)
        if one is None or not _fits(one, wire_type):
            continue
        if one.group is not None:
            for other in known.values():
                if other.group == one.group and other is not one:
                    found.pop(other.number, None)
        entry = found.setdefault(number, _Found())
        if isinstance(value, bytes):
            entry.pieces.append(value)
        else:
            entry.numbers.append(value)
        if wire_type == 2 and _is_numeric(one):
            _unpack(entry, one, f"{path}.{one.name}")
    arguments: dict[str, Any] = {}
    complete = True
    for one in known.values():
        reported = len(missing)
        value = _read(one, found.get(one.number), f"{path}.{one.name}", depth, missing)
        if value is not None:
            arguments[one.name] = value
        elif one.label is Label.REQUIRED and len(missing) == reported:
            missing.append(f"{path}.{one.name}")
        complete = complete and len(missing) == reported
    if not complete:
        return None
    try:
        return message(**arguments)
    except ValueError as error:
        raise WireError(f"{path}: {error}") from error


def _read(one: Field, found: _Found | None, path: str, depth: int, missing: list[str]) -> Any:
    if found is None:
        return None
    if one.label is Label.MAP:
        return dict(_entry(one, piece, path, depth, missing) for piece in found.pieces)
    if one.kind is Kind.MESSAGE:
        if one.label is not Label.REPEATED:
            # By the rule of the format, the pieces of a message are merged by reading them as one.
            return _message(one.type, b"".join(found.pieces), path, depth - 1, missing)
        return tuple(
            _message(one.type, piece, f"{path}[{index}]", depth - 1, missing)
            for index, piece in enumerate(found.pieces)
        )
    raws: list[int | bytes] = [*found.numbers, *found.pieces]
    values = [value for raw in raws if (value := _value(one, raw, path)) is not None]
    if one.label is Label.REPEATED:
        return tuple(values)
    return values[-1] if values else None


def _entry(one: Field, data: bytes, path: str, depth: int, missing: list[str]) -> tuple[str, Any]:
    key, pieces = b"", [b""]
    for number, wire_type, value in _fields(data, path):
        if wire_type == 2 and isinstance(value, bytes):
            if number == 1:
                key = value
            elif number == 2:
                pieces.append(value)
    name = _text(key, path)
    if one.kind is Kind.MESSAGE:
        return name, _message(one.type, b"".join(pieces), f"{path}[{name}]", depth - 1, missing)
    return name, _text(pieces[-1], f"{path}[{name}]")


def _value(one: Field, raw: int | bytes, path: str) -> Any:
    """One value; None for an enum value that this version does not know."""
    if isinstance(raw, bytes):
        if one.kind is Kind.DOUBLE:
            return struct.unpack("<d", raw)[0]
        return _text(raw, path) if one.kind is Kind.STRING else raw
    match one.kind:
        case Kind.BOOL:
            return raw != 0
        case Kind.ENUM:
            number = _signed(raw & UINT32_MAX, 32)
            return next((member for member in one.type if member.number == number), None)  # type: ignore[attr-defined]  # our enum
        case Kind.INT32:
            return _signed(raw & UINT32_MAX, 32)
        case Kind.INT64:
            return _signed(raw, 64)
        case Kind.UINT32:
            return raw & UINT32_MAX
        case _:
            return raw


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> bits - 1 else number


def _text(raw: bytes, path: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{path}: a string is not UTF-8: {error.reason}") from error


def _is_numeric(one: Field) -> bool:
    return one.label is not Label.MAP and one.kind not in (Kind.STRING, Kind.BYTES, Kind.MESSAGE)


def _fits(one: Field, wire_type: int) -> bool:
    """Whether a field may come in this wire type; if not, it counts as unknown."""
    if not _is_numeric(one):
        return wire_type == 2
    own = 1 if one.kind is Kind.DOUBLE else 0
    return wire_type == own or (wire_type == 2 and one.label is Label.REPEATED)


def _fields(data: bytes, path: str) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and raw value of each field in turn."""
    pos = 0
    while pos < len(data):
        tag, pos = _varint(data, pos, path)
        number, wire_type = tag >> 3, tag & 7
        if not number or tag > UINT32_MAX:
            raise WireError(f"{path}: {number} is not the number of a field")
        value: int | bytes
        match wire_type:
            case 0:
                value, pos = _varint(data, pos, path)
            case 1:
                value, pos = data[pos : pos + 8], pos + 8
            case 2:
                size, pos = _varint(data, pos, path)
                value, pos = data[pos : pos + size], pos + size
            case 5:
                value, pos = data[pos : pos + 4], pos + 4
            case _:
                said = _WIRE_TYPES.get(wire_type, f"the wire type {wire_type}")
                raise WireError(f"{path}: field {number} is {said}, which no message of this API has")
        if pos > len(data):
            raise WireError(f"{path}: field {number} ends after the message that holds it")
        yield number, wire_type, value


def _unpack(found: _Found, one: Field, path: str) -> None:
    """Replaces the last piece by the numbers that were packed into it."""
    packed, pos = found.pieces.pop(), 0
    if one.kind is Kind.DOUBLE:
        if len(packed) % 8:
            raise WireError(f"{path}: {len(packed)} bytes are no packed numbers of 8 bytes each")
        found.pieces += (packed[start : start + 8] for start in range(0, len(packed), 8))
        return
    while pos < len(packed):
        number, pos = _varint(packed, pos, path)
        found.numbers.append(number)


def _varint(data: bytes, pos: int, path: str) -> tuple[int, int]:
    value = 0
    for index in range(VARINT_SIZE_MAX_BYTES):
        if pos + index >= len(data):
            raise WireError(f"{path}: the message ends within a number")
        byte = data[pos + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >> 64:
                break
            return value, pos + index + 1
    raise WireError(f"{path}: a number has more than 64 bits")
