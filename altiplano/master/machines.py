"""Machines that are going to be, or are, under maintenance, and which agents are meant by them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from altiplano.wire.messages import maintenance, mesos

MACHINES_MAX = 50_000
"""Machines in one schedule."""

TIMER = "maintenance"
"""Names the time at which inverse offers are looked after."""

Key = tuple[str, str]
"""Host name in lower case and address; one of them may be empty, and means any."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The one schedule of a pool, and those of its machines that are down."""

    schedule: maintenance.Schedule = maintenance.Schedule()
    down: tuple[mesos.MachineID, ...] = ()

    @property
    def scheduled(self) -> Mapping[Key, mesos.Unavailability]:
        return {key(one): window.unavailability for window in self.schedule.windows for one in window.machine_ids}

    @property
    def is_down(self) -> frozenset[Key]:
        return frozenset(map(key, self.down))


def key(machine: mesos.MachineID) -> Key:
    return (machine.hostname or "").lower(), machine.ip or ""


def keys_of(hostname: str, ip: str) -> tuple[Key, ...]:
    """How a machine may be named by whoever means it."""
    named = hostname.lower()
    return (named, ip), (named, ""), ("", ip)


def problem(schedule: maintenance.Schedule, down: frozenset[Key]) -> str | None:
    """Why a schedule cannot be; None if it can."""
    seen: set[Key] = set()
    for window in schedule.windows:
        if not window.machine_ids:
            return "a window names no machine"
        duration = window.unavailability.duration
        if duration is not None and duration.nanoseconds < 0:
            return "a window ends before it begins"
        for machine in window.machine_ids:
            wrong = machine_problem(machine)
            if wrong is not None:
                return wrong
            if key(machine) in seen:
                return f"machine {shown(machine)} is named twice"
            seen.add(key(machine))
    if len(seen) > MACHINES_MAX:
        return f"{len(seen)} machines are named; the most is {MACHINES_MAX}"
    if missing := sorted(down - seen):
        return f"machine {missing[0][0] or missing[0][1]} is down and must stay in the schedule: bring it up first"
    return None


def machine_problem(machine: mesos.MachineID) -> str | None:
    if not machine.hostname and not machine.ip:
        return "a machine has neither 'hostname' nor 'ip'"
    if machine.ip:
        try:
            ipaddress.ip_address(machine.ip)
        except ValueError:
            return f"'{machine.ip[:64]}' is not an IP address"
    return None


def shown(machine: mesos.MachineID) -> str:
    return machine.hostname or machine.ip or ""


def unavailability(
    scheduled: Mapping[Key, mesos.Unavailability], hostname: str, ip: str
) -> mesos.Unavailability | None:
    """When a machine will be away, if that is planned."""
    return next((scheduled[one] for one in keys_of(hostname, ip) if one in scheduled), None)
