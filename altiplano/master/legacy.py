"""The state of a master as Mesos' older GET endpoints show it, with the names of the v0 API.  Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

import altiplano
from altiplano.master import infos, settings, view
from altiplano.master.state import Agent, Executor, Framework, MasterState, Offer, Presence, Task
from altiplano.model import values
from altiplano.model.resources import EMPTY, Resources
from altiplano.model.tasks import State
from altiplano.wire import json
from altiplano.wire.messages import mesos

Shown = dict[str, Any]

ALWAYS = ("cpus", "gpus", "mem", "disk")
"""Resources that are shown even where there are none."""

TASKS_PER_PAGE = 100
BUILD = {"build_date": "", "build_time": 0.0, "build_user": ""}
"""We are not built by anybody at any time; readers want the keys all the same."""


def version() -> Shown:
    return {"version": infos.MESOS_VERSION, "altiplano_version": altiplano.__version__, **BUILD}


def resources(held: Resources) -> Shown:
    """Amounts by name: numbers as numbers, ranges and sets as text."""
    shown: Shown = dict.fromkeys(ALWAYS, 0.0)
    for name, amount in held.non_revocable().scalars.items():
        shown[name] = amount / 1000
    for name, amount in held.revocable().scalars.items():
        shown[f"{name}_revocable"] = amount / 1000
    for kind, value in held:
        if isinstance(value, tuple):
            shown[kind.name] = values.text_of(held.ranges(kind.name))
        elif isinstance(value, frozenset):
            shown[kind.name] = values.text_of(value)
    return shown


def full_resources(held: Resources) -> list[Any]:
    """Resources as messages, with both forms of reservations."""
    return [msgspec.to_builtins(one) for one in view.resources(held)]


def attributes(messages: Iterable[mesos.Attribute]) -> Shown:
    shown: Shown = {}
    for one in messages:
        if one.scalar is not None:
            shown[one.name] = one.scalar.value
        elif one.text is not None:
            shown[one.name] = one.text.value
        elif one.ranges is not None:
            shown[one.name] = values.text_of(tuple((part.begin, part.end) for part in one.ranges.range))
    return shown


def reserved(held: Resources) -> Shown:
    roles = sorted({kind.role for kind, _ in held if kind.reservations})
    return {role: resources(held.reserved(role)) for role in roles}


def slave(agent: Agent) -> Shown:
    shown: Shown = {
        "id": agent.id,
        "hostname": agent.info.hostname,
        "port": agent.info.port,
        "attributes": attributes(agent.info.attributes),
        "pid": view.agent_pid(agent),
        "registered_time": agent.registered_s,
        "resources": resources(agent.total),
        "used_resources": resources(agent.used),
        "offered_resources": resources(agent.offered),
        "reserved_resources": reserved(agent.total),
        "unreserved_resources": resources(agent.total.unreserved()),
        "active": agent.connected,
        "deactivated": False,
        "version": infos.MESOS_VERSION,
        "capabilities": [one.type.value for one in view.AGENT_CAPABILITIES if one.type is not None],
    }
    if agent.reregistered_s is not None:
        shown["reregistered_time"] = agent.reregistered_s
    return shown


def full_slave(agent: Agent) -> Shown:
    roles = sorted({kind.role for kind, _ in agent.total if kind.reservations})
    return slave(agent) | {
        "reserved_resources_full": {role: full_resources(agent.total.reserved(role)) for role in roles},
        "unreserved_resources_full": full_resources(agent.total.unreserved()),
        "used_resources_full": full_resources(agent.used),
        "offered_resources_full": full_resources(agent.offered),
    }


def task(one: Task) -> Shown:
    info = json.decode(mesos.TaskInfo, one.info)
    shown: Shown = {
        "id": one.id,
        "name": one.name,
        "framework_id": one.framework_id,
        "executor_id": one.executor_id or "",
        "slave_id": one.agent_id,
        "state": one.state.value,
        "resources": resources(one.resources),
        "role": one.role,
        "statuses": [status(each) for each in one.statuses],
    }
    if info.command is not None and info.command.user is not None:
        shown["user"] = info.command.user
    if info.labels is not None:
        shown["labels"] = labels(info.labels)
    if info.limits:
        shown["limits"] = {name: scalar.value for name, scalar in info.limits.items()}
    for name in ("discovery", "container", "health_check"):
        value = getattr(info, name)
        if value is not None:
            shown[name] = msgspec.to_builtins(value)
    return shown


def status(one: mesos.TaskStatus) -> Shown:
    shown: Shown = {"state": one.state.value, "timestamp": one.timestamp or 0.0}
    if one.labels is not None:
        shown["labels"] = labels(one.labels)
    if one.container_status is not None:
        shown["container_status"] = msgspec.to_builtins(one.container_status)
    if one.healthy is not None:
        shown["healthy"] = one.healthy
    return shown


def labels(message: mesos.Labels) -> list[Shown]:
    return [msgspec.to_builtins(label) for label in message.labels]


def executor(one: Executor) -> Shown:
    info = one.info
    shown: Shown = {
        "executor_id": one.id,
        "name": info.name or "",
        "framework_id": one.framework_id,
        "command": msgspec.to_builtins(info.command) if info.command is not None else {},
        "resources": resources(one.resources),
        "role": one.role,
        "slave_id": one.agent_id,
    }
    if info.type is not None:
        shown["type"] = info.type.value
    if info.labels is not None:
        shown["labels"] = labels(info.labels)
    return shown


def offer(one: Offer) -> Shown:
    return {
        "id": one.id,
        "framework_id": one.framework_id,
        "allocation_info": {"role": one.role},
        "slave_id": one.agent_id,
        "resources": resources(one.resources),
    }


def framework(one: Framework) -> Shown:
    offered = sum((each.resources for each in one.offers.values()), EMPTY)
    info = one.info
    shown: Shown = {
        "id": one.id,
        "name": one.name,
        "used_resources": resources(one.used),
        "offered_resources": resources(offered),
        "capabilities": sorted(each.value for each in one.capabilities),
        "hostname": info.hostname or "" if info else "",
        "webui_url": info.webui_url or "" if info else "",
        "active": one.connected,
        "connected": one.connected,
        "recovered": one.presence in (Presence.RECOVERED, Presence.REGISTERED),
        "user": info.user if info else "",
        "failover_timeout": one.failover_timeout_s,
        "checkpoint": one.checkpoint,
        "registered_time": one.registered_s,
        "unregistered_time": one.unregistered_s or 0.0,
        "resources": resources(one.used + offered),
        "tasks": [task(each) for each in one.tasks.values()],
        "unreachable_tasks": [task(each) for each in one.unreachable.values()],
        "completed_tasks": [task(each) for each in one.completed.values()],
        "offers": [offer(each) for each in one.offers.values()],
        "executors": [executor(each) for each in one.executors.values()],
    }
    if one.multi_role:
        shown["roles"] = list(one.roles)
    else:
        shown["role"] = one.roles[0] if one.roles else "*"
    if one.reregistered_s is not None:
        shown["reregistered_time"] = one.reregistered_s
    if info is not None and info.principal is not None:
        shown["principal"] = info.principal
    if info is not None and info.labels is not None:
        shown["labels"] = labels(info.labels)
    return shown


def state(known: MasterState, shown: settings.Settings) -> Shown:
    info = infos.master_info(known)
    here = _slaves(known)
    active = sum(1 for agent in here if agent.connected)
    result: Shown = {
        **version(),
        "start_time": known.started_s,
        "elected_time": known.elected_s,
        "id": info.id,
        "pid": info.pid,
        "hostname": info.hostname,
        "capabilities": [one.type.value for one in info.capabilities if one.type is not None],
        "activated_slaves": float(active),
        "deactivated_slaves": float(len(here) - active),
        "unreachable_slaves": float(len(known.unreachable)),
        "leader": info.pid,
        "leader_info": {"id": info.id, "pid": info.pid, "port": info.port, "hostname": info.hostname},
        "flags": settings.flags(shown),
        "slaves": [slave(agent) for agent in here],
        "recovered_slaves": _recovered(known),
        "frameworks": [framework(one) for one in view.known_frameworks(known)],
        "completed_frameworks": _completed(known),
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    }
    if shown.cluster is not None:
        result["cluster"] = shown.cluster
    return result


def _slaves(known: MasterState) -> list[Agent]:
    return [agent for agent in known.agents.values() if agent.id not in known.awaited]


def _recovered(known: MasterState) -> list[Shown]:
    awaited = (known.agents[agent_id] for agent_id in sorted(known.awaited))
    return [{"id": agent.id, "hostname": agent.info.hostname, "port": agent.info.port} for agent in awaited]


def _completed(known: MasterState) -> list[Shown]:
    return [framework(one) for one in known.completed.values() if one.info is not None]


def slaves(known: MasterState, query: Mapping[str, str]) -> Shown:
    wanted = query.get("slave_id")
    here = [agent for agent in _slaves(known) if wanted in (None, agent.id)]
    return {"slaves": [full_slave(agent) for agent in here], "recovered_slaves": _recovered(known)}


def frameworks(known: MasterState, query: Mapping[str, str]) -> Shown:
    wanted = query.get("framework_id")
    return {
        "frameworks": [framework(one) for one in view.known_frameworks(known) if wanted in (None, one.id)],
        "completed_frameworks": [one for one in _completed(known) if wanted in (None, one["id"])],
        "unregistered_frameworks": [],
    }


def tasks(known: MasterState, query: Mapping[str, str]) -> Shown:
    """A page of tasks, newest first unless asked otherwise."""
    limit, offset = _number(query, "limit", TASKS_PER_PAGE), _number(query, "offset", 0)
    framework_id, task_id = query.get("framework_id"), query.get("task_id")
    found = [
        one
        for of in (*known.frameworks.values(), *known.completed.values())
        if framework_id in (None, of.id)
        for one in (*of.tasks.values(), *of.unreachable.values(), *of.completed.values())
        if task_id in (None, one.id)
    ]
    found.sort(key=lambda one: one.added_s, reverse=query.get("order") != "asc")
    return {"tasks": [task(one) for one in found[offset : offset + limit]]}


def _number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise


def roles(known: MasterState) -> Shown:
    rows = []
    for role in view.roles(known):
        used, offered = view.held_by_role(known, role)
        rows.append(
            {
                "name": role,
                "weight": known.allocator.shares.weight(role),
                "quota": {"role": role, "guarantee": {}, "limit": {}, "consumed": resources(used)},
                "resources": resources(used + offered),
                "allocated": resources(used),
                "offered": resources(offered),
                "reserved": resources(EMPTY),
                "frameworks": [one.id for one in view.members_of(known, role)],
            }
        )
    return {"roles": rows}


def state_summary(known: MasterState, shown: settings.Settings) -> Shown:
    rows = []
    for agent in _slaves(known):
        counts = Counter(one.state for one in agent.tasks.values())
        ids = sorted({framework_id for framework_id, _ in (*agent.tasks, *agent.executors)})
        rows.append(slave(agent) | _counts(counts) | {"framework_ids": ids})
    every = []
    for one in view.known_frameworks(known):
        counts = Counter(each.state for each in one.tasks.values())
        counts.update(each.state for each in (*one.completed.values(), *one.unreachable.values()))
        summary = {name: value for name, value in framework(one).items() if not isinstance(value, list)}
        ids = sorted({each.agent_id for each in one.tasks.values()})
        every.append(summary | _counts(counts) | {"slave_ids": ids})
    result: Shown = {"hostname": known.config.hostname, "slaves": rows, "frameworks": every}
    if shown.cluster is not None:
        result["cluster"] = shown.cluster
    return result


def _counts(counts: Counter[State]) -> Shown:
    return {one.value: counts[one] for one in State if one is not State.UNKNOWN}


def weights(known: MasterState) -> list[Shown]:
    return [{"role": role, "weight": weight} for role, weight in known.weights.items()]
