"""Resources, and whom they are reserved for and allocated to.

A reservation comes in two forms. The older one is `role` with `reservation`, at most one level deep; the newer
one is the stack `reservations`, the last of which counts. A peer sees one form only, by its capabilities;
`altiplano.wire.translate` makes either from the same value.
"""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.containers import Volume
from altiplano.wire.messages.fields import Message, Numbered
from altiplano.wire.messages.ids import ResourceProviderID
from altiplano.wire.messages.values import Labels, ValueRanges, ValueScalar, ValueSet, ValueType


class ResourceReservationInfoType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    STATIC = "STATIC", 1
    DYNAMIC = "DYNAMIC", 2


class ResourceDiskInfoSourceType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    PATH = "PATH", 1
    MOUNT = "MOUNT", 2
    BLOCK = "BLOCK", 3
    RAW = "RAW", 4


class ResourceAllocationInfo(Message):
    role: Annotated[str | None, 1] = None


class ResourceReservationInfo(Message):
    principal: Annotated[str | None, 1] = None
    labels: Annotated[Labels | None, 2] = None
    role: Annotated[str | None, 3] = None
    type: Annotated[ResourceReservationInfoType | None, 4] = None


class ResourceDiskInfoPersistence(Message):
    id: Annotated[str, 1]
    principal: Annotated[str | None, 2] = None


class ResourceDiskInfoSourcePath(Message):
    root: Annotated[str | None, 1] = None


class ResourceDiskInfoSourceMount(Message):
    root: Annotated[str | None, 1] = None


class ResourceDiskInfoSource(Message):
    type: Annotated[ResourceDiskInfoSourceType, 1]
    path: Annotated[ResourceDiskInfoSourcePath | None, 2] = None
    mount: Annotated[ResourceDiskInfoSourceMount | None, 3] = None
    id: Annotated[str | None, 4] = None
    metadata: Annotated[Labels | None, 5] = None
    profile: Annotated[str | None, 6] = None
    vendor: Annotated[str | None, 7] = None


class ResourceDiskInfo(Message):
    persistence: Annotated[ResourceDiskInfoPersistence | None, 1] = None
    volume: Annotated[Volume | None, 2] = None
    source: Annotated[ResourceDiskInfoSource | None, 3] = None


class ResourceRevocableInfo(Message):
    """Has no fields: its presence is what it says."""


class ResourceSharedInfo(Message):
    """Has no fields: its presence is what it says."""


class Resource(Message):
    """An amount of one thing on one agent. Memory and disk are in megabytes."""

    name: Annotated[str, 1]
    type: Annotated[ValueType, 2]
    scalar: Annotated[ValueScalar | None, 3] = None
    ranges: Annotated[ValueRanges | None, 4] = None
    set: Annotated[ValueSet | None, 5] = None
    role: Annotated[str | None, 6] = None  # deprecated
    disk: Annotated[ResourceDiskInfo | None, 7] = None
    reservation: Annotated[ResourceReservationInfo | None, 8] = None
    revocable: Annotated[ResourceRevocableInfo | None, 9] = None
    shared: Annotated[ResourceSharedInfo | None, 10] = None
    allocation_info: Annotated[ResourceAllocationInfo | None, 11] = None
    provider_id: Annotated[ResourceProviderID | None, 12] = None
    reservations: Annotated[tuple[ResourceReservationInfo, ...], 13] = ()
