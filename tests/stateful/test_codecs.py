"""Both forms of all messages: they round-trip, and Google's protobuf writes and reads the same bytes."""

from __future__ import annotations

import json as plain_json
import random
from typing import Any

import descriptors
import pytest
import random_messages
from google.protobuf.message import DecodeError, EncodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from altiplano.wire import json, protobuf, protobuf_careful, shape
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered
from altiplano.wire.shape import Kind, Label

NAMES = sorted(descriptors.MESSAGES)
names = st.sampled_from(NAMES)
seeds = st.integers(0, 2**32 - 1)
thorough = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def as_google(name: str, message: Message) -> Any:
    return descriptors.google_message(name, plain_json.loads(json.encode(message)))


@thorough
@given(names, seeds)
def test_a_message_survives_its_json_form(name: str, seed: int) -> None:
    message = random_messages.message(descriptors.our_class(name), seed)
    assert json.decode(type(message), json.encode(message)) == message


@thorough
@given(names, seeds)
def test_a_message_survives_its_protobuf_form(name: str, seed: int) -> None:
    message = random_messages.message(descriptors.our_class(name), seed)
    data = protobuf.encode(message)
    assert protobuf.decode(type(message), data) == message
    assert protobuf_careful.decode(type(message), data) == message


@thorough
@given(names, seeds)
def test_google_writes_the_same_bytes_and_reads_ours(name: str, seed: int) -> None:
    message = random_messages.message(descriptors.our_class(name), seed)
    google = as_google(name, message)
    data = protobuf.encode(message)
    assert google.SerializeToString(deterministic=True) == data
    assert descriptors.google_class(name).FromString(data) == google


@thorough
@given(names, seeds, seeds)
def test_two_messages_in_a_row_are_merged_as_google_merges_them(name: str, one: int, other: int) -> None:
    cls = descriptors.our_class(name)
    data = b"".join(protobuf.encode(random_messages.message(cls, seed)) for seed in (one, other))
    google = descriptors.google_class(name).FromString(data)
    try:
        ours = protobuf.decode(cls, data)
    except WireError as error:
        assert "nested" in str(error)  # noqa: PT017 - parents of containers may add up to more than our limit
        return
    assert as_google(name, ours) == google


@thorough
@given(names, seeds)
@example("TaskInfo", 0)
def test_damaged_bytes_are_refused_or_read_as_google_reads_them(name: str, seed: int) -> None:
    cls = descriptors.our_class(name)
    rng = random.Random(seed)
    data = bytearray(protobuf.encode(random_messages.message(cls, seed)))
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(data) + 1)
        data[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    try:
        ours = protobuf.decode(cls, bytes(data))
    except WireError:
        return  # that nothing sound is refused is what the other tests say
    try:
        google = descriptors.google_class(name).FromString(bytes(data))
    except DecodeError:
        pytest.fail("Google refuses what we read")
    google.DiscardUnknownFields()
    set_defaults(google, cls)
    read_back = descriptors.google_class(name).FromString(protobuf.encode(ours))
    try:
        assert read_back.SerializeToString(deterministic=True) == google.SerializeToString(deterministic=True)
    except EncodeError:
        pytest.fail("Google misses a required field that we do not miss")


def set_defaults(google: Any, cls: type[Message]) -> None:
    """Writes out the defaults that our messages always carry."""
    for field in shape.fields_of(cls):
        if field.kind is Kind.MESSAGE:
            held = getattr(google, field.name)
            match field.label:
                case Label.MAP:
                    for one in held.values():
                        set_defaults(one, field.type)
                case Label.REPEATED:
                    for one in held:
                        set_defaults(one, field.type)
                case _:
                    if google.HasField(field.name):
                        set_defaults(held, field.type)
        elif field.label is Label.OPTIONAL and field.default is not None and not google.HasField(field.name):
            default = field.default.number if field.kind is Kind.ENUM else field.default
            setattr(google, field.name, default)


def test_every_message_of_the_table_is_ours_with_the_same_fields() -> None:
    labels = {"req": Label.REQUIRED, "opt": Label.OPTIONAL, "rep": Label.REPEATED, "map": Label.MAP}
    for name, rows in descriptors.MESSAGES.items():
        ours = {field.name: field for field in shape.fields_of(descriptors.our_class(name))}
        assert set(ours) == {row[1] for row in rows}, name
        for number, key, kind, ref, label in rows:
            field = ours[key]
            said = (field.number, field.label, field.group)
            group = label.removeprefix("oneof ") if label.startswith("oneof") else None
            assert said == (number, labels.get(label, Label.OPTIONAL), group), f"{name}.{key}"
            value = ref[1] if kind == "map" else ref if kind in ("message", "enum") else kind
            if value in descriptors.MESSAGES or value in descriptors.ENUMS:
                assert field.type is descriptors.our_class(value), f"{name}.{key}"
            else:
                assert field.kind.value == value, f"{name}.{key}"


def test_every_enum_of_the_table_is_ours_with_the_same_numbers() -> None:
    for name, numbers in descriptors.ENUMS.items():
        enum: Any = descriptors.our_class(name)
        assert {member.value: member.number for member in enum} == numbers, name


def test_nothing_of_ours_is_missing_in_the_table() -> None:
    known = {descriptors.our_class(name) for name in (*descriptors.MESSAGES, *descriptors.ENUMS)}
    modules = {mesos, *descriptors.PACKAGES.values()}
    ours = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message | Numbered) and value not in (Message, Numbered)
    }
    assert ours == known
