"""Control groups, version 1, version 2 or both at once: limits, measures and membership of containers.

Each controller is looked up separately in /proc/self/mountinfo, since a hybrid
machine has some in v1 and some in v2.  Every container gets one leaf per
hierarchy it needs, below `/altiplano/<agent key>/<container>`.

The one thing to know before changing it: a container is born in its cgroups.
The thread that starts it goes in first and home afterwards, by writing 0 into
`tasks`: the one move that takes no lock.  Moving another process takes a lock
that stops every fork and exit of the machine for an RCU grace period
(docs/decisions/0002-launch-path.md).  While inside, the supervisor is bound by
the limits, so those of cpu and pids are set after it has left.

The supervisor imports this module, so it takes nothing that is slow to load.
"""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT_NAME = "altiplano"
CPU_PERIOD_US = 100_000
CPU_SHARES_MIN = 2
CPU_SHARES_DEFAULT = 1024
"""What the kernel gives to a new group of version 1."""
CPU_QUOTA_US_MIN = 1_000
SPREAD_ROUNDS_MAX = 64
"""A container that forks faster than this many rounds of moving is a fork bomb; it is moved by later rounds."""

USED = ("memory", "cpu", "pids")
MEMBERSHIP = ("memory", "pids", "freezer", "unified", "cpu")
"""Which hierarchy keeps the exact list of a container's processes: the first of these that there is."""


class CgroupTrouble(Exception):
    """A cgroup could not be made, limited or removed."""


class Hierarchy:
    """Where one controller is mounted, and in which version."""

    __slots__ = ("controller", "mount", "version")

    def __init__(self, controller: str, version: int, mount: str) -> None:
        self.controller = controller
        self.version = version
        self.mount = mount


def parse_mounts(mountinfo: str, controllers_of: Mapping[str, str]) -> dict[str, Hierarchy]:
    """Find each controller: v1 by its mount options, v2 by the text of `cgroup.controllers` at the mount.

    `unified` stands for the v2 tree itself, whatever controllers it has.  A
    controller in both is the v1 one: the kernel attaches it to one tree only.
    """
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, source = left.split(), right.split()
        if len(fields) < 5 or len(source) < 3:
            continue
        mount = fields[4].replace("\\040", " ")
        if source[0] == "cgroup":
            for name in source[2].split(","):
                if name in ("cpu", "cpuacct", "memory", "pids", "freezer"):
                    found[name] = Hierarchy(name, 1, mount)
        elif source[0] == "cgroup2":
            found.setdefault("unified", Hierarchy("unified", 2, mount))
            for name in controllers_of.get(mount, "").split():
                if name in ("cpu", "memory", "pids"):
                    found.setdefault(name, Hierarchy(name, 2, mount))
    return found


def parse_homes(cgroup: str) -> dict[str, str]:
    """Read /proc/self/cgroup: the path of this process for each controller, `unified` for v2."""
    homes: dict[str, str] = {}
    for line in cgroup.splitlines():
        number, names, path = line.split(":", 2)
        for name in ["unified"] if number == "0" else names.split(","):
            homes[name] = path
    return homes


def find() -> dict[str, Hierarchy]:
    """What this machine has."""
    text = _read("/proc/self/mountinfo") or ""
    mounts = {line.split()[4] for line in text.splitlines() if " - cgroup2 " in line}
    return parse_mounts(text, {mount: _read(f"{mount}/cgroup.controllers") or "" for mount in mounts})


def probe(agent_key: str) -> tuple[str, ...]:
    """Say in sentences what containers of this agent can have here.  Makes and keeps the agent's own cgroups."""
    groups = Cgroups(agent_key)
    if groups.trouble is not None:
        return (f"Isolation is posix: process groups and rlimits only. {groups.trouble}",)
    sentences = []
    for name in USED:
        hierarchy = groups.hierarchies.get(name)
        if hierarchy is None:
            sentences.append(f"The {name} controller is not there: {name} is not limited.")
        else:
            sentences.append(f"The {name} controller is cgroup v{hierarchy.version} at {hierarchy.mount}.")
    return tuple(sentences)


