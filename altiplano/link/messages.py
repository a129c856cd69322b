"""What master and agent say to each other.

The payloads are messages of the Mesos v1 API in their JSON form; what only passes through stays
bytes.  Every message carries the `cause` of what it reports or orders.  Delivery is in order and at
most once per connection; what must not get lost is said again after the next `Hello`:

* an agent re-sends the first unacknowledged update of every task;
* `Hello` reports every task the agent has, so the master knows which of its orders arrived.

Version: `VERSION` grows with every change; either side speaks with `VERSION` and `VERSION - 1`.
"""

from __future__ import annotations

import msgspec

from altiplano.wire.messages import mesos

VERSION = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="m", omit_defaults=True):
    """One message of the link."""


class TaskReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that an agent has, as it reports it when it connects.

    `task` is the TaskInfo as launched, `allocation_info` filled in; `state` the newest state; `status_state` and
    `status_uuid` tell the oldest update that the scheduler has not acknowledged.
    """

    framework_id: str
    task: msgspec.Raw
    state: str
    statuses: tuple[mesos.TaskStatus, ...] = ()
    status_state: str | None = None
    status_uuid: str | None = None
    executor_id: str | None = None


class ExecutorReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A custom executor that runs on an agent."""

    framework_id: str
    executor: mesos.ExecutorInfo


class Drain(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tasks of an agent are to end.

    Each gets its own grace, or `max_grace_s` if that is less; `mark_gone`: the agent does not come back.
    """

    max_grace_s: float | None = None
    mark_gone: bool = False
    since_wall_s: float = 0.0


# -- agent to master


class Hello(Message, frozen=True, kw_only=True):
    """The first message of a connection.

    `credential` is the secret that the pool's operator gave the agent; `epoch` the newest leadership it has
    obeyed.  `agent.id` is set when the agent was admitted before.
    """

    version: int
    agent: mesos.AgentInfo
    credential: str | None = None
    epoch: int = 0
    altiplano_version: str = ""
    boot_id: str = ""
    tasks: tuple[TaskReport, ...] = ()
    executors: tuple[ExecutorReport, ...] = ()
    frameworks: tuple[mesos.FrameworkInfo, ...] = ()
    cause: str = ""


class StatusUpdate(Message, frozen=True, kw_only=True):
    """The oldest unacknowledged update of a task; repeated by back-off until `Acknowledge` comes.

    `latest_state` is the newest state of the task, so that the master can free its resources although
    older updates are still under way.
    """

    framework_id: str
    status: mesos.TaskStatus
    latest_state: str
    cause: str = ""


class ExecutorMessage(Message, frozen=True, kw_only=True):
    """An executor's message to its scheduler, at most once."""

    framework_id: str
    executor_id: str
    data: bytes
    cause: str = ""


class ExecutorEnded(Message, frozen=True, kw_only=True):
    """A custom executor has ended; `status` is its wait status, -1 if unknown."""

    framework_id: str
    executor_id: str
    status: int
    cause: str = ""


class Pong(Message, frozen=True, kw_only=True):
    cause: str = ""


class Goodbye(Message, frozen=True, kw_only=True):
    """The agent leaves for good: its tasks are lost, its id is not used again."""

    sentence: str = ""
    cause: str = ""


# -- master to agent


class Welcome(Message, frozen=True, kw_only=True):
    """The agent is a member.

    It obeys `epoch` from now on and no older one.  `silence_s` is the time without any message after which
    it should dial again.
    """

    version: int
    epoch: int
    agent_id: str
    silence_s: float
    master: mesos.MasterInfo
    completed_frameworks: tuple[str, ...] = ()
    drain: Drain | None = None
    """None: the agent does not drain, whatever it was told before."""
    altiplano_version: str = ""
    cause: str = ""


class Refused(Message, frozen=True, kw_only=True):
    """The agent is not admitted.  `final`: it must stop and not come back; else it may try again later."""

    sentence: str
    final: bool = False
    cause: str = ""


class RunTask(Message, frozen=True, kw_only=True):
    """Launch a task.  `task` is a TaskInfo; resources carry the role they were allocated to.

    `launch_executor` tells whether the master counts on a new custom executor for it: a task for one that has
    ended meanwhile is dropped, since nobody has been charged for another.
    """

    framework: mesos.FrameworkInfo
    task: msgspec.Raw
    launch_executor: bool | None = None
    cause: str = ""


class RunTaskGroup(Message, frozen=True, kw_only=True):
    """Launch a group of tasks under one executor, all or none."""

    framework: mesos.FrameworkInfo
    executor: mesos.ExecutorInfo
    tasks: tuple[msgspec.Raw, ...]
    cause: str = ""


class KillTask(Message, frozen=True, kw_only=True):
    framework_id: str
    task_id: str
    kill_policy: mesos.KillPolicy | None = None
    cause: str = ""


class DrainChanged(Message, frozen=True, kw_only=True):
    """The agent drains from now on, in this way; without `drain` it does not any more."""

    drain: Drain | None = None
    cause: str = ""


class Acknowledge(Message, frozen=True, kw_only=True):
    """The scheduler has the update with this uuid (16 bytes)."""

    framework_id: str
    task_id: str
    uuid: bytes
    cause: str = ""


class ShutdownFramework(Message, frozen=True, kw_only=True):
    """The framework is gone: end its tasks and executors, tell nothing more about them."""

    framework_id: str
    cause: str = ""


class ShutdownExecutor(Message, frozen=True, kw_only=True):
    framework_id: str
    executor_id: str
    cause: str = ""


class UpdateFramework(Message, frozen=True, kw_only=True):
    """The framework's description has changed (or the framework is known again after a failover)."""

    framework: mesos.FrameworkInfo
    cause: str = ""


class FrameworkMessage(Message, frozen=True, kw_only=True):
    """A scheduler's message to an executor, at most once."""

    framework_id: str
    executor_id: str
    data: bytes
    cause: str = ""


class ShutdownAgent(Message, frozen=True, kw_only=True):
    """End all tasks and stop: the agent was removed."""

    sentence: str
    cause: str = ""


class Ping(Message, frozen=True, kw_only=True):
    """`connected` false: the master has lost this agent's registration, it must dial again."""

    connected: bool = True
    cause: str = ""


# -- streams: an HTTP request that the master passes on to the agent's own API, so that pages and
#    command line reach agents that nobody can dial


class StreamOpen(Message, frozen=True, kw_only=True):
    stream: int
    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    cause: str = ""


class StreamHead(Message, frozen=True, kw_only=True):
    stream: int
    status: int
    headers: tuple[tuple[str, str], ...] = ()


class StreamEnd(Message, frozen=True, kw_only=True):
    """No more bytes in this direction."""

    stream: int


class StreamReset(Message, frozen=True, kw_only=True):
    """The stream is over, whatever was under way."""

    stream: int
    sentence: str = ""


class StreamCredit(Message, frozen=True, kw_only=True):
    """The other side may send this many bytes more on the stream."""

    stream: int
    size_bytes: int


FromAgent = Hello | StatusUpdate | ExecutorMessage | ExecutorEnded | Pong | Goodbye
FromMaster = (
    Welcome
    | Refused
    | RunTask
    | RunTaskGroup
    | KillTask
    | DrainChanged
    | Acknowledge
    | ShutdownFramework
    | ShutdownExecutor
    | UpdateFramework
    | FrameworkMessage
    | ShutdownAgent
    | Ping
)
Stream = StreamOpen | StreamHead | StreamEnd | StreamReset | StreamCredit
AnyMessage = FromAgent | FromMaster | Stream
