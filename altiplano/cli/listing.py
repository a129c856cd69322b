"""What master and agents report, turned into the rows and records that commands print."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import msgspec

from altiplano.cli.failures import NOT_FOUND, USAGE, Failure
from altiplano.executors import checks
from altiplano.model.tasks import State
from altiplano.sdk.operator import TaskUsage
from altiplano.wire.messages import master, mesos

CANDIDATES_MAX = 5
"""Names that are listed where a short one fits several."""

_NOBODY: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """Scalars of a set of resources; memory and disk in MB."""

    cpus: float = 0.0
    mem: float = 0.0
    disk: float = 0.0
    gpus: float = 0.0


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task, as `task list --json` prints it."""

    id: str
    name: str
    state: str
    framework_id: str
    executor_id: str
    agent_id: str
    sentence: str
    since_wall_s: float | None
    resources: Amounts
    ended: bool
    container_id: str = ""
    hostname: str = ""
    """Of its machine, where the master still knows it."""
    healthy: bool | None = None
    """None: it has no health check, or none has a result yet."""
    check: str = ""
    """What its check saw last, in words."""


class TaskRecord(TaskRow, frozen=True, kw_only=True):
    """One task, as `task show --json` prints it."""

    usage: TaskUsage | None
    """None when its agent cannot be asked or has forgotten it."""


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One machine."""

    id: str
    hostname: str
    state: str
    version: str
    total: Amounts
    used: Amounts
    attributes: dict[str, str]
    registered_wall_s: float | None
    machine: tuple[str, ...] = ()
    """What its agent found at its start, in sentences; shown for one machine only."""
    degraded: tuple[str, ...] = ()
    """What its agent cannot promise at present."""


class FrameworkRow(msgspec.Struct, frozen=True, kw_only=True):
    """One framework."""

    id: str
    name: str
    state: str
    roles: tuple[str, ...]
    user: str
    webui_url: str
    used: Amounts
    offered: Amounts
    registered_wall_s: float | None


def amounts(resources: Iterable[mesos.Resource]) -> Amounts:
    """Scalars by name, added up."""
    sums: dict[str, int] = {}
    for resource in resources:
        if resource.scalar is not None:
            sums[resource.name] = sums.get(resource.name, 0) + round(resource.scalar.value * 1000)
    return Amounts(**{name: sums.get(name, 0) / 1000 for name in ("cpus", "mem", "disk", "gpus")})


def task_rows(found: master.ResponseGetTasks, hosts: Mapping[str, str] = _NOBODY, *, ended: bool) -> list[TaskRow]:
    """Tasks in the order in which the master lists them; those that have ended only if asked for.

    `hosts` are the names of machines by agent id.
    """
    tasks = [*found.tasks, *found.unreachable_tasks, *(found.completed_tasks if ended else ())]
    return [task_row(task, hosts.get(task.agent_id.value, "")) for task in tasks]


def task_row(task: mesos.Task, hostname: str = "") -> TaskRow:
    last = task.statuses[-1] if task.statuses else None
    return TaskRow(
        id=task.task_id.value,
        name=task.name,
        state=task.state.value.removeprefix("TASK_"),
        framework_id=task.framework_id.value,
        # A command task has an executor of its own name, which the master does not mention.
        executor_id=task.executor_id.value if task.executor_id is not None else task.task_id.value,
        agent_id=task.agent_id.value,
        sentence=(last.message or "") if last is not None else "",
        since_wall_s=last.timestamp if last is not None else None,
        resources=amounts(task.resources),
        ended=State(task.state.value).ended,
        container_id=_container(task),
        hostname=hostname,
        healthy=last.healthy if last is not None else None,
        check=checks.in_words(last.check_status) if last is not None else "",
    )


def task_record(row: TaskRow, usage: TaskUsage | None) -> TaskRecord:
    return TaskRecord(**msgspec.structs.asdict(row), usage=usage)


def _container(task: mesos.Task) -> str:
    """The container of a task, which its statuses name as soon as there is one."""
    for status in reversed(task.statuses):
        if status.container_status is not None and status.container_status.container_id is not None:
            return status.container_status.container_id.value
    return ""


def agent_row(agent: master.ResponseGetAgentsAgent) -> AgentRow:
    state = "active" if agent.active else "inactive"
    if agent.drain_info is not None:
        state = agent.drain_info.state.value.lower()
    elif agent.deactivated:
        state = "deactivated"
    info = agent.agent_info
    return AgentRow(
        id="" if info.id is None else info.id.value,
        hostname=info.hostname,
        state=state,
        version=agent.version,
        total=amounts(agent.total_resources),
        used=amounts(agent.allocated_resources),
        attributes={attribute.name: _attribute(attribute) for attribute in info.attributes},
        registered_wall_s=seconds(agent.reregistered_time or agent.registered_time),
    )


def framework_row(framework: master.ResponseGetFrameworksFramework, *, completed: bool = False) -> FrameworkRow:
    info = framework.framework_info
    state = "completed" if completed else "active" if framework.active else "inactive"
    if not completed and not framework.connected:
        state = "disconnected"
    return FrameworkRow(
        id="" if info.id is None else info.id.value,
        name=info.name,
        state=state,
        roles=info.roles or (info.role or "*",),
        user=info.user,
        webui_url=info.webui_url or "",
        used=amounts(framework.allocated_resources),
        offered=amounts(framework.offered_resources),
        registered_wall_s=seconds(framework.reregistered_time or framework.registered_time),
    )


def seconds(point: mesos.TimeInfo | None) -> float | None:
    return None if point is None else point.nanoseconds / 1e9


def age(since_wall_s: float | None) -> str:
    from altiplano.cli import output

    return "" if not since_wall_s else output.span(max(0.0, time.time() - since_wall_s))


def chosen(noun: str, text: str, rows: Sequence[T], names: Sequence[Sequence[str]]) -> T:
    """The row that is meant by an id, a name, or the unique beginning of an id.

    `names` holds for each row its id and then its other names.  A whole id comes first; among rows
    of one name the only one counts.
    """
    for row, own in zip(rows, names, strict=True):
        if own[0] == text:
            return row
    fits = [(row, own) for row, own in zip(rows, names, strict=True) if text in own[1:]]
    fits = fits or [(row, own) for row, own in zip(rows, names, strict=True) if own[0].startswith(text)]
    if len(fits) == 1:
        return fits[0][0]
    if not fits:
        raise Failure(f"there is no {noun} '{text}': see 'altiplano {noun} list'", NOT_FOUND)
    shown = ", ".join(own[0] for _, own in fits[:CANDIDATES_MAX])
    more = f" and {len(fits) - CANDIDATES_MAX} more" if len(fits) > CANDIDATES_MAX else ""
    raise Failure(f"'{text}' may be several {noun}s: {shown}{more}; write more of the id", USAGE)


def _attribute(attribute: mesos.Attribute) -> str:
    if attribute.scalar is not None:
        return f"{attribute.scalar.value:g}"
    if attribute.ranges is not None:
        return ",".join(f"{part.begin}-{part.end}" for part in attribute.ranges.range)
    if attribute.set is not None:
        return ",".join(attribute.set.item)
    return attribute.text.value if attribute.text is not None else ""
