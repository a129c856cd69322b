"""The JSON form of messages, as Mesos reads and writes it.

Nearly every body is read by a typed msgspec decoder.  Mesos reads more than that decoder does (numbers as strings,
one element for a list of one, names of enums that it does not know), so a body that it refuses is read again by
plain code that follows Mesos' rules, and it is this second reading that decides and finds the words of a refusal.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from altiplano.wire import shape
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import Message
from altiplano.wire.shape import Kind, Label

M = TypeVar("M", bound=Message)

# An empty object costs its sender three bytes and us a hundred.
ELEMENTS_MAX = 1_000_000

_encoder = msgspec.json.Encoder()
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STRING_OR_TOKEN = re.compile(_STRING.pattern + rb"|-?Infinity|NaN", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_BOOLS = {"true": True, "false": False}


def encode(message: Message) -> bytes:
    """The JSON form of a message, without white space.

    Numbers that are not finite become the bare tokens `Infinity`, `-Infinity` and `NaN`, as in Mesos.
    """
    data = _encoder.encode(message)
    # msgspec writes null for such numbers, and for nothing else here, since what is absent is left out.
    if b":null" in data:
        return json.dumps(msgspec.to_builtins(message), ensure_ascii=False, separators=(",", ":")).encode()
    return data


def portable(data: bytes) -> bytes:
    """What `encode` made, with numbers that are not finite as strings: JSON for readers that know no more than JSON.

    `decode` reads either form.

    >>> portable(b'{"name":"Infinity","limits":{"mem":{"value":Infinity}}}')
    b'{"name":"Infinity","limits":{"mem":{"value":"Infinity"}}}'
    """
    if b"Infinity" not in data and b"NaN" not in data:
        return data
    return _STRING_OR_TOKEN.sub(_quoted, data)


def _quoted(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else b'"%b"' % text


def finite(message: Message) -> bool:
    """Whether all numbers of a message are finite."""
    data = encode(message)
    return portable(data) == data


def decode(message: type[M], data: bytes) -> M:
    """The message that the JSON text `data` holds, or a `WireError` that names the path and the rule."""
    if len(data) > ELEMENTS_MAX:
        _check_size(data)
    try:
        result: M = _decoder(message).decode(data)
        return result
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read(message, data)


@cache
def _decoder(message: type[Message]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(message)


def _check_size(data: bytes) -> None:
    # Commas within strings are taken out only if there are too many in all.
    if data.count(b",") >= ELEMENTS_MAX and _STRING.sub(b"", data).count(b",") >= ELEMENTS_MAX:
        raise WireError(f"Failed to parse the body as JSON: it has more than {ELEMENTS_MAX} elements")


def _read(message: type[M], data: bytes) -> M:
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise WireError(f"Failed to parse the body as JSON: it is not UTF-8: {error.reason}") from error
    except RecursionError as error:
        raise WireError("Failed to parse the body as JSON: it is nested too deeply") from error
    except ValueError as error:
        raise WireError(f"Failed to parse the body as JSON: {error}") from error
    reader = _Reader()
    try:
        result = reader.message(message, value, message.__name__)
    except WireError as error:
        raise WireError(f"Failed to convert JSON into {message.__name__} protobuf: {error}") from error
    if result is None:
        fields = "field" if len(reader.missing) == 1 else "fields"
        raise WireError(
            f"Failed to convert JSON into {message.__name__} protobuf: "
            f"missing required {fields}: {', '.join(reader.missing)}"
        )
    return result


class _Reader:
    """Reads one body by Mesos' rules, and gathers all that is missing so that one refusal names it."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def message(self, message: type[M], value: Any, path: str) -> M | None:
        """The message in `value`; None when something that it requires is missing."""
        if not isinstance(value, dict):
            raise WireError(f"{path}: expected an object, not {_noun(value)}")
        found: dict[str, Any] = {}
        missing_before = len(self.missing)
        for field in shape.fields_of(message):
            raw = value.get(field.name)
            # What is missing inside a required message is reported instead of that message.
            reported = len(self.missing)
            result = None if raw is None else self._field(field, raw, f"{path}.{field.name}")
            if result is not None:
                found[field.name] = result
            elif field.label is Label.REQUIRED and len(self.missing) == reported:
                self.missing.append(f"{path}.{field.name}")
        if len(self.missing) > missing_before:
            return None
        try:
            return message(**found)
        except ValueError as error:
            raise WireError(f"{path}: {error}") from error

    def _field(self, field: shape.Field, raw: Any, path: str) -> Any:
        if field.label is Label.REPEATED:
            elements = raw if isinstance(raw, list) else [raw]
            read = (self._value(field, one, f"{path}[{i}]") for i, one in enumerate(elements) if one is not None)
            return tuple(one for one in read if one is not None)
        if field.label is Label.MAP:
            if not isinstance(raw, dict):
                raise WireError(f"{path}: expected an object, not {_noun(raw)}")
            entries = ((key, self._value(field, one, f"{path}[{key}]")) for key, one in raw.items() if one is not None)
            return {key: one for key, one in entries if one is not None}
        return self._value(field, raw, path)

    def _value(self, field: shape.Field, raw: Any, path: str) -> Any:
        match field.kind:
            case Kind.MESSAGE:
                return self.message(field.type, raw, path)
            case Kind.ENUM:
                if not isinstance(raw, str):
                    raise WireError(f"{path}: expected the name of a value, not {_noun(raw)}")
                return _names(field.type).get(raw)
            case Kind.STRING:
                return _text(raw, path)
            case Kind.BYTES:
                return _bytes(raw, path)
            case Kind.BOOL:
                return _bool(raw, path)
            case Kind.DOUBLE:
                return _double(raw, path)
            case _:
                return _integer(raw, shape.INTEGER_BOUNDS[field.kind], path)


@cache
def _names(enum: type) -> Mapping[str, Any]:
    return {member.value: member for member in enum}  # type: ignore[attr-defined]  # all of ours have values


def _text(raw: Any, path: str) -> str:
    if not isinstance(raw, str):
        raise WireError(f"{path}: expected a string, not {_noun(raw)}")
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"{path}: half a surrogate pair is not a character") from error
    return raw


def _bytes(raw: Any, path: str) -> bytes:
    if not isinstance(raw, str):
        raise WireError(f"{path}: expected bytes in base64, not {_noun(raw)}")
    try:
        return binascii.a2b_base64(raw.encode(), strict_mode=True)
    except ValueError as error:
        raise WireError(f"{path}: expected bytes in base64: {error}") from error


def _bool(raw: Any, path: str) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw in _BOOLS:
        return _BOOLS[raw]
    raise WireError(f"{path}: expected true or false, not {_noun(raw)}")


def _double(raw: Any, path: str) -> float:
    if isinstance(raw, str):
        if raw in _NOT_FINITE:
            return _NOT_FINITE[raw]
        if _NUMBER.fullmatch(raw):
            return float(raw)
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        try:
            return float(raw)
        except OverflowError as error:
            raise WireError(f"{path}: the number is too large") from error
    raise WireError(f"{path}: expected a number, not {_noun(raw)}")


def _integer(raw: Any, bounds: tuple[int, int], path: str) -> int:
    if (isinstance(raw, str) and _INTEGER.fullmatch(raw)) or (isinstance(raw, float) and raw.is_integer()):
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise WireError(f"{path}: expected a whole number, not {_noun(raw)}")
    low, high = bounds
    if not low <= raw <= high:
        raise WireError(f"{path}: {raw} is not between {low} and {high}")
    return raw


def _noun(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return "a string" if len(value) > 40 else f'the string "{value}"'
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return f"the number {value}"
