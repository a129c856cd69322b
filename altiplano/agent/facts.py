"""What holds from now on, for an agent.  Facts marked `durable = False` are learned again after a restart."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.executors import command
from altiplano.wire.messages import mesos

VERSION = 1
"""Of the durable facts.  A program reads its own version and the one before."""


class AgentAdmitted(Fact, frozen=True, kw_only=True):
    """The master knows this agent by `agent_id`, and nothing older than `epoch` is obeyed."""

    agent_id: str
    epoch: int


class AgentRetired(Fact, frozen=True, kw_only=True):
    """The id was given up: the next process registers as a new agent."""


class Booted(Fact, frozen=True, kw_only=True):
    """The machine's boot id.  Another one than before: no process of before is left."""

    boot_id: str


class FrameworkKnown(Fact, frozen=True, kw_only=True):
    framework: mesos.FrameworkInfo


class FrameworkForgotten(Fact, frozen=True, kw_only=True):
    framework_id: str


class TaskFact(Fact, frozen=True, kw_only=True):
    framework_id: str
    task_id: str


class TaskReceived(TaskFact, frozen=True, kw_only=True):
    """The agent answers for the task from now on."""

    task: msgspec.Raw
    container_id: str
    directory: str
    received_wall_s: float
    cause: str


class SandboxBegun(TaskFact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class FetchBegun(TaskFact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class ContainerLaunching(TaskFact, frozen=True, kw_only=True):
    """Sandbox and files are complete; the launcher is asked to start the container."""


class TaskStarted(TaskFact, frozen=True, kw_only=True):
    """The launcher has started it.  `pid` 0: it ended before anybody told which."""

    pid: int
    started_wall_s: float


class KillOrdered(TaskFact, frozen=True, kw_only=True):
    killing: command.Killing


class ContainerEnded(TaskFact, frozen=True, kw_only=True):
    """The task will not run again.  `ran` false: it never did."""

    ran: bool
    ended_wall_s: float
    wait_status: int | None = None
    cpu_s: float | None = None
    memory_peak_bytes: int | None = None


class StatusQueued(TaskFact, frozen=True, kw_only=True):
    """A status joined the stream of its task."""

    status: mesos.TaskStatus


class UpdateSent(TaskFact, frozen=True, kw_only=True):
    """The head of the stream was sent; without acknowledgement it is sent again at `due_mono_s`."""

    durable: ClassVar[bool] = False
    interval_s: float
    due_mono_s: float


class StatusAcknowledged(TaskFact, frozen=True, kw_only=True):
    """The head left the stream."""


class StreamDropped(TaskFact, frozen=True, kw_only=True):
    """Nobody wants to hear of the task: its updates are gone, unsent or not."""


class TaskForgotten(TaskFact, frozen=True, kw_only=True):
    """All is said about the task.  Its sandbox stays until it is too old."""


class SandboxKept(Fact, frozen=True, kw_only=True):
    """A sandbox that is left of a forgotten task (written by summaries; otherwise it follows from TaskForgotten)."""

    container_id: str
    framework_id: str
    task_id: str
    directory: str
    ended_wall_s: float


class SandboxGone(Fact, frozen=True, kw_only=True):
    container_id: str


# -- known to this process only


class ProcessBegun(Fact, frozen=True, kw_only=True):
    """What is counted begins at zero."""

    durable: ClassVar[bool] = False


class LinkChanged(Fact, frozen=True, kw_only=True):
    """The link's state by name (`membership.Link`)."""

    durable: ClassVar[bool] = False
    link: str
    connection: int
    attempts: int


class MasterKnown(Fact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False
    master: mesos.MasterInfo
    silence_s: float
    registered_wall_s: float


class TimerSet(Fact, frozen=True, kw_only=True):
    """`at_mono_s` None clears it."""

    durable: ClassVar[bool] = False
    timer: tuple[str, ...]
    at_mono_s: float | None


class LeaveOrdered(Fact, frozen=True, kw_only=True):
    """The process ends; `with_tasks` once its tasks have."""

    durable: ClassVar[bool] = False
    sentence: str
    failed: bool
    with_tasks: bool


class DegradedKnown(Fact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False
    sentences: tuple[str, ...]


DURABLE = (
    AgentAdmitted
    | AgentRetired
    | Booted
    | FrameworkKnown
    | FrameworkForgotten
    | TaskReceived
    | ContainerLaunching
    | TaskStarted
    | KillOrdered
    | ContainerEnded
    | StatusQueued
    | StatusAcknowledged
    | StreamDropped
    | TaskForgotten
    | SandboxKept
    | SandboxGone
)


def codec() -> FactCodec[Fact]:
    """Reads and writes the agent's log."""
    return FactCodec(DURABLE.__args__, version=VERSION)
