"""What message classes are made of.

A message is a frozen struct whose fields are declared as

    name: Annotated[type, number] = default

where the number is that of the field in the protobuf form.  From this one line both forms of a message are derived
(`altiplano.wire.json`, `altiplano.wire.protobuf`).  The default says how often the field occurs:

* none: it is required, and a message without it is refused;
* `None`: it is optional, and absent unless set;
* `()` or an empty mapping: it is repeated;
* `always(default=…)`: it is optional, has that value when absent, and is written even then, as Mesos writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import Annotated, Any, Self, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")


@unique
class Varint(Enum):
    """How an integer is put into a protobuf varint, which has no type of its own."""

    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT64 = "uint64"


INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1

int32 = Annotated[int, msgspec.Meta(ge=INT32_MIN, le=INT32_MAX), Varint.INT32]
int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX), Varint.INT64]
uint32 = Annotated[int, msgspec.Meta(ge=0, le=UINT32_MAX), Varint.UINT32]
# msgspec compares limits as signed 64 bit integers; that a number fits into 64 bits is checked by the protobuf codec.
uint64 = Annotated[int, msgspec.Meta(ge=0), Varint.UINT64]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Marks a field of a group of which at most one is set: a protobuf decoder keeps the last."""

    group: str


class Numbered(Enum):
    """An enum with both its forms: the value is the name, as JSON has it, `number` is that of protobuf."""

    _value_: str
    number: int

    def __new__(cls, name: str, number: int) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.number = number
        return member


def always(*, default: T) -> T:
    """An optional field that has a value even when nobody set it, and is written even then."""
    # msgspec leaves out what equals a default, but cannot know what a factory would have made.
    return msgspec.field(default_factory=lambda: default)


class MessageType(msgspec.StructMeta):
    """Makes the fields of all messages keyword-only, which structs do not inherit from their base."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> MessageType:
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **config})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field, always))
class Message(msgspec.Struct, metaclass=MessageType, frozen=True, omit_defaults=True, gc=False):
    """Base of all messages.

    Messages are values that contain only values, so they cannot form cycles and the garbage collector need not look
    at them: with 100,000 tasks in memory that is what keeps its pauses short.
    """
