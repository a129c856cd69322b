"""Offers, and what a framework may do with them."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered, always
from altiplano.wire.messages.ids import AgentID, ExecutorID, FrameworkID, OfferID, OperationID
from altiplano.wire.messages.machines import DomainInfo, Unavailability
from altiplano.wire.messages.resources import Resource, ResourceAllocationInfo, ResourceDiskInfoSourceType
from altiplano.wire.messages.tasks import ExecutorInfo, TaskGroupInfo, TaskInfo
from altiplano.wire.messages.values import URL, Attribute, ValueScalar


class OfferOperationType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    LAUNCH = "LAUNCH", 1
    LAUNCH_GROUP = "LAUNCH_GROUP", 6
    RESERVE = "RESERVE", 2
    UNRESERVE = "UNRESERVE", 3
    CREATE = "CREATE", 4
    DESTROY = "DESTROY", 5
    GROW_VOLUME = "GROW_VOLUME", 11
    SHRINK_VOLUME = "SHRINK_VOLUME", 12
    CREATE_DISK = "CREATE_DISK", 13
    DESTROY_DISK = "DESTROY_DISK", 14


class Offer(Message):
    """Resources of one agent, held for one framework until it accepts, declines, or the master rescinds."""

    id: Annotated[OfferID, 1]
    framework_id: Annotated[FrameworkID, 2]
    agent_id: Annotated[AgentID, 3]
    hostname: Annotated[str, 4]
    resources: Annotated[tuple[Resource, ...], 5] = ()
    executor_ids: Annotated[tuple[ExecutorID, ...], 6] = ()
    attributes: Annotated[tuple[Attribute, ...], 7] = ()
    url: Annotated[URL | None, 8] = None
    unavailability: Annotated[Unavailability | None, 9] = None
    allocation_info: Annotated[ResourceAllocationInfo | None, 10] = None
    domain: Annotated[DomainInfo | None, 11] = None


class OfferOperationLaunch(Message):
    task_infos: Annotated[tuple[TaskInfo, ...], 1] = ()


class OfferOperationLaunchGroup(Message):
    executor: Annotated[ExecutorInfo, 1]
    task_group: Annotated[TaskGroupInfo, 2]


class OfferOperationReserve(Message):
    resources: Annotated[tuple[Resource, ...], 1] = ()
    source: Annotated[tuple[Resource, ...], 2] = ()


class OfferOperationUnreserve(Message):
    resources: Annotated[tuple[Resource, ...], 1] = ()


class OfferOperationCreate(Message):
    volumes: Annotated[tuple[Resource, ...], 1] = ()


class OfferOperationDestroy(Message):
    volumes: Annotated[tuple[Resource, ...], 1] = ()


class OfferOperationGrowVolume(Message):
    volume: Annotated[Resource, 1]
    addition: Annotated[Resource, 2]


class OfferOperationShrinkVolume(Message):
    volume: Annotated[Resource, 1]
    subtract: Annotated[ValueScalar, 2]


class OfferOperationCreateDisk(Message):
    source: Annotated[Resource, 1]
    target_type: Annotated[ResourceDiskInfoSourceType, 2]
    target_profile: Annotated[str | None, 3] = None


class OfferOperationDestroyDisk(Message):
    source: Annotated[Resource, 1]


class OfferOperation(Message):
    type: Annotated[OfferOperationType | None, 1] = None
    launch: Annotated[OfferOperationLaunch | None, 2] = None
    reserve: Annotated[OfferOperationReserve | None, 3] = None
    unreserve: Annotated[OfferOperationUnreserve | None, 4] = None
    create: Annotated[OfferOperationCreate | None, 5] = None
    destroy: Annotated[OfferOperationDestroy | None, 6] = None
    launch_group: Annotated[OfferOperationLaunchGroup | None, 7] = None
    id: Annotated[OperationID | None, 12] = None
    grow_volume: Annotated[OfferOperationGrowVolume | None, 13] = None
    shrink_volume: Annotated[OfferOperationShrinkVolume | None, 14] = None
    create_disk: Annotated[OfferOperationCreateDisk | None, 15] = None
    destroy_disk: Annotated[OfferOperationDestroyDisk | None, 16] = None


class InverseOffer(Message):
    id: Annotated[OfferID, 1]
    url: Annotated[URL | None, 2] = None
    framework_id: Annotated[FrameworkID, 3]
    agent_id: Annotated[AgentID | None, 4] = None
    unavailability: Annotated[Unavailability, 5]
    resources: Annotated[tuple[Resource, ...], 6] = ()


class Filters(Message):
    """For how long what was declined shall not be offered again."""

    refuse_seconds: Annotated[float, 1] = always(default=5.0)


class Request(Message):
    agent_id: Annotated[AgentID | None, 1] = None
    resources: Annotated[tuple[Resource, ...], 2] = ()
