"""Custom executors: what is reported of the tasks of one that ends, and why it does.

An executor is a program of the framework; it tells the states of its tasks by itself, in the words of
the executor API.  The agent speaks for them only when it cannot any more.  Like `command` this holds
no state: the agent keeps an `Ending` (once somebody wants the executor to end) and the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from altiplano.executors import command
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

SHUTDOWN_GRACE_S_MAX = 7 * 86400.0
"""The longest an executor may ask for between SHUTDOWN and SIGKILL."""

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource


class Why(Enum):
    """Why an executor is being ended."""

    ORDERED = "ordered"
    """Its scheduler or an operator asked for it."""
    IDLE = "idle"
    """All its tasks were killed before it could be given one."""
    STOPPING = "stopping"
    """The agent leaves and takes its tasks along."""
    UNKEPT = "unkept"
    """Its framework does not checkpoint, and the agent or its connection was gone meanwhile."""
    UNREGISTERED = "unregistered"
    """It was started and did not subscribe in time."""
    MISSING = "missing"
    """It did not subscribe again in time after the agent was restarted."""
    UNLIMITED = "unlimited"
    """Its container could not be given new limits when its tasks changed."""
    REMOVED = "removed"
    """Its framework or its agent was removed: nobody wants to hear of it any more."""


AT_ONCE = frozenset({Why.UNREGISTERED, Why.MISSING, Why.UNLIMITED})
"""Who does not listen cannot be asked to end, and who has the wrong limits may not go on."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """An executor was told to end (SHUTDOWN); after the deadline it is made to (SIGKILL)."""

    why: Why
    deadline_wall_s: float


class _End(msgspec.Struct, frozen=True, kw_only=True):
    state: State
    aware: State | None = None
    """The truer word, for schedulers that know partitions."""
    reason: Reason
    sentence: str


ENDS: Mapping[Why | None, _End] = MappingProxyType(
    {
        None: _End(state=State.FAILED, reason=Reason.REASON_EXECUTOR_TERMINATED, sentence="Executor terminated"),
        Why.ORDERED: _End(
            state=State.FAILED,
            reason=Reason.REASON_EXECUTOR_TERMINATED,
            sentence="The executor was shut down by its scheduler or an operator",
        ),
        Why.IDLE: _End(
            state=State.FAILED,
            reason=Reason.REASON_EXECUTOR_TERMINATED,
            sentence="The executor was shut down because all its tasks had been killed",
        ),
        Why.STOPPING: _End(
            state=State.KILLED,
            reason=Reason.REASON_EXECUTOR_TERMINATED,
            sentence="The agent was stopped together with its tasks",
        ),
        Why.UNKEPT: _End(
            state=State.LOST,
            reason=Reason.REASON_AGENT_DISCONNECTED,
            sentence="The agent or its connection was gone, and the framework does not checkpoint",
        ),
        Why.UNREGISTERED: _End(
            state=State.FAILED,
            reason=Reason.REASON_EXECUTOR_REGISTRATION_TIMEOUT,
            sentence="The executor did not subscribe within the agent's executor_registration_timeout",
        ),
        Why.MISSING: _End(
            state=State.LOST,
            aware=State.GONE,
            reason=Reason.REASON_EXECUTOR_REREGISTRATION_TIMEOUT,
            sentence="The executor did not subscribe again within the agent's executor_reregistration_timeout",
        ),
        Why.UNLIMITED: _End(
            state=State.LOST,
            aware=State.GONE,
            reason=Reason.REASON_CONTAINER_UPDATE_FAILED,
            sentence="The limits of the executor's container could not be changed to those of its tasks",
        ),
    }
)
"""How the living tasks of an executor end with it; nobody is told of those of REMOVED."""


def aware(framework: mesos.FrameworkInfo) -> bool:
    """Whether a framework knows the states that partitions bring."""
    wanted = mesos.FrameworkInfoCapabilityType.PARTITION_AWARE
    return any(capability.type is wanted for capability in framework.capabilities)


def drained(status: mesos.TaskStatus, framework: mesos.FrameworkInfo, *, mark_gone: bool) -> mesos.TaskStatus:
    """What is told of a kill that an executor reports on an agent that drains: that it was drained."""
    if status.state not in (mesos.TaskState.TASK_KILLED, mesos.TaskState.TASK_KILLING):
        return status
    gone = status.state is mesos.TaskState.TASK_KILLED and mark_gone and aware(framework)
    state = mesos.TaskState.TASK_GONE_BY_OPERATOR if gone else status.state
    return msgspec.structs.replace(status, state=state, reason=mesos.TaskStatusReason.REASON_AGENT_DRAINING)


def ended(ending: Ending | None, exit_: command.Exit, *, partition_aware: bool) -> command.Report | None:
    """The last report of a task whose executor has ended; None where nobody wants to hear of it."""
    if ending is not None and ending.why is Why.REMOVED:
        return None
    if ending is None and exit_.oom_killed:
        return command.out_of_memory(exit_)
    end = ENDS[ending.why if ending is not None else None]
    return command.Report(
        state=end.aware if partition_aware and end.aware is not None else end.state,
        source=Source.SOURCE_AGENT,
        reason=end.reason,
        message=f"{end.sentence}: {how(exit_)}",
    )


def how(exit_: command.Exit) -> str:
    """How the executor's process ended, in a few words.

    >>> how(command.Exit(wait_status=3 << 8)), how(command.Exit(wait_status=9))
    ('it exited with status 3', 'it was ended by the signal Killed')
    """
    if exit_.wait_status is None:
        return exit_.limitation or "nobody was there to see how it ended"
    return (
        command.exit_message(exit_.wait_status)
        .replace("Command exited", "it exited")
        .replace("Command terminated with", "it was ended by the")
    )


def grace_s(info: mesos.ExecutorInfo, default_s: float) -> float:
    """Time between SHUTDOWN and SIGKILL: the executor's own wish, or the agent's rule."""
    wished = info.shutdown_grace_period
    if wished is None:
        return default_s
    return min(SHUTDOWN_GRACE_S_MAX, max(0.0, wished.nanoseconds / command.NS_PER_S))
