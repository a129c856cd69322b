"""Tasks as readers see them, written fast: most of a row is copied as it stands from the task's own JSON.

A pool has a hundred tasks for every agent, so these rows are what large answers consist of.  Both forms
take what they show of a TaskInfo as raw text; only what the master itself knows is encoded.  A TaskInfo
whose text cannot be copied (it holds a number that is not finite) goes the long way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from altiplano.master import view
from altiplano.master.state import Task
from altiplano.model import values
from altiplano.model.resources import Resources
from altiplano.wire import json
from altiplano.wire.messages import mesos

ALWAYS = ("cpus", "gpus", "mem", "disk")
"""Resources that are shown even where there are none."""

AMOUNTS_MAX = 4096
"""Texts of resources that are kept: tasks come in kinds, and those of one kind want the same."""

Raw = msgspec.Raw | msgspec.UnsetType
UNSET = msgspec.UNSET


class _Command(msgspec.Struct, gc=False):
    user: Raw = UNSET


class _Executor(msgspec.Struct, gc=False):
    executor_id: Raw = UNSET


class _Labels(msgspec.Struct, gc=False):
    labels: Raw = UNSET


class _Scalar(msgspec.Struct, gc=False):
    value: Raw = UNSET


class _Info(msgspec.Struct, gc=False):
    """What rows show of a TaskInfo."""

    name: msgspec.Raw
    task_id: msgspec.Raw
    agent_id: msgspec.Raw
    resources: Raw = UNSET
    executor: _Executor | None = None
    command: _Command | None = None
    labels: Raw = UNSET
    discovery: Raw = UNSET
    container: Raw = UNSET
    health_check: Raw = UNSET
    kill_policy: Raw = UNSET
    limits: Raw = UNSET


class _Row(msgspec.Struct, gc=False):
    """A task of the v1 API; the names are those of `mesos.Task`."""

    name: msgspec.Raw
    task_id: msgspec.Raw
    framework_id: mesos.FrameworkID
    agent_id: msgspec.Raw
    state: str
    executor_id: Raw
    resources: Raw
    statuses: tuple[mesos.TaskStatus, ...]
    status_update_state: str | msgspec.UnsetType
    status_update_uuid: bytes | msgspec.UnsetType
    labels: Raw
    discovery: Raw
    container: Raw
    user: Raw
    health_check: Raw
    kill_policy: Raw
    limits: Raw


_info = msgspec.json.Decoder(_Info)
_labels = msgspec.json.Decoder(_Labels)
_limits = msgspec.json.Decoder(dict[str, _Scalar])
_encode = msgspec.json.Encoder().encode


def v1(tasks: Sequence[Task]) -> Iterable[bytes]:
    """Tasks in the JSON form of the v1 API."""
    return [_v1(task) for task in tasks]


def _v1(task: Task) -> bytes:
    try:
        info = _info.decode(task.info)
    except msgspec.DecodeError:
        return json.encode(view.task_row(task))
    data = _encode(
        _Row(
            name=info.name,
            task_id=info.task_id,
            framework_id=mesos.FrameworkID(value=task.framework_id),
            agent_id=info.agent_id,
            state=task.state.value,
            executor_id=info.executor.executor_id if info.executor is not None else UNSET,
            resources=info.resources,
            statuses=task.statuses,
            status_update_state=task.update_state.value if task.update_state is not None else UNSET,
            status_update_uuid=task.update_uuid if task.update_uuid is not None else UNSET,
            labels=info.labels,
            discovery=info.discovery,
            container=info.container,
            user=info.command.user if info.command is not None else UNSET,
            health_check=info.health_check,
            kill_policy=info.kill_policy,
            limits=info.limits,
        )
    )
    # msgspec writes null for a number that is not finite; `json.encode` knows better.
    return json.encode(view.task_row(task)) if b":null" in data else data


class _OldStatus(msgspec.Struct, gc=False, omit_defaults=True):
    state: str
    timestamp: float
    labels: tuple[mesos.Label, ...] | None = None
    container_status: mesos.ContainerStatus | None = None
    healthy: bool | None = None


class _OldRow(msgspec.Struct, gc=False):
    """A task of the older endpoints."""

    id: str
    name: str
    framework_id: str
    executor_id: str
    slave_id: str
    state: str
    resources: msgspec.Raw
    role: str
    statuses: list[_OldStatus]
    user: Raw = UNSET
    labels: Raw = UNSET
    limits: dict[str, Raw] | msgspec.UnsetType = UNSET
    discovery: Raw = UNSET
    container: Raw = UNSET
    health_check: Raw = UNSET


def old(tasks: Sequence[Task]) -> Iterable[bytes]:
    """Tasks as the older endpoints show them."""
    return [_encode(_old(task)) for task in tasks]


def _old(task: Task) -> _OldRow:
    row = _OldRow(
        id=task.id,
        name=task.name,
        framework_id=task.framework_id,
        executor_id=task.executor_id or "",
        slave_id=task.agent_id,
        state=task.state.value,
        resources=_amounts_text(task.resources),
        role=task.role,
        statuses=[_old_status(each) for each in task.statuses],
    )
    try:
        info = _info.decode(task.info)
    except msgspec.DecodeError:
        info = _finite(task.info)
    if info.command is not None:
        row.user = info.command.user
    if isinstance(info.labels, msgspec.Raw):
        row.labels = _labels.decode(info.labels).labels
    if isinstance(info.limits, msgspec.Raw):
        row.limits = {name: scalar.value for name, scalar in _limits.decode(info.limits).items()}
    row.discovery, row.container, row.health_check = info.discovery, info.container, info.health_check
    return row


def _finite(info: bytes) -> _Info:
    """A TaskInfo with numbers that are not finite, which the older endpoints show as null."""
    return _info.decode(_encode(json.decode(mesos.TaskInfo, info)))


def _old_status(one: mesos.TaskStatus) -> _OldStatus:
    return _OldStatus(
        state=one.state.value,
        timestamp=one.timestamp or 0.0,
        labels=one.labels.labels if one.labels is not None else None,
        container_status=one.container_status,
        healthy=one.healthy,
    )


@lru_cache(maxsize=AMOUNTS_MAX)
def _amounts_text(held: Resources) -> msgspec.Raw:
    return msgspec.Raw(_encode(amounts(held)))


def amounts(held: Resources) -> dict[str, Any]:
    """Amounts by name: numbers as numbers, ranges and sets as text."""
    shown: dict[str, Any] = dict.fromkeys(ALWAYS, 0.0)
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
