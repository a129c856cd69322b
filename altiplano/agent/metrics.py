"""An agent's numbers for monitors: `ROWS` has all of them, under our names and those of Mesos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from altiplano.agent import runners, view
from altiplano.agent.shell import Agent
from altiplano.engine.metrics import (
    Kind,
    MesosNumber,
    Metric,
    Numbers,
    counter,
    exposed,
    histogram,
    of_engine,
    of_process,
    plain,
)
from altiplano.engine.metrics import snapshot as named_by_mesos
from altiplano.model.tasks import ENDS, State
from altiplano.wire import translate

_MEBIBYTE: Final = 1024 * 1024
_ENDED: Final = "altiplano_agent_tasks_ended_total"
_LIVE: Final = (State.STAGING, State.STARTING, State.RUNNING, State.KILLING)


def _word(state: State) -> str:
    return state.name.lower()


def _resource(name: str, resource: str, factor: float, help: str) -> Metric[Agent]:
    def read(agent: Agent) -> Mapping[tuple[str, ...], float]:
        total = translate.resources_from(agent.node.resources).scalar(resource)
        used = view.used(agent.core.state).scalar(resource)
        return {("total",): total / 1000 * factor, ("used",): used / 1000 * factor}

    return Metric(
        name=name,
        kind=Kind.GAUGE,
        help=help,
        read=read,
        labels=("amount",),
        mesos=(f"slave/{resource}_{{}}",),
        mesos_factor=1 / factor,
    )


def _tasks(agent: Agent) -> Mapping[tuple[str, ...], float]:
    counts = dict.fromkeys(_LIVE, 0)
    for task in agent.core.state.tasks.values():
        if task.state in counts:
            counts[task.state] += 1
    return {(_word(state),): count for state, count in counts.items()}


def _ended(agent: Agent) -> Mapping[tuple[str, ...], float]:
    return {(_word(end),): agent.core.state.counts[end.value] for end in ENDS}


def _executors(agent: Agent) -> Mapping[tuple[str, ...], float]:
    living = list(runners.living(agent.core.state))
    return {
        ("running",): sum(runner.launched for runner in living),
        ("registering",): sum(runner.registering for runner in living),
        ("terminating",): sum(runner.ending for runner in living),
    }


ROWS: Final[Sequence[Metric[Agent]]] = (
    plain(
        "altiplano_agent_registered",
        "1 while a master counts the agent as a member.",
        lambda agent: float(agent.core.state.member),
        mesos=("slave/registered",),
    ),
    plain(
        "altiplano_agent_uptime_seconds",
        "Time since the agent started.",
        lambda agent: agent.outside.clock.now().wall_s - agent.started_wall_s,
        mesos=("slave/uptime_secs",),
    ),
    _resource("altiplano_agent_cpus", "cpus", 1.0, "Processors of the agent: in all, in use."),
    _resource("altiplano_agent_gpus", "gpus", 1.0, "GPUs of the agent: in all, in use."),
    _resource("altiplano_agent_memory_bytes", "mem", _MEBIBYTE, "Memory of the agent: in all, in use."),
    _resource("altiplano_agent_disk_bytes", "disk", _MEBIBYTE, "Disk of the agent: in all, in use."),
    plain("altiplano_agent_tasks", "Tasks that have not ended, by state.", _tasks, "state", mesos=("slave/tasks_{}",)),
    counter(
        _ENDED,
        "Tasks that ended, by the state in which they did.",
        _ended,
        "state",
        mesos=("slave/tasks_{}",),
    ),
    plain("altiplano_agent_executors", "Executors by state.", _executors, "state", mesos=("slave/executors_{}",)),
    plain(
        "altiplano_agent_frameworks",
        "Frameworks that run something here.",
        lambda agent: len(agent.core.state.busy_frameworks()),
        mesos=("slave/frameworks_active",),
    ),
    counter(
        "altiplano_agent_status_updates_total",
        "Status updates that tasks and executors brought.",
        lambda agent: sum(agent.core.state.counts[state.value] for state in State),
        mesos=("slave/valid_status_updates",),
    ),
    plain(
        "altiplano_agent_updates_unacknowledged",
        "Status updates that no scheduler has acknowledged.",
        lambda agent: sum(len(stream.pending) for stream in agent.core.state.streams.values()),
    ),
    counter(
        "altiplano_agent_launch_failures_total",
        "Containers that could not be launched.",
        lambda agent: agent.core.state.counts["not launched"],
        mesos=("slave/container_launch_errors",),
    ),
    histogram(
        "altiplano_agent_launch_seconds",
        "Time from the order to the launcher to a running container.",
        lambda agent: agent.launch_s,
    ),
    plain("altiplano_agent_sandboxes_kept", "Sandboxes of ended tasks.", lambda agent: len(agent.core.state.kept)),
    plain(
        "altiplano_agent_launcher_degraded",
        "1 while tasks run without a second process that watches over them.",
        lambda agent: float(bool(agent.core.state.degraded)),
    ),
    *of_engine("agent", lambda agent: agent.engine),
    *of_process("agent"),
)


def _percent(name: str, resource: str) -> MesosNumber:
    def ratio(numbers: Numbers) -> float:
        total = numbers[name, ("total",)]
        return numbers[name, ("used",)] / total if total else 0.0

    return MesosNumber(name=f"slave/{resource}_percent", help=f"Fraction of `{name}` in use.", read=ratio)


def _always(name: str, help: str) -> MesosNumber:
    return MesosNumber(name=name, help=help, read=lambda _: 0.0)


ONLY_MESOS: Final[Sequence[MesosNumber]] = (
    _percent("altiplano_agent_cpus", "cpus"),
    _percent("altiplano_agent_gpus", "gpus"),
    _percent("altiplano_agent_memory_bytes", "mem"),
    _percent("altiplano_agent_disk_bytes", "disk"),
    MesosNumber(
        name="slave/executors_terminated",
        help="Tasks that ended: every task counts as one executor.",
        read=lambda numbers: sum(number for (name, _), number in numbers.items() if name == _ENDED),
    ),
    _always("slave/invalid_status_updates", "Always 0: such updates are refused to who sends them."),
    _always("slave/valid_framework_messages", "Always 0: messages are not counted."),
    _always("slave/invalid_framework_messages", "Always 0: messages are not counted."),
    _always("slave/recovery_errors", "Always 0: an agent that cannot recover does not start."),
)


def snapshot(agent: Agent) -> dict[str, float]:
    """All numbers that have a name in Mesos, as `/metrics/snapshot` shows them."""
    return named_by_mesos(ROWS, ONLY_MESOS, agent)


def prometheus(agent: Agent, accept: str) -> tuple[bytes, str]:
    """All numbers as text for Prometheus, and its content type."""
    return exposed(ROWS, agent, accept)
