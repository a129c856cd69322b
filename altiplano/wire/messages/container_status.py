"""What an agent reports about a running container."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.containers import NetworkInfo
from altiplano.wire.messages.fields import Message, Numbered, uint32, uint64
from altiplano.wire.messages.ids import ContainerID
from altiplano.wire.messages.values import DeviceNumber


class CgroupInfoBlkioOperation(Numbered):
    UNKNOWN = "UNKNOWN", 0
    TOTAL = "TOTAL", 1
    READ = "READ", 2
    WRITE = "WRITE", 3
    SYNC = "SYNC", 4
    ASYNC = "ASYNC", 5
    DISCARD = "DISCARD", 6


class CgroupInfoNetCls(Message):
    classid: Annotated[uint32 | None, 1] = None


class CgroupInfo(Message):
    net_cls: Annotated[CgroupInfoNetCls | None, 1] = None


class ContainerStatus(Message):
    network_infos: Annotated[tuple[NetworkInfo, ...], 1] = ()
    cgroup_info: Annotated[CgroupInfo | None, 2] = None
    executor_pid: Annotated[uint32 | None, 3] = None
    container_id: Annotated[ContainerID | None, 4] = None


class CgroupInfoBlkio(Message):
    """Has no fields: its presence is what it says."""


class CgroupInfoBlkioValue(Message):
    op: Annotated[CgroupInfoBlkioOperation | None, 1] = None
    value: Annotated[uint64 | None, 2] = None


class CgroupInfoBlkioCFQ(Message):
    """Has no fields: its presence is what it says."""


class CgroupInfoBlkioCFQStatistics(Message):
    device: Annotated[DeviceNumber | None, 1] = None
    sectors: Annotated[uint64 | None, 2] = None
    time: Annotated[uint64 | None, 3] = None
    io_serviced: Annotated[tuple[CgroupInfoBlkioValue, ...], 4] = ()
    io_service_bytes: Annotated[tuple[CgroupInfoBlkioValue, ...], 5] = ()
    io_service_time: Annotated[tuple[CgroupInfoBlkioValue, ...], 6] = ()
    io_wait_time: Annotated[tuple[CgroupInfoBlkioValue, ...], 7] = ()
    io_merged: Annotated[tuple[CgroupInfoBlkioValue, ...], 8] = ()
    io_queued: Annotated[tuple[CgroupInfoBlkioValue, ...], 9] = ()


class CgroupInfoBlkioThrottling(Message):
    """Has no fields: its presence is what it says."""


class CgroupInfoBlkioThrottlingStatistics(Message):
    device: Annotated[DeviceNumber | None, 1] = None
    io_serviced: Annotated[tuple[CgroupInfoBlkioValue, ...], 2] = ()
    io_service_bytes: Annotated[tuple[CgroupInfoBlkioValue, ...], 3] = ()


class CgroupInfoBlkioStatistics(Message):
    cfq: Annotated[tuple[CgroupInfoBlkioCFQStatistics, ...], 1] = ()
    cfq_recursive: Annotated[tuple[CgroupInfoBlkioCFQStatistics, ...], 2] = ()
    throttling: Annotated[tuple[CgroupInfoBlkioThrottlingStatistics, ...], 3] = ()
