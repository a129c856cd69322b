"""What holds from now on, for an agent.  Facts marked `durable = False` are learned again after a restart."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.executors import checks, command, custom
from altiplano.link import messages
from altiplano.wire.messages import mesos

VERSION = 1
"""Of the durable facts.  A program reads its own version and the one before."""


class AgentAdmitted(Fact, frozen=True, kw_only=True):
    """The master knows this agent by `agent_id`, and nothing older than `epoch` is obeyed."""

    agent_id: str
    epoch: int


class AgentRetired(Fact, frozen=True, kw_only=True):
    """The id was given up: the next process registers as a new agent."""


class DrainSet(Fact, frozen=True, kw_only=True):
    """An operator drains this agent, or (None) does not any more."""

    drain: messages.Drain | None


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
    group: str = ""
    """Names the tasks that came together with it."""


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


class TaskSent(TaskFact, frozen=True, kw_only=True):
    """A task was given to its executor, or was about to be: whether it got there, only the executor knows."""


class KillSent(TaskFact, frozen=True, kw_only=True):
    """The executor is to kill the task; it is told so whenever it subscribes, until the task has ended."""

    policy: mesos.KillPolicy | None = None


class CheckSet(TaskFact, frozen=True, kw_only=True):
    """Where a check of a task stands (`checks.Purpose` by value)."""

    durable: ClassVar[bool] = False
    purpose: str
    watch: checks.Watch


class CheckDropped(TaskFact, frozen=True, kw_only=True):
    """The task ends: it is not checked any more."""

    durable: ClassVar[bool] = False
    purpose: str


# -- custom executors


class ExecutorFact(Fact, frozen=True, kw_only=True):
    framework_id: str
    executor_id: str


class ExecutorReceived(ExecutorFact, frozen=True, kw_only=True):
    """The agent answers for the executor from now on."""

    info: mesos.ExecutorInfo
    container_id: str
    directory: str
    received_wall_s: float
    cause: str


class ExecutorStepped(ExecutorFact, frozen=True, kw_only=True):
    """Its sandbox is made or filled; `stage` by name (`executor_state.Stage`)."""

    durable: ClassVar[bool] = False
    stage: str


class ExecutorLaunching(ExecutorFact, frozen=True, kw_only=True):
    """Sandbox and files are complete; the launcher is asked to start the container."""


class ExecutorStarted(ExecutorFact, frozen=True, kw_only=True):
    pid: int
    started_wall_s: float


class ExecutorJoined(ExecutorFact, frozen=True, kw_only=True):
    """It has subscribed for the first time."""


class ExecutorConnected(ExecutorFact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False
    stream: str


class ExecutorDisconnected(ExecutorFact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class ExecutorEnding(ExecutorFact, frozen=True, kw_only=True):
    ending: custom.Ending


class UpdatesSeen(ExecutorFact, frozen=True, kw_only=True):
    """Updates that came from it (written by summaries; otherwise it follows from StatusQueued)."""

    uuids: tuple[bytes, ...]


class ExecutorForgotten(ExecutorFact, frozen=True, kw_only=True):
    """It has ended, with all its tasks.  Its sandbox stays until it is too old."""

    ended_wall_s: float


# -- sandboxes


class SandboxKept(Fact, frozen=True, kw_only=True):
    """A sandbox that is left of an executor (written by summaries; otherwise it follows from its end).

    A command task is its own executor, by the same id.
    """

    container_id: str
    framework_id: str
    executor_id: str
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
    | DrainSet
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
    | TaskSent
    | KillSent
    | ExecutorReceived
    | ExecutorLaunching
    | ExecutorStarted
    | ExecutorJoined
    | ExecutorEnding
    | UpdatesSeen
    | ExecutorForgotten
    | SandboxKept
    | SandboxGone
)


def codec() -> FactCodec[Fact]:
    """Reads and writes the agent's log."""
    return FactCodec(DURABLE.__args__, version=VERSION)
