"""What happens to an agent."""

from __future__ import annotations

from altiplano.engine.core import Event
from altiplano.link import messages
from altiplano.ports import launcher, probes
from altiplano.wire.messages import mesos


class AgentEvent(Event, frozen=True, kw_only=True):
    """`seed` holds 16 random bytes: ids and jitter of the decision are drawn from it."""

    seed: bytes


class Wake(AgentEvent, frozen=True, kw_only=True):
    """The moment the core asked to be woken at has come."""


class Recovered(AgentEvent, frozen=True, kw_only=True):
    """The log is applied; `inventory` is what the launcher has.  The first event of a process."""

    inventory: tuple[launcher.Container, ...]
    boot_id: str


# -- the link to the master; `connection` numbers the connections of this process


class Connected(AgentEvent, frozen=True, kw_only=True):
    connection: int


class LinkLost(AgentEvent, frozen=True, kw_only=True):
    """A connection has ended, or could not be made."""

    connection: int
    sentence: str


class Heard(AgentEvent, frozen=True, kw_only=True):
    """The master said something."""

    connection: int
    message: messages.FromMaster


class OrderBroke(AgentEvent, frozen=True, kw_only=True):
    """Deciding on an order to run tasks failed, by a fault of this program: nothing of it was done."""

    order: messages.RunTask | messages.RunTaskGroup
    sentence: str


# -- the launch path


class SandboxMade(AgentEvent, frozen=True, kw_only=True):
    container_id: str


class Fetched(AgentEvent, frozen=True, kw_only=True):
    container_id: str
    files: int
    size_bytes: int
    took_s: float


class PreparingFailed(AgentEvent, frozen=True, kw_only=True):
    """The sandbox could not be made or filled."""

    container_id: str
    sentence: str


class LaunchAnswered(AgentEvent, frozen=True, kw_only=True):
    outcome: launcher.Started | launcher.LaunchFailed


class ContainerExited(AgentEvent, frozen=True, kw_only=True):
    exited: launcher.Exited


class LimitRefused(AgentEvent, frozen=True, kw_only=True):
    """The launcher could not put new limits on a container that runs."""

    container_id: str
    sentence: str


class CheckNotBegun(AgentEvent, frozen=True, kw_only=True):
    """The launcher did not start the process of a check: the container it belongs to has ended, or the disk is full."""

    run: str
    sentence: str


class ProbeAnswered(AgentEvent, frozen=True, kw_only=True):
    run: str
    answer: probes.Answer


class LauncherDegraded(AgentEvent, frozen=True, kw_only=True):
    sentences: tuple[str, ...]


# -- custom executors


class ExecutorEvent(AgentEvent, frozen=True, kw_only=True):
    framework_id: str
    executor_id: str


class ExecutorSubscribed(ExecutorEvent, frozen=True, kw_only=True):
    """It listens on a new stream; `updates` are those that it saw no acknowledgement for, `task_ids` its tasks
    without any such acknowledgement."""

    stream: str
    task_ids: tuple[str, ...]
    updates: tuple[mesos.TaskStatus, ...]


class ExecutorUpdated(ExecutorEvent, frozen=True, kw_only=True):
    """It tells the state of a task; the status has a uuid."""

    status: mesos.TaskStatus


class ExecutorSaid(ExecutorEvent, frozen=True, kw_only=True):
    """A message to its scheduler."""

    data: bytes


class ExecutorLeft(ExecutorEvent, frozen=True, kw_only=True):
    """A stream of it has ended."""

    stream: str


# -- people


class StopOrdered(AgentEvent, frozen=True, kw_only=True):
    """The process shall end.  `with_tasks` ends them first; `for_good` gives the agent's id up as well."""

    with_tasks: bool = False
    for_good: bool = False


class KillAsked(AgentEvent, frozen=True, kw_only=True):
    """An operator wants a container to end."""

    container_id: str


class DiskMeasured(AgentEvent, frozen=True, kw_only=True):
    """How full the disk of the work directory is, as a fraction."""

    used: float


class SandboxRemoved(AgentEvent, frozen=True, kw_only=True):
    container_id: str
