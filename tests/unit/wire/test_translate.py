from __future__ import annotations

import math
import re
from typing import Any

import pytest

from altiplano.model import attributes, resources
from altiplano.model.attributes import Attribute
from altiplano.model.resources import Disk, Kind, Reservation, ResourceError, Resources, Source, SourceType
from altiplano.wire import translate
from altiplano.wire.messages import mesos

SCALAR, RANGES, SET, TEXT = mesos.ValueType
DYNAMIC = mesos.ResourceReservationInfoType.DYNAMIC
STATIC = mesos.ResourceReservationInfoType.STATIC
Info = mesos.ResourceReservationInfo


def scalar(value: float, **rest: Any) -> mesos.Resource:
    return mesos.Resource(**{"name": "cpus", "type": SCALAR, "scalar": mesos.ValueScalar(value=value), **rest})


def volume(**rest: Any) -> mesos.Resource:
    disk = mesos.ResourceDiskInfo(
        persistence=mesos.ResourceDiskInfoPersistence(id="v1"),
        volume=mesos.Volume(container_path="data", mode=mesos.VolumeMode.RW),
    )
    return scalar(64.0, **{"name": "disk", "disk": disk, "role": "dev", **rest})


def ports(*parts: tuple[int, int]) -> mesos.Resource:
    held = mesos.ValueRanges(range=tuple(mesos.ValueRange(begin=begin, end=end) for begin, end in parts))
    return mesos.Resource(name="ports", type=RANGES, ranges=held)


FULL = Resources(
    [
        (Kind(name="cpus", allocated_to="dev"), 7700),
        (Kind(name="ports", provider_id="p"), ((31000, 31009), (31013, 31019))),
        (Kind(name="zones", revocable=True), frozenset({"a", "b"})),
        (Kind(name="mem", reservations=(Reservation(role="dev"),)), 1),
        (
            Kind(
                name="disk",
                reservations=(Reservation(role="dev", dynamic=True, principal="p", labels=(("k", None),)),),
                disk=Disk(
                    persistence_id="v1",
                    persistence_principal="p",
                    container_path="data",
                    source=Source(type=SourceType.PATH, root="/mnt", id="i", metadata=(("m", "1"),)),
                ),
                shared=True,
            ),
            64_000,
        ),
        (Kind(name="disk", disk=Disk(source=Source(type=SourceType.MOUNT, root="/mnt/b", profile="fast"))), 9000),
    ]
)


@pytest.mark.parametrize("refined", [False, True])
def test_resources_survive_both_forms(refined: bool) -> None:
    assert translate.resources_from(translate.resources_to(FULL, refined=refined)) == FULL


def test_refined_reservations_survive_the_newer_form_and_have_no_older_one() -> None:
    held = resources.parse("cpus(dev):1").push_reservation(Reservation(role="dev/ui", dynamic=True))
    assert translate.resources_from(translate.resources_to(held, refined=True)) == held
    with pytest.raises(ResourceError, match="for dev and then for dev/ui: only a peer with RESERVATION_REFINEMENT"):
        translate.resources_to(held, refined=False)


def test_the_older_form_always_names_the_role_and_the_newer_one_never_does() -> None:
    held = resources.parse("cpus:1;mem(dev):2")
    assert [one.role for one in translate.resources_to(held, refined=False)] == ["*", "dev"]
    newer = translate.resources_to(held, refined=True)
    assert [one.role for one in newer] == [None, None]
    assert [one.reservations for one in newer] == [(), (Info(role="dev", type=STATIC),)]


def test_the_allocation_is_shown_only_if_wanted() -> None:
    held = resources.parse("cpus:1").allocate("dev")
    (shown,) = translate.resources_to(held, refined=False)
    (hidden,) = translate.resources_to(held, refined=False, allocation=False)
    assert shown.allocation_info == mesos.ResourceAllocationInfo(role="dev")
    assert hidden.allocation_info is None


def test_numbers_are_the_nearest_doubles() -> None:
    (message,) = translate.resources_to(resources.parse("cpus:7.7"), refined=True)
    assert message.scalar == mesos.ValueScalar(value=7.7)


def test_sums_of_doubles_are_rounded_to_thousandths() -> None:
    assert translate.resources_from([scalar(0.1), scalar(0.2)]) == resources.parse("cpus:0.3")


