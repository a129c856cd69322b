"""The built-in command executor: what is reported, and when, of one command that an agent runs.

It holds no state of its own.  The agent keeps a `Plan` (made once from the task), a `Killing` (once
somebody wants the task to end) and the outcome; the functions here turn what happens into reports.
The one thing to know before changing it: a task that is being killed ends by the reason of the kill,
whatever status its command exits with, as frameworks written for Mesos expect.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

KILL_GRACE_DEFAULT_S = 3.0
"""Seconds between SIGTERM and SIGKILL where neither task nor order names a grace."""

NS_PER_S = 1e9
MIB = 1024 * 1024

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource


class Why(Enum):
    """Why a task is being ended."""

    ORDERED = "ordered"
    """A scheduler or operator asked for it."""
    COMPLETION = "completion"
    """It took longer than its `max_completion_time`."""
    STOPPING = "stopping"
    """The agent leaves and takes its tasks along."""
    UNKEPT = "unkept"
    """Its framework does not checkpoint, and the agent or its connection was gone meanwhile."""
    HEALTH = "health"
    """Its health check failed too often."""
    GROUP = "group"
    """Another task of its group has failed or was killed."""
    DRAINING = "draining"
    """An operator drains the agent."""
    DRAINING_FOR_GOOD = "draining for good"
    """The same, and the agent does not come back; its framework knows the state for that."""
    REMOVED = "removed"
    """Its framework or its agent was removed: nobody wants to hear of it any more."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the executor has to know of its task."""

    grace_s: float = KILL_GRACE_DEFAULT_S
    completion_s: float | None = None
    killing_shown: bool = False
    """The framework has the capability TASK_KILLING_STATE."""


class Killing(msgspec.Struct, frozen=True, kw_only=True):
    """A task was told to end (SIGTERM); after the deadline it is made to (SIGKILL)."""

    why: Why
    since_wall_s: float
    deadline_wall_s: float
    because: str = ""
    """What `why` leaves open."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended.  `wait_status` None: it ended while nobody was there to see."""

    wait_status: int | None
    oom_killed: bool = False
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    limitation: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A status to be sent, before the agent adds ids and time."""

    state: State
    source: Source = Source.SOURCE_EXECUTOR
    message: str | None = None
    reason: Reason | None = None
    limitation: mesos.TaskResourceLimitation | None = None
    healthy: bool | None = None
    check_status: mesos.CheckStatusInfo | None = None
    """None: what was said last."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a wish to end a task: `terminate` says to send SIGTERM now."""

    killing: Killing
    terminate: bool
    report: Report | None


class _End(msgspec.Struct, frozen=True):
    state: State
    source: Source = Source.SOURCE_EXECUTOR
    reason: Reason | None = None
    healthy: bool | None = None


ENDS: Mapping[Why, _End] = MappingProxyType(
    {
        Why.ORDERED: _End(State.KILLED),
        Why.STOPPING: _End(State.KILLED),
        Why.GROUP: _End(State.KILLED),
        Why.HEALTH: _End(State.KILLED, healthy=False),
        Why.COMPLETION: _End(State.FAILED, reason=Reason.REASON_MAX_COMPLETION_TIME_REACHED),
        Why.UNKEPT: _End(State.LOST, Source.SOURCE_AGENT, Reason.REASON_AGENT_DISCONNECTED),
        Why.DRAINING: _End(State.KILLED, reason=Reason.REASON_AGENT_DRAINING),
        Why.DRAINING_FOR_GOOD: _End(State.GONE_BY_OPERATOR, reason=Reason.REASON_AGENT_DRAINING),
        Why.REMOVED: _End(State.KILLED, Source.SOURCE_AGENT, Reason.REASON_FRAMEWORK_REMOVED),
    }
)
"""How a task ends that was killed, by the reason of the kill.  Nobody is told of REMOVED."""


SHOWN: frozenset[Why] = frozenset(Why) - {Why.UNKEPT, Why.REMOVED}
"""Kills that frameworks with TASK_KILLING_STATE hear of before the task has ended."""


def plan(task: mesos.TaskInfo, framework: mesos.FrameworkInfo) -> Plan:
    """What to do with a task, from its description and its framework's capabilities."""
    policy = task.kill_policy
    killing = mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE
    return Plan(
        grace_s=_grace_s(policy, KILL_GRACE_DEFAULT_S),
        completion_s=task.max_completion_time.nanoseconds / NS_PER_S if task.max_completion_time else None,
        killing_shown=any(capability.type is killing for capability in framework.capabilities),
    )


def launching() -> Report:
    return Report(state=State.STARTING)


def running() -> Report:
    return Report(state=State.RUNNING)


