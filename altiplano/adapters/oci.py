"""The configuration of a container in the words of the OCI runtime specification.  Pure.

`bundle` joins what an image wants and what a task asks for into the `config.json` that crun and runc read.
Nothing is looked up here: users come from account files that the caller has read out of the image, hard
limits and the kind of machine are told.  What a runtime would refuse, or worse, read otherwise than meant, is
refused here with a sentence.
"""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from altiplano.adapters import accounts, seccomp
from altiplano.ports.images import ImageConfig
from altiplano.ports.launcher import CPU_PERIOD_US, CgroupLimits, Rlimit

OCI_VERSION: Final = "1.0.2"
PATH_DEFAULT: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_BYTES_DEFAULT: Final = 64 * 1024**2
MOUNTS_MAX: Final = 256

_ALL = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
    FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
    NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES: Final = tuple(f"CAP_{name}" for name in _ALL.split())

_USUAL = """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID
    SYS_CHROOT
"""
CAPABILITIES_DEFAULT: Final = tuple(f"CAP_{name}" for name in _USUAL.split())
"""What users of `docker run` are used to: enough to install packages and drop rights, nothing of the machine."""

MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Parts of proc and sys that tell about the machine, or about secrets of it."""

READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

RESERVED: Final = ("/", "/dev", "/dev/pts", "/proc", "/sys")
"""Mounts that a task cannot replace: what keeps it inside rests on them."""


class BundleRefused(Exception):
    """What was asked for cannot be run like that; the sentence says what to change."""


class Propagation(enum.Enum):
    """Whether what is mounted below a volume later is seen on the other side."""

    PRIVATE = "private"
    SLAVE = "slave"
    """Mounts of the host come in: an automounted /cvmfs needs it."""
    SHARED = "shared"
    """And mounts of the container go out."""


class Network(enum.Enum):
    HOST = "host"
    NONE = "none"
    """Only itself; also what a bridge begins with."""


class Namespace(enum.Enum):
    """What a container may share with another one of its group, by a path below /proc."""

    PID = "pid"
    NETWORK = "network"
    IPC = "ipc"
    UTS = "uts"


class Seccomp(enum.Enum):
    DEFAULT = "default"
    UNCONFINED = "unconfined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of the host, seen in the container at `target`, with what is mounted below it."""

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = Propagation.PRIVATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """Memory as a file system; what lies in it counts as the container's memory."""

    target: str
    size_bytes: int
    mode: int = 0o1777


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node that the container has and may use; `access` of the letters r, w and m."""

    path: str
    kind: str
    major: int
    minor: int
    access: str = "rwm"
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMap:
    """Users of the container from 0 on are users of the host from `host` on."""

    host_uid: int
    host_gid: int
    size: int = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a task asks for.  None: as the image says."""

    rootfs: str
    """Where its file system is mounted; absolute."""
    entrypoint: tuple[str, ...] | None = None
    """Instead of the image's, whose own command is then left out as well."""
    arguments: tuple[str, ...] | None = None
    """Instead of the image's command."""
    environment: tuple[tuple[str, str], ...] = ()
    """Over the image's; the last of one name counts."""
    user: str | None = None
    directory: str | None = None
    hostname: str | None = None
    """None: the host's own where its network is used, else what the runtime makes of it."""
    terminal: bool = False
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    shm_bytes: int = SHM_BYTES_DEFAULT
    devices: tuple[Device, ...] = ()
    read_only_root: bool = False
    capabilities: tuple[str, ...] = CAPABILITIES_DEFAULT
    """What it can ever get."""
    effective: tuple[str, ...] | None = None
    """What it begins with, also as another user than root; None: all for root, nothing for others."""
    no_new_privileges: bool = False
    seccomp: Seccomp = Seccomp.DEFAULT
    rlimits: tuple[Rlimit, ...] = ()
    limits: CgroupLimits = field(default_factory=CgroupLimits)
    swap_bytes: int | None = None
    """Beyond the memory; 0 forbids swap.  None: as the kernel likes."""
    cgroup: str | None = None
    """Absolute in each hierarchy, so that nothing nests below whoever calls; None: the caller sees to it."""
    network: Network = Network.HOST
    joined: Mapping[Namespace, str] = field(default_factory=dict)
    user_map: UserMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this machine allows."""

    architecture: str = "amd64"
    rlimits_hard: Mapping[str, int | None] = field(default_factory=dict)
    """By name; None: no limit.  Without CAP_SYS_RESOURCE nobody can go above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Texts of the image's account files."""

    passwd: str = ""
    group: str = ""


