"""What a task may use, as limits for the launcher; and what this agent cannot give to a task.

`posix` limits nothing: usage is measured, no more.  `cgroups` weighs cpus against those of others and
kills what takes more memory than it asked for, by the rules of Mesos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from altiplano.agent import environment
from altiplano.agent.settings import Node
from altiplano.ports import launcher
from altiplano.wire.messages import mesos

CPU_SHARES_PER_CPU = 1024
CPU_SHARES_MIN = 2
CPU_QUOTA_US_MIN = 1000
MEMORY_BYTES_MIN = 32 * 1024 * 1024
MIB = 1024 * 1024

_RLIMITS = {limit: f"RLIMIT_{limit.value.removeprefix('RLMT_')}" for limit in mesos.RLimitInfoRLimitType}


def limits(node: Node, task: mesos.TaskInfo) -> launcher.CgroupLimits | None:
    """The limits of a task's cgroup; None with isolation `posix`."""
    if not node.cgroups:
        return None
    cpus, mem = amount(task.resources, "cpus"), amount(task.resources, "mem")
    memory = int(mem * MIB)
    return launcher.CgroupLimits(
        cpu_shares=max(CPU_SHARES_MIN, round(cpus * CPU_SHARES_PER_CPU)),
        cpu_quota_us=_quota_us(node, cpus, task.limits),
        memory_soft_bytes=max(MEMORY_BYTES_MIN, memory),
        memory_hard_bytes=_memory_hard_bytes(memory, task.limits),
    )


def rlimits(task: mesos.TaskInfo) -> tuple[launcher.Rlimit, ...]:
    """The POSIX limits that a task asks for."""
    info = task.container.rlimit_info if task.container is not None else None
    return tuple(
        launcher.Rlimit(name=_RLIMITS[limit.type], soft=limit.soft, hard=limit.hard)
        for limit in (info.rlimits if info is not None else ())
        if limit.type is not None
    )


def user(node: Node, framework: mesos.FrameworkInfo, task: mesos.TaskInfo) -> str | None:
    """The user to switch to; None to stay the agent's own."""
    wanted = (task.command.user if task.command is not None else None) or framework.user
    return wanted if node.may_switch_user and wanted and wanted != node.user else None


def problem(task: mesos.TaskInfo) -> str | None:
    """Why this agent cannot run a task as it is described, in a sentence; None if it can."""
    if task.executor is not None:
        return "the task brings its own executor, and this agent runs commands only: give the task a command"
    if task.command is None:
        return "the task has no command"
    if task.command.shell and task.command.value is None:
        return "the command has no value: give the text that the shell shall run"
    if not task.command.shell and not task.command.value:
        return "the command has no value: give the path of the program"
    if "\0" in (task.command.value or "") or any("\0" in argument for argument in task.command.arguments):
        return "the command contains a NUL, which no command line can hold"
    return environment.problem(task.command) or (_container_problem(task.container) if task.container else None)


def amount(resources: Iterable[mesos.Resource], name: str) -> float:
    """The sum of a scalar resource over all roles."""
    return sum(r.scalar.value for r in resources if r.name == name and r.scalar is not None)


def _quota_us(node: Node, cpus: float, task_limits: Mapping[str, mesos.ValueScalar]) -> int | None:
    limit = task_limits.get("cpus")
    if limit is not None:
        return None if math.isinf(limit.value) else max(CPU_QUOTA_US_MIN, round(limit.value * launcher.CPU_PERIOD_US))
    return max(CPU_QUOTA_US_MIN, round(cpus * launcher.CPU_PERIOD_US)) if node.hard_cpu_limit else None


def _memory_hard_bytes(memory: int, task_limits: Mapping[str, mesos.ValueScalar]) -> int | None:
    limit = task_limits.get("mem")
    if limit is None:
        return max(MEMORY_BYTES_MIN, memory)
    return None if math.isinf(limit.value) else max(MEMORY_BYTES_MIN, int(limit.value * MIB))


def _container_problem(container: mesos.ContainerInfo) -> str | None:
    if container.type is mesos.ContainerInfoType.DOCKER:
        return "the task asks for a Docker container, and this agent has no images: leave out the container"
    if container.mesos is not None and container.mesos.image is not None:
        return "the task asks for an image, and this agent has none: leave out the image"
    if container.volumes:
        return "the task asks for volumes, and this agent gives its tasks no file system of their own"
    if container.linux_info is not None and container.linux_info != mesos.LinuxInfo():
        return "the task asks for Linux capabilities or namespaces, and this agent gives its tasks those of the machine"
    if container.tty_info is not None:
        return "the task asks for a terminal, and this agent connects its tasks to files"
    if any(network.name for network in container.network_infos):
        return "the task asks for a network by name, and this agent has that of the machine only"
    return None