def test_exactly_zero_is_accepted_and_is_nothing() -> None:
    assert translate.resources_from([scalar(0.0)]).is_empty


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (scalar(1.0, name=""), "has no name"),
        (scalar(-1.0), "value <= 0"),
        (scalar(0.0004), "value <= 0"),
        (scalar(math.nan), "has an invalid amount"),
        (scalar(math.inf), "has an invalid amount"),
        (scalar(1.5, name="gpus"), "a GPU is not divided"),
        (scalar(1.0, type=RANGES), "is of type RANGES, but has SCALAR"),
        (scalar(1.0, set=mesos.ValueSet()), "is of type SCALAR, but has SCALAR and SET"),
        (mesos.Resource(name="cpus", type=SCALAR), "is of type SCALAR, but has no value"),
        (mesos.Resource(name="cpus", type=TEXT), "is of type TEXT, but has no value"),
        (ports((2, 1)), "ends before it begins"),
        (ports((5, 9), (1, 5)), "overlap: 1-5 and 5-9"),
        (mesos.Resource(name="z", type=SET, set=mesos.ValueSet(item=("a", "a"))), "an item twice"),
        (scalar(1.0, disk=mesos.ResourceDiskInfo()), "belongs to the resource 'disk' only"),
        (scalar(1.0, role="dev", reservations=(Info(role="dev", type=STATIC),)), "two forms of the same"),
        (scalar(1.0, reservation=Info(), reservations=(Info(role="dev", type=STATIC),)), "two forms of the same"),
        (scalar(1.0, reservation=Info()), "is reserved for '*'"),
        (scalar(1.0, role="dev", reservation=Info(role="dev")), "with a role or type"),
        (scalar(1.0, reservations=(Info(role="*", type=STATIC),)), "is reserved for '*'"),
        (scalar(1.0, reservations=(Info(role="dev"),)), "without a type"),
        (scalar(1.0, reservations=(Info(type=STATIC),)), "without a role"),
        (scalar(1.0, role="-dev"), "is reserved for '-dev'"),
        (scalar(1.0, reservations=(Info(role="a", type=STATIC), Info(role="a/b", type=STATIC))), "only the first"),
        (scalar(1.0, reservations=(Info(role="a", type=STATIC), Info(role="ab", type=DYNAMIC))), "is not below"),
        (scalar(1.0, role="dev", reservation=Info(), revocable=mesos.ResourceRevocableInfo()), "is revocable"),
        (scalar(1.0, shared=mesos.ResourceSharedInfo()), "only a persistent volume can be"),
        (volume(role=None), "but it is not reserved"),
        (volume(revocable=mesos.ResourceRevocableInfo()), "is revocable"),
        (
            volume(disk=mesos.ResourceDiskInfo(persistence=mesos.ResourceDiskInfoPersistence(id="v"))),
            "without 'volume'",
        ),
        (
            volume(disk=mesos.ResourceDiskInfo(volume=mesos.Volume(container_path="d", mode=mesos.VolumeMode.RW))),
            "no 'persistence'",
        ),
        (
            volume(
                disk=mesos.ResourceDiskInfo(
                    persistence=mesos.ResourceDiskInfoPersistence(id="a/b"),
                    volume=mesos.Volume(container_path="d", mode=mesos.VolumeMode.RW),
                )
            ),
            "a persistent volume named 'a/b'",
        ),
        (
            volume(
                disk=mesos.ResourceDiskInfo(
                    persistence=mesos.ResourceDiskInfoPersistence(id="v"),
                    volume=mesos.Volume(container_path="d", mode=mesos.VolumeMode.RO),
                )
            ),
            "its mode is RW",
        ),
        (
            volume(
                disk=mesos.ResourceDiskInfo(
                    persistence=mesos.ResourceDiskInfoPersistence(id="v"),
                    volume=mesos.Volume(container_path="d", host_path="/h", mode=mesos.VolumeMode.RW),
                )
            ),
            "with 'host_path'",
        ),
    ],
)
def test_a_resource_that_breaks_a_rule_is_refused_with_the_rule(message: mesos.Resource, said: str) -> None:
    with pytest.raises(ResourceError, match=re.escape(said)):
        translate.resources_from([message])


def test_attributes_survive_the_way_through_messages() -> None:
    held = attributes.parse("rack:r1;slots:4.5;x:[1-3,5-5]")
    assert translate.attributes_from(translate.attributes_to(held)) == held


def test_an_attribute_without_the_value_of_its_type_is_refused() -> None:
    with pytest.raises(ValueError, match="Attribute rack has no value of the type"):
        translate.attributes_from([mesos.Attribute(name="rack", type=TEXT)])
    with pytest.raises(ValueError, match="Attribute rack is a set"):
        translate.attributes_from([mesos.Attribute(name="rack", type=SET)])


def test_labels_keep_order_and_absent_values() -> None:
    labels = mesos.Labels(labels=(mesos.Label(key="b"), mesos.Label(key="a", value="")))
    assert translate.labels_to(translate.labels_from(labels)) == labels
    assert translate.labels_to(()) is None
    assert translate.labels_from(None) == ()


def test_an_attribute_keeps_its_type() -> None:
    (message,) = translate.attributes_to([Attribute(name="slots", value=4000)])
    assert (message.type, message.scalar) == (SCALAR, mesos.ValueScalar(value=4.0))
