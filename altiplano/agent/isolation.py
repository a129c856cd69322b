"""What a task may use, as limits for the launcher; and what this agent cannot give to a task.

`posix` limits nothing: usage is measured, no more.  `cgroups` weighs cpus against those of others and
kills what takes more memory than it asked for, by the rules of Mesos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from altiplano.agent import environment
from altiplano.agent.settings import Node
from altiplano.executors import checks
from altiplano.ports import launcher
from altiplano.wire.messages import mesos

CPU_SHARES_PER_CPU = 1024
CPU_SHARES_MIN = 2
CPU_QUOTA_US_MIN = 1000
MEMORY_BYTES_MIN = 32 * 1024 * 1024
MIB = 1024 * 1024

_RLIMITS = {limit: f"RLIMIT_{limit.value.removeprefix('RLMT_')}" for limit in mesos.RLimitInfoRLimitType}


Need = mesos.TaskInfo | mesos.ExecutorInfo
"""Who has resources, and a command in a container."""


def limits(node: Node, needs: Sequence[Need]) -> launcher.CgroupLimits | None:
    """The limits of a cgroup for all of them together; None with isolation `posix`."""
    if not node.cgroups:
        return None
    cpus = sum(amount(need.resources, "cpus") for need in needs)
    mem = sum(amount(need.resources, "mem") for need in needs)
    cpus_limited, cpus_most = _most(needs, "cpus")
    mem_limited, mem_most = _most(needs, "mem")
    quota = node.hard_cpu_limit or cpus_limited
    return launcher.CgroupLimits(
        cpu_shares=max(CPU_SHARES_MIN, round(cpus * CPU_SHARES_PER_CPU)),
        cpu_quota_us=_quota_us(cpus_most) if quota else None,
        memory_soft_bytes=max(MEMORY_BYTES_MIN, int(mem * MIB)),
        memory_hard_bytes=_bytes(mem_most if mem_limited else mem),
    )


def rlimits(container: mesos.ContainerInfo | None) -> tuple[launcher.Rlimit, ...]:
    """The POSIX limits that a task or executor asks for."""
    info = container.rlimit_info if container is not None else None
    return tuple(
        launcher.Rlimit(name=_RLIMITS[limit.type], soft=limit.soft, hard=limit.hard)
        for limit in (info.rlimits if info is not None else ())
        if limit.type is not None
    )


def user(node: Node, framework: mesos.FrameworkInfo, command: mesos.CommandInfo | None) -> str | None:
    """The user to switch to; None to stay the agent's own."""
    wanted = (command.user if command is not None else None) or framework.user
    return wanted if node.may_switch_user and wanted and wanted != node.user else None


def problem(task: mesos.TaskInfo) -> str | None:
    """Why this agent cannot run a task as it is described, in a sentence; None if it can."""
    if task.command is None:
        return "the task has no command"
    return _command_problem(task.command) or _container_problem(task.container) or _checks_problem(task)


def _checks_problem(task: mesos.TaskInfo) -> str | None:
    if task.check is None and task.health_check is None:
        return None
    for plan in checks.plans(task):
        problem = _command_problem(plan.target) if isinstance(plan.target, mesos.CommandInfo) else None
        if problem is not None:
            return f"of its {plan.name}, {problem}"
    return None


def executor_problem(executor: mesos.ExecutorInfo) -> str | None:
    """Why this agent cannot run a custom executor as it is described."""
    if executor.command is None:
        return "the executor has no command"
    return _command_problem(executor.command) or _container_problem(executor.container)


def _command_problem(command: mesos.CommandInfo) -> str | None:
    if command.shell and command.value is None:
        return "the command has no value: give the text that the shell shall run"
    if not command.shell and not command.value:
        return "the command has no value: give the path of the program"
    if "\0" in (command.value or "") or any("\0" in argument for argument in command.arguments):
        return "the command contains a NUL, which no command line can hold"
    return environment.problem(command)


def amount(resources: Iterable[mesos.Resource], name: str) -> float:
    """The sum of a scalar resource over all roles."""
    return sum(r.scalar.value for r in resources if r.name == name and r.scalar is not None)


def _most(needs: Sequence[Need], name: str) -> tuple[bool, float]:
    """Whether anybody named a limit for a resource, and the sum of limits, or of requests where there is none."""
    limited, most = False, 0.0
    for need in needs:
        limit = need.limits.get(name) if isinstance(need, mesos.TaskInfo) else None
        limited = limited or limit is not None
        most += limit.value if limit is not None else amount(need.resources, name)
    return limited, most


def _quota_us(cpus: float) -> int | None:
    return None if math.isinf(cpus) else max(CPU_QUOTA_US_MIN, round(cpus * launcher.CPU_PERIOD_US))


def _bytes(mem: float) -> int | None:
    return None if math.isinf(mem) else max(MEMORY_BYTES_MIN, int(mem * MIB))


def _container_problem(container: mesos.ContainerInfo | None) -> str | None:
    if container is None:
        return None
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