Config = dict[str, object]


def text(config: Config) -> bytes:
    """The bytes of `config.json`, readable by people."""
    return msgspec.json.format(msgspec.json.encode(config), indent=1)


def bundle(image: ImageConfig, asked: Asked, accounts_of_image: Accounts, host: Host) -> Config:
    """The configuration of one container; `BundleRefused` where it cannot be."""
    if not asked.rootfs.startswith("/"):
        raise BundleRefused(f"The root file system {asked.rootfs!r:.200} must have an absolute path.")
    process = _process(image, asked, accounts_of_image, host)
    config: Config = {
        "ociVersion": OCI_VERSION,
        "root": {"path": asked.rootfs, "readonly": asked.read_only_root},
        "process": process,
        "mounts": _mounts(asked),
        "linux": _linux(asked, host),
    }
    if asked.hostname is not None:
        _check_text("host name", asked.hostname)
        config["hostname"] = asked.hostname
    return config


def command(image: ImageConfig, asked: Asked) -> tuple[str, ...]:
    """The words that are run: a task's entry point or the image's, then its arguments or the image's."""
    entrypoint = image.entrypoint if asked.entrypoint is None else asked.entrypoint
    if asked.arguments is not None:
        arguments = asked.arguments
    else:
        arguments = image.command if asked.entrypoint is None else ()
    words = (*entrypoint, *arguments)
    if not words or not words[0]:
        raise BundleRefused("The image names no command, and the task does not either: say what to run.")
    for word in words:
        if "\0" in word:
            raise BundleRefused(f"A zero byte stands in {word!r:.100}; no program can be given one.")
    return words


def environment(image: ImageConfig, asked: Asked, home: str) -> list[str]:
    """The image's variables, then the task's over them; PATH and HOME are always there."""
    joined = {"PATH": PATH_DEFAULT, "HOME": home}
    if asked.terminal:
        joined["TERM"] = "xterm"
    for key, value in (*image.environment, *asked.environment):
        if not key or "=" in key or "\0" in key + value:
            raise BundleRefused(f"The environment variable {key!r:.100} is empty, has an equals sign or a zero byte.")
        joined[key] = value
    return [f"{key}={value}" for key, value in joined.items()]


