"""Measured use of resources."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.container_status import CgroupInfoBlkioStatistics
from altiplano.wire.messages.fields import Message, int64, uint32, uint64
from altiplano.wire.messages.ids import ContainerID, TaskID
from altiplano.wire.messages.resources import Resource, ResourceDiskInfoPersistence, ResourceDiskInfoSource
from altiplano.wire.messages.tasks import ExecutorInfo
from altiplano.wire.messages.values import Labels, ValueRange


class ResourceUsageExecutorTask(Message):
    name: Annotated[str, 1]
    id: Annotated[TaskID, 2]
    resources: Annotated[tuple[Resource, ...], 3] = ()
    labels: Annotated[Labels | None, 4] = None


class ResourceStatisticsRatePercentiles(Message):
    min: Annotated[uint64 | None, 1] = None
    max: Annotated[uint64 | None, 2] = None
    p50: Annotated[uint64 | None, 3] = None
    p90: Annotated[uint64 | None, 4] = None
    p95: Annotated[uint64 | None, 5] = None
    p99: Annotated[uint64 | None, 6] = None
    p999: Annotated[uint64 | None, 7] = None
    p9999: Annotated[uint64 | None, 8] = None
    samples: Annotated[uint64 | None, 9] = None


class ResourceStatisticsRateStatistics(Message):
    rx_rate: Annotated[ResourceStatisticsRatePercentiles | None, 1] = None
    rx_packet_rate: Annotated[ResourceStatisticsRatePercentiles | None, 2] = None
    rx_drop_rate: Annotated[ResourceStatisticsRatePercentiles | None, 3] = None
    rx_error_rate: Annotated[ResourceStatisticsRatePercentiles | None, 4] = None
    tx_rate: Annotated[ResourceStatisticsRatePercentiles | None, 5] = None
    tx_packet_rate: Annotated[ResourceStatisticsRatePercentiles | None, 6] = None
    tx_drop_rate: Annotated[ResourceStatisticsRatePercentiles | None, 7] = None
    tx_error_rate: Annotated[ResourceStatisticsRatePercentiles | None, 8] = None
    sampling_window_secs: Annotated[float | None, 9] = None
    sampling_interval_secs: Annotated[float | None, 10] = None


class DiskStatistics(Message):
    source: Annotated[ResourceDiskInfoSource | None, 1] = None
    persistence: Annotated[ResourceDiskInfoPersistence | None, 2] = None
    limit_bytes: Annotated[uint64 | None, 3] = None
    used_bytes: Annotated[uint64 | None, 4] = None


class TrafficControlStatistics(Message):
    id: Annotated[str, 1]
    backlog: Annotated[uint64 | None, 2] = None
    bytes: Annotated[uint64 | None, 3] = None
    drops: Annotated[uint64 | None, 4] = None
    overlimits: Annotated[uint64 | None, 5] = None
    packets: Annotated[uint64 | None, 6] = None
    qlen: Annotated[uint64 | None, 7] = None
    ratebps: Annotated[uint64 | None, 8] = None
    ratepps: Annotated[uint64 | None, 9] = None
    requeues: Annotated[uint64 | None, 10] = None


class IpStatistics(Message):
    Forwarding: Annotated[int64 | None, 1] = None
    DefaultTTL: Annotated[int64 | None, 2] = None
    InReceives: Annotated[int64 | None, 3] = None
    InHdrErrors: Annotated[int64 | None, 4] = None
    InAddrErrors: Annotated[int64 | None, 5] = None
    ForwDatagrams: Annotated[int64 | None, 6] = None
    InUnknownProtos: Annotated[int64 | None, 7] = None
    InDiscards: Annotated[int64 | None, 8] = None
    InDelivers: Annotated[int64 | None, 9] = None
    OutRequests: Annotated[int64 | None, 10] = None
    OutDiscards: Annotated[int64 | None, 11] = None
    OutNoRoutes: Annotated[int64 | None, 12] = None
    ReasmTimeout: Annotated[int64 | None, 13] = None
    ReasmReqds: Annotated[int64 | None, 14] = None
    ReasmOKs: Annotated[int64 | None, 15] = None
    ReasmFails: Annotated[int64 | None, 16] = None
    FragOKs: Annotated[int64 | None, 17] = None
    FragFails: Annotated[int64 | None, 18] = None
    FragCreates: Annotated[int64 | None, 19] = None


class IcmpStatistics(Message):
    InMsgs: Annotated[int64 | None, 1] = None
    InErrors: Annotated[int64 | None, 2] = None
    InCsumErrors: Annotated[int64 | None, 3] = None
    InDestUnreachs: Annotated[int64 | None, 4] = None
    InTimeExcds: Annotated[int64 | None, 5] = None
    InParmProbs: Annotated[int64 | None, 6] = None
    InSrcQuenchs: Annotated[int64 | None, 7] = None
    InRedirects: Annotated[int64 | None, 8] = None
    InEchos: Annotated[int64 | None, 9] = None
    InEchoReps: Annotated[int64 | None, 10] = None
    InTimestamps: Annotated[int64 | None, 11] = None
    InTimestampReps: Annotated[int64 | None, 12] = None
    InAddrMasks: Annotated[int64 | None, 13] = None
    InAddrMaskReps: Annotated[int64 | None, 14] = None
    OutMsgs: Annotated[int64 | None, 15] = None
    OutErrors: Annotated[int64 | None, 16] = None
    OutDestUnreachs: Annotated[int64 | None, 17] = None
    OutTimeExcds: Annotated[int64 | None, 18] = None
    OutParmProbs: Annotated[int64 | None, 19] = None
    OutSrcQuenchs: Annotated[int64 | None, 20] = None
    OutRedirects: Annotated[int64 | None, 21] = None
    OutEchos: Annotated[int64 | None, 22] = None
    OutEchoReps: Annotated[int64 | None, 23] = None
    OutTimestamps: Annotated[int64 | None, 24] = None
    OutTimestampReps: Annotated[int64 | None, 25] = None
    OutAddrMasks: Annotated[int64 | None, 26] = None
    OutAddrMaskReps: Annotated[int64 | None, 27] = None


class TcpStatistics(Message):
    RtoAlgorithm: Annotated[int64 | None, 1] = None
    RtoMin: Annotated[int64 | None, 2] = None
    RtoMax: Annotated[int64 | None, 3] = None
    MaxConn: Annotated[int64 | None, 4] = None
    ActiveOpens: Annotated[int64 | None, 5] = None
    PassiveOpens: Annotated[int64 | None, 6] = None
    AttemptFails: Annotated[int64 | None, 7] = None
    EstabResets: Annotated[int64 | None, 8] = None
    CurrEstab: Annotated[int64 | None, 9] = None
    InSegs: Annotated[int64 | None, 10] = None
    OutSegs: Annotated[int64 | None, 11] = None
    RetransSegs: Annotated[int64 | None, 12] = None
    InErrs: Annotated[int64 | None, 13] = None
    OutRsts: Annotated[int64 | None, 14] = None
    InCsumErrors: Annotated[int64 | None, 15] = None


class UdpStatistics(Message):
    InDatagrams: Annotated[int64 | None, 1] = None
    NoPorts: Annotated[int64 | None, 2] = None
    InErrors: Annotated[int64 | None, 3] = None
    OutDatagrams: Annotated[int64 | None, 4] = None
    RcvbufErrors: Annotated[int64 | None, 5] = None
    SndbufErrors: Annotated[int64 | None, 6] = None
    InCsumErrors: Annotated[int64 | None, 7] = None
    IgnoredMulti: Annotated[int64 | None, 8] = None


class SNMPStatistics(Message):
    ip_stats: Annotated[IpStatistics | None, 1] = None
    icmp_stats: Annotated[IcmpStatistics | None, 2] = None
    tcp_stats: Annotated[TcpStatistics | None, 3] = None
    udp_stats: Annotated[UdpStatistics | None, 4] = None


class PerfStatistics(Message):
    timestamp: Annotated[float, 1]
    duration: Annotated[float, 2]
    cycles: Annotated[uint64 | None, 3] = None
    stalled_cycles_frontend: Annotated[uint64 | None, 4] = None
    stalled_cycles_backend: Annotated[uint64 | None, 5] = None
    instructions: Annotated[uint64 | None, 6] = None
    cache_references: Annotated[uint64 | None, 7] = None
    cache_misses: Annotated[uint64 | None, 8] = None
    branches: Annotated[uint64 | None, 9] = None
    branch_misses: Annotated[uint64 | None, 10] = None
    bus_cycles: Annotated[uint64 | None, 11] = None
    ref_cycles: Annotated[uint64 | None, 12] = None
    cpu_clock: Annotated[float | None, 13] = None
    task_clock: Annotated[float | None, 14] = None
    page_faults: Annotated[uint64 | None, 15] = None
    minor_faults: Annotated[uint64 | None, 16] = None
    major_faults: Annotated[uint64 | None, 17] = None
    context_switches: Annotated[uint64 | None, 18] = None
    cpu_migrations: Annotated[uint64 | None, 19] = None
    alignment_faults: Annotated[uint64 | None, 20] = None
    emulation_faults: Annotated[uint64 | None, 21] = None
    l1_dcache_loads: Annotated[uint64 | None, 22] = None
    l1_dcache_load_misses: Annotated[uint64 | None, 23] = None
    l1_dcache_stores: Annotated[uint64 | None, 24] = None
    l1_dcache_store_misses: Annotated[uint64 | None, 25] = None
    l1_dcache_prefetches: Annotated[uint64 | None, 26] = None
    l1_dcache_prefetch_misses: Annotated[uint64 | None, 27] = None
    l1_icache_loads: Annotated[uint64 | None, 28] = None
    l1_icache_load_misses: Annotated[uint64 | None, 29] = None
    l1_icache_prefetches: Annotated[uint64 | None, 30] = None
    l1_icache_prefetch_misses: Annotated[uint64 | None, 31] = None
    llc_loads: Annotated[uint64 | None, 32] = None
    llc_load_misses: Annotated[uint64 | None, 33] = None
    llc_stores: Annotated[uint64 | None, 34] = None
    llc_store_misses: Annotated[uint64 | None, 35] = None
    llc_prefetches: Annotated[uint64 | None, 36] = None
    llc_prefetch_misses: Annotated[uint64 | None, 37] = None
    dtlb_loads: Annotated[uint64 | None, 38] = None
    dtlb_load_misses: Annotated[uint64 | None, 39] = None
    dtlb_stores: Annotated[uint64 | None, 40] = None
    dtlb_store_misses: Annotated[uint64 | None, 41] = None
    dtlb_prefetches: Annotated[uint64 | None, 42] = None
    dtlb_prefetch_misses: Annotated[uint64 | None, 43] = None
    itlb_loads: Annotated[uint64 | None, 44] = None
    itlb_load_misses: Annotated[uint64 | None, 45] = None
    branch_loads: Annotated[uint64 | None, 46] = None
    branch_load_misses: Annotated[uint64 | None, 47] = None
    node_loads: Annotated[uint64 | None, 48] = None
    node_load_misses: Annotated[uint64 | None, 49] = None
    node_stores: Annotated[uint64 | None, 50] = None
    node_store_misses: Annotated[uint64 | None, 51] = None
    node_prefetches: Annotated[uint64 | None, 52] = None
    node_prefetch_misses: Annotated[uint64 | None, 53] = None


class ResourceStatistics(Message):
    timestamp: Annotated[float, 1]
    cpus_user_time_secs: Annotated[float | None, 2] = None
    cpus_system_time_secs: Annotated[float | None, 3] = None
    cpus_limit: Annotated[float | None, 4] = None
    mem_rss_bytes: Annotated[uint64 | None, 5] = None
    mem_limit_bytes: Annotated[uint64 | None, 6] = None
    cpus_nr_periods: Annotated[uint32 | None, 7] = None
    cpus_nr_throttled: Annotated[uint32 | None, 8] = None
    cpus_throttled_time_secs: Annotated[float | None, 9] = None
    mem_file_bytes: Annotated[uint64 | None, 10] = None
    mem_anon_bytes: Annotated[uint64 | None, 11] = None
    mem_mapped_file_bytes: Annotated[uint64 | None, 12] = None
    perf: Annotated[PerfStatistics | None, 13] = None
    net_rx_packets: Annotated[uint64 | None, 14] = None
    net_rx_bytes: Annotated[uint64 | None, 15] = None
    net_rx_errors: Annotated[uint64 | None, 16] = None
    net_rx_dropped: Annotated[uint64 | None, 17] = None
    net_tx_packets: Annotated[uint64 | None, 18] = None
    net_tx_bytes: Annotated[uint64 | None, 19] = None
    net_tx_errors: Annotated[uint64 | None, 20] = None
    net_tx_dropped: Annotated[uint64 | None, 21] = None
    net_tcp_rtt_microsecs_p50: Annotated[float | None, 22] = None
    net_tcp_rtt_microsecs_p90: Annotated[float | None, 23] = None
    net_tcp_rtt_microsecs_p95: Annotated[float | None, 24] = None
    net_tcp_rtt_microsecs_p99: Annotated[float | None, 25] = None
    disk_limit_bytes: Annotated[uint64 | None, 26] = None
    disk_used_bytes: Annotated[uint64 | None, 27] = None
    net_tcp_active_connections: Annotated[float | None, 28] = None
    net_tcp_time_wait_connections: Annotated[float | None, 29] = None
    processes: Annotated[uint32 | None, 30] = None
    threads: Annotated[uint32 | None, 31] = None
    mem_low_pressure_counter: Annotated[uint64 | None, 32] = None
    mem_medium_pressure_counter: Annotated[uint64 | None, 33] = None
    mem_critical_pressure_counter: Annotated[uint64 | None, 34] = None
    net_traffic_control_statistics: Annotated[tuple[TrafficControlStatistics, ...], 35] = ()
    mem_total_bytes: Annotated[uint64 | None, 36] = None
    mem_total_memsw_bytes: Annotated[uint64 | None, 37] = None
    mem_soft_limit_bytes: Annotated[uint64 | None, 38] = None
    mem_cache_bytes: Annotated[uint64 | None, 39] = None
    mem_swap_bytes: Annotated[uint64 | None, 40] = None
    mem_unevictable_bytes: Annotated[uint64 | None, 41] = None
    net_snmp_statistics: Annotated[SNMPStatistics | None, 42] = None
    disk_statistics: Annotated[tuple[DiskStatistics, ...], 43] = ()
    blkio_statistics: Annotated[CgroupInfoBlkioStatistics | None, 44] = None
    cpus_soft_limit: Annotated[float | None, 45] = None
    net_tx_rate_limit: Annotated[uint64 | None, 46] = None
    net_tx_burst_rate_limit: Annotated[uint64 | None, 47] = None
    net_tx_burst_size: Annotated[uint64 | None, 48] = None
    net_rx_rate_limit: Annotated[uint64 | None, 49] = None
    net_rx_burst_rate_limit: Annotated[uint64 | None, 50] = None
    net_rx_burst_size: Annotated[uint64 | None, 51] = None
    mem_kmem_usage_bytes: Annotated[uint64 | None, 52] = None
    mem_kmem_tcp_usage_bytes: Annotated[uint64 | None, 53] = None
    net_rate_statistics: Annotated[ResourceStatisticsRateStatistics | None, 54] = None
    net_ephemeral_ports: Annotated[ValueRange | None, 55] = None


class ResourceUsageExecutor(Message):
    executor_info: Annotated[ExecutorInfo, 1]
    allocated: Annotated[tuple[Resource, ...], 2] = ()
    statistics: Annotated[ResourceStatistics | None, 3] = None
    container_id: Annotated[ContainerID, 4]
    tasks: Annotated[tuple[ResourceUsageExecutorTask, ...], 5] = ()


class ResourceUsage(Message):
    executors: Annotated[tuple[ResourceUsageExecutor, ...], 1] = ()
    total: Annotated[tuple[Resource, ...], 2] = ()
