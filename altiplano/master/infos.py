"""Small messages that a master builds in many places."""

from __future__ import annotations

import ipaddress
from typing import TypeVar

import msgspec

from altiplano.master.allocator.pool import Minimums
from altiplano.master.state import Framework, MasterState, Task
from altiplano.model import values
from altiplano.model.tasks import State
from altiplano.model.time import Instant
from altiplano.wire.level import MESOS_VERSION as MESOS_VERSION
from altiplano.wire.messages import mesos, scheduler
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)
Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource

_MASTER_CAPABILITIES = (
    mesos.MasterInfoCapabilityType.AGENT_UPDATE,
    mesos.MasterInfoCapabilityType.AGENT_DRAINING,
)

WIRE_STATES: dict[State, mesos.TaskState] = {state: mesos.TaskState[state.value] for state in State}
MODEL_STATES: dict[mesos.TaskState, State] = {wire: state for state, wire in WIRE_STATES.items()}


def replace(message: M, **changes: object) -> M:
    """The same message with some fields changed."""
    return msgspec.structs.replace(message, **changes)


def time_of(wall_s: float | None) -> mesos.TimeInfo | None:
    return None if wall_s is None else mesos.TimeInfo(nanoseconds=round(wall_s * 1e9))


def master_info(state: MasterState) -> mesos.MasterInfo:
    config = state.config
    address = ipaddress.ip_address(config.ip)
    return mesos.MasterInfo(
        id=state.master_id,
        # Mesos keeps the octets in memory order and prints them as a little-endian number; IPv6 has no place there.
        ip=int.from_bytes(address.packed, "little") if address.version == 4 else 0,
        port=config.port,
        pid=f"master@{config.ip}:{config.port}",
        hostname=config.hostname,
        version=MESOS_VERSION,
        address=mesos.Address(hostname=config.hostname, ip=config.ip, port=config.port),
        capabilities=tuple(mesos.MasterInfoCapability(type=one) for one in _MASTER_CAPABILITIES),
    )


def minimums(info: mesos.FrameworkInfo) -> dict[str, Minimums]:
    """The least a framework wants to be offered, by role, in thousandths."""
    found: dict[str, Minimums] = {}
    for role, filters in info.offer_filters.items():
        wanted = filters.min_allocatable_resources
        if wanted is not None:
            # Without any quantities, everything is worth an offer.
            found[role] = tuple(
                {name: values.milli(scalar.value) for name, scalar in one.quantities.items()}
                for one in wanted.quantities
            ) or ({},)
    return found


def rescind(offer_id: str) -> scheduler.Event:
    return scheduler.Event(
        type=scheduler.EventType.RESCIND, rescind=scheduler.EventRescind(offer_id=mesos.OfferID(value=offer_id))
    )


def update(status: mesos.TaskStatus) -> scheduler.Event:
    return scheduler.Event(type=scheduler.EventType.UPDATE, update=scheduler.EventUpdate(status=status))


def agent_failure(agent_id: str) -> scheduler.Event:
    failure = scheduler.EventFailure(agent_id=mesos.AgentID(value=agent_id))
    return scheduler.Event(type=scheduler.EventType.FAILURE, failure=failure)


def status(
    task_id: str,
    state: State,
    *,
    now: Instant,
    message: str,
    reason: mesos.TaskStatusReason,
    agent_id: str | None = None,
    executor_id: str | None = None,
    unreachable_s: float | None = None,
) -> mesos.TaskStatus:
    """A status that the master itself says.  It has no uuid: it is not repeated and must not be acknowledged."""
    return mesos.TaskStatus(
        task_id=mesos.TaskID(value=task_id),
        state=WIRE_STATES[state],
        message=message,
        agent_id=mesos.AgentID(value=agent_id) if agent_id is not None else None,
        executor_id=mesos.ExecutorID(value=executor_id) if executor_id is not None else None,
        timestamp=now.wall_s,
        source=Source.SOURCE_MASTER,
        reason=reason,
        unreachable_time=time_of(unreachable_s),
    )


def status_of(
    task: Task,
    state: State,
    *,
    now: Instant,
    message: str,
    reason: mesos.TaskStatusReason,
    unreachable_s: float | None = None,
) -> mesos.TaskStatus:
    """A status that the master says about a task it knows."""
    return status(
        task.id,
        state,
        now=now,
        message=message,
        reason=reason,
        agent_id=task.agent_id,
        executor_id=task.executor_id,
        unreachable_s=unreachable_s,
    )


def lost_state(framework: Framework | None, aware: State) -> State:
    """What a loss is called: `aware` for frameworks that know partitions, LOST for the others."""
    return aware if framework is not None and framework.partition_aware else State.LOST


def gone_reason(framework: Framework) -> mesos.TaskStatusReason:
    """Why tasks on an agent that an operator marked gone are over, in the words that the framework knows."""
    if framework.partition_aware:
        return Reason.REASON_AGENT_REMOVED_BY_OPERATOR
    return Reason.REASON_AGENT_REMOVED
