"""Numbers for monitors: under Mesos' names as JSON, and under ours in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import psutil

from altiplano.master.shell import Shell
from altiplano.master.state import MasterState, Presence
from altiplano.model.resources import Resources
from altiplano.model.tasks import State

RESOURCES = ("cpus", "gpus", "mem", "disk")

_MESSAGES = {
    "launch_tasks": "ACCEPT",
    "kill_task": "KILL",
    "status_update_acknowledgement": "ACKNOWLEDGE",
    "register_framework": "SUBSCRIBE",
    "reregister_framework": "",
    "unregister_framework": "TEARDOWN",
    "decline_offers": "DECLINE",
    "revive_offers": "REVIVE",
    "suppress_offers": "SUPPRESS",
    "reconcile_tasks": "RECONCILE",
    "framework_to_executor": "MESSAGE",
    "resource_request": "REQUEST",
    "status_update": "",
    "register_slave": "",
    "reregister_slave": "",
    "executor_to_framework": "",
}


def snapshot(shell: Shell) -> dict[str, float]:
    """All numbers, as `/metrics/snapshot` shows them."""
    state = shell.core.state
    found: dict[str, float] = {
        "master/elected": 1.0,
        "master/uptime_secs": shell.clock.now().wall_s - state.started_s,
        "master/outstanding_offers": float(len(state.offers)),
        "master/dropped_messages": 0.0,
        "master/valid_status_updates": float(state.counts["status_updates"]),
        "master/invalid_status_updates": 0.0,
        "master/event_queue_dispatches": 0.0,
        "master/event_queue_http_requests": 0.0,
        "master/operator_event_stream_subscribers": float(shell.operator_streams),
        "allocator/mesos/allocation_runs": float(state.allocator.runs),
        "allocator/mesos/event_queue_dispatches": 0.0,
        "registrar/log/recovered": 1.0,
    }
    found.update(_resources(state))
    found.update(_agents(state))
    found.update(_frameworks(state))
    found.update(_tasks(state))
    found.update(_messages(shell))
    found.update(_system())
    for role, share, filtered in _roles(state):
        found[f"allocator/mesos/roles/{role}/shares/dominant"] = share
        found[f"allocator/mesos/offer_filters/roles/{role}/active"] = float(filtered)
    return found


def _roles(state: MasterState) -> Iterator[tuple[str, float, int]]:
    """Roles, their dominant shares, and how many pairs of framework and agent are filtered in them."""
    allocator = state.allocator
    for role in allocator.shares.roles():
        yield role, allocator.shares.role_share(role), allocator.filters.count_of_role(role)


def _resources(state: MasterState) -> Iterator[tuple[str, float]]:
    total: Counter[str] = Counter()
    used: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for agent in state.agents.values():
        if agent.id in state.awaited:
            continue
        _add(total, agent.total)
        _add(used, agent.used)
        _add(taken, agent.used)
        _add(taken, agent.offered)
    for name in RESOURCES:
        yield f"master/{name}_total", total[name] / 1000
        yield f"master/{name}_used", used[name] / 1000
        yield f"master/{name}_percent", used[name] / total[name] if total[name] else 0.0
        yield f"allocator/mesos/resources/{name}/total", total[name] / 1000
        yield f"allocator/mesos/resources/{name}/offered_or_allocated", taken[name] / 1000


def _add(counter: Counter[str], held: Resources) -> None:
    for name, amount in held.scalars.items():
        counter[name] += amount


def _agents(state: MasterState) -> Iterator[tuple[str, float]]:
    here = [agent for agent in state.agents.values() if agent.id not in state.awaited]
    connected = sum(1 for agent in here if agent.connected)
    yield "master/slaves_active", float(connected)
    yield "master/slaves_inactive", float(len(here) - connected)
    yield "master/slaves_connected", float(connected)
    yield "master/slaves_disconnected", float(len(here) - connected)
    yield "master/slaves_unreachable", float(len(state.unreachable))
    for name in ("slave_registrations", "slave_reregistrations", "slave_removals", "slave_unreachable_completed"):
        yield f"master/{name}", float(state.counts[name])
    yield "master/slave_removals/reason_unhealthy", float(state.counts["slave_removals_unhealthy"])
    yield "master/slave_removals/reason_unregistered", float(state.counts["slave_removals_unregistered"])
    yield "master/slave_removals/reason_registered", 0.0


def _frameworks(state: MasterState) -> Iterator[tuple[str, float]]:
    here = [one for one in state.frameworks.values() if one.presence is not Presence.REGISTERED]
    connected = sum(1 for framework in here if framework.connected)
    yield "master/frameworks_active", float(connected)
    yield "master/frameworks_inactive", float(len(here) - connected)
    yield "master/frameworks_connected", float(connected)
    yield "master/frameworks_disconnected", float(len(here) - connected)


def _tasks(state: MasterState) -> Iterator[tuple[str, float]]:
    live: Counter[State] = Counter()
    unreachable = 0
    for framework in state.frameworks.values():
        unreachable += len(framework.unreachable)
        for task in framework.tasks.values():
            live[task.state] += 1
    for one in (State.STAGING, State.STARTING, State.RUNNING, State.KILLING):
        yield f"master/tasks_{one.name.lower()}", float(live[one])
    yield "master/tasks_unreachable", float(unreachable)
    for one in State:
        if one.ended:
            yield f"master/tasks_{one.name.lower()}", float(state.counts[f"tasks_{one.name.lower()}"])


def _messages(shell: Shell) -> Iterator[tuple[str, float]]:
    counts = shell.core.state.counts
    for name, call in _MESSAGES.items():
        yield f"master/messages_{name}", float(shell.calls[call] if call else counts[f"messages_{name}"])
    yield "master/messages_status_update", float(counts["status_updates"])
    yield "master/messages_register_slave", float(counts["slave_registrations"])
    yield "master/messages_reregister_slave", float(counts["slave_reregistrations"])


def _system() -> Iterator[tuple[str, float]]:
    memory = psutil.virtual_memory()
    for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True):
        yield f"system/load_{minutes}min", float(load)
    yield "system/cpus_total", float(psutil.cpu_count() or 1)
    yield "system/mem_free_bytes", float(memory.free)
    yield "system/mem_total_bytes", float(memory.total)


def prometheus(shell: Shell) -> bytes:
    """All numbers in the text format of Prometheus, with what the engine counts."""
    lines: list[str] = []
    for name, number in snapshot(shell).items():
        if "/roles/" not in name:
            lines.append(f"altiplano_{name.replace('/', '_')} {number:.17g}")
    for role, share, filtered in _roles(shell.core.state):
        label = role.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'altiplano_master_role_dominant_share{{role="{label}"}} {share:.17g}')
        lines.append(f'altiplano_master_role_filters_active{{role="{label}"}} {filtered}')
    statistics = shell.engine.statistics
    counts: Mapping[str, int] = {name: getattr(statistics, name) for name in statistics.__struct_fields__}
    lines += [f"altiplano_master_engine_{name}_total {number}" for name, number in counts.items()]
    lines += [f'altiplano_master_calls_total{{type="{kind}"}} {number}' for kind, number in sorted(shell.calls.items())]
    return ("\n".join(lines) + "\n").encode()
