"""What a master refuses, and the sentences it does so with.

Every function returns why something is refused, or None.  Where clients match texts the words are
those that Mesos uses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from altiplano.master.state import Agent, Capability, Config, Framework
from altiplano.model import ids
from altiplano.model.resources import EMPTY, ResourceError, Resources
from altiplano.wire import json, translate
from altiplano.wire.messages import mesos, scheduler

CallType = scheduler.CallType
AnyId = mesos.FrameworkID | mesos.OfferID | mesos.TaskID | mesos.AgentID | mesos.ExecutorID


ROLES_MAX = 1000
"""Roles of one framework."""

FRAMEWORK_BYTES_MAX = 256 * 1024
"""Size of a description of a framework: it goes along with each of its tasks."""

NAME_CHARS_MAX = 1024
"""Length of the name of a framework or task, which is shown in many places."""

MINIMUMS_MAX = 64
"""Amounts that a framework may set as the least of an offer, all roles together: every offer is held against them."""

TASK_BYTES_MAX = 1024 * 1024
"""Size of one TaskInfo in its JSON form: the master keeps it for as long as the task is known."""

RESOURCES_MAX = 256
"""Resources that one task or executor may name."""

INTERVALS_MAX = 1024
"""Intervals of the ranges, or items of the set, of one resource of a task."""

GROUP_TASKS_MAX = 64
"""Tasks of one group: they are launched together or not at all, thus in one slice of the loop."""

WEIGHTS_MAX = 1000
"""Roles with a weight."""

_PAYLOADS = {
    CallType.ACCEPT: "accept",
    CallType.DECLINE: "decline",
    CallType.ACCEPT_INVERSE_OFFERS: "accept_inverse_offers",
    CallType.DECLINE_INVERSE_OFFERS: "decline_inverse_offers",
    CallType.KILL: "kill",
    CallType.SHUTDOWN: "shutdown",
    CallType.ACKNOWLEDGE: "acknowledge",
    CallType.ACKNOWLEDGE_OPERATION_STATUS: "acknowledge_operation_status",
    CallType.RECONCILE: "reconcile",
    CallType.RECONCILE_OPERATIONS: "reconcile_operations",
    CallType.MESSAGE: "message",
    CallType.REQUEST: "request",
    CallType.UPDATE_FRAMEWORK: "update_framework",
}


def call_problem(call: scheduler.Call) -> str | None:
    """Why a call makes no sense by itself."""
    if call.type is None:
        return "Expecting 'type' to be present"
    if call.type is CallType.SUBSCRIBE:
        return _subscribe_problem(call)
    if call.framework_id is None:
        return "Expecting 'framework_id' to be present"
    if (named := _long_id(call)) is not None:
        return f"'{named}' is longer than {ids.ID_BYTES_MAX} characters, the most that an id has"
    payload = _PAYLOADS.get(call.type)
    if payload is not None and getattr(call, payload) is None:
        return f"Expecting '{payload}' to be present"
    if call.acknowledge is not None and call.type is CallType.ACKNOWLEDGE:
        return ids.uuid_problem(call.acknowledge.uuid)
    if call.acknowledge_operation_status is not None and call.type is CallType.ACKNOWLEDGE_OPERATION_STATUS:
        if call.acknowledge_operation_status.agent_id is None:
            return "Expecting 'agent_id' to be present"
        return ids.uuid_problem(call.acknowledge_operation_status.uuid)
    return None


def _long_id(call: scheduler.Call) -> str | None:
    """Which id of a call is longer than any id can be; whatever it names, it is answered with, many times over."""
    for name, values in _ids_of(call):
        if any(len(one.value) > ids.ID_BYTES_MAX for one in values if one is not None):
            return name
    return None


def _ids_of(call: scheduler.Call) -> Iterator[tuple[str, Iterable[AnyId | None]]]:
    yield "framework_id", (call.framework_id,)
    if call.accept is not None:
        yield "offer_ids", call.accept.offer_ids
    if call.decline is not None:
        yield "offer_ids", call.decline.offer_ids
    if call.reconcile is not None:
        yield "task_id", (one.task_id for one in call.reconcile.tasks)
        yield "agent_id", (one.agent_id for one in call.reconcile.tasks)
    for payload in (call.kill, call.acknowledge):
        if payload is not None:
            yield "task_id", (payload.task_id,)
            yield "agent_id", (payload.agent_id,)
    for message in (call.shutdown, call.message):
        if message is not None:
            yield "executor_id", (message.executor_id,)
            yield "agent_id", (message.agent_id,)


def _subscribe_problem(call: scheduler.Call) -> str | None:
    if call.subscribe is None:
        return "Expecting 'subscribe' to be present"
    inner = call.subscribe.framework_info.id
    outer_id = call.framework_id.value if call.framework_id is not None else ""
    inner_id = inner.value if inner is not None else ""
    if outer_id != inner_id:
        return "'framework_id' differs from 'subscribe.framework_info.id'"
    return None


# -- frameworks


def framework_problem(config: Config, info: mesos.FrameworkInfo, suppressed: Iterable[str]) -> str | None:
    """Why a framework cannot subscribe with this description."""
    roles = framework_roles(info)
    if (problem := _too_large(info, roles)) is not None:
        return problem
    for problem in (_roles_problem(info), *(ids.role_problem(role) for role in roles)):
        if problem is not None:
            return problem
    if info.id is not None and info.id.value and (problem := ids.id_problem(info.id.value)) is not None:
        return f"Framework id: {problem}"
    unknown = sorted(set(suppressed) - set(roles))
    if unknown:
        return f"Suppressed roles {unknown} are not contained in the set of roles of the framework"
    if config.roles is not None and (foreign := sorted(set(roles) - config.roles)):
        return f"Roles {foreign} are not present in the master's --roles"
    if not config.root_submissions and info.user == "root":
        return "User 'root' is not allowed to run frameworks without --root_submissions set"
    if not info.failover_timeout >= 0 or math.isinf(info.failover_timeout):
        return f"The framework failover_timeout ({info.failover_timeout}) is invalid: it is a number of seconds from 0"
    return _filters_problem(info, roles)


def _too_large(info: mesos.FrameworkInfo, roles: tuple[str, ...]) -> str | None:
    if len(roles) > ROLES_MAX:
        return f"The framework has {len(roles)} roles; the most is {ROLES_MAX}"
    for role in roles:
        if len(role) > ids.ID_BYTES_MAX:
            return f"Role '{role[:64]}…' is longer than {ids.ID_BYTES_MAX} characters, the most that a role has"
    if len(info.name) > NAME_CHARS_MAX:
        return f"The framework's name is longer than {NAME_CHARS_MAX} characters, the most that a name has"
    size = len(json.encode(info))
    if size > FRAMEWORK_BYTES_MAX:
        return f"The FrameworkInfo has {size} bytes as JSON; the most is {FRAMEWORK_BYTES_MAX}"
    return None


def _roles_problem(info: mesos.FrameworkInfo) -> str | None:
    multi = any(capability.type is Capability.MULTI_ROLE for capability in info.capabilities)
    if multi and info.role is not None:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable: use 'roles'"
    if not multi and info.roles:
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    doubles = sorted(role for role, count in Counter(info.roles).items() if count > 1)
    if doubles:
        return f"'FrameworkInfo.roles' contains duplicate items: {doubles}"
    return None


def _filters_problem(info: mesos.FrameworkInfo, roles: tuple[str, ...]) -> str | None:
    count = 0
    for filters in info.offer_filters.values():
        minimums = filters.min_allocatable_resources
        count += sum(max(1, len(one.quantities)) for one in (minimums.quantities if minimums is not None else ()))
    if count > MINIMUMS_MAX:
        return f"'FrameworkInfo.offer_filters' holds {count} amounts; the most is {MINIMUMS_MAX}"
    for role, filters in info.offer_filters.items():
        if role not in roles:
            return f"'FrameworkInfo.offer_filters' names role '{role}', which the framework does not have"
        minimums = filters.min_allocatable_resources
        for quantities in minimums.quantities if minimums is not None else ():
            if not quantities.quantities:
                return f"Invalid 'OfferFilters' of role '{role}': quantities must not be empty"
            for name, scalar in quantities.quantities.items():
                if not 0 <= scalar.value < math.inf:
                    return f"Invalid 'OfferFilters' of role '{role}': {name} is {scalar.value}, not a finite amount"
    return None


def framework_roles(info: mesos.FrameworkInfo) -> tuple[str, ...]:
    """The roles of a framework, however it gives them."""
    if any(capability.type is Capability.MULTI_ROLE for capability in info.capabilities):
        return info.roles
    return (info.role if info.role is not None else "*",)


def update_problem(
    config: Config, framework: Framework, info: mesos.FrameworkInfo, suppressed: Iterable[str]
) -> str | None:
    """Why a framework cannot describe itself anew like this while it is connected."""
    old = framework.info
    assert old is not None, f"framework {framework.id} is connected without a description"
    if info.id is None or info.id.value != framework.id:
        return "'framework_id' differs from 'update_framework.framework_info.id'"
    if info.principal != old.principal:
        return "Changing framework's principal is not allowed."
    if info.user != old.user:
        return "Changing framework's user is not allowed."
    if info.checkpoint != old.checkpoint:
        return "Changing framework's checkpoint setting is not allowed."
    return framework_problem(config, info, suppressed)


def weights_problem(config: Config, known: Mapping[str, float], weights: tuple[mesos.WeightInfo, ...]) -> str | None:
    """Why an operator cannot give roles these weights."""
    if len(known.keys() | {one.role for one in weights}) > WEIGHTS_MAX:
        return f"Invalid weights: the most that may have one are {WEIGHTS_MAX} roles"
    for one in weights:
        if one.role is None:
            return "Invalid weight: it names no role"
        if len(one.role) > ids.ID_BYTES_MAX:
            return f"Invalid weight role: it is longer than {ids.ID_BYTES_MAX} characters"
        problem = ids.role_problem(one.role)
        if problem is not None:
            return f"Invalid weight role '{one.role[:64]}': {problem}"
        if not 0 < one.weight < math.inf:
            return f"Invalid weight for role '{one.role}': {one.weight} is not a positive number"
        if config.roles is not None and one.role not in config.roles:
            return f"Role '{one.role}' is not present in the master's --roles"
    return None


# -- tasks


def task_problem(task: mesos.TaskInfo, framework: Framework, agent: Agent) -> str | None:
    """Why a task is refused, apart from how much it wants; a task of LAUNCH or of a group."""
    if len(task.name) > NAME_CHARS_MAX:
        return f"The task's name is longer than {NAME_CHARS_MAX} characters, the most that a name has"
    problem = ids.id_problem(task.task_id.value)
    if problem is not None:
        return f"Task '{task.task_id.value[:64]}' has an invalid id: {problem}"
    if task.task_id.value in framework.tasks:
        return f"Task has duplicate ID: {task.task_id.value}"
    if task.task_id.value in framework.unreachable:
        return f"Task reuses the ID of an unreachable task: {task.task_id.value}"
    if task.agent_id.value != agent.id:
        return f"Task uses invalid agent {task.agent_id.value} while agent {agent.id} is expected"
    grace = task.kill_policy.grace_period if task.kill_policy is not None else None
    if grace is not None and grace.nanoseconds < 0:
        return "Task's 'kill_policy.grace_period' must be non-negative"
    if task.max_completion_time is not None and task.max_completion_time.nanoseconds < 0:
        return "Task's 'max_completion_time' must be non-negative"
    for problem in (
        check_problem(task.check),
        health_check_problem(task.health_check),
        command_problem(task.command),
        container_problem(task.container),
        limits_problem(task),
    ):
        if problem is not None:
            return problem
    return None


def launch_problem(task: mesos.TaskInfo, framework: Framework, agent: Agent) -> str | None:
    """Why a task of LAUNCH is refused for what runs it."""
    if (task.executor is None) == (task.command is None):
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    if task.executor is None:
        return None
    if task.executor.type is mesos.ExecutorInfoType.DEFAULT:
        return "'ExecutorInfo.type' must be CUSTOM in LAUNCH: the default executor runs task groups"
    if task.executor.command is None:
        return "'ExecutorInfo.command' must be set for a custom executor"
    return executor_problem(task.executor, framework, agent)


def executor_problem(executor: mesos.ExecutorInfo, framework: Framework, agent: Agent) -> str | None:
    problem = ids.id_problem(executor.executor_id.value)
    if problem is not None:
        return f"Executor '{executor.executor_id.value[:64]}' has an invalid id: {problem}"
    if executor.framework_id is not None and executor.framework_id.value != framework.id:
        return (
            f"ExecutorInfo has an invalid FrameworkID (Actual: {executor.framework_id.value} vs "
            f"Expected: {framework.id})"
        )
    grace = executor.shutdown_grace_period
    if grace is not None and grace.nanoseconds < 0:
        return "ExecutorInfo's 'shutdown_grace_period' must be non-negative"
    for problem in (command_problem(executor.command), container_problem(executor.container)):
        if problem is not None:
            return problem
    running = agent.executors.get((framework.id, executor.executor_id.value))
    if running is not None and not same_executor(running.info, executor):
        return (
            f"ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID "
            f"'{executor.executor_id.value}'"
        )
    return None


def same_executor(a: mesos.ExecutorInfo, b: mesos.ExecutorInfo) -> bool:
    """Whether two descriptions are of one executor; the order of resources and who they are allocated to is nothing."""
    return _bare_executor(a) == _bare_executor(b)


def _bare_executor(info: mesos.ExecutorInfo) -> tuple[object, ...]:
    return (
        info.executor_id,
        info.data,
        resources_of(info.resources)[0],
        info.command,
        info.name,
        info.container,
        info.discovery,
        info.shutdown_grace_period,
        info.labels,
        # Tasks of LAUNCH may leave the type out, and CUSTOM is filled in when they are launched.
        info.type or mesos.ExecutorInfoType.CUSTOM,
    )


def group_problem(
    executor: mesos.ExecutorInfo, tasks: tuple[mesos.TaskInfo, ...], framework: Framework, agent: Agent
) -> str | None:
    """Why a group as a whole is refused."""
    if not tasks:
        return "Task group cannot be empty"
    if len(tasks) > GROUP_TASKS_MAX:
        return f"The task group has {len(tasks)} tasks; the most is {GROUP_TASKS_MAX}"
    if executor.type not in (mesos.ExecutorInfoType.DEFAULT, mesos.ExecutorInfoType.CUSTOM):
        return "'ExecutorInfo.type' must be set to DEFAULT or CUSTOM in LAUNCH_GROUP"
    if executor.type is mesos.ExecutorInfoType.DEFAULT and executor.command is not None:
        return "'ExecutorInfo.command' must not be set for the default executor"
    if executor.type is mesos.ExecutorInfoType.CUSTOM and executor.command is None:
        return "'ExecutorInfo.command' must be set for a custom executor"
    if executor.container is not None and executor.container.type is mesos.ContainerInfoType.DOCKER:
        return "Docker ContainerInfo is not supported on the executor of a task group"
    problem = executor_problem(executor, framework, agent)
    if problem is not None:
        return problem
    wants, problem = resources_of(executor.resources)
    if problem is not None:
        return problem
    if wants.scalar("cpus") < 10 or wants.scalar("mem") < 32_000:
        return "The executor of a task group needs at least 0.01 cpus and 32 MB of mem"
    if "disk" not in wants.names:
        return "The executor of a task group needs disk"
    seen: set[str] = set()
    for task in tasks:
        if task.task_id.value in seen:
            return f"Task has duplicate ID: {task.task_id.value}"
        seen.add(task.task_id.value)
        problem = task_problem(task, framework, agent) or _group_member_problem(task, executor)
        if problem is not None:
            return f"Task '{task.task_id.value}' is invalid: {problem}"
    return None


def _group_member_problem(task: mesos.TaskInfo, executor: mesos.ExecutorInfo) -> str | None:
    if task.executor is not None and not same_executor(task.executor, executor):
        return "The 'ExecutorInfo' of task and task group differ"
    if task.container is not None and task.container.type is mesos.ContainerInfoType.DOCKER:
        return "Docker ContainerInfo is not supported on the task"
    checks = [check for check in (task.check, task.health_check) if check is not None]
    own_network = task.container is not None and bool(task.container.network_infos)
    if own_network and any(check.http is not None or check.tcp is not None for check in checks):
        return "HTTP and TCP health checks are not supported for nested containers with a network of their own"
    return None


def resources_of(messages: tuple[mesos.Resource, ...]) -> tuple[Resources, str | None]:
    """Resources without their allocation, or why they are none."""
    if len(messages) > RESOURCES_MAX:
        return EMPTY, f"{len(messages)} resources are named; the most is {RESOURCES_MAX}"
    for one in messages:
        pieces = len(one.ranges.range) if one.ranges is not None else len(one.set.item) if one.set is not None else 0
        if pieces > INTERVALS_MAX:
            return EMPTY, f"'{one.name[:64]}' has {pieces} intervals or items; the most is {INTERVALS_MAX}"
    try:
        return translate.resources_from(messages).unallocate(), None
    except ResourceError as error:
        return EMPTY, str(error)


def wants_problem(task: mesos.TaskInfo) -> tuple[Resources, str | None]:
    """What a task wants for itself, or why that is not valid."""
    if not task.resources:
        return EMPTY, "Task uses no resources"
    wants, problem = resources_of(task.resources)
    if problem is not None:
        return EMPTY, f"Task uses invalid resources: {problem}"
    if not wants:
        return EMPTY, "Task uses no resources"
    roles = {resource.allocation_info.role for resource in task.resources if resource.allocation_info is not None}
    if len(roles) > 1:
        return EMPTY, f"Task uses resources that are allocated to several roles: {sorted(map(str, roles))}"
    mixed = {kind.name for kind, _ in wants if kind.revocable} & {kind.name for kind, _ in wants if not kind.revocable}
    if mixed:
        return EMPTY, f"Task mixes revocable and non-revocable resources: {', '.join(sorted(mixed))}"
    return wants, None


def size_problem(info: bytes) -> str | None:
    """Why a TaskInfo is too large, given its JSON form."""
    if len(info) > TASK_BYTES_MAX:
        return f"Task has {len(info)} bytes as JSON; the most is {TASK_BYTES_MAX}"
    return None


def limits_problem(task: mesos.TaskInfo) -> str | None:
    """Why the limits of a task make no sense."""
    for name, limit in task.limits.items():
        if name not in ("cpus", "mem"):
            return f"Task has a limit of '{name}': only cpus and mem can be limited"
        asked = sum(
            resource.scalar.value
            for resource in task.resources
            if resource.name == name and resource.scalar is not None
        )
        if not asked:
            return f"Task has a limit of '{name}' without a request of it"
        if not limit.value >= asked:
            return f"Task's limit of '{name}' ({limit.value}) is below its request ({asked})"
    return None


def command_problem(command: mesos.CommandInfo | None) -> str | None:
    for variable in command.environment.variables if command is not None and command.environment is not None else ():
        secret = variable.type is mesos.EnvironmentVariableType.SECRET
        if secret and variable.secret is None:
            return f"Environment variable '{variable.name}' of type 'SECRET' must have a secret set"
        if secret and variable.value is not None:
            return f"Environment variable '{variable.name}' of type 'SECRET' must not have a value set"
        if not secret and variable.value is None:
            return f"Environment variable '{variable.name}' of type 'VALUE' must have a value set"
    return None


def container_problem(container: mesos.ContainerInfo | None) -> str | None:
    if container is None:
        return None
    if container.type is mesos.ContainerInfoType.DOCKER:
        if container.docker is None:
            return "DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"
        if any(parameter.key == "name" for parameter in container.docker.parameters):
            return "Parameter in DockerInfo must not be 'name'"
    linux = container.linux_info
    if linux is not None and linux.share_pid_namespace and container.type is mesos.ContainerInfoType.DOCKER:
        return "Docker containers cannot share the pid namespace"
    return None


def check_problem(check: mesos.CheckInfo | None) -> str | None:
    if check is None:
        return None
    match check.type:
        case mesos.CheckInfoType.COMMAND:
            if check.command is None:
                return "Expecting 'command' to be set for COMMAND check"
            if check.command.command.shell and not check.command.command.value:
                return "Command check must contain 'shell command'"
            problem = command_problem(check.command.command)
        case mesos.CheckInfoType.HTTP:
            problem = None if check.http is not None else "Expecting 'http' to be set for HTTP check"
            if check.http is not None and check.http.path and not check.http.path.startswith("/"):
                problem = f"The path '{check.http.path}' of HTTP check must start with '/'"
        case mesos.CheckInfoType.TCP:
            problem = None if check.tcp is not None else "Expecting 'tcp' to be set for TCP check"
        case _:
            return "CheckInfo must specify 'type'"
    return problem or _numbers_problem(
        delay_seconds=check.delay_seconds,
        interval_seconds=check.interval_seconds,
        timeout_seconds=check.timeout_seconds,
    )


def health_check_problem(check: mesos.HealthCheck | None) -> str | None:
    if check is None:
        return None
    kind = check.type or implied_health_check_type(check)
    match kind:
        case mesos.HealthCheckType.COMMAND:
            if check.command is None:
                return "Expecting 'command' to be set for COMMAND health check"
            if not check.command.value:
                return "Command health check must contain a 'value'"
            problem = command_problem(check.command)
        case mesos.HealthCheckType.HTTP:
            problem = None
            if check.http is None:
                return "Expecting 'http' to be set for HTTP health check"
            if check.http.scheme is not None and check.http.scheme not in ("http", "https"):
                problem = f"Unsupported HTTP health check scheme: '{check.http.scheme}'"
            if check.http.path and not check.http.path.startswith("/"):
                problem = f"The path '{check.http.path}' of HTTP health check must start with '/'"
        case mesos.HealthCheckType.TCP:
            problem = None if check.tcp is not None else "Expecting 'tcp' to be set for TCP health check"
        case _:
            return "HealthCheck must specify 'type'"
    return problem or _numbers_problem(
        delay_seconds=check.delay_seconds,
        interval_seconds=check.interval_seconds,
        timeout_seconds=check.timeout_seconds,
        grace_period_seconds=check.grace_period_seconds,
    )


def implied_health_check_type(check: mesos.HealthCheck) -> mesos.HealthCheckType | None:
    """What kind a health check without a type is: old clients set only its command or http part."""
    if check.command is not None and check.http is None:
        return mesos.HealthCheckType.COMMAND
    if check.http is not None and check.command is None:
        return mesos.HealthCheckType.HTTP
    return None


def _numbers_problem(**numbers: float) -> str | None:
    for name, number in numbers.items():
        if not number >= 0:
            return f"Expecting '{name}' to be non-negative"
    return None
