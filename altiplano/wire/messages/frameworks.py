"""Frameworks, their roles, weights and rate limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from altiplano.wire.messages.fields import Message, Numbered, always, uint64
from altiplano.wire.messages.ids import FrameworkID
from altiplano.wire.messages.resources import Resource
from altiplano.wire.messages.values import Labels, ValueScalar


class FrameworkInfoCapabilityType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    REVOCABLE_RESOURCES = "REVOCABLE_RESOURCES", 1
    TASK_KILLING_STATE = "TASK_KILLING_STATE", 2
    GPU_RESOURCES = "GPU_RESOURCES", 3
    SHARED_RESOURCES = "SHARED_RESOURCES", 4
    PARTITION_AWARE = "PARTITION_AWARE", 5
    MULTI_ROLE = "MULTI_ROLE", 6
    RESERVATION_REFINEMENT = "RESERVATION_REFINEMENT", 7
    REGION_AWARE = "REGION_AWARE", 8


class FrameworkInfoCapability(Message):
    type: Annotated[FrameworkInfoCapabilityType | None, 1] = None


class OfferFiltersResourceQuantities(Message):
    quantities: Annotated[Mapping[str, ValueScalar], 1] = field(default_factory=dict)


class OfferFiltersMinAllocatableResources(Message):
    quantities: Annotated[tuple[OfferFiltersResourceQuantities, ...], 1] = ()


class OfferFilters(Message):
    min_allocatable_resources: Annotated[OfferFiltersMinAllocatableResources | None, 1] = None


class FrameworkInfo(Message):
    """A framework as it introduces itself."""

    user: Annotated[str, 1]
    name: Annotated[str, 2]
    id: Annotated[FrameworkID | None, 3] = None
    failover_timeout: Annotated[float, 4] = always(default=0.0)
    checkpoint: Annotated[bool, 5] = always(default=False)
    role: Annotated[str | None, 6] = None  # deprecated
    hostname: Annotated[str | None, 7] = None
    principal: Annotated[str | None, 8] = None
    webui_url: Annotated[str | None, 9] = None
    capabilities: Annotated[tuple[FrameworkInfoCapability, ...], 10] = ()
    labels: Annotated[Labels | None, 11] = None
    roles: Annotated[tuple[str, ...], 12] = ()
    offer_filters: Annotated[Mapping[str, OfferFilters], 13] = field(default_factory=dict)


class RateLimit(Message):
    qps: Annotated[float | None, 1] = None
    principal: Annotated[str, 2]
    capacity: Annotated[uint64 | None, 3] = None


class RateLimits(Message):
    limits: Annotated[tuple[RateLimit, ...], 1] = ()
    aggregate_default_qps: Annotated[float | None, 2] = None
    aggregate_default_capacity: Annotated[uint64 | None, 3] = None


class WeightInfo(Message):
    weight: Annotated[float, 1]
    role: Annotated[str | None, 2] = None


class Role(Message):
    name: Annotated[str, 1]
    weight: Annotated[float, 2]
    frameworks: Annotated[tuple[FrameworkID, ...], 3] = ()
    resources: Annotated[tuple[Resource, ...], 4] = ()
