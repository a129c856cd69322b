"""What pages show, computed from the master's answers.  Everything here is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from altiplano.executors import checks
from altiplano.master.pages.snapshot import Snapshot
from altiplano.model import values
from altiplano.wire.messages import master, mesos
from altiplano.wire.messages.mesos import TaskState

SCALARS = ("cpus", "mem", "disk", "gpus")

GROUPS: Mapping[TaskState, str] = {
    TaskState.TASK_STAGING: "waiting",
    TaskState.TASK_STARTING: "waiting",
    TaskState.TASK_RUNNING: "running",
    TaskState.TASK_KILLING: "running",
    TaskState.TASK_FINISHED: "finished",
    TaskState.TASK_FAILED: "failed",
    TaskState.TASK_KILLED: "killed",
    TaskState.TASK_ERROR: "failed",
    TaskState.TASK_LOST: "lost",
    TaskState.TASK_DROPPED: "failed",
    TaskState.TASK_UNREACHABLE: "lost",
    TaskState.TASK_GONE: "lost",
    TaskState.TASK_GONE_BY_OPERATOR: "lost",
    TaskState.TASK_UNKNOWN: "lost",
}
"""In which of six groups people count a state."""

GROUP_ORDER = ("running", "waiting", "failed", "lost", "killed", "finished")
LIVE_GROUPS = frozenset({"running", "waiting"})
SHORT_REASON_CHARS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Thousandths of one resource."""

    total: int = 0
    used: int = 0
    offered: int = 0

    @property
    def free(self) -> int:
        return max(0, self.total - self.used - self.offered)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            total=self.total + other.total, used=self.used + other.used, offered=self.offered + other.offered
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task in a list."""

    id: str
    name: str
    framework_id: str
    framework: str
    agent_id: str
    host: str
    state: str
    """Without `TASK_`, in small letters."""
    group: str
    cpus: int
    mem: int
    disk: int
    gpus: int
    started_s: float | None
    changed_s: float | None
    ended_s: float | None
    message: str
    task: mesos.Task

    @property
    def live(self) -> bool:
        return self.group in LIVE_GROUPS

    def seconds(self, now: float) -> float | None:
        """How long it has run, or ran."""
        if self.started_s is None:
            return None
        return (self.ended_s if self.ended_s is not None else now) - self.started_s

    @property
    def text(self) -> str:
        return f"{self.name} {self.id} {self.framework} {self.host} {self.state} {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent in a list."""

    id: str
    host: str
    group: str
    state: str
    cpus: Amounts
    mem: Amounts
    disk: Amounts
    gpus: Amounts
    tasks: int
    registered_s: float | None
    version: str
    attributes: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return f"{self.host} {self.id} {self.state} " + " ".join(f"{name}:{value}" for name, value in self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkRow:
    """A framework in a list."""

    id: str
    name: str
    user: str
    roles: tuple[str, ...]
    principal: str
    group: str
    state: str
    cpus: int
    mem: int
    offered_cpus: int
    offers: int
    share: float
    """Largest fraction of any resource of the pool that it holds."""
    tasks: tuple[tuple[str, int], ...]
    registered_s: float | None
    webui_url: str
    host: str
    failover_s: float
    checkpoint: bool
    capabilities: tuple[str, ...]

    @property
    def task_count(self) -> int:
        return sum(number for _, number in self.tasks)

    @property
    def live_tasks(self) -> int:
        return sum(number for group, number in self.tasks if group in LIVE_GROUPS)

    @property
    def text(self) -> str:
        return f"{self.name} {self.id} {self.user} {' '.join(self.roles)} {self.state}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All rows of a snapshot, made once for it."""

    agents: tuple[AgentRow, ...]
    frameworks: tuple[FrameworkRow, ...]
    tasks: tuple[TaskRow, ...]
    """Those that changed last come first."""
    totals: Mapping[str, Amounts]
    task_counts: tuple[tuple[str, int], ...]
    seen: int
    """The version of the state that is shown."""
    leader: str
    version: str
    elected_s: float | None
    by_task: Mapping[tuple[str, str], TaskRow] = field(repr=False, default_factory=dict)
    by_agent: Mapping[str, AgentRow] = field(repr=False, default_factory=dict)
    by_framework: Mapping[str, FrameworkRow] = field(repr=False, default_factory=dict)


def scalars(resources: Iterable[mesos.Resource]) -> dict[str, int]:
    """The sums of numbers among resources, in thousandths."""
    sums: dict[str, int] = {}
    for resource in resources:
        if resource.scalar is not None and 0 <= resource.scalar.value <= values.NUMBER_MAX:
            sums[resource.name] = sums.get(resource.name, 0) + values.milli(resource.scalar.value)
    return sums


def pool(snapshot: Snapshot) -> Pool:
    """All that lists show."""
    hosts = {a.agent_info.id.value: a.agent_info.hostname for a in snapshot.agents.agents if a.agent_info.id}
    hosts |= {a.id.value: a.hostname for a in snapshot.agents.recovered_agents if a.id}
    known = (*snapshot.frameworks.frameworks, *snapshot.frameworks.completed_frameworks)
    names = {f.framework_info.id.value: f.framework_info.name for f in known if f.framework_info.id}
    tasks = sorted(
        (_task(task, names, hosts) for task in snapshot.all_tasks()), key=lambda t: (-(t.changed_s or 0.0), t.id)
    )
    on_agent = Counter(task.agent_id for task in tasks if task.live)
    agents = [_agent(agent, on_agent) for agent in snapshot.agents.agents]
    agents += [_recovered(info, on_agent) for info in snapshot.agents.recovered_agents]
    totals = {name: sum((getattr(a, name) for a in agents), start=Amounts()) for name in SCALARS}
    of_framework: dict[str, Counter[str]] = {}
    for task in tasks:
        of_framework.setdefault(task.framework_id, Counter())[task.group] += 1
    completed = {f.framework_info.id.value for f in snapshot.frameworks.completed_frameworks if f.framework_info.id}
    frameworks = [_framework(f, totals, of_framework, completed) for f in known]
    info = snapshot.leader.master_info
    return Pool(
        agents=tuple(sorted(agents, key=lambda a: a.host)),
        frameworks=tuple(sorted(frameworks, key=lambda f: (f.group == "off", -f.share, f.name))),
        tasks=tuple(tasks),
        totals=totals,
        task_counts=counts(tasks),
        seen=snapshot.version,
        leader="" if info is None else f"{info.hostname or 'this host'}:{info.port}",
        version="" if info is None else info.version or "",
        elected_s=snapshot.leader.elected_time,
        by_task={(task.framework_id, task.id): task for task in reversed(tasks)},
        by_agent={agent.id: agent for agent in agents},
        by_framework={framework.id: framework for framework in frameworks},
    )


def counts(tasks: Iterable[TaskRow]) -> tuple[tuple[str, int], ...]:
    """How many tasks are in each group, groups in their usual order."""
    found = Counter(task.group for task in tasks)
    return tuple((group, found[group]) for group in GROUP_ORDER)


def _task(task: mesos.Task, names: Mapping[str, str], hosts: Mapping[str, str]) -> TaskRow:
    amounts = scalars(task.resources)
    group = GROUPS[task.state]
    times = [s.timestamp for s in task.statuses if s.timestamp is not None]
    running = [s.timestamp for s in task.statuses if s.state is TaskState.TASK_RUNNING and s.timestamp is not None]
    last = task.statuses[-1] if task.statuses else None
    ended = group not in LIVE_GROUPS and times
    return TaskRow(
        id=task.task_id.value,
        name=task.name or task.task_id.value,
        framework_id=task.framework_id.value,
        framework=names.get(task.framework_id.value) or task.framework_id.value,
        agent_id=task.agent_id.value,
        host=hosts.get(task.agent_id.value, ""),
        state=task.state.value.removeprefix("TASK_").lower().replace("_", " "),
        group=group,
        cpus=amounts.get("cpus", 0),
        mem=amounts.get("mem", 0),
        disk=amounts.get("disk", 0),
        gpus=amounts.get("gpus", 0),
        started_s=running[0] if running else None,
        changed_s=times[-1] if times else None,
        ended_s=times[-1] if ended else None,
        message="" if last is None else _sentence(last),
        task=task,
    )


def _sentence(status: mesos.TaskStatus) -> str:
    """Why a task is in its state, as short as the status says it."""
    return status.message[:SHORT_REASON_CHARS_MAX] if status.message else _reason(status)


def history(task: mesos.Task) -> list[tuple[float | None, str, str, str]]:
    """The statuses of a task, oldest first: when, which group, which state, what was said and by whom."""
    lines = []
    for status in task.statuses:
        word = status.state.value.removeprefix("TASK_").lower().replace("_", " ")
        seen = checks.in_words(status.check_status)
        said = [part for part in (status.message, _reason(status), _health(status), seen and f"check: {seen}") if part]
        lines.append((status.timestamp, GROUPS[status.state], word, " · ".join(said)))
    return lines


def _reason(status: mesos.TaskStatus) -> str:
    return "" if status.reason is None else status.reason.value.removeprefix("REASON_").lower().replace("_", " ")


def _health(status: mesos.TaskStatus) -> str:
    return "" if status.healthy is None else ("healthy" if status.healthy else "not healthy")


def _agent(agent: master.ResponseGetAgentsAgent, tasks: Counter[str]) -> AgentRow:
    info = agent.agent_info
    total = scalars(agent.total_resources or info.resources)
    used, offered = scalars(agent.allocated_resources), scalars(agent.offered_resources)
    group, state = _agent_state(agent)
    amounts = {
        name: Amounts(total=total.get(name, 0), used=used.get(name, 0), offered=offered.get(name, 0))
        for name in SCALARS
    }
    identity = "" if info.id is None else info.id.value
    since = agent.reregistered_time or agent.registered_time
    return AgentRow(
        id=identity,
        host=info.hostname,
        group=group,
        state=state,
        cpus=amounts["cpus"],
        mem=amounts["mem"],
        disk=amounts["disk"],
        gpus=amounts["gpus"],
        tasks=tasks[identity],
        registered_s=None if since is None else since.nanoseconds / 1e9,
        version=agent.version,
        attributes=_attributes(info),
    )


def _agent_state(agent: master.ResponseGetAgentsAgent) -> tuple[str, str]:
    if agent.drain_info is not None:
        return "draining", agent.drain_info.state.value.lower()
    if not agent.active:
        return "lost", "disconnected"
    if agent.deactivated:
        return "off", "deactivated"
    return "active", "active"


def _recovered(info: mesos.AgentInfo, tasks: Counter[str]) -> AgentRow:
    """An agent that the master remembers and that has not come back yet: nothing of it can be used."""
    identity = "" if info.id is None else info.id.value
    return AgentRow(
        id=identity,
        host=info.hostname,
        group="lost",
        state="not back yet",
        cpus=Amounts(),
        mem=Amounts(),
        disk=Amounts(),
        gpus=Amounts(),
        tasks=tasks[identity],
        registered_s=None,
        version="",
        attributes=_attributes(info),
    )


def _attributes(info: mesos.AgentInfo) -> tuple[tuple[str, str], ...]:
    found = []
    for attribute in info.attributes:
        if attribute.text is not None:
            text = attribute.text.value
        elif attribute.scalar is not None:
            text = f"{attribute.scalar.value:g}"
        elif attribute.ranges is not None:
            text = ", ".join(f"{one.begin}–{one.end}" for one in attribute.ranges.range)
        else:
            text = ", ".join(attribute.set.item) if attribute.set is not None else ""
        found.append((attribute.name, text))
    return tuple(found)


def _framework(
    framework: master.ResponseGetFrameworksFramework,
    totals: Mapping[str, Amounts],
    tasks: Mapping[str, Counter[str]],
    completed: set[str],
) -> FrameworkRow:
    info = framework.framework_info
    identity = "" if info.id is None else info.id.value
    used, offered = scalars(framework.allocated_resources), scalars(framework.offered_resources)
    group, state = _framework_state(framework, ended=identity in completed)
    since = framework.reregistered_time or framework.registered_time
    mine = tasks.get(identity, Counter())
    shares = [used.get(name, 0) / totals[name].total for name in SCALARS if totals[name].total]
    return FrameworkRow(
        id=identity,
        name=info.name or identity,
        user=info.user,
        roles=info.roles or ((info.role,) if info.role else ("*",)),
        principal=info.principal or "",
        group=group,
        state=state,
        cpus=used.get("cpus", 0),
        mem=used.get("mem", 0),
        offered_cpus=offered.get("cpus", 0),
        offers=len(framework.offers),
        share=max(shares, default=0.0),
        tasks=tuple((group, mine[group]) for group in GROUP_ORDER),
        registered_s=None if since is None else since.nanoseconds / 1e9,
        webui_url=safe_url(info.webui_url),
        host=info.hostname or "",
        failover_s=info.failover_timeout,
        checkpoint=info.checkpoint,
        capabilities=tuple(c.type.value.lower().replace("_", " ") for c in info.capabilities if c.type is not None),
    )


def _framework_state(framework: master.ResponseGetFrameworksFramework, *, ended: bool) -> tuple[str, str]:
    if ended:
        return "off", "completed"
    if framework.recovered:
        return "lost", "not back yet"
    if not framework.connected:
        return "lost", "disconnected"
    return ("active", "active") if framework.active else ("idle", "inactive")


def safe_url(url: str | None) -> str:
    """A framework's own page, if a click on it can do nothing but open a page.

    >>> safe_url("http://flows:5060/"), safe_url("javascript:alert(1)")
    ('http://flows:5060/', '')
    """
    return url if url and url.lower().startswith(("http://", "https://")) else ""


def sandbox(task: mesos.Task) -> str:
    """The virtual path of a task's sandbox at its agent, as Mesos names it.

    A task of a group has its own directory inside that of its executor.
    """
    executor = task.executor_id.value if task.executor_id is not None and task.executor_id.value else ""
    base = f"/frameworks/{task.framework_id.value}/executors/{executor or task.task_id.value}/runs/latest"
    return f"{base}/tasks/{task.task_id.value}" if executor and nested(task) else base


def nested(task: mesos.Task) -> bool:
    """Whether a task runs in a container inside of its executor's."""
    container = container_of(task)
    return container is not None and container.parent is not None


def container_of(task: mesos.Task) -> mesos.ContainerID | None:
    """The container that the newest status names."""
    for status in reversed(task.statuses):
        if status.container_status is not None and status.container_status.container_id is not None:
            return status.container_status.container_id
    return None


def attention(rows: Sequence[AgentRow]) -> list[AgentRow]:
    """Agents that somebody may want to look after."""
    return [row for row in rows if row.group != "active"]
