"""Maintenance windows of machines."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages import allocator, mesos
from altiplano.wire.messages.fields import Message


class Window(Message):
    machine_ids: Annotated[tuple[mesos.MachineID, ...], 1] = ()
    unavailability: Annotated[mesos.Unavailability, 2]


class Schedule(Message):
    windows: Annotated[tuple[Window, ...], 1] = ()


class ClusterStatusDrainingMachine(Message):
    id: Annotated[mesos.MachineID, 1]
    statuses: Annotated[tuple[allocator.InverseOfferStatus, ...], 2] = ()


class ClusterStatus(Message):
    draining_machines: Annotated[tuple[ClusterStatusDrainingMachine, ...], 1] = ()
    down_machines: Annotated[tuple[mesos.MachineID, ...], 2] = ()
