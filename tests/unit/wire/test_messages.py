from __future__ import annotations

import gc

import pytest

from altiplano.wire import shape
from altiplano.wire.messages import mesos
from altiplano.wire.shape import Kind, Label


def test_messages_are_values() -> None:
    one, other = (mesos.AgentID(value="S1") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.value = "S2"  # type: ignore[misc]


def test_the_garbage_collector_does_not_look_at_messages() -> None:
    assert not gc.is_tracked(mesos.Label(key="a"))


def test_an_enum_has_a_name_and_a_number() -> None:
    assert (mesos.TaskState.TASK_LOST.value, mesos.TaskState.TASK_LOST.number) == ("TASK_LOST", 5)


def test_a_shape_tells_number_kind_and_label_of_each_field() -> None:
    described = {
        field.name: (field.number, field.kind, field.label) for field in shape.fields_of(mesos.OfferFilters)
    } | {field.name: (field.number, field.kind, field.label) for field in shape.fields_of(mesos.AgentInfo)}
    assert described == {
        "min_allocatable_resources": (1, Kind.MESSAGE, Label.OPTIONAL),
        "hostname": (1, Kind.STRING, Label.REQUIRED),
        "resources": (3, Kind.MESSAGE, Label.REPEATED),
        "attributes": (5, Kind.MESSAGE, Label.REPEATED),
        "id": (6, Kind.MESSAGE, Label.OPTIONAL),
        "port": (8, Kind.INT32, Label.OPTIONAL),
        "domain": (10, Kind.MESSAGE, Label.OPTIONAL),
    }


def test_a_container_nested_too_deep_cannot_be_made() -> None:
    container = mesos.ContainerID(value="0")
    for level in range(32):
        container = mesos.ContainerID(value=str(level), parent=container)
    with pytest.raises(ValueError, match="at most 32 deep"):
        mesos.ContainerID(value="too deep", parent=container)