def kill(
    plan: Plan,
    killing: Killing | None,
    *,
    why: Why,
    policy: mesos.KillPolicy | None,
    wall_s: float,
    because: str = "",
) -> Order | None:
    """What to do when somebody wants the task to end; None when nothing changes.

    A later wish may shorten the grace, counted from the first one, never lengthen it.  Once nobody wants to hear of
    the task, no later wish makes it heard again.
    """
    grace_s = _grace_s(policy, plan.grace_s)
    if killing is None:
        fresh = Killing(why=why, since_wall_s=wall_s, deadline_wall_s=wall_s + grace_s, because=because)
        shown = plan.killing_shown and why in SHOWN
        reason = ENDS[why].reason if why in (Why.DRAINING, Why.DRAINING_FOR_GOOD) else None
        report = Report(state=State.KILLING, reason=reason, healthy=ENDS[why].healthy) if shown else None
        return Order(killing=fresh, terminate=True, report=report)
    deadline_wall_s = min(killing.deadline_wall_s, killing.since_wall_s + grace_s)
    silenced = why is Why.REMOVED and killing.why is not Why.REMOVED
    if deadline_wall_s == killing.deadline_wall_s and not silenced:
        return None
    changed = msgspec.structs.replace(
        killing, deadline_wall_s=deadline_wall_s, why=Why.REMOVED if silenced else killing.why
    )
    return Order(killing=changed, terminate=False, report=None)


def ended(plan: Plan, killing: Killing | None, exit_: Exit) -> Report:
    """The last report of a task whose command ran."""
    if killing is not None:
        end = ENDS[killing.why]
        return Report(
            state=end.state,
            source=end.source,
            reason=end.reason,
            message=_killed_message(plan, killing, exit_),
            healthy=end.healthy,
        )
    if exit_.wait_status is None:
        return Report(
            state=State.FAILED,
            source=Source.SOURCE_AGENT,
            reason=Reason.REASON_EXECUTOR_TERMINATED,
            message=exit_.limitation or "The command ended while nobody was there to see how",
        )
    if exit_.wait_status == 0:
        return Report(state=State.FINISHED, message=exit_message(0))
    if exit_.oom_killed:
        return out_of_memory(exit_)
    return Report(state=State.FAILED, message=exit_message(exit_.wait_status))


def exit_message(wait_status: int) -> str:
    """A wait status in the words that Mesos uses.

    >>> exit_message(7 << 8), exit_message(9)
    ('Command exited with status 7', 'Command terminated with signal Killed')
    """
    number = wait_status & 0x7F
    if number == 0:
        return f"Command exited with status {wait_status >> 8 & 0xFF}"
    return f"Command terminated with signal {signal.strsignal(number) or number}"


def _grace_s(policy: mesos.KillPolicy | None, default_s: float) -> float:
    if policy is None or policy.grace_period is None:
        return default_s
    return max(0.0, policy.grace_period.nanoseconds / NS_PER_S)


def _killed_message(plan: Plan, killing: Killing, exit_: Exit) -> str:
    how = exit_message(exit_.wait_status) if exit_.wait_status is not None else "Command was killed"
    match killing.why:
        case Why.COMPLETION:
            return f"The task reached its max_completion_time of {plan.completion_s:g} s. {how}"
        case Why.HEALTH:
            return f"The task was killed because {killing.because}. {how}"
        case Why.GROUP:
            return f"Another task of its group has failed or was killed. {how}"
        case Why.STOPPING:
            return f"The agent was stopped together with its tasks. {how}"
        case Why.UNKEPT:
            return f"The agent or its connection was gone, and the framework does not checkpoint. {how}"
        case Why.DRAINING | Why.DRAINING_FOR_GOOD:
            return f"The agent is being drained by an operator. {how}"
        case Why.ORDERED | Why.REMOVED:
            return how


def out_of_memory(exit_: Exit) -> Report:
    """The kernel killed inside the container, because it reached its memory limit."""
    limit, peak = exit_.memory_limit_bytes, exit_.memory_peak_bytes
    parts = [f"Requested: {limit / MIB:.0f}MB"] if limit is not None else []
    parts += [f"Maximum Used: {peak / MIB:.0f}MB"] if peak is not None else []
    resource = mesos.Resource(
        name="mem", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=(peak or limit or 0) / MIB)
    )
    return Report(
        state=State.FAILED,
        source=Source.SOURCE_AGENT,
        reason=Reason.REASON_CONTAINER_LIMITATION_MEMORY,
        message="Memory limit exceeded: " + " ".join(parts),
        limitation=mesos.TaskResourceLimitation(resources=(resource,)),
    )
