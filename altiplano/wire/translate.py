"""Parts of messages as values of the model, and back.

This is the only place that knows that resources have two forms.  With capability RESERVATION_REFINEMENT a peer sees
the stack `reservations`; without it `role`, always set, and `reservation` if that is dynamic.  Either is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TypeVar

from altiplano.model import attributes, ids, resources, values
from altiplano.model.attributes import Attribute
from altiplano.model.resources import Disk, Kind, Reservation, ResourceError, Resources, Source, SourceType
from altiplano.model.values import Value
from altiplano.wire.messages import mesos

T = TypeVar("T")
Type = mesos.ValueType
ReservationType = mesos.ResourceReservationInfoType


def resources_from(messages: Iterable[mesos.Resource]) -> Resources:
    """The sum of what the messages say, or a `ResourceError` with the first rule that one of them breaks."""
    return Resources(resource_from(message) for message in messages)


def resource_from(message: mesos.Resource) -> tuple[Kind, Value]:
    """Kind and amount of one resource; an amount of zero is accepted."""
    if not message.name:
        raise ResourceError("A resource has no name")
    kind = Kind(
        name=message.name,
        reservations=_reservations_from(message),
        disk=_disk_from(message),
        revocable=message.revocable is not None,
        shared=message.shared is not None,
        provider_id=message.provider_id.value if message.provider_id is not None else None,
        allocated_to=message.allocation_info.role if message.allocation_info is not None else None,
    )
    value = _amount_from(message)
    _check(kind)
    return kind, value


def resources_to(held: Resources, *, refined: bool, allocation: bool = True) -> tuple[mesos.Resource, ...]:
    """The messages for `held`, one for each kind.

    `refined` chooses the form with `reservations`; `allocation` says whether `allocation_info` is shown, as it is to
    frameworks with several roles.  What is reserved more than once has no older form: a `ResourceError`.
    """
    return tuple(_resource_to(kind, value, refined=refined, allocation=allocation) for kind, value in held)


def attributes_from(messages: Iterable[mesos.Attribute]) -> tuple[Attribute, ...]:
    """The attributes that the messages name, or a `ValueError` for one whose type and value differ."""
    return tuple(_attribute_from(message) for message in messages)


def attributes_to(held: Iterable[Attribute]) -> tuple[mesos.Attribute, ...]:
    return tuple(_attribute_to(attribute) for attribute in held)


def scalar_to(amount: values.Milli) -> mesos.ValueScalar:
    """A number of thousandths as the nearest double, so that 7700 becomes 7.7."""
    return mesos.ValueScalar(value=amount / 1000)


def ranges_to(held: values.Ranges) -> mesos.ValueRanges:
    return mesos.ValueRanges(range=tuple(mesos.ValueRange(begin=begin, end=end) for begin, end in held))


def labels_from(labels: mesos.Labels | None) -> tuple[tuple[str, str | None], ...]:
    return tuple((label.key, label.value) for label in labels.labels) if labels is not None else ()


def labels_to(labels: tuple[tuple[str, str | None], ...]) -> mesos.Labels | None:
    return mesos.Labels(labels=tuple(mesos.Label(key=key, value=value) for key, value in labels)) if labels else None


def _amount_from(message: mesos.Resource) -> Value:
    given = {
        kind
        for kind, value in ((Type.SCALAR, message.scalar), (Type.RANGES, message.ranges), (Type.SET, message.set))
        if value is not None
    }
    name = message.name
    if given != {message.type}:
        said = " and ".join(sorted(kind.value for kind in given)) or "no value"
        raise ResourceError(f"Resource {name} is of type {message.type.value}, but has {said}")
    if message.scalar is not None:
        return _scalar_from(name, message.scalar.value)
    if message.ranges is not None:
        return _ranges_from(name, message.ranges)
    items = message.set.item if message.set is not None else ()
    if len(set(items)) < len(items):
        raise ResourceError(f"Resource {name} has an item twice: {', '.join(sorted(items))}")
    return frozenset(items)


def _scalar_from(name: str, value: float) -> values.Milli:
    try:
        amount = values.milli(value)
    except ValueError as error:
        raise ResourceError(f"Resource {name} has an invalid amount: {error}") from error
    # Exactly zero is what clients send for what they do not need; anything else that small is a mistake.
    if amount < 0 or (amount == 0 and value != 0):
        raise ResourceError(
            f"Resource {name} has an invalid amount: value <= 0 after rounding {value} to three decimals"
        )
    if name == "gpus" and amount % 1000:
        raise ResourceError(f"Resource gpus is {value}, but a GPU is not divided: the amount is a whole number")
    return amount


def _ranges_from(name: str, message: mesos.ValueRanges) -> values.Ranges:
    parts = sorted((part.begin, part.end) for part in message.range)
    for begin, end in parts:
        if begin > end:
            raise ResourceError(f"Resource {name} has the range {begin}-{end}, which ends before it begins")
    for (begin, end), (next_begin, next_end) in itertools.pairwise(parts):
        if next_begin <= end:
            raise ResourceError(f"Resource {name} has ranges that overlap: {begin}-{end} and {next_begin}-{next_end}")
    return values.ranges(parts)


def _reservations_from(message: mesos.Resource) -> tuple[Reservation, ...]:
    if message.reservations:
        if message.role is not None or message.reservation is not None:
            raise ResourceError(
                f"Resource {message.name} has 'reservations' together with 'role' or 'reservation': "
                "these are two forms of the same, of which one is used"
            )
        return tuple(_reservation_from(message.name, one) for one in message.reservations)
    role = message.role if message.role is not None else resources.UNRESERVED_ROLE
    reservation = message.reservation
    if reservation is None:
        return () if role == resources.UNRESERVED_ROLE else (Reservation(role=role),)
    if reservation.role is not None or reservation.type is not None:
        raise ResourceError(
            f"Resource {message.name} has a 'reservation' with a role or type: next to 'role' neither is set"
        )
    if role == resources.UNRESERVED_ROLE:
        raise ResourceError(f"Resource {message.name} is reserved for '*': a reservation is for a role of its own")
    return (
        Reservation(role=role, dynamic=True, principal=reservation.principal, labels=labels_from(reservation.labels)),
    )


def _reservation_from(name: str, message: mesos.ResourceReservationInfo) -> Reservation:
    if message.type not in (ReservationType.STATIC, ReservationType.DYNAMIC):
        raise ResourceError(f"Resource {name} has a reservation without a type: it is STATIC or DYNAMIC")
    if message.role is None:
        raise ResourceError(f"Resource {name} has a reservation without a role")
    return Reservation(
        role=message.role,
        dynamic=message.type is ReservationType.DYNAMIC,
        principal=message.principal,
        labels=labels_from(message.labels),
    )


def _disk_from(message: mesos.Resource) -> Disk | None:
    disk = message.disk
    if disk is None:
        return None
    if message.name != "disk":
        raise ResourceError(f"Resource {message.name} has disk information, which belongs to the resource 'disk' only")
    persistence, volume = disk.persistence, disk.volume
    if persistence is not None and volume is None:
        raise ResourceError("Resource disk is a persistent volume without 'volume', which says where tasks see it")
    if persistence is None and volume is not None:
        raise ResourceError("Resource disk has 'volume' but no 'persistence': only persistent volumes are mounted")
    if volume is not None and volume.host_path is not None:
        raise ResourceError("Resource disk is a persistent volume with 'host_path': the agent chooses where it lies")
    if volume is not None and volume.mode is not mesos.VolumeMode.RW:
        raise ResourceError("Resource disk is a read-only persistent volume: its mode is RW")
    return Disk(
        persistence_id=persistence.id if persistence is not None else None,
        persistence_principal=persistence.principal if persistence is not None else None,
        container_path=volume.container_path if volume is not None else None,
        source=_source_from(disk.source) if disk.source is not None else None,
    )


def _source_from(message: mesos.ResourceDiskInfoSource) -> Source:
    place = message.path or message.mount
    return Source(
        type=SourceType(message.type.value),
        root=place.root if place is not None else None,
        id=message.id,
        profile=message.profile,
        vendor=message.vendor,
        metadata=labels_from(message.metadata),
    )


def _check(kind: Kind) -> None:
    """The rules that tie the parts of a kind together."""
    for above, below in itertools.pairwise(kind.reservations):
        if not below.dynamic:
            raise ResourceError(
                f"Resource {kind.name} has a static reservation above another: only the first is static"
            )
        if not below.role.startswith(above.role + "/"):
            raise ResourceError(f"Resource {kind.name} is reserved for {above.role}, which {below.role} is not below")
    for reservation in kind.reservations:
        if reservation.role == resources.UNRESERVED_ROLE:
            raise ResourceError(f"Resource {kind.name} is reserved for '*': a reservation is for a role of its own")
        problem = ids.role_problem(reservation.role)
        if problem is not None:
            raise ResourceError(f"Resource {kind.name} is reserved for {reservation.role!r}: {problem}")
    persistence_id = kind.disk.persistence_id if kind.disk is not None else None
    if persistence_id is not None:
        problem = ids.id_problem(persistence_id)
        if problem is not None:
            raise ResourceError(f"Resource disk is a persistent volume named {persistence_id!r}: {problem}")
        if not kind.reservations:
            raise ResourceError(f"Resource disk is the persistent volume {persistence_id!r}, but it is not reserved")
    if kind.revocable and (persistence_id is not None or any(one.dynamic for one in kind.reservations)):
        raise ResourceError(
            f"Resource {kind.name} is revocable: it cannot be reserved dynamically or be a persistent volume"
        )
    if kind.shared and persistence_id is None:
        raise ResourceError(f"Resource {kind.name} is shared, which only a persistent volume can be")


def _resource_to(kind: Kind, value: Value, *, refined: bool, allocation: bool) -> mesos.Resource:
    message = mesos.Resource(
        name=kind.name,
        type=_type_of(value),
        scalar=scalar_to(value) if isinstance(value, int) else None,
        ranges=ranges_to(value) if isinstance(value, tuple) else None,
        set=mesos.ValueSet(item=tuple(sorted(value))) if isinstance(value, frozenset) else None,
        role=None if refined else kind.role,
        disk=_disk_to(kind.disk) if kind.disk is not None else None,
        reservation=None if refined else _older_reservation(kind),
        revocable=mesos.ResourceRevocableInfo() if kind.revocable else None,
        shared=mesos.ResourceSharedInfo() if kind.shared else None,
        allocation_info=(
            mesos.ResourceAllocationInfo(role=kind.allocated_to)
            if allocation and kind.allocated_to is not None
            else None
        ),
        provider_id=mesos.ResourceProviderID(value=kind.provider_id) if kind.provider_id is not None else None,
        reservations=tuple(_reservation_to(one) for one in kind.reservations) if refined else (),
    )
    return message


def _type_of(value: Value) -> mesos.ValueType:
    match value:
        case int():
            return Type.SCALAR
        case tuple():
            return Type.RANGES
        case frozenset():
            return Type.SET


def _older_reservation(kind: Kind) -> mesos.ResourceReservationInfo | None:
    if len(kind.reservations) > 1:
        stack = " and then for ".join(one.role for one in kind.reservations)
        raise ResourceError(
            f"Resource {kind.name} is reserved for {stack}: only a peer with RESERVATION_REFINEMENT can be told that"
        )
    for one in kind.reservations:
        if one.dynamic:
            return mesos.ResourceReservationInfo(principal=one.principal, labels=labels_to(one.labels))
    return None


def _reservation_to(reservation: Reservation) -> mesos.ResourceReservationInfo:
    return mesos.ResourceReservationInfo(
        principal=reservation.principal,
        labels=labels_to(reservation.labels),
        role=reservation.role,
        type=ReservationType.DYNAMIC if reservation.dynamic else ReservationType.STATIC,
    )


def _disk_to(disk: Disk) -> mesos.ResourceDiskInfo:
    persistence = volume = None
    if disk.persistence_id is not None:
        persistence = mesos.ResourceDiskInfoPersistence(id=disk.persistence_id, principal=disk.persistence_principal)
        volume = mesos.Volume(container_path=disk.container_path or "", mode=mesos.VolumeMode.RW)
    source = _source_to(disk.source) if disk.source is not None else None
    return mesos.ResourceDiskInfo(persistence=persistence, volume=volume, source=source)


def _source_to(source: Source) -> mesos.ResourceDiskInfoSource:
    path = mount = None
    if source.type is SourceType.PATH and source.root is not None:
        path = mesos.ResourceDiskInfoSourcePath(root=source.root)
    if source.type is SourceType.MOUNT and source.root is not None:
        mount = mesos.ResourceDiskInfoSourceMount(root=source.root)
    return mesos.ResourceDiskInfoSource(
        type=mesos.ResourceDiskInfoSourceType[source.type.value],
        path=path,
        mount=mount,
        id=source.id,
        profile=source.profile,
        vendor=source.vendor,
        metadata=labels_to(source.metadata),
    )


def _attribute_from(message: mesos.Attribute) -> Attribute:
    name = message.name
    value: attributes.AttributeValue
    match message.type:
        case Type.SCALAR:
            value = values.milli(_present(name, message.scalar).value)
        case Type.RANGES:
            value = values.ranges((part.begin, part.end) for part in _present(name, message.ranges).range)
        case Type.TEXT:
            value = _present(name, message.text).value
        case Type.SET:
            raise ValueError(f"Attribute {name} is a set: an attribute is a number, ranges or a text")
    return Attribute(name=name, value=value)


def _present(name: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"Attribute {name} has no value of the type that it names")
    return value


def _attribute_to(attribute: Attribute) -> mesos.Attribute:
    match attribute.value:
        case int() as amount:
            return mesos.Attribute(name=attribute.name, type=Type.SCALAR, scalar=scalar_to(amount))
        case tuple() as held:
            return mesos.Attribute(name=attribute.name, type=Type.RANGES, ranges=ranges_to(held))
        case str() as text:
            return mesos.Attribute(name=attribute.name, type=Type.TEXT, text=mesos.ValueText(value=text))
