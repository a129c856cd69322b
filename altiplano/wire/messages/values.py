"""Small values that many messages share: labels, addresses, attributes, devices."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered, int32, uint64


class ValueType(Numbered):
    SCALAR = "SCALAR", 0
    RANGES = "RANGES", 1
    SET = "SET", 2
    TEXT = "TEXT", 3


class Address(Message):
    hostname: Annotated[str | None, 1] = None
    ip: Annotated[str | None, 2] = None
    port: Annotated[int32, 3]


class Parameter(Message):
    key: Annotated[str, 1]
    value: Annotated[str, 2]


class URL(Message):
    scheme: Annotated[str, 1]
    address: Annotated[Address, 2]
    path: Annotated[str | None, 3] = None
    query: Annotated[tuple[Parameter, ...], 4] = ()
    fragment: Annotated[str | None, 5] = None


class Parameters(Message):
    parameter: Annotated[tuple[Parameter, ...], 1] = ()


class Label(Message):
    key: Annotated[str, 1]
    value: Annotated[str | None, 2] = None


class Labels(Message):
    labels: Annotated[tuple[Label, ...], 1] = ()


class ValueScalar(Message):
    """A number with three decimals; more are rounded away."""

    value: Annotated[float, 1]


class ValueRange(Message):
    """Both ends belong to it."""

    begin: Annotated[uint64, 1]
    end: Annotated[uint64, 2]


class ValueRanges(Message):
    range: Annotated[tuple[ValueRange, ...], 1] = ()


class ValueSet(Message):
    item: Annotated[tuple[str, ...], 1] = ()


class ValueText(Message):
    value: Annotated[str, 1]


class Attribute(Message):
    name: Annotated[str, 1]
    type: Annotated[ValueType, 2]
    scalar: Annotated[ValueScalar | None, 3] = None
    ranges: Annotated[ValueRanges | None, 4] = None
    text: Annotated[ValueText | None, 5] = None
    set: Annotated[ValueSet | None, 6] = None


class Value(Message):
    type: Annotated[ValueType, 1]
    scalar: Annotated[ValueScalar | None, 2] = None
    ranges: Annotated[ValueRanges | None, 3] = None
    set: Annotated[ValueSet | None, 4] = None
    text: Annotated[ValueText | None, 5] = None


class DeviceNumber(Message):
    major_number: Annotated[uint64, 1]
    minor_number: Annotated[uint64, 2]


class Device(Message):
    path: Annotated[str | None, 1] = None
    number: Annotated[DeviceNumber | None, 2] = None


class DeviceAccessAccess(Message):
    read: Annotated[bool | None, 1] = None
    write: Annotated[bool | None, 2] = None
    mknod: Annotated[bool | None, 3] = None


class DeviceAccess(Message):
    device: Annotated[Device, 1]
    access: Annotated[DeviceAccessAccess, 2]


class DeviceWhitelist(Message):
    allowed_devices: Annotated[tuple[DeviceAccess, ...], 1] = ()
