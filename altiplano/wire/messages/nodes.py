"""Masters and agents: who they are, what they can do, whether they drain."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered, always, int32, uint32, uint64
from altiplano.wire.messages.ids import AgentID, DurationInfo, TimeInfo
from altiplano.wire.messages.machines import DomainInfo
from altiplano.wire.messages.resources import Resource
from altiplano.wire.messages.values import Address, Attribute


class DrainState(Numbered):
    UNKNOWN = "UNKNOWN", 0
    DRAINING = "DRAINING", 1
    DRAINED = "DRAINED", 2


class MasterInfoCapabilityType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    AGENT_UPDATE = "AGENT_UPDATE", 1
    AGENT_DRAINING = "AGENT_DRAINING", 2
    QUOTA_V2 = "QUOTA_V2", 3


class AgentInfoCapabilityType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    MULTI_ROLE = "MULTI_ROLE", 1
    HIERARCHICAL_ROLE = "HIERARCHICAL_ROLE", 2
    RESERVATION_REFINEMENT = "RESERVATION_REFINEMENT", 3
    RESOURCE_PROVIDER = "RESOURCE_PROVIDER", 4
    RESIZE_VOLUME = "RESIZE_VOLUME", 5
    AGENT_OPERATION_FEEDBACK = "AGENT_OPERATION_FEEDBACK", 6
    AGENT_DRAINING = "AGENT_DRAINING", 7
    TASK_RESOURCE_LIMITS = "TASK_RESOURCE_LIMITS", 8


class MasterInfoCapability(Message):
    type: Annotated[MasterInfoCapabilityType | None, 1] = None


class MasterInfo(Message):
    """A master as agents and frameworks find it. `ip` holds the four octets in the memory order of the master."""

    id: Annotated[str, 1]
    ip: Annotated[uint32, 2]
    port: Annotated[uint32, 3]
    pid: Annotated[str | None, 4] = None
    hostname: Annotated[str | None, 5] = None
    version: Annotated[str | None, 6] = None
    address: Annotated[Address | None, 7] = None
    domain: Annotated[DomainInfo | None, 8] = None
    capabilities: Annotated[tuple[MasterInfoCapability, ...], 9] = ()


class AgentInfo(Message):
    """An agent as it was configured: `resources` are totals without dynamic reservations."""

    hostname: Annotated[str, 1]
    resources: Annotated[tuple[Resource, ...], 3] = ()
    attributes: Annotated[tuple[Attribute, ...], 5] = ()
    id: Annotated[AgentID | None, 6] = None
    port: Annotated[int32, 8] = always(default=5051)
    domain: Annotated[DomainInfo | None, 10] = None


class AgentInfoCapability(Message):
    type: Annotated[AgentInfoCapabilityType | None, 1] = None


class VersionInfo(Message):
    version: Annotated[str, 1]
    build_date: Annotated[str | None, 2] = None
    build_time: Annotated[float | None, 3] = None
    build_user: Annotated[str | None, 4] = None
    git_sha: Annotated[str | None, 5] = None
    git_branch: Annotated[str | None, 6] = None
    git_tag: Annotated[str | None, 7] = None


class Flag(Message):
    name: Annotated[str, 1]
    value: Annotated[str | None, 2] = None


class Metric(Message):
    name: Annotated[str, 1]
    value: Annotated[float | None, 2] = None


class FileInfo(Message):
    path: Annotated[str, 1]
    nlink: Annotated[int32 | None, 2] = None
    size: Annotated[uint64 | None, 3] = None
    mtime: Annotated[TimeInfo | None, 4] = None
    mode: Annotated[uint32 | None, 5] = None
    uid: Annotated[str | None, 6] = None
    gid: Annotated[str | None, 7] = None


class DrainConfig(Message):
    max_grace_period: Annotated[DurationInfo | None, 1] = None
    mark_gone: Annotated[bool, 2] = always(default=False)


class DrainInfo(Message):
    state: Annotated[DrainState, 1]
    config: Annotated[DrainConfig, 2]
