"""Machines: where they stand and when they are not available."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered
from altiplano.wire.messages.ids import DurationInfo, TimeInfo


class MachineInfoMode(Numbered):
    UP = "UP", 1
    DRAINING = "DRAINING", 2
    DOWN = "DOWN", 3


class Unavailability(Message):
    start: Annotated[TimeInfo, 1]
    duration: Annotated[DurationInfo | None, 2] = None


class MachineID(Message):
    hostname: Annotated[str | None, 1] = None
    ip: Annotated[str | None, 2] = None


class MachineInfo(Message):
    id: Annotated[MachineID, 1]
    mode: Annotated[MachineInfoMode | None, 2] = None
    unavailability: Annotated[Unavailability | None, 3] = None


class DomainInfoFaultDomainRegionInfo(Message):
    name: Annotated[str, 1]


class DomainInfoFaultDomainZoneInfo(Message):
    name: Annotated[str, 1]


class DomainInfoFaultDomain(Message):
    region: Annotated[DomainInfoFaultDomainRegionInfo, 1]
    zone: Annotated[DomainInfoFaultDomainZoneInfo, 2]


class DomainInfo(Message):
    fault_domain: Annotated[DomainInfoFaultDomain | None, 1] = None
