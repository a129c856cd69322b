from __future__ import annotations

import re
from dataclasses import replace

import pytest

from altiplano.model import resources
from altiplano.model.resources import Disk, Kind, Reservation, ResourceError, Resources, Source, SourceType

CPUS = Kind(name="cpus")
DEV = Reservation(role="dev")


def parse(text: str) -> Resources:
    return resources.parse(text)


def volume(*, shared: bool = False) -> Kind:
    return Kind(name="disk", reservations=(DEV,), disk=Disk(persistence_id="v1", container_path="data"), shared=shared)


def test_the_text_of_an_agents_options_names_amounts_and_roles() -> None:
    held = parse("cpus(dev):2.5; cpus:8;mem:8192;ports:[31000-31099];zones:{a,b}")
    assert dict(held) == {
        Kind(name="cpus", reservations=(DEV,)): 2500,
        CPUS: 8000,
        Kind(name="mem"): 8_192_000,
        Kind(name="ports"): ((31000, 31099),),
        Kind(name="zones"): frozenset({"a", "b"}),
    }


def test_what_names_no_role_belongs_to_the_default_role() -> None:
    held = resources.parse("cpus:1;mem(*):2", default_role="dev")
    assert held.reserved("dev") == parse("cpus(dev):1")
    assert held.unreserved() == parse("mem:2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpus", "written as name:amount"),
        ("cpus(dev:1", "written as name:amount"),
        ("cpus():1", "the role in parentheses is empty"),
        ("cpus:many", "an amount is a number"),
        ("cpus:-1", "there cannot be -1 of it"),
        ("gpus:1.5", "a GPU is not divided"),
        ("ports:[2-1]", "ports: the range 2-1 ends before it begins"),
        ("ports:[1-2];ports:3", "ports cannot be [1-2] and 3 at the same time"),
        ("cpus:1e300", "is not a number from"),
    ],
)
def test_a_malformed_resource_is_refused_with_the_rule(text: str, said: str) -> None:
    with pytest.raises(ResourceError, match=re.escape(said)):
        parse(text)


def test_text_is_written_as_mesos_writes_it() -> None:
    left = parse("cpus:8;mem:8000;ports:[31000-31019]") - parse("cpus:0.3;ports:[31010-31012]")
    assert str(left) == "cpus:7.7; mem:8000; ports:[31000-31009, 31013-31019]"


def test_text_tells_reservations_volumes_and_allocation() -> None:
    held = Resources([(volume(), 64_000)]).allocate("dev") + Resources([(Kind(name="cpus", revocable=True), 500)])
    assert str(held) == "disk(allocated: dev)(reservations: [(STATIC,dev)])[v1:data]:64; cpus{REV}:0.5"


def test_nothing_is_left_of_equal_amounts() -> None:
    held = parse("cpus:1;ports:[1-2];zones:{a}")
    assert (held - held).is_empty
    assert not held - held
    assert held - held == resources.EMPTY


def test_zero_is_nothing() -> None:
    assert parse("cpus:0;ports:[];zones:{}").is_empty


@pytest.mark.parametrize("text", ["cpus:1.001", "cpus(dev):1", "ports:[2-3]", "zones:{b}", "mem:1"])
def test_what_is_not_there_cannot_be_taken(text: str) -> None:
    held = parse("cpus:1;ports:[1-2];zones:{a}")
    assert not held.contains(parse(text))
    with pytest.raises(ResourceError, match="is more than there is"):
        held - parse(text)


def test_order_does_not_matter() -> None:
    assert parse("cpus:1;mem:2") == parse("mem:2;cpus:1")
    assert hash(parse("cpus:1;mem:2")) == hash(parse("mem:2;cpus:1"))


def test_allocated_resources_are_of_another_kind_until_unallocated() -> None:
    held = parse("cpus:1;cpus(dev):2")
    assert not held.contains(held.allocate("dev"))
    assert held.allocate("dev").unallocate() == held
    assert held.allocate("dev").allocated_to("dev") == held.allocate("dev")


@pytest.mark.parametrize(
    ("role", "text"), [("dev", "cpus:1;mem(dev):2"), ("dev/ui", "cpus:1;mem(dev):2"), ("d", "cpus:1")]
)
def test_a_role_may_have_what_is_free_or_reserved_for_it_or_above_it(role: str, text: str) -> None:
    assert parse("cpus:1;mem(dev):2;gpus(ops):1").allocatable_to(role) == parse(text)


def test_reservations_are_refined_downwards_and_taken_back() -> None:
    refined = parse("cpus(dev):1").push_reservation(Reservation(role="dev/ui", dynamic=True))
    assert refined.reserved("dev/ui") == refined
    assert refined.pop_reservation() == parse("cpus(dev):1")
    assert refined.without_reservations() == parse("cpus:1")
    with pytest.raises(ResourceError, match="not for ops"):
        parse("cpus(dev):1").push_reservation(Reservation(role="ops", dynamic=True))
    with pytest.raises(ResourceError, match="only the first reservation can be static"):
        parse("cpus(dev):1").push_reservation(Reservation(role="dev/ui"))
    with pytest.raises(ResourceError, match="cpus is not reserved"):
        parse("cpus:1").pop_reservation()


@pytest.mark.parametrize(
    "kind",
    [
        volume(),
        Kind(name="disk", disk=Disk(source=Source(type=SourceType.MOUNT, root="/mnt/a"))),
        Kind(name="disk", disk=Disk(source=Source(type=SourceType.BLOCK, id="b"))),
        Kind(name="disk", disk=Disk(source=Source(type=SourceType.RAW, id="r"))),
    ],
)
def test_volumes_mounts_and_devices_are_taken_whole_or_not_at_all(kind: Kind) -> None:
    held = Resources([(kind, 2000)])
    assert not held.contains(Resources([(kind, 1000)]))
    assert (held - Resources([(kind, 2000)])).is_empty


def test_a_shared_volume_is_held_many_times_but_its_space_is_there_once() -> None:
    once = Resources([(volume(shared=True), 64_000)])
    twice = once + once
    assert twice.scalars == {"disk": 64_000}
    assert len(list(twice)) == 2
    assert twice - once == once
    assert not once.contains(twice)
    with pytest.raises(ResourceError, match="is more than there is"):
        once - twice
    assert str(twice).startswith("disk(reservations: [(STATIC,dev)])[v1:data]<SHARED>x2:64")


def test_totals_are_by_name_over_all_kinds() -> None:
    held = parse("cpus:1;cpus(dev):2;ports:[1-2];ports(dev):[3-4]")
    assert held.scalars == {"cpus": 3000}
    assert held.scalar("gpus") == 0
    assert held.ranges("ports") == ((1, 4),)
    assert held.names == {"cpus", "ports"}


def test_parts_are_found_by_what_they_are() -> None:
    revocable = Resources([(replace(CPUS, revocable=True), 1000)])
    held = parse("cpus:1") + revocable + Resources([(volume(shared=True), 1000)])
    assert held.revocable() == revocable
    assert held.non_revocable().names == {"cpus", "disk"}
    assert held.shared() == held.persistent_volumes() == held.reserved()