class Cgroups:
    """All cgroups of one agent."""

    def __init__(self, agent_key: str, found: Mapping[str, Hierarchy] | None = None) -> None:
        """Makes the agent's own cgroups in what `found` (this machine without it) has, or says why not in `trouble`."""
        self.agent_key = agent_key
        self.hierarchies: dict[str, Hierarchy] = {}
        self.trouble: str | None = None
        self.cpu_counts = False
        found = find() if found is None else found
        self.membership = next((name for name in MEMBERSHIP if name in found and name != "unified"), "unified")
        if self.membership not in found:
            self.trouble = "No cgroup hierarchy is mounted; mount one below /sys/fs/cgroup to have limits."
            return
        try:
            for name in {*USED, self.membership} & found.keys():
                self._make_base(found[name])
                self.hierarchies[name] = found[name]
        except OSError as error:
            self.hierarchies = {}
            self.trouble = (
                f"Cgroups cannot be made: {error.strerror} ({error.filename}); run the agent as root to have limits."
            )
        homes = parse_homes(_read("/proc/self/cgroup") or "")
        self._homes = {name: _home(one, homes) for name, one in self.hierarchies.items()}
        self._home_descriptors: dict[str, int] = {}
        cpu, account = found.get("cpu"), found.get("cpuacct")
        # v1 keeps processor time in another controller, which is often mounted together with cpu.
        self.cpu_counts = cpu is not None and (cpu.version == 2 or (account is not None and account.mount == cpu.mount))

    def _make_base(self, hierarchy: Hierarchy) -> None:
        path = hierarchy.mount
        for name in (ROOT_NAME, self.agent_key):
            if hierarchy.version == 2 and hierarchy.controller != "unified":
                _write(f"{path}/cgroup.subtree_control", f"+{hierarchy.controller}")
            path = f"{path}/{name}"
            _mkdir(path)
            if not os.access(path, os.W_OK):
                raise PermissionError(13, "Permission denied", path)
        if hierarchy.version == 2 and hierarchy.controller != "unified":
            _write(f"{path}/cgroup.subtree_control", f"+{hierarchy.controller}")

    def base(self, controller: str) -> str:
        return f"{self.hierarchies[controller].mount}/{ROOT_NAME}/{self.agent_key}"

    def leaf(self, container_id: str, limits: Mapping[str, int | None]) -> Leaf:
        """The leaf of a container, made or not; nothing is written yet."""
        wanted = {self.membership}
        if limits.get("cpu_shares") is not None or limits.get("cpu_quota_us") is not None:
            wanted.add("cpu")
        if limits.get("memory_hard_bytes") is not None or limits.get("memory_soft_bytes") is not None:
            wanted.add("memory")
        if limits.get("pids_max") is not None:
            wanted.add("pids")
        missing = sorted(wanted - self.hierarchies.keys())
        if missing:
            raise CgroupTrouble(
                self.trouble or f"This machine has no cgroup controller {missing[0]}; ask for no limit of that kind."
            )
        return Leaf(self, container_id, {name: f"{self.base(name)}/{container_id}" for name in wanted})

    def enter_home(self, controllers: Iterable[str]) -> None:
        """Bring the calling thread back to where it came from."""
        for path in {self._homes[name] for name in controllers}:
            if path not in self._home_descriptors:
                self._home_descriptors[path] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._home_descriptors[path], b"0")

    def leftovers(self, keep: Iterable[str]) -> list[Leaf]:
        """Leaves on disk of containers that are not in `keep`."""
        kept = set(keep)
        found: dict[str, dict[str, str]] = {}
        for controller in self.hierarchies:
            base = self.base(controller)
            for name in _directories(base):
                if name not in kept:
                    found.setdefault(name, {})[controller] = f"{base}/{name}"
        return [Leaf(self, name, paths) for name, paths in found.items()]

    def remove_base(self) -> None:
        """Remove the agent's own cgroups, and the common parent where no other agent uses it."""
        for controller in self.hierarchies:
            base = self.base(controller)
            for path in (base, os.path.dirname(base)):
                try:
                    os.rmdir(path)
                except OSError:
                    break  # in use by another agent, or not ours to remove


