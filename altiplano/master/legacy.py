"""The state of a master as Mesos' older GET endpoints show it, with the names of the v0 API.  Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

import altiplano
from altiplano.master import infos, pieces, settings, snapshot, taskrows, view
from altiplano.master.allocator.quota import Quota
from altiplano.master.pieces import Objects, Rows, Tree
from altiplano.master.snapshot import FrameworkThen
from altiplano.master.state import Agent, Executor, MasterState, Offer, Presence, Task
from altiplano.master.taskrows import amounts
from altiplano.model import values
from altiplano.model.resources import EMPTY, Resources
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

Shown = dict[str, Any]

TASKS_PER_PAGE = 100
TASKS_PER_PIECE = 100
AGENTS_PER_PIECE = 10
BUILD = {"build_date": "", "build_time": 0.0, "build_user": ""}
"""We are not built by anybody at any time; readers want the keys all the same."""


def version() -> Shown:
    return {"version": infos.MESOS_VERSION, "altiplano_version": altiplano.__version__, **BUILD}


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
    return {role: amounts(held.reserved(role)) for role in roles}


def slave(agent: Agent) -> Shown:
    shown: Shown = {
        "id": agent.id,
        "hostname": agent.info.hostname,
        "port": agent.info.port,
        "attributes": attributes(agent.info.attributes),
        "pid": view.agent_pid(agent),
        "registered_time": agent.registered_s,
        "resources": amounts(agent.total),
        "used_resources": amounts(agent.used),
        "offered_resources": amounts(agent.offered),
        "reserved_resources": reserved(agent.total),
        "unreserved_resources": amounts(agent.total.unreserved()),
        "active": agent.offerable,
        "deactivated": agent.orders is not None,
        "version": infos.MESOS_VERSION,
        "capabilities": [one.type.value for one in view.AGENT_CAPABILITIES if one.type is not None],
    }
    if agent.reregistered_s is not None:
        shown["reregistered_time"] = agent.reregistered_s
    drain = view.drain_info(agent.orders)
    if drain is not None:
        shown["drain_info"] = msgspec.to_builtins(drain)
        shown["estimated_drain_start_time_seconds"] = int(view.drain_since_s(agent.orders) or 0)
    return shown


def full_slave(agent: Agent) -> Shown:
    roles = sorted({kind.role for kind, _ in agent.total if kind.reservations})
    return slave(agent) | {
        "reserved_resources_full": {role: full_resources(agent.total.reserved(role)) for role in roles},
        "unreserved_resources_full": full_resources(agent.total.unreserved()),
        "used_resources_full": full_resources(agent.used),
        "offered_resources_full": full_resources(agent.offered),
    }


def labels(message: mesos.Labels) -> list[Shown]:
    return [msgspec.to_builtins(label) for label in message.labels]


def executor(one: Executor) -> Shown:
    info = one.info
    shown: Shown = {
        "executor_id": one.id,
        "name": info.name or "",
        "framework_id": one.framework_id,
        "command": msgspec.to_builtins(info.command) if info.command is not None else {},
        "resources": amounts(one.resources),
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
        "resources": amounts(one.resources),
    }


def framework(then: FrameworkThen) -> Tree:
    return Tree(
        head=framework_head(then),
        fields=(
            ("tasks", _tasks(then.tasks)),
            ("unreachable_tasks", _tasks(then.unreachable)),
            ("completed_tasks", _tasks(then.completed)),
            ("offers", pieces.objects(then.offers, offer)),
            ("executors", pieces.objects(then.executors, executor)),
        ),
    )


def _tasks(tasks: Sequence[Task]) -> Rows:
    return Rows(items=tasks, encode=taskrows.old, per_piece=TASKS_PER_PIECE)


def framework_head(then: FrameworkThen) -> Shown:
    """What is shown of a framework but its lists."""
    one, offered = then.record, view.offered(then)
    info = one.info
    shown: Shown = {
        "id": one.id,
        "name": one.name,
        "used_resources": amounts(view.used(one)),
        "offered_resources": amounts(offered),
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
        "resources": amounts(view.used(one) + offered),
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


def state(known: MasterState, shown: settings.Settings) -> Tree:
    shot = snapshot.take(known)
    info = infos.master_info(known)
    active = sum(1 for agent in shot.agents if agent.offerable)
    head: Shown = {
        **version(),
        "start_time": known.started_s,
        "elected_time": known.elected_s,
        "id": info.id,
        "pid": info.pid,
        "hostname": info.hostname,
        "capabilities": [one.type.value for one in info.capabilities if one.type is not None],
        "activated_slaves": float(active),
        "deactivated_slaves": float(len(shot.agents) - active),
        "unreachable_slaves": float(len(known.unreachable)),
        "leader": info.pid,
        "leader_info": {"id": info.id, "pid": info.pid, "port": info.port, "hostname": info.hostname},
        "flags": settings.flags(shown),
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    }
    if shown.cluster is not None:
        head["cluster"] = shown.cluster
    return Tree(
        head=head,
        fields=(
            ("slaves", pieces.objects(shot.agents, slave, AGENTS_PER_PIECE)),
            ("recovered_slaves", pieces.objects(shot.awaited, _recovered)),
            ("frameworks", Objects(shot.frameworks, framework)),
            ("completed_frameworks", Objects(shot.completed, framework)),
        ),
    )


def _recovered(agent: Agent) -> Shown:
    return {"id": agent.id, "hostname": agent.info.hostname, "port": agent.info.port}


def slaves(known: MasterState, query: Mapping[str, str]) -> Tree:
    wanted = query.get("slave_id")
    shot = snapshot.take(known)
    here = [agent for agent in shot.agents if wanted in (None, agent.id)]
    return Tree(
        head={},
        fields=(
            ("slaves", pieces.objects(here, full_slave, AGENTS_PER_PIECE)),
            ("recovered_slaves", pieces.objects(shot.awaited, _recovered)),
        ),
    )


def frameworks(known: MasterState, query: Mapping[str, str]) -> Tree:
    wanted = query.get("framework_id")
    shot = snapshot.take(known)
    return Tree(
        head={"unregistered_frameworks": []},
        fields=(
            ("frameworks", Objects([one for one in shot.frameworks if wanted in (None, one.record.id)], framework)),
            (
                "completed_frameworks",
                Objects([one for one in shot.completed if wanted in (None, one.record.id)], framework),
            ),
        ),
    )


def tasks(known: MasterState, query: Mapping[str, str]) -> Tree:
    """A page of tasks, newest first unless asked otherwise."""
    limit, offset = _number(query, "limit", TASKS_PER_PAGE), _number(query, "offset", 0)
    framework_id, task_id = query.get("framework_id"), query.get("task_id")
    found = [
        one
        for of in snapshot.take(known).every_framework
        if framework_id in (None, of.record.id)
        for one in (*of.tasks, *of.unreachable, *of.completed)
        if task_id in (None, one.id)
    ]
    found.sort(key=lambda one: one.added_s, reverse=query.get("order") != "asc")
    return Tree(head={}, fields=(("tasks", _tasks(found[offset : offset + limit])),))


def _number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else otherwise


def roles(known: MasterState) -> Shown:
    rows = []
    for role in view.roles(known):
        used, offered = view.held_by_role(known, role)
        rows.append(
            {
                "name": role,
                "weight": known.allocator.shares.weight(role),
                "quota": _quota_of(known, role),
                "resources": amounts(used + offered),
                "allocated": amounts(used),
                "offered": amounts(offered),
                "reserved": amounts(EMPTY),
                "frameworks": [one.id for one in view.members_of(known, role)],
            }
        )
    return {"roles": rows}


def _quota_of(known: MasterState, role: str) -> Shown:
    one = known.allocator.quotas.of.get(role, Quota())
    consumed = known.allocator.quotas.consumed(role)
    parts = {"guarantee": one.guarantees, "limit": one.limits, "consumed": consumed}
    named = {what: {name: amount / 1000 for name, amount in part.items() if amount} for what, part in parts.items()}
    return {"role": role, **named}


def state_summary(known: MasterState, shown: settings.Settings) -> Tree:
    shot = snapshot.take(known)
    head: Shown = {"hostname": known.config.hostname}
    if shown.cluster is not None:
        head["cluster"] = shown.cluster
    return Tree(
        head=head,
        fields=(
            ("slaves", pieces.objects(shot.agents, _slave_summary, AGENTS_PER_PIECE)),
            ("frameworks", pieces.objects(shot.frameworks, _framework_summary, 1)),
        ),
    )


def _slave_summary(agent: Agent) -> Shown:
    # The one place that counts tasks of now: a number that is newer by a moment misleads nobody.
    counts = Counter(one.state for one in agent.tasks.values())
    ids = sorted({framework_id for framework_id, _ in (*agent.tasks, *agent.executors)})
    return slave(agent) | _counts(counts) | {"framework_ids": ids}


def _framework_summary(then: FrameworkThen) -> Shown:
    counts = Counter(each.state for each in (*then.tasks, *then.completed, *then.unreachable))
    ids = sorted({each.agent_id for each in then.tasks})
    head = {name: value for name, value in framework_head(then).items() if not isinstance(value, list)}
    return head | _counts(counts) | {"slave_ids": ids}


def _counts(counts: Counter[State]) -> Shown:
    return {one.value: counts[one] for one in State if one is not State.UNKNOWN}


def quota(known: MasterState) -> Shown:
    shown: Shown = msgspec.to_builtins(view.quota_status(known))
    return shown


def weights(known: MasterState) -> list[Shown]:
    return [{"role": role, "weight": weight} for role, weight in known.weights.items()]