def with_capabilities(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[str, ...]:
    """The default set with some more and some less; `ALL` stands for all, names may lack their CAP_."""
    chosen = set(CAPABILITIES_DEFAULT)
    added, dropped = {_capability(name) for name in add}, {_capability(name) for name in drop}
    if "ALL" in dropped:
        chosen.clear()
    if "ALL" in added:
        chosen.update(CAPABILITIES)
    chosen = (chosen | added) - dropped - {"ALL"}
    # A name that is asked for by itself stays when all others are dropped.
    return tuple(sorted(chosen))


def _capability(name: str) -> str:
    upper = name.upper()
    if upper == "ALL":
        return upper
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in CAPABILITIES:
        raise BundleRefused(f"There is no capability {name!r:.60}.")
    return full


def _process(image: ImageConfig, asked: Asked, files: Accounts, host: Host) -> Config:
    try:
        who = accounts.account(image.user if asked.user is None else asked.user, files.passwd, files.group)
    except accounts.UnknownAccount as error:
        raise BundleRefused(str(error)) from error
    directory = asked.directory or image.directory or "/"
    _check_path("working directory", directory)
    if asked.user_map is not None:
        highest = max(who.uid, who.gid, *who.groups)
        if highest >= asked.user_map.size:
            raise BundleRefused(
                f"The user or group {highest} of the container is not among the {asked.user_map.size} mapped ones."
            )
    return {
        "terminal": asked.terminal,
        # His first group as well, or a file that denies something to that group would not deny it to him.
        "user": {
            "uid": who.uid,
            "gid": who.gid,
            "umask": 0o022,
            "additionalGids": list(dict.fromkeys((who.gid, *who.groups))),
        },
        "args": list(command(image, asked)),
        "env": environment(image, asked, who.home),
        "cwd": posixpath.normpath(directory),
        "capabilities": _capabilities(asked, who.uid == 0),
        "rlimits": _rlimits(asked.rlimits, host.rlimits_hard),
        "noNewPrivileges": asked.no_new_privileges,
    }


def _capabilities(asked: Asked, root: bool) -> dict[str, list[str]]:
    bounding = sorted({_capability(name) for name in asked.capabilities})
    if asked.effective is None:
        effective = bounding if root else []
        ambient: list[str] = []
    else:
        effective = sorted({_capability(name) for name in asked.effective})
        if not set(effective) <= set(bounding):
            missing = ", ".join(sorted(set(effective) - set(bounding)))
            raise BundleRefused(f"The task wants to begin with {missing}, which it is not allowed to have at all.")
        # Another user keeps them over the start of his program only so.
        ambient = [] if root else effective
    return {
        "bounding": bounding,
        "effective": effective,
        "permitted": effective,
        "inheritable": ambient,
        "ambient": ambient,
    }


def _rlimits(rlimits: Sequence[Rlimit], hard_limits: Mapping[str, int | None]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for one in rlimits:
        soft, hard = (2**64 - 1 if value is None else value for value in (one.soft, one.hard))
        allowed = hard_limits.get(one.name)
        if allowed is not None and hard > allowed:
            raise BundleRefused(
                f"{one.name} of {'infinity' if one.hard is None else one.hard} is above this machine's hard limit of "
                f"{allowed}; ask for less, or have the agent started with more."
            )
        if soft > hard:
            raise BundleRefused(f"The soft limit of {one.name} is above its hard limit.")
        found.append({"type": one.name, "soft": soft, "hard": hard})
    return found


def _mounts(asked: Asked) -> list[dict[str, object]]:
    """Those of every container, then those asked for; an outer one before what lies inside of it."""
    own_network = _own(asked, Namespace.NETWORK)
    made: dict[str, dict[str, object]] = {
        "/proc": _mount("proc", "proc", "nosuid", "noexec", "nodev"),
        "/dev": _mount("tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        "/dev/pts": _mount("devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        "/dev/shm": _mount("tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={asked.shm_bytes}"),
        "/dev/mqueue": _mount("mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    }
    if asked.user_map is None or own_network:
        # The kernel gives a fresh one to the owner of the network only.
        made["/sys"] = _mount("sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
        # Programs that size themselves by their limits find them here.
        made["/sys/fs/cgroup"] = _mount("cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    else:
        made["/sys"] = _mount("bind", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    wanted: dict[str, dict[str, object]] = {}
    for tmpfs in asked.tmpfs:
        if tmpfs.size_bytes <= 0:
            raise BundleRefused(f"The memory file system {tmpfs.target!r:.100} needs a size above 0 bytes.")
        size = (f"mode={tmpfs.mode:o}", f"size={tmpfs.size_bytes}")
        _add(wanted, tmpfs.target, _mount("tmpfs", "tmpfs", "nosuid", "nodev", *size))
    for mount in asked.mounts:
        _check_path("source of a volume", mount.source)
        options = ("rbind", f"r{mount.propagation.value}", "ro" if mount.read_only else "rw")
        _add(wanted, mount.target, _mount("bind", mount.source, *options))
    if len(wanted) > MOUNTS_MAX:
        raise BundleRefused(f"The task asks for {len(wanted)} volumes, at most {MOUNTS_MAX} are mounted.")
    made.update(wanted)
    order = sorted(made, key=lambda target: target.count("/"))
    return [{"destination": target, **made[target]} for target in order]


def _add(wanted: dict[str, dict[str, object]], target: str, mount: dict[str, object]) -> None:
    _check_path("target of a volume", target)
    target = posixpath.normpath(target)
    if target in RESERVED or target.startswith("/proc/"):
        raise BundleRefused(f"Nothing can be mounted at {target}: what keeps a container inside rests on it.")
    if target in wanted:
        raise BundleRefused(f"Two volumes are to be mounted at {target!r:.200}.")
    wanted[target] = mount


def _mount(kind: str, source: str, *options: str) -> dict[str, object]:
    return {"type": kind, "source": source, "options": list(options)}


def _linux(asked: Asked, host: Host) -> Config:
    below_root = "private"
    for kind in (Propagation.SLAVE, Propagation.SHARED):
        # A mount cannot pass on what its own root does not get.
        if any(volume.propagation is kind for volume in asked.mounts):
            below_root = f"r{kind.value}"
    linux: Config = {
        "namespaces": _namespaces(asked),
        "resources": _resources(asked),
        "devices": [_device(device) for device in asked.devices],
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READ_ONLY),
        "rootfsPropagation": below_root,
    }
    if asked.cgroup is not None:
        _check_path("cgroup", asked.cgroup)
        linux["cgroupsPath"] = asked.cgroup
    if asked.seccomp is Seccomp.DEFAULT:
        linux["seccomp"] = seccomp.profile(host.architecture, asked.capabilities)
    if asked.user_map is not None:
        for which, first in (("uid", asked.user_map.host_uid), ("gid", asked.user_map.host_gid)):
            linux[f"{which}Mappings"] = [{"containerID": 0, "hostID": first, "size": asked.user_map.size}]
    return linux


def _own(asked: Asked, namespace: Namespace) -> bool:
    """Whether the container has a new one for itself."""
    if namespace in asked.joined:
        return False
    match namespace:
        case Namespace.NETWORK:
            return asked.network is Network.NONE
        case Namespace.UTS:
            # Programs of experiments look at the name of the host to find their place in a data taking.
            return asked.hostname is not None or asked.network is Network.NONE
        case Namespace.PID | Namespace.IPC:
            return True


def _namespaces(asked: Asked) -> list[dict[str, str]]:
    namespaces = [{"type": "mount"}, {"type": "cgroup"}]
    if asked.user_map is not None:
        namespaces.append({"type": "user"})
    for namespace in Namespace:
        if namespace in asked.joined:
            _check_path(f"{namespace.value} namespace", asked.joined[namespace])
            namespaces.append({"type": namespace.value, "path": asked.joined[namespace]})
        elif _own(asked, namespace):
            namespaces.append({"type": namespace.value})
    if asked.hostname is not None and Namespace.UTS in asked.joined:
        raise BundleRefused("A container that shares another one's host name cannot have its own.")
    return namespaces


def _resources(asked: Asked) -> Config:
    limits = asked.limits
    allowed = [_allowed_device(device) for device in asked.devices]
    resources: Config = {"devices": [{"allow": False, "access": "rwm"}, *allowed]}
    memory = {
        key: value
        for key, value in (("limit", limits.memory_hard_bytes), ("reservation", limits.memory_soft_bytes))
        if value is not None
    }
    if asked.swap_bytes is not None:
        if limits.memory_hard_bytes is None:
            raise BundleRefused("A limit of swap needs one of memory: the kernel counts both together.")
        memory["swap"] = limits.memory_hard_bytes + asked.swap_bytes
    if memory:
        resources["memory"] = memory
    cpu = {}
    if limits.cpu_shares is not None:
        cpu["shares"] = limits.cpu_shares
    if limits.cpu_quota_us is not None:
        cpu |= {"quota": limits.cpu_quota_us, "period": CPU_PERIOD_US}
    if cpu:
        resources["cpu"] = cpu
    if limits.pids_max is not None:
        resources["pids"] = {"limit": limits.pids_max}
    return resources


def _device(device: Device) -> dict[str, object]:
    _check_path("device", device.path)
    if device.kind not in ("c", "b"):
        raise BundleRefused(f"The device {device.path} is of kind {device.kind!r:.10}; there are c and b.")
    if not device.access or not set(device.access) <= set("rwm"):
        raise BundleRefused(f"Access {device.access!r:.20} to {device.path} is not of the letters r, w and m.")
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def _allowed_device(device: Device) -> dict[str, object]:
    return {
        "allow": True,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "access": device.access,
    }


def _check_path(what: str, path: str) -> None:
    """Absolute and without climbing: a runtime, a kernel and a reader shall see the same place."""
    _check_text(what, path)
    if not path.startswith("/") or ".." in path.split("/"):
        raise BundleRefused(f"The {what} {path!r:.200} must be an absolute path without ...")


def _check_text(what: str, value: str) -> None:
    if not value or "\0" in value or "\n" in value:
        raise BundleRefused(f"The {what} {value!r:.200} is empty, or has a zero byte or a line end.")
