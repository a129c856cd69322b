"""What a task runs in: images, volumes, networks, Linux limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from altiplano.wire.messages.fields import Message, Numbered, OneOf, always, uint32, uint64
from altiplano.wire.messages.secrets import Credential, Secret
from altiplano.wire.messages.values import Labels, Parameter, Parameters


class ContainerInfoType(Numbered):
    DOCKER = "DOCKER", 1
    MESOS = "MESOS", 2


class ContainerInfoDockerInfoNetwork(Numbered):
    HOST = "HOST", 1
    BRIDGE = "BRIDGE", 2
    NONE = "NONE", 3
    USER = "USER", 4


class ImageType(Numbered):
    APPC = "APPC", 1
    DOCKER = "DOCKER", 2


class VolumeMode(Numbered):
    RW = "RW", 1
    RO = "RO", 2


class VolumeSourceType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    DOCKER_VOLUME = "DOCKER_VOLUME", 1
    HOST_PATH = "HOST_PATH", 4
    SANDBOX_PATH = "SANDBOX_PATH", 2
    SECRET = "SECRET", 3
    CSI_VOLUME = "CSI_VOLUME", 5


class VolumeSourceSandboxPathType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SELF = "SELF", 1
    PARENT = "PARENT", 2


class VolumeSourceCSIVolumeVolumeCapabilityAccessModeMode(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SINGLE_NODE_WRITER = "SINGLE_NODE_WRITER", 1
    SINGLE_NODE_READER_ONLY = "SINGLE_NODE_READER_ONLY", 2
    MULTI_NODE_READER_ONLY = "MULTI_NODE_READER_ONLY", 3
    MULTI_NODE_SINGLE_WRITER = "MULTI_NODE_SINGLE_WRITER", 4
    MULTI_NODE_MULTI_WRITER = "MULTI_NODE_MULTI_WRITER", 5


class MountPropagationMode(Numbered):
    UNKNOWN = "UNKNOWN", 0
    HOST_TO_CONTAINER = "HOST_TO_CONTAINER", 1
    BIDIRECTIONAL = "BIDIRECTIONAL", 2


class NetworkInfoProtocol(Numbered):
    IPv4 = "IPv4", 1
    IPv6 = "IPv6", 2


class LinuxInfoIpcMode(Numbered):
    UNKNOWN = "UNKNOWN", 0
    PRIVATE = "PRIVATE", 1
    SHARE_PARENT = "SHARE_PARENT", 2


class CapabilityInfoCapability(Numbered):
    UNKNOWN = "UNKNOWN", 0
    CHOWN = "CHOWN", 1000
    DAC_OVERRIDE = "DAC_OVERRIDE", 1001
    DAC_READ_SEARCH = "DAC_READ_SEARCH", 1002
    FOWNER = "FOWNER", 1003
    FSETID = "FSETID", 1004
    KILL = "KILL", 1005
    SETGID = "SETGID", 1006
    SETUID = "SETUID", 1007
    SETPCAP = "SETPCAP", 1008
    LINUX_IMMUTABLE = "LINUX_IMMUTABLE", 1009
    NET_BIND_SERVICE = "NET_BIND_SERVICE", 1010
    NET_BROADCAST = "NET_BROADCAST", 1011
    NET_ADMIN = "NET_ADMIN", 1012
    NET_RAW = "NET_RAW", 1013
    IPC_LOCK = "IPC_LOCK", 1014
    IPC_OWNER = "IPC_OWNER", 1015
    SYS_MODULE = "SYS_MODULE", 1016
    SYS_RAWIO = "SYS_RAWIO", 1017
    SYS_CHROOT = "SYS_CHROOT", 1018
    SYS_PTRACE = "SYS_PTRACE", 1019
    SYS_PACCT = "SYS_PACCT", 1020
    SYS_ADMIN = "SYS_ADMIN", 1021
    SYS_BOOT = "SYS_BOOT", 1022
    SYS_NICE = "SYS_NICE", 1023
    SYS_RESOURCE = "SYS_RESOURCE", 1024
    SYS_TIME = "SYS_TIME", 1025
    SYS_TTY_CONFIG = "SYS_TTY_CONFIG", 1026
    MKNOD = "MKNOD", 1027
    LEASE = "LEASE", 1028
    AUDIT_WRITE = "AUDIT_WRITE", 1029
    AUDIT_CONTROL = "AUDIT_CONTROL", 1030
    SETFCAP = "SETFCAP", 1031
    MAC_OVERRIDE = "MAC_OVERRIDE", 1032
    MAC_ADMIN = "MAC_ADMIN", 1033
    SYSLOG = "SYSLOG", 1034
    WAKE_ALARM = "WAKE_ALARM", 1035
    BLOCK_SUSPEND = "BLOCK_SUSPEND", 1036
    AUDIT_READ = "AUDIT_READ", 1037
    PERFMON = "PERFMON", 1038
    BPF = "BPF", 1039
    CHECKPOINT_RESTORE = "CHECKPOINT_RESTORE", 1040


class RLimitInfoRLimitType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    RLMT_AS = "RLMT_AS", 1
    RLMT_CORE = "RLMT_CORE", 2
    RLMT_CPU = "RLMT_CPU", 3
    RLMT_DATA = "RLMT_DATA", 4
    RLMT_FSIZE = "RLMT_FSIZE", 5
    RLMT_LOCKS = "RLMT_LOCKS", 6
    RLMT_MEMLOCK = "RLMT_MEMLOCK", 7
    RLMT_MSGQUEUE = "RLMT_MSGQUEUE", 8
    RLMT_NICE = "RLMT_NICE", 9
    RLMT_NOFILE = "RLMT_NOFILE", 10
    RLMT_NPROC = "RLMT_NPROC", 11
    RLMT_RSS = "RLMT_RSS", 12
    RLMT_RTPRIO = "RLMT_RTPRIO", 13
    RLMT_RTTIME = "RLMT_RTTIME", 14
    RLMT_SIGPENDING = "RLMT_SIGPENDING", 15
    RLMT_STACK = "RLMT_STACK", 16


class ContainerInfoDockerInfoPortMapping(Message):
    host_port: Annotated[uint32, 1]
    container_port: Annotated[uint32, 2]
    protocol: Annotated[str | None, 3] = None


class ContainerInfoDockerInfo(Message):
    image: Annotated[str, 1]
    network: Annotated[ContainerInfoDockerInfoNetwork, 2] = always(default=ContainerInfoDockerInfoNetwork.HOST)
    port_mappings: Annotated[tuple[ContainerInfoDockerInfoPortMapping, ...], 3] = ()
    privileged: Annotated[bool, 4] = always(default=False)
    parameters: Annotated[tuple[Parameter, ...], 5] = ()
    force_pull_image: Annotated[bool | None, 6] = None
    volume_driver: Annotated[str | None, 7] = None  # deprecated


class ImageAppc(Message):
    name: Annotated[str, 1]
    id: Annotated[str | None, 2] = None
    labels: Annotated[Labels | None, 3] = None


class ImageDocker(Message):
    name: Annotated[str, 1]
    credential: Annotated[Credential | None, 2] = None  # deprecated
    config: Annotated[Secret | None, 3] = None


class Image(Message):
    type: Annotated[ImageType, 1]
    appc: Annotated[ImageAppc | None, 2] = None
    docker: Annotated[ImageDocker | None, 3] = None
    cached: Annotated[bool, 4] = always(default=True)


class ContainerInfoMesosInfo(Message):
    image: Annotated[Image | None, 1] = None


class VolumeSourceDockerVolume(Message):
    driver: Annotated[str | None, 1] = None
    name: Annotated[str, 2]
    driver_options: Annotated[Parameters | None, 3] = None


class MountPropagation(Message):
    mode: Annotated[MountPropagationMode | None, 1] = None


class VolumeSourceHostPath(Message):
    path: Annotated[str, 1]
    mount_propagation: Annotated[MountPropagation | None, 2] = None


class VolumeSourceSandboxPath(Message):
    type: Annotated[VolumeSourceSandboxPathType | None, 1] = None
    path: Annotated[str, 2]


class VolumeSourceCSIVolumeVolumeCapabilityBlockVolume(Message):
    """Has no fields: its presence is what it says."""


class VolumeSourceCSIVolumeVolumeCapabilityMountVolume(Message):
    fs_type: Annotated[str | None, 1] = None
    mount_flags: Annotated[tuple[str, ...], 2] = ()


class VolumeSourceCSIVolumeVolumeCapabilityAccessMode(Message):
    mode: Annotated[VolumeSourceCSIVolumeVolumeCapabilityAccessModeMode, 1]


class VolumeSourceCSIVolumeVolumeCapability(Message):
    block: Annotated[VolumeSourceCSIVolumeVolumeCapabilityBlockVolume | None, 1, OneOf("access_type")] = None
    mount: Annotated[VolumeSourceCSIVolumeVolumeCapabilityMountVolume | None, 2, OneOf("access_type")] = None
    access_mode: Annotated[VolumeSourceCSIVolumeVolumeCapabilityAccessMode, 3]


class VolumeSourceCSIVolumeStaticProvisioning(Message):
    volume_id: Annotated[str, 1]
    volume_capability: Annotated[VolumeSourceCSIVolumeVolumeCapability, 2]
    node_stage_secrets: Annotated[Mapping[str, Secret], 3] = field(default_factory=dict)
    node_publish_secrets: Annotated[Mapping[str, Secret], 4] = field(default_factory=dict)
    volume_context: Annotated[Mapping[str, str], 5] = field(default_factory=dict)


class VolumeSourceCSIVolume(Message):
    plugin_name: Annotated[str, 1]
    static_provisioning: Annotated[VolumeSourceCSIVolumeStaticProvisioning | None, 2] = None


class VolumeSource(Message):
    type: Annotated[VolumeSourceType | None, 1] = None
    docker_volume: Annotated[VolumeSourceDockerVolume | None, 2] = None
    sandbox_path: Annotated[VolumeSourceSandboxPath | None, 3] = None
    secret: Annotated[Secret | None, 4] = None
    host_path: Annotated[VolumeSourceHostPath | None, 5] = None
    csi_volume: Annotated[VolumeSourceCSIVolume | None, 6] = None


class Volume(Message):
    container_path: Annotated[str, 1]
    host_path: Annotated[str | None, 2] = None
    mode: Annotated[VolumeMode, 3]
    image: Annotated[Image | None, 4] = None
    source: Annotated[VolumeSource | None, 5] = None


class NetworkInfoIPAddress(Message):
    protocol: Annotated[NetworkInfoProtocol, 1] = always(default=NetworkInfoProtocol.IPv4)
    ip_address: Annotated[str | None, 2] = None


class NetworkInfoPortMapping(Message):
    host_port: Annotated[uint32, 1]
    container_port: Annotated[uint32, 2]
    protocol: Annotated[str | None, 3] = None


class NetworkInfo(Message):
    groups: Annotated[tuple[str, ...], 3] = ()
    labels: Annotated[Labels | None, 4] = None
    ip_addresses: Annotated[tuple[NetworkInfoIPAddress, ...], 5] = ()
    name: Annotated[str | None, 6] = None
    port_mappings: Annotated[tuple[NetworkInfoPortMapping, ...], 7] = ()


class CapabilityInfo(Message):
    capabilities: Annotated[tuple[CapabilityInfoCapability, ...], 1] = ()


class SeccompInfo(Message):
    profile_name: Annotated[str | None, 1] = None
    unconfined: Annotated[bool | None, 2] = None


class LinuxInfo(Message):
    capability_info: Annotated[CapabilityInfo | None, 1] = None  # deprecated
    bounding_capabilities: Annotated[CapabilityInfo | None, 2] = None
    effective_capabilities: Annotated[CapabilityInfo | None, 3] = None
    share_pid_namespace: Annotated[bool | None, 4] = None
    seccomp: Annotated[SeccompInfo | None, 5] = None
    ipc_mode: Annotated[LinuxInfoIpcMode | None, 6] = None
    shm_size: Annotated[uint32 | None, 7] = None
    share_cgroups: Annotated[bool, 8] = always(default=True)


class RLimitInfoRLimit(Message):
    type: Annotated[RLimitInfoRLimitType | None, 1] = None
    hard: Annotated[uint64 | None, 2] = None
    soft: Annotated[uint64 | None, 3] = None


class RLimitInfo(Message):
    rlimits: Annotated[tuple[RLimitInfoRLimit, ...], 1] = ()


class TTYInfoWindowSize(Message):
    rows: Annotated[uint32, 1]
    columns: Annotated[uint32, 2]


class TTYInfo(Message):
    window_size: Annotated[TTYInfoWindowSize | None, 1] = None


class ContainerInfo(Message):
    type: Annotated[ContainerInfoType, 1]
    volumes: Annotated[tuple[Volume, ...], 2] = ()
    docker: Annotated[ContainerInfoDockerInfo | None, 3] = None
    hostname: Annotated[str | None, 4] = None
    mesos: Annotated[ContainerInfoMesosInfo | None, 5] = None
    network_infos: Annotated[tuple[NetworkInfo, ...], 7] = ()
    linux_info: Annotated[LinuxInfo | None, 8] = None
    rlimit_info: Annotated[RLimitInfo | None, 9] = None
    tty_info: Annotated[TTYInfo | None, 10] = None
