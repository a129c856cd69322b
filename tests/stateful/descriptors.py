"""Google's protobuf as the judge of our codec.

The descriptors are made from the table of field numbers that the conformance suite carries, never from our message
classes.  That table leaves out the fields of the statistics messages; `statistics.json` has them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from altiplano.wire.messages import (
    agent,
    allocator,
    executor,
    maintenance,
    master,
    mesos,
    quota,
    resource_provider,
    scheduler,
)
from altiplano.wire.messages.fields import Message

PACKAGES: dict[str, ModuleType] = {
    "allocator": allocator,
    "maintenance": maintenance,
    "quota": quota,
    "scheduler": scheduler,
    "resource_provider": resource_provider,
    "executor": executor,
    "master": master,
    "agent": agent,
}
_HERE = Path(__file__).parent
_SCHEMA = json.loads((_HERE.parent / "conformance" / "conformance" / "schema.json").read_text())
ENUMS: dict[str, dict[str, int]] = _SCHEMA["enums"]
MESSAGES: dict[str, list[list[Any]]] = {
    **_SCHEMA["messages"],
    **json.loads((_HERE / "statistics.json").read_text())["messages"],
}
_TYPES = {
    kind: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    for kind in ("string", "bytes", "bool", "double", "int32", "int64", "uint32", "uint64", "enum", "message")
}


def our_class(name: str) -> type[Message]:
    """The message class for a name of the table."""
    package, parts = _split(name)
    found: type[Message] = getattr(PACKAGES.get(package, mesos), "".join(parts))
    return found


@cache
def google_class(name: str) -> Any:
    """Google's class for a name of the table."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(_full_name(name)))


def google_message(name: str, data: dict[str, Any]) -> Any:
    """Google's message with what a JSON object holds, without Google's JSON."""
    message = google_class(name)()
    _fill(message, name, data)
    return message


def _fill(message: Any, name: str, data: dict[str, Any]) -> None:
    rows = {row[1]: row for row in MESSAGES[name]}
    message.SetInParent()
    for key, value in data.items():
        _, _, kind, ref, label = rows[key]
        if kind == "map":
            for map_key, one in value.items():
                if ref[1] in MESSAGES:
                    getattr(message, key)[map_key].SetInParent()
                    _fill(getattr(message, key)[map_key], ref[1], one)
                else:
                    getattr(message, key)[map_key] = one
        elif kind == "message":
            for one in value if label == "rep" else [value]:
                held = getattr(message, key)
                _fill(held.add() if label == "rep" else held, ref, one)
        elif label == "rep":
            getattr(message, key).extend(_plain(kind, ref, one) for one in value)
        else:
            setattr(message, key, _plain(kind, ref, value))


def _plain(kind: str, ref: str, value: Any) -> Any:
    if kind == "bytes":
        return base64.b64decode(value)
    return ENUMS[ref][value] if kind == "enum" else value


def _split(name: str) -> tuple[str, list[str]]:
    if name.startswith("google.protobuf."):
        return "google.protobuf", [name.removeprefix("google.protobuf.")]
    first, *rest = name.split(".")
    return (first, rest) if first in PACKAGES else ("", [first, *rest])


def _package(package: str) -> str:
    return package if package.startswith("google") else f"mesos.v1.{package}".rstrip(".")


def _full_name(name: str) -> str:
    package, parts = _split(name)
    return ".".join((_package(package), *parts))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    done: list[str] = []
    for package in ("google.protobuf", "", *PACKAGES):
        pool.Add(_file(package, done))
        done.append(f"{package or 'mesos'}.proto")
    return pool


def _file(package: str, dependencies: list[str]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package or 'mesos'}.proto", package=_package(package), dependency=dependencies, syntax="proto2"
    )
    made: dict[tuple[str, ...], Any] = {(): file}

    def holder(parts: tuple[str, ...]) -> Any:
        if parts not in made:
            outer = holder(parts[:-1])
            made[parts] = (outer.message_type if len(parts) == 1 else outer.nested_type).add(name=parts[-1])
        return made[parts]

    for name, parts in _of(package, MESSAGES):
        message = holder(parts)
        groups: list[str] = []
        for number, key, kind, ref, label in MESSAGES[name]:
            _add_field(message, name, groups, number, key, kind, ref, label)
        for group in groups:
            message.oneof_decl.add(name=group)
    for name, parts in _of(package, ENUMS):
        enum = holder(parts[:-1]).enum_type.add(name=parts[-1])
        for value, number in ENUMS[name].items():
            enum.value.add(name=value, number=number)
    return file


def _of(package: str, names: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in names:
        found, parts = _split(name)
        if found == package:
            yield name, tuple(parts)


def _add_field(
    message: Any, name: str, groups: list[str], number: int, key: str, kind: str, ref: Any, label: str
) -> None:
    field = message.field.add(name=key, number=number)
    if kind == "map":
        entry = message.nested_type.add(name="".join(part.capitalize() for part in key.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_TYPES[ref[0]], label=1)
        value = entry.field.add(name="value", number=2, label=1)
        value.type = _TYPES["message" if ref[1] in MESSAGES else ref[1]]
        if ref[1] in MESSAGES:
            value.type_name = "." + _full_name(ref[1])
        field.type, field.label, field.type_name = _TYPES["message"], 3, f".{_full_name(name)}.{entry.name}"
        return
    field.type = _TYPES[kind]
    field.label = {"req": 2, "rep": 3}.get(label, 1)
    if ref:
        field.type_name = "." + _full_name(ref)
    if label.startswith("oneof "):
        group = label.removeprefix("oneof ")
        if group not in groups:
            groups.append(group)
        field.oneof_index = groups.index(group)
