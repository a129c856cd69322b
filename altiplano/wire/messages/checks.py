"""Checks and health checks of a running task, and their results."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.commands import CommandInfo
from altiplano.wire.messages.containers import NetworkInfoProtocol
from altiplano.wire.messages.fields import Message, Numbered, always, int32, uint32


class HealthCheckType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    COMMAND = "COMMAND", 1
    HTTP = "HTTP", 2
    TCP = "TCP", 3


class CheckInfoType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    COMMAND = "COMMAND", 1
    HTTP = "HTTP", 2
    TCP = "TCP", 3


class HealthCheckHTTPCheckInfo(Message):
    port: Annotated[uint32, 1]
    path: Annotated[str | None, 2] = None
    scheme: Annotated[str | None, 3] = None
    statuses: Annotated[tuple[uint32, ...], 4] = ()
    protocol: Annotated[NetworkInfoProtocol, 5] = always(default=NetworkInfoProtocol.IPv4)


class HealthCheckTCPCheckInfo(Message):
    port: Annotated[uint32, 1]
    protocol: Annotated[NetworkInfoProtocol, 2] = always(default=NetworkInfoProtocol.IPv4)


class HealthCheck(Message):
    http: Annotated[HealthCheckHTTPCheckInfo | None, 1] = None
    delay_seconds: Annotated[float, 2] = always(default=15.0)
    interval_seconds: Annotated[float, 3] = always(default=10.0)
    timeout_seconds: Annotated[float, 4] = always(default=20.0)
    consecutive_failures: Annotated[uint32, 5] = always(default=3)
    grace_period_seconds: Annotated[float, 6] = always(default=10.0)
    command: Annotated[CommandInfo | None, 7] = None
    type: Annotated[HealthCheckType | None, 8] = None
    tcp: Annotated[HealthCheckTCPCheckInfo | None, 9] = None


class CheckInfoCommand(Message):
    command: Annotated[CommandInfo, 1]


class CheckInfoHttp(Message):
    port: Annotated[uint32, 1]
    path: Annotated[str | None, 2] = None


class CheckInfoTcp(Message):
    port: Annotated[uint32, 1]


class CheckInfo(Message):
    type: Annotated[CheckInfoType | None, 1] = None
    command: Annotated[CheckInfoCommand | None, 2] = None
    http: Annotated[CheckInfoHttp | None, 3] = None
    delay_seconds: Annotated[float, 4] = always(default=15.0)
    interval_seconds: Annotated[float, 5] = always(default=10.0)
    timeout_seconds: Annotated[float, 6] = always(default=20.0)
    tcp: Annotated[CheckInfoTcp | None, 7] = None


class CheckStatusInfoCommand(Message):
    exit_code: Annotated[int32 | None, 1] = None


class CheckStatusInfoHttp(Message):
    status_code: Annotated[uint32 | None, 1] = None


class CheckStatusInfoTcp(Message):
    succeeded: Annotated[bool | None, 1] = None


class CheckStatusInfo(Message):
    type: Annotated[CheckInfoType | None, 1] = None
    command: Annotated[CheckStatusInfoCommand | None, 2] = None
    http: Annotated[CheckStatusInfoHttp | None, 3] = None
    tcp: Annotated[CheckStatusInfoTcp | None, 4] = None
