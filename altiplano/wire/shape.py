"""What a message class says about itself, read from its annotations.

Both codecs are derived from this and from nothing else.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from functools import cache
from typing import Annotated, Any

import msgspec

from altiplano.wire.messages import fields


@unique
class Kind(Enum):
    """What one value of a field is."""

    STRING = "string"
    BYTES = "bytes"
    BOOL = "bool"
    DOUBLE = "double"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT64 = "uint64"
    ENUM = "enum"
    MESSAGE = "message"


@unique
class Label(Enum):
    """How often a field occurs."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    REPEATED = "repeated"
    MAP = "map"


INTEGER_BOUNDS: Mapping[Kind, tuple[int, int]] = {
    Kind.INT32: (fields.INT32_MIN, fields.INT32_MAX),
    Kind.INT64: (fields.INT64_MIN, fields.INT64_MAX),
    Kind.UINT32: (0, fields.UINT32_MAX),
    Kind.UINT64: (0, fields.UINT64_MAX),
}

_PLAIN: Mapping[type, Kind] = {str: Kind.STRING, bytes: Kind.BYTES, bool: Kind.BOOL, float: Kind.DOUBLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: `type` is the class of its values; of a map, that of the values of its entries."""

    name: str
    number: int
    kind: Kind
    type: type
    label: Label
    group: str | None = None
    default: Any = None


@cache
def fields_of(message: type[fields.Message]) -> tuple[Field, ...]:
    """The fields of a message class, by number."""
    return tuple(sorted((_field(info) for info in msgspec.structs.fields(message)), key=lambda field: field.number))


def messages_of(module: types.ModuleType) -> Iterator[type[fields.Message]]:
    """The message classes that a module defines."""
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, fields.Message) and value.__module__ == module.__name__:
            yield value


def _field(info: msgspec.structs.FieldInfo) -> Field:
    declared, *marks = typing.get_args(info.type)
    label = Label.REQUIRED if info.required else Label.OPTIONAL
    origin = typing.get_origin(declared)
    if origin is tuple:
        label, declared = Label.REPEATED, typing.get_args(declared)[0]
    elif origin is Mapping:
        key, declared = typing.get_args(declared)
        if key is not str:
            raise TypeError(f"{info.name}: the key of a map is a string")
        label = Label.MAP
    elif origin in (typing.Union, types.UnionType):
        (declared,) = (part for part in typing.get_args(declared) if part is not type(None))
    if typing.get_origin(declared) is Annotated:
        declared, *inner = typing.get_args(declared)
        marks += inner
    return Field(
        name=info.encode_name,
        number=next(mark for mark in marks if type(mark) is int),
        kind=_kind(declared, marks),
        type=declared,
        label=label,
        group=next((mark.group for mark in marks if isinstance(mark, fields.OneOf)), None),
        default=info.default_factory() if info.default_factory is not msgspec.NODEFAULT else None,
    )


def _kind(declared: type, marks: list[Any]) -> Kind:
    for mark in marks:
        if isinstance(mark, fields.Varint):
            return Kind(mark.value)
    if issubclass(declared, fields.Message):
        return Kind.MESSAGE
    if issubclass(declared, fields.Numbered):
        return Kind.ENUM
    return _PLAIN[declared]
