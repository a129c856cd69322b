"""The environment of a task: what Mesos promises, then what the agent and the task add.  Nothing is inherited."""

from __future__ import annotations

from collections.abc import Mapping

from altiplano.agent.settings import Node
from altiplano.agent.state import Task
from altiplano.model import durations
from altiplano.wire.messages import mesos

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def of_task(node: Node, agent_id: str, framework: mesos.FrameworkInfo, task: Task) -> tuple[tuple[str, str], ...]:
    """All variables of a command task, sorted by name."""
    grace_s = node.shutdown_grace_s
    variables: dict[str, str] = {
        "MESOS_AGENT_ENDPOINT": node.address,
        "MESOS_CHECKPOINT": "1" if framework.checkpoint else "0",
        "MESOS_CONTAINER_ID": task.container_id,
        "MESOS_CONTAINER_IP": node.ip,
        "MESOS_DIRECTORY": task.directory,
        "MESOS_EXECUTOR_ID": task.id,
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": durations.format_s(grace_s),
        "MESOS_FRAMEWORK_ID": task.framework_id,
        "MESOS_SANDBOX": task.directory,
        "MESOS_SLAVE_ID": agent_id,
        "MESOS_SLAVE_PID": node.pid,
        "MESOS_TASK_ID": task.id,
        "PATH": PATH_DEFAULT,
    }
    role = next((r.allocation_info.role for r in task.info.resources if r.allocation_info), None)
    if role is not None:
        variables["MESOS_ALLOCATION_ROLE"] = role
    variables.update(node.environment)
    if task.info.command is not None:
        variables.update(of_command(task.info.command))
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
