"""A master's numbers for monitors: `ROWS` has all of them, under our names and those of Mesos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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
from altiplano.master import census as censuses
from altiplano.master.census import Census
from altiplano.master.shell import Shell
from altiplano.master.state import Membership, Presence
from altiplano.model.tasks import State

RESOURCES: Final = ("cpus", "gpus", "mem", "disk")
_MEBIBYTE: Final = 1024 * 1024
_HOLDINGS: Final = ("total", "used", "offered")

_CALLS: Final = {
    "SUBSCRIBE": "register_framework",
    "TEARDOWN": "unregister_framework",
    "ACCEPT": "launch_tasks",
    "DECLINE": "decline_offers",
    "REVIVE": "revive_offers",
    "SUPPRESS": "suppress_offers",
    "KILL": "kill_task",
    "ACKNOWLEDGE": "status_update_acknowledgement",
    "RECONCILE": "reconcile_tasks",
    "MESSAGE": "framework_to_executor",
    "REQUEST": "resource_request",
    "SHUTDOWN": "",
    "UPDATE_FRAMEWORK": "",
    "ACCEPT_INVERSE_OFFERS": "",
    "DECLINE_INVERSE_OFFERS": "",
    "ACKNOWLEDGE_OPERATION_STATUS": "",
    "RECONCILE_OPERATIONS": "",
}
"""Calls of frameworks, each with the message of Mesos that became it."""

_LIVE: Final = (State.STAGING, State.STARTING, State.RUNNING, State.KILLING)
_HERE: Final = (Presence.RECOVERED, Presence.CONNECTED, Presence.DISCONNECTED, Presence.ENDING)


def _word(state: State) -> str:
    return state.name.lower()


def _held(census: Census, resource: str, factor: float) -> Mapping[tuple[str, ...], float]:
    amounts = {"total": census.total, "used": census.used, "offered": census.offered}
    return {(word,): amounts[word][resource] / 1000 * factor for word in _HOLDINGS}


def _resource(name: str, resource: str, factor: float, help: str) -> Metric[Census]:
    return Metric(
        name=name,
        kind=Kind.GAUGE,
        help=help,
        read=lambda census: _held(census, resource, factor),
        labels=("amount",),
        mesos=(f"master/{resource}_{{}}",),
        mesos_of=frozenset(("total", "used")),
        mesos_factor=1 / factor,
    )


def _counted(name: str, help: str, count: str, *mesos: str) -> Metric[Census]:
    return counter(name, help, lambda census: census.state.counts[count], mesos=mesos)


def _calls(census: Census) -> Mapping[tuple[str, ...], float]:
    return {(kind,): census.shell.calls[kind] for kind in _CALLS}


def _agents(census: Census) -> Mapping[tuple[str, ...], float]:
    remembered = {"unreachable": len(census.state.unreachable), "gone": len(census.state.gone)}
    found = {one.value: census.agents[one] for one in Membership} | remembered
    return {(word,): count for word, count in found.items()}


def _tasks(census: Census) -> Mapping[tuple[str, ...], float]:
    found = {_word(one): census.tasks[one] for one in _LIVE} | {"unreachable": census.unreachable}
    return {(word,): count for word, count in found.items()}


ROWS: Final[Sequence[Metric[Census]]] = (
    plain(
        "altiplano_master_elected",
        "1 while this master is in office.",
        lambda census: float(census.shell.ready),
        mesos=("master/elected",),
    ),
    plain(
        "altiplano_master_epoch",
        "Number of the leadership; a larger one has followed a smaller one.",
        lambda census: census.state.epoch,
    ),
    plain(
        "altiplano_master_uptime_seconds",
        "Time since this master came into office.",
        lambda census: census.shell.clock.now().wall_s - census.state.started_s,
        mesos=("master/uptime_secs",),
    ),
    plain("altiplano_master_agents", "Agents by membership.", _agents, "state"),
    _counted(
        "altiplano_master_agents_registered_total",
        "Agents that joined.",
        "slave_registrations",
        "master/slave_registrations",
        "master/messages_register_slave",
    ),
    _counted(
        "altiplano_master_agents_returned_total",
        "Returns of agents that were members.",
        "slave_reregistrations",
        "master/slave_reregistrations",
        "master/messages_reregister_slave",
    ),
    _counted(
        "altiplano_master_agents_removed_total",
        "Agents that are no members any more, for whatever reason.",
        "slave_removals",
        "master/slave_removals",
    ),
    _counted(
        "altiplano_master_agents_lost_total",
        "Agents that were silent for too long.",
        "slave_removals_unhealthy",
        "master/slave_removals/reason_unhealthy",
        "master/slave_unreachable_completed",
    ),
    _counted(
        "altiplano_master_agents_left_total",
        "Agents that said goodbye.",
        "slave_removals_unregistered",
        "master/slave_removals/reason_unregistered",
    ),
    plain(
        "altiplano_master_frameworks",
        "Frameworks by their presence.",
        lambda census: {(one.value,): float(census.frameworks[one]) for one in _HERE},
        "state",
    ),
    plain(
        "altiplano_master_tasks", "Tasks that have not ended, by state.", _tasks, "state", mesos=("master/tasks_{}",)
    ),
    counter(
        "altiplano_master_tasks_ended_total",
        "Tasks that ended, by the state in which they did.",
        lambda census: {(_word(one),): census.state.counts[f"tasks_{_word(one)}"] for one in State if one.ended},
        "state",
        mesos=("master/tasks_{}",),
    ),
    _counted(
        "altiplano_master_status_updates_total",
        "Status updates that agents sent, repeated ones included.",
        "status_updates",
        "master/messages_status_update",
        "master/valid_status_updates",
    ),
    Metric(
        name="altiplano_master_calls_total",
        kind=Kind.COUNTER,
        help="Calls of frameworks by type.",
        read=_calls,
        labels=("type",),
    ),
    plain(
        "altiplano_master_offers_outstanding",
        "Offers that frameworks have not answered.",
        lambda census: len(census.state.offers),
        mesos=("master/outstanding_offers",),
    ),
    _counted("altiplano_master_offers_sent_total", "Offers that frameworks were told.", "offers_sent"),
    _resource("altiplano_master_cpus", "cpus", 1.0, "Processors of the pool: in all, in use, on offer."),
    _resource("altiplano_master_gpus", "gpus", 1.0, "GPUs of the pool: in all, in use, on offer."),
    _resource("altiplano_master_memory_bytes", "mem", _MEBIBYTE, "Memory of the pool: in all, in use, on offer."),
    _resource("altiplano_master_disk_bytes", "disk", _MEBIBYTE, "Disk of the pool: in all, in use, on offer."),
    plain(
        "altiplano_master_role_dominant_share_ratio",
        "Largest fraction of any resource that a role holds with all below it.",
        lambda census: {
            (role,): census.state.allocator.shares.role_share(role) for role in census.state.allocator.shares.roles()
        },
        "role",
        mesos=("allocator/mesos/roles/{}/shares/dominant",),
    ),
    plain(
        "altiplano_master_role_filters",
        "Pairs of framework and agent for which a refusal holds in a role.",
        lambda census: {
            (role,): census.state.allocator.filters.count_of_role(role)
            for role in census.state.allocator.shares.roles()
        },
        "role",
        mesos=("allocator/mesos/offer_filters/roles/{}/active",),
    ),
    counter(
        "altiplano_master_allocation_runs_total",
        "Allocation runs that began.",
        lambda census: census.state.allocator.runs,
        mesos=("allocator/mesos/allocation_runs",),
    ),
    counter(
        "altiplano_master_allocation_visits_total",
        "Agents that allocation runs looked at.",
        lambda census: census.state.allocator.visits,
    ),
    histogram(
        "altiplano_master_allocation_run_seconds",
        "Time from the beginning of an allocation run to its offers.",
        lambda census: census.state.allocation_s,
    ),
    plain(
        "altiplano_master_ending",
        "Frameworks and agents that end piece by piece.",
        lambda census: len(census.state.ending) + len(census.state.parting),
    ),
    plain(
        "altiplano_master_operator_streams",
        "Operators that follow the event stream.",
        lambda census: census.shell.operator_streams,
        mesos=("master/operator_event_stream_subscribers",),
    ),
    plain("altiplano_master_links", "Connections of agents.", lambda census: len(census.shell.connections)),
    *of_engine("master", lambda census: census.shell.engine),
    *of_process("master"),
)


def _sum(name: str, *labels: str) -> MesosSum:
    return MesosSum(name, labels)


class MesosSum:
    """Several numbers of one metric, added."""

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._labels = labels

    def __call__(self, numbers: Numbers) -> float:
        return sum(numbers[self._name, (label,)] for label in self._labels)


def _only_mesos(name: str, help: str, read: MesosSum | float) -> MesosNumber:
    return MesosNumber(name=name, help=help, read=read if isinstance(read, MesosSum) else lambda _: read)


def _percent(name: str, resource: str) -> MesosNumber:
    def ratio(numbers: Numbers) -> float:
        total = numbers[name, ("total",)]
        return numbers[name, ("used",)] / total if total else 0.0

    return MesosNumber(name=f"master/{resource}_percent", help=f"Fraction of `{name}` in use.", read=ratio)


_OF_RESOURCE: Final = {
    "cpus": ("altiplano_master_cpus", 1.0),
    "gpus": ("altiplano_master_gpus", 1.0),
    "mem": ("altiplano_master_memory_bytes", _MEBIBYTE),
    "disk": ("altiplano_master_disk_bytes", _MEBIBYTE),
}


def _of_allocator(resource: str, word: str, *amounts: str) -> MesosNumber:
    name, factor = _OF_RESOURCE[resource]
    return MesosNumber(
        name=f"allocator/mesos/resources/{resource}/{word}",
        help=f"`{name}`, {' and '.join(amounts)}, in Mesos' units.",
        read=lambda numbers: sum(numbers[name, (amount,)] for amount in amounts) / factor,
    )


_AGENTS: Final = "altiplano_master_agents"
_FRAMEWORKS: Final = "altiplano_master_frameworks"
_AWAY: Final = ("recovered", "disconnected", "ending")

ONLY_MESOS: Final[Sequence[MesosNumber]] = (
    _only_mesos("master/slaves_active", "Agents that are connected.", _sum(_AGENTS, "connected")),
    _only_mesos("master/slaves_inactive", "Agents that are not.", _sum(_AGENTS, "disconnected", "leaving")),
    _only_mesos("master/slaves_connected", "Agents that are connected.", _sum(_AGENTS, "connected")),
    _only_mesos("master/slaves_disconnected", "Agents that are not.", _sum(_AGENTS, "disconnected", "leaving")),
    _only_mesos("master/slaves_unreachable", "Agents that were silent for too long.", _sum(_AGENTS, "unreachable")),
    _only_mesos("master/frameworks_active", "Frameworks with a stream.", _sum(_FRAMEWORKS, "connected")),
    _only_mesos("master/frameworks_inactive", "Frameworks without.", _sum(_FRAMEWORKS, *_AWAY)),
    _only_mesos("master/frameworks_connected", "Frameworks with a stream.", _sum(_FRAMEWORKS, "connected")),
    _only_mesos("master/frameworks_disconnected", "Frameworks without.", _sum(_FRAMEWORKS, *_AWAY)),
    *(_percent(name, resource) for resource, (name, _) in _OF_RESOURCE.items()),
    *(_of_allocator(resource, "total", "total") for resource in RESOURCES),
    *(_of_allocator(resource, "offered_or_allocated", "used", "offered") for resource in RESOURCES),
    *(
        _only_mesos(f"master/messages_{name}", f"Calls of type {kind}.", _sum("altiplano_master_calls_total", kind))
        for kind, name in _CALLS.items()
        if name
    ),
    _only_mesos("master/messages_reregister_framework", "Counted with register_framework.", 0.0),
    _only_mesos("master/messages_executor_to_framework", "Not counted.", 0.0),
    _only_mesos("master/dropped_messages", "Always 0: nothing is dropped here.", 0.0),
    _only_mesos("master/invalid_status_updates", "Always 0: agents send no such ones.", 0.0),
    _only_mesos("master/event_queue_dispatches", "Always 0: there is no such queue.", 0.0),
    _only_mesos("master/event_queue_http_requests", "Always 0: there is no such queue.", 0.0),
    _only_mesos("master/slave_removals/reason_registered", "Always 0: a new agent does not replace another.", 0.0),
    _only_mesos("allocator/mesos/event_queue_dispatches", "Always 0: there is no such queue.", 0.0),
    _only_mesos("registrar/log/recovered", "Always 1: nothing is answered before.", 1.0),
)


async def snapshot(shell: Shell) -> dict[str, float]:
    """All numbers that have a name in Mesos, as `/metrics/snapshot` shows them."""
    return named_by_mesos(ROWS, ONLY_MESOS, await censuses.take(shell))


async def prometheus(shell: Shell, accept: str) -> tuple[bytes, str]:
    """All numbers as text for Prometheus, and its content type."""
    return exposed(ROWS, await censuses.take(shell), accept)