class Leaf:
    """The cgroups of one container, one path per controller (the same path twice in v2)."""

    __slots__ = ("container_id", "fresh", "groups", "member", "paths", "trees")

    def __init__(self, groups: Cgroups, container_id: str, paths: dict[str, str]) -> None:
        self.groups = groups
        self.container_id = container_id
        self.paths = paths
        self.member = paths.get(groups.membership) or next(iter(paths.values()))
        self.fresh = False
        """It was made by `make`, and has the kernel's own limits where nothing else was written."""
        self.trees = {controller: path for path, controller in {path: name for name, path in paths.items()}.items()}
        """One controller for each separate tree."""

    def _version(self, controller: str) -> int:
        return self.groups.hierarchies[controller].version

    def make(self, limits: Mapping[str, int | None]) -> None:
        """Make the leaves and limit memory; the other limits wait for `settle`."""
        try:
            made = [_mkdir(path) for path in self.trees.values()]
            self.fresh = all(made)
            if "memory" in self.paths:
                self._limit_memory(self.paths["memory"], self._version("memory"), limits)
        except OSError as error:
            raise CgroupTrouble(f"The cgroup {error.filename} refused: {error.strerror}.") from error

    def limit(self, limits: Mapping[str, int | None]) -> None:
        """Write limits; None leaves what is there."""
        for controller, path in self.paths.items():
            version = self._version(controller)
            if controller == "cpu":
                self._limit_cpu(path, version, limits)
            elif controller == "memory":
                self._limit_memory(path, version, limits)
            elif controller == "pids" and limits.get("pids_max") is not None:
                _write(f"{path}/pids.max", str(limits["pids_max"]))

    def _limit_cpu(self, path: str, version: int, limits: Mapping[str, int | None]) -> None:
        shares, quota = limits.get("cpu_shares"), limits.get("cpu_quota_us")
        if shares is not None:
            shares = max(shares, CPU_SHARES_MIN)
            if version == 1:
                if not (self.fresh and shares == CPU_SHARES_DEFAULT):
                    _write(f"{path}/cpu.shares", str(shares))
            else:
                # The kernel's own mapping of 2..262144 shares on 1..10000 weights.
                _write(f"{path}/cpu.weight", str(max(1, min(10_000, 1 + (shares - 2) * 9999 // 262_142))))
        if quota is not None:
            quota = max(quota, CPU_QUOTA_US_MIN)
            if version == 1:
                _write(f"{path}/cpu.cfs_period_us", str(CPU_PERIOD_US))
                _write(f"{path}/cpu.cfs_quota_us", str(quota))
            else:
                _write(f"{path}/cpu.max", f"{quota} {CPU_PERIOD_US}")

    def _limit_memory(self, path: str, version: int, limits: Mapping[str, int | None]) -> None:
        hard, soft = limits.get("memory_hard_bytes"), limits.get("memory_soft_bytes")
        if hard is not None:
            _write(f"{path}/{'memory.limit_in_bytes' if version == 1 else 'memory.max'}", str(hard))
        if soft is not None and version == 1:
            # Memory above the soft limit goes first: where the hard one is no higher, there is never any above.
            if not (self.fresh and hard is not None and soft >= hard):
                _write(f"{path}/memory.soft_limit_in_bytes", str(soft))
        elif soft is not None:
            _write(f"{path}/memory.low", str(soft))

    def enter(self) -> None:
        """Move the calling thread in, so that the next process it starts is born there."""
        for controller, path in self.trees.items():
            try:
                _write(f"{path}/{_threads_file(self.groups.hierarchies[controller])}", "0")
            except OSError as error:
                raise CgroupTrouble(f"The cgroup {path} takes no process: {error.strerror}.") from error

    def leave(self) -> None:
        self.groups.enter_home(self.trees)

    def doors(self) -> list[str]:
        """The files through which a process of one thread goes in by writing 0."""
        return [
            f"{path}/{_threads_file(self.groups.hierarchies[controller])}" for controller, path in self.trees.items()
        ]

    def settle(self, limits: Mapping[str, int | None]) -> None:
        """Set the limits that would have bound the supervisor while it was inside."""
        try:
            self.limit({**limits, "memory_hard_bytes": None, "memory_soft_bytes": None})
        except OSError as error:
            raise CgroupTrouble(f"The cgroup {error.filename} refused: {error.strerror}.") from error

    def spread(self) -> None:
        """Bring every process of the membership leaf into the other leaves, for those made after the start.

        A process forked after its parent was moved is born in all of them, so a
        round that finds nobody new has found everybody.
        """
        moved: set[int] = set()
        for _ in range(SPREAD_ROUNDS_MAX):
            fresh = [pid for pid in self.processes() if pid not in moved]
            for pid in fresh:
                moved.add(pid)
                for path in {*self.paths.values()} - {self.member}:
                    _write_gently(f"{path}/cgroup.procs", str(pid))
            if not fresh:
                break

    def processes(self) -> list[int]:
        """Every living process of the container."""
        text = _read(f"{self.member}/cgroup.procs")
        # A process of another pid namespace is written as 0 and cannot be ours to signal.
        return [int(pid) for pid in text.split() if pid != "0"] if text else []

    def signal(self, signal_number: int) -> int:
        """Send a signal to every process; the number of them.  SIGKILL uses cgroup.kill where it is."""
        pids = self.processes()
        at_once = signal_number == 9 and pids and self._version(self.groups.membership) == 2
        if at_once and _write_gently(f"{self.member}/cgroup.kill", "1"):
            return len(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        return len(pids)

    def oom_kills(self) -> int:
        """Processes the kernel killed here for want of memory.  Not hierarchical in v1: read before removal."""
        path = self.paths.get("memory")
        if path is None:
            return 0
        version = self._version("memory")
        name = "memory.oom_control" if version == 1 else "memory.events"
        return _keyed(_read(f"{path}/{name}")).get("oom_kill", 0)

    def memory(self) -> dict[str, int | None]:
        """rss, peak and limit in bytes; None where the kernel does not say."""
        path = self.paths.get("memory")
        if path is None:
            return {"rss": None, "peak": None, "limit": None}
        if self._version("memory") == 1:
            rss = _keyed(_read(f"{path}/memory.stat")).get("total_rss")
            return {
                "rss": rss,
                "peak": _number(f"{path}/memory.max_usage_in_bytes"),
                "limit": _number(f"{path}/memory.limit_in_bytes"),
            }
        rss = _keyed(_read(f"{path}/memory.stat")).get("anon")
        return {"rss": rss, "peak": _number(f"{path}/memory.peak"), "limit": _number(f"{path}/memory.max")}

    def peak(self) -> int | None:
        path = self.paths.get("memory")
        if path is None:
            return None
        return _number(f"{path}/{'memory.max_usage_in_bytes' if self._version('memory') == 1 else 'memory.peak'}")

    def throttling(self) -> tuple[int, int, float] | None:
        """Periods, throttled periods, throttled seconds."""
        path = self.paths.get("cpu")
        stat = _keyed(_read(f"{path}/cpu.stat")) if path else {}
        if "nr_periods" not in stat:
            return None
        throttled_s = stat["throttled_time"] / 1e9 if "throttled_time" in stat else stat.get("throttled_usec", 0) / 1e6
        return stat["nr_periods"], stat["nr_throttled"], throttled_s

    def cpu_s(self) -> tuple[float, float] | None:
        """User and system seconds of all that ever ran inside; None where only the processes can tell."""
        path = self.paths.get("cpu")
        if path is None or not self.groups.cpu_counts:
            return None
        if self._version("cpu") == 2:
            stat = _keyed(_read(f"{path}/cpu.stat"))
            return stat.get("user_usec", 0) / 1e6, stat.get("system_usec", 0) / 1e6
        user, system = _number(f"{path}/cpuacct.usage_user"), _number(f"{path}/cpuacct.usage_sys")
        return None if user is None or system is None else (user / 1e9, system / 1e9)

    def remove(self) -> bool:
        """Remove the leaves; False while somebody is inside or the kernel is still busy with it."""
        for path in self.trees.values():
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError:
                return self._remove_children(path) and self.remove()
        return True

    def _remove_children(self, path: str) -> bool:
        """A container may have made cgroups of its own; empty ones go with it."""
        removed = False
        for name in _directories(path):
            try:
                os.rmdir(f"{path}/{name}")
                removed = True
            except OSError:
                removed = self._remove_children(f"{path}/{name}") or removed
        return removed


def _home(hierarchy: Hierarchy, homes: Mapping[str, str]) -> str:
    path = homes.get("unified" if hierarchy.version == 2 else hierarchy.controller, "/")
    return f"{hierarchy.mount}{path.rstrip('/')}/{_threads_file(hierarchy)}"


def _threads_file(hierarchy: Hierarchy) -> str:
    # v1 moves one thread through `tasks`; v2 has whole processes only, and ours has one thread.
    return "tasks" if hierarchy.version == 1 else "cgroup.procs"


def _mkdir(path: str) -> bool:
    """Make a directory; False where it is there already."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def _write_gently(path: str, text: str) -> bool:
    """Write where it works; a process that has just ended, or a file this kernel lacks, is no error."""
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _read(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65_536):
            parts.append(part)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return b"".join(parts).decode(errors="replace")


def _number(path: str) -> int | None:
    """A file that holds one number, which comes in one piece."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 64).strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int(text) if text.isdigit() else None


def _keyed(text: str | None) -> dict[str, int]:
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
