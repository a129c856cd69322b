"""The environment of a task or executor: what Mesos promises, then what agent and command add; nothing is inherited."""

from __future__ import annotations

from collections.abc import Mapping

from altiplano.agent import executor_token
from altiplano.agent.executor_state import Executor
from altiplano.agent.settings import Node
from altiplano.agent.state import Task
from altiplano.executors import custom
from altiplano.model import durations
from altiplano.wire.messages import mesos

Variables = tuple[tuple[str, str], ...]

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def of_task(node: Node, agent_id: str, framework: mesos.FrameworkInfo, task: Task) -> Variables:
    """All variables of a command task, sorted by name."""
    variables = _common(node, agent_id, framework, task.directory, task.container_id)
    variables["MESOS_EXECUTOR_ID"] = task.executor_id
    variables["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"] = durations.format_s(node.shutdown_grace_s)
    variables["MESOS_TASK_ID"] = task.id
    role = next((r.allocation_info.role for r in task.info.resources if r.allocation_info), None)
    if role is not None:
        variables["MESOS_ALLOCATION_ROLE"] = role
    return _with(variables, node, task.info.command)


def of_executor(node: Node, agent_id: str, framework: mesos.FrameworkInfo, executor: Executor) -> Variables:
    """All variables of a custom executor, sorted by name."""
    variables = _common(node, agent_id, framework, executor.directory, executor.container_id)
    grace_s = custom.grace_s(executor.info, node.shutdown_grace_s)
    variables["MESOS_EXECUTOR_ID"] = executor.id
    variables["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"] = durations.format_s(grace_s)
    variables["MESOS_HTTP_COMMAND_EXECUTOR"] = "0"
    variables["LIBPROCESS_PORT"] = "0"
    if framework.checkpoint:
        variables["MESOS_RECOVERY_TIMEOUT"] = durations.format_s(node.recovery_timeout_s)
        variables["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = durations.format_s(node.reregistration_timeout_s)
    if node.executor_secret is not None:
        variables["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"] = executor_token.make(
            node.executor_secret, executor.framework_id, executor.id, executor.container_id
        )
    return _with(variables, node, executor.info.command)


def _common(
    node: Node, agent_id: str, framework: mesos.FrameworkInfo, directory: str, container_id: str
) -> dict[str, str]:
    assert framework.id is not None
    return {
        "MESOS_AGENT_ENDPOINT": node.address,
        "MESOS_CHECKPOINT": "1" if framework.checkpoint else "0",
        "MESOS_CONTAINER_ID": container_id,
        "MESOS_CONTAINER_IP": node.ip,
        "MESOS_DIRECTORY": directory,
        "MESOS_FRAMEWORK_ID": framework.id.value,
        "MESOS_SANDBOX": directory,
        "MESOS_SLAVE_ID": agent_id,
        "MESOS_SLAVE_PID": node.pid,
        "PATH": PATH_DEFAULT,
    }


def _with(variables: dict[str, str], node: Node, command: mesos.CommandInfo | None) -> Variables:
    variables.update(node.environment)
    if command is not None:
        variables.update(of_command(command))
    return tuple(sorted(variables.items()))


def of_command(command: mesos.CommandInfo) -> Mapping[str, str]:
    """The variables that a command names; secrets by value are opened."""
    variables = command.environment.variables if command.environment is not None else ()
    found = {}
    for variable in variables:
        if variable.secret is not None and variable.secret.value is not None:
            found[variable.name] = variable.secret.value.data.decode("utf-8", "surrogateescape")
        else:
            found[variable.name] = variable.value or ""
    return found


def problem(command: mesos.CommandInfo) -> str | None:
    """Why the environment of a command cannot be given; None if it can."""
    for variable in command.environment.variables if command.environment is not None else ():
        if not variable.name or "=" in variable.name or "\0" in variable.name + (variable.value or ""):
            return f"the variable {variable.name!r} has a name or value that no environment can hold"
        if variable.secret is not None and variable.secret.value is None:
            return f"the variable {variable.name} refers to a secret store, and this agent has none: give its value"
    return None
