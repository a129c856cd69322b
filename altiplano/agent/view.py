"""The agent's state as programs and people read it: the objects of `/state` and the answers of the operator API.

Pure functions of the state.  Names and forms are those of Mesos' agents, since its tools read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from altiplano.agent import runners
from altiplano.agent.runners import Runner
from altiplano.agent.settings import Node
from altiplano.agent.state import Stage, State, Task
from altiplano.model import values
from altiplano.model.resources import Resources
from altiplano.ports import launcher
from altiplano.wire import translate
from altiplano.wire.level import MESOS_VERSION
from altiplano.wire.messages import agent as api
from altiplano.wire.messages import mesos

Json = dict[str, Any]
MIB = 1024 * 1024

CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_DRAINING", "TASK_RESOURCE_LIMITS")

WAITING = frozenset({Stage.RECEIVED, Stage.SANDBOX, Stage.FETCHING, Stage.STARTING})


# -- resources


def resources(messages: Iterable[mesos.Resource]) -> Json:
    """Sums by name: numbers for scalars, text for ranges and sets; cpus, gpus, mem and disk are always there."""
    return _resources(translate.resources_from(messages))


def _resources(held: Resources) -> Json:
    shown: Json = {"cpus": 0, "gpus": 0, "mem": 0, "disk": 0}
    for kind, value in held:
        if isinstance(value, int):
            shown[kind.name] = _plain(shown.get(kind.name, 0) + value / 1000)
        else:
            text = values.text_of(value)
            shown[kind.name] = text if kind.name not in shown else f"{shown[kind.name][:-1]}, {text[1:]}"
    return shown


def _plain(number: float) -> float | int:
    rounded = round(number, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def used(state: State) -> Resources:
    """What tasks and executors that have not ended were given, as it is without them being named."""
    total = Resources()
    for executor in state.executors.values():
        total += translate.resources_from(executor.info.resources)
    for task in state.tasks.values():
        if task.stage is not Stage.ENDED:
            total += translate.resources_from(task.info.resources)
    return total


# -- tasks and executors, in the names of Mesos' older API


def task_json(task: Task, agent_id: str) -> Json:
    info = task.info
    shown: Json = {
        "id": task.id,
        "name": info.name,
        "framework_id": task.framework_id,
        "executor_id": task.executor_id if task.hosted or task.grouped else "",
        "slave_id": agent_id,
        "state": task.state.value,
        "resources": resources(info.resources),
        "role": _role(info),
        "statuses": [status_json(task.status)] if task.status is not None else [],
    }
    if info.labels is not None:
        shown["labels"] = [
            {"key": label.key, "value": label.value} if label.value is not None else {"key": label.key}
            for label in info.labels.labels
        ]
    if info.command is not None and info.command.user is not None:
        shown["user"] = info.command.user
    return shown


def status_json(status: mesos.TaskStatus) -> Json:
    shown: Json = {"state": status.state.value, "timestamp": status.timestamp}
    container = status.container_status
    if container is not None and container.container_id is not None:
        networks = [
            {"ip_addresses": [{"ip_address": address.ip_address} for address in network.ip_addresses]}
            for network in container.network_infos
        ]
        shown["container_status"] = {
            "container_id": {"value": container.container_id.value},
            "network_infos": networks,
        }
    return shown


def _role(info: mesos.TaskInfo) -> str:
    return next((r.allocation_info.role or "*" for r in info.resources if r.allocation_info is not None), "*")


def executor_json(runner: Runner, agent_id: str) -> Json:
    """The executor object, with its tasks."""
    rows = [(task, task_json(task, agent_id)) for task in runner.tasks]
    infos = [runner.info.resources] if runner.hosts else [task.info.resources for task in runner.tasks]
    allocated = [r.allocation_info.role or "*" for each in infos for r in each if r.allocation_info is not None]
    return {
        "id": runner.id,
        "name": runner.name,
        "source": runner.info.source or (runner.id if not runner.hosts else ""),
        "container": runner.container_id,
        "directory": runner.directory,
        "resources": resources(runner.resources),
        "role": allocated[0] if allocated else "*",
        "type": runner.info.type.value if runner.info.type is not None else "",
        "tasks": [row for task, row in rows if task.stage not in WAITING and task.stage is not Stage.ENDED],
        "queued_tasks": [row for task, row in rows if task.stage in WAITING],
        "completed_tasks": [row for task, row in rows if task.stage is Stage.ENDED],
    }


def framework_json(state: State, framework_id: str) -> Json:
    info = state.frameworks[framework_id]
    agent_id = state.agent_id or ""
    completed = [executor_json(runner, agent_id) for runner in runners.completed(state, framework_id)]
    shown_ids = {row["container"] for row in completed}
    # Of what ended before the process began only the sandboxes are known.
    completed += [
        {
            "id": kept.executor_id,
            "name": "",
            "source": kept.executor_id,
            "container": kept.container_id,
            "directory": kept.directory,
            "resources": {},
            "tasks": [],
            "queued_tasks": [],
            "completed_tasks": [],
        }
        for kept in state.kept.values()
        if kept.framework_id == framework_id and kept.container_id not in shown_ids
    ]
    roles = list(info.roles) or [info.role or "*"]
    return {
        "id": framework_id,
        "name": info.name,
        "user": info.user,
        "hostname": info.hostname or "",
        "failover_timeout": info.failover_timeout,
        "checkpoint": info.checkpoint,
        "active": True,
        "roles": roles,
        "role": roles[0],
        "principal": info.principal or "",
        "executors": [executor_json(runner, agent_id) for runner in runners.living(state, framework_id)],
        "completed_executors": completed,
    }


def version_json(node: Node) -> Json:
    """The object of `/version`, which `/state` begins with."""
    return {
        "version": MESOS_VERSION,
        "altiplano_version": node.altiplano_version,
        "build_date": "",
        "build_time": 0,
        "build_user": "",
    }


def state_json(state: State, node: Node, *, flags: Json, started_wall_s: float, machine: Sequence[str]) -> Json:
    """The object of `/state`."""
    total = translate.resources_from(node.resources)
    busy = set(state.busy_frameworks())
    frameworks = [framework_json(state, framework_id) for framework_id in state.frameworks]
    shown: Json = {
        **version_json(node),
        "start_time": started_wall_s,
        "id": state.agent_id or "",
        "pid": node.pid,
        "hostname": node.hostname,
        "capabilities": list(CAPABILITIES),
        "resources": _resources(total),
        "reserved_resources": {role: _resources(total.reserved(role)) for role in _roles(total)},
        "unreserved_resources": _resources(total.unreserved()),
        "attributes": {attribute.name: _attribute(attribute) for attribute in node.attributes},
        "flags": flags,
        "frameworks": [row for row in frameworks if row["id"] in busy],
        "completed_frameworks": [row for row in frameworks if row["id"] not in busy],
        "resource_providers": [],
        "altiplano": {
            "link": state.link.value,
            "epoch": state.epoch,
            "machine": list(machine),
            "degraded": list(state.degraded),
        },
    }
    if state.master is not None:
        shown["master_hostname"] = state.master.hostname or ""
    if state.registered_wall_s is not None:
        shown["registered_time"] = state.registered_wall_s
    return shown


def _roles(held: Resources) -> list[str]:
    return sorted({kind.reservations[-1].role for kind, _ in held if kind.reservations})


def _attribute(attribute: mesos.Attribute) -> Any:
    if attribute.scalar is not None:
        return _plain(attribute.scalar.value)
    if attribute.ranges is not None:
        return "[" + ", ".join(f"{r.begin}-{r.end}" for r in attribute.ranges.range) + "]"
    return attribute.text.value if attribute.text is not None else ""


# -- usage


def statistics(runner: Runner, usage: launcher.Usage | None, wall_s: float) -> mesos.ResourceStatistics:
    """What a container uses, and what it was given."""
    asked = translate.resources_from(runner.resources)
    mem_bytes = asked.scalar("mem") * MIB // 1000
    if usage is None:
        return mesos.ResourceStatistics(
            timestamp=wall_s, cpus_limit=asked.scalar("cpus") / 1000, mem_limit_bytes=mem_bytes
        )
    return mesos.ResourceStatistics(
        timestamp=usage.measured_wall_s,
        cpus_user_time_secs=usage.cpu_user_s,
        cpus_system_time_secs=usage.cpu_system_s,
        cpus_limit=asked.scalar("cpus") / 1000,
        mem_rss_bytes=usage.memory_rss_bytes,
        mem_limit_bytes=usage.memory_limit_bytes or mem_bytes,
        cpus_nr_periods=usage.cpu_periods,
        cpus_nr_throttled=usage.cpu_throttled_periods,
        cpus_throttled_time_secs=usage.cpu_throttled_s,
        processes=usage.processes,
    )


def usage_json(task: Task, usage: launcher.Usage | None) -> Json:
    """A task as `/tasks/<id>` shows it: how far it is, what it uses or has used, where its files are."""
    ended = task.ended
    return {
        "task_id": task.id,
        "framework_id": task.framework_id,
        "container_id": task.container_id,
        "directory": task.directory,
        "stage": task.stage.value,
        "state": task.state.value,
        "pid": task.pid or None,
        "received_time": task.received_wall_s,
        "started_time": task.started_wall_s,
        "ended_time": ended.ended_wall_s if ended is not None else None,
        "wait_status": ended.wait_status if ended is not None else None,
        "cpu_s": usage.cpu_user_s + usage.cpu_system_s if usage is not None else ended.cpu_s if ended else None,
        "memory_bytes": usage.memory_rss_bytes if usage is not None else None,
        "memory_peak_bytes": usage.memory_peak_bytes if usage else ended.memory_peak_bytes if ended else None,
        "processes": usage.processes if usage is not None else 0,
        "cause": task.cause,
    }


# -- answers of the operator API


def task_message(task: Task, agent_id: str) -> mesos.Task:
    info = task.info
    return mesos.Task(
        name=info.name,
        task_id=info.task_id,
        framework_id=mesos.FrameworkID(value=task.framework_id),
        executor_id=mesos.ExecutorID(value=task.executor_id),
        agent_id=mesos.AgentID(value=agent_id),
        state=mesos.TaskState[task.state.value],
        resources=info.resources,
        statuses=(task.status,) if task.status is not None else (),
        labels=info.labels,
        discovery=info.discovery,
        container=info.container,
        user=info.command.user if info.command is not None else None,
        health_check=info.health_check,
        kill_policy=info.kill_policy,
        limits=info.limits,
    )


def tasks_answer(state: State) -> api.ResponseGetTasks:
    agent_id = state.agent_id or ""

    def those(stages: frozenset[Stage]) -> tuple[mesos.Task, ...]:
        return tuple(task_message(task, agent_id) for task in state.tasks.values() if task.stage in stages)

    completed = tuple(task_message(task, agent_id) for tasks in state.completed.values() for task in tasks)
    return api.ResponseGetTasks(
        queued_tasks=those(WAITING),
        launched_tasks=those(frozenset({Stage.RUNNING, Stage.KILLING, Stage.SENT})),
        terminated_tasks=those(frozenset({Stage.ENDED})),
        completed_tasks=completed,
    )


def executors_answer(state: State) -> api.ResponseGetExecutors:
    ended = (runner for framework_id in state.frameworks for runner in runners.completed(state, framework_id))
    return api.ResponseGetExecutors(
        executors=tuple(api.ResponseGetExecutorsExecutor(executor_info=one.info) for one in runners.living(state)),
        completed_executors=tuple(api.ResponseGetExecutorsExecutor(executor_info=one.info) for one in ended),
    )


def frameworks_answer(state: State) -> api.ResponseGetFrameworks:
    busy = set(state.busy_frameworks())

    def those(*, active: bool) -> tuple[api.ResponseGetFrameworksFramework, ...]:
        return tuple(
            api.ResponseGetFrameworksFramework(framework_info=info)
            for framework_id, info in state.frameworks.items()
            if (framework_id in busy) == active
        )

    return api.ResponseGetFrameworks(frameworks=those(active=True), completed_frameworks=those(active=False))


def agent_message(state: State, node: Node) -> mesos.AgentInfo:
    return mesos.AgentInfo(
        hostname=node.hostname,
        port=node.port,
        resources=node.resources,
        attributes=node.attributes,
        id=mesos.AgentID(value=state.agent_id) if state.agent_id else None,
    )


def drained(state: State, info: mesos.AgentInfo) -> api.ResponseGetAgent:
    """The agent, and how an operator drains it, if one does."""
    drain = state.drain
    if drain is None:
        return api.ResponseGetAgent(agent_info=info)
    grace_s = drain.max_grace_s
    return api.ResponseGetAgent(
        agent_info=info,
        drain_config=mesos.DrainConfig(
            max_grace_period=None if grace_s is None else mesos.DurationInfo(nanoseconds=round(grace_s * 1e9)),
            mark_gone=drain.mark_gone,
        ),
        estimated_drain_start_time=mesos.TimeInfo(nanoseconds=round(drain.since_wall_s * 1e9)),
    )


def container_status(runner: Runner, node: Node) -> mesos.ContainerStatus:
    address = mesos.NetworkInfoIPAddress(ip_address=node.ip)
    return mesos.ContainerStatus(
        container_id=mesos.ContainerID(value=runner.container_id),
        executor_pid=runner.pid or None,
        network_infos=(mesos.NetworkInfo(ip_addresses=(address,)),),
    )
