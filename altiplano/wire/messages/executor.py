"""The executor API: executors call their agent, an agent tells its executors what to do."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered


class EventType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBED = "SUBSCRIBED", 1
    LAUNCH = "LAUNCH", 2
    LAUNCH_GROUP = "LAUNCH_GROUP", 8
    KILL = "KILL", 3
    ACKNOWLEDGED = "ACKNOWLEDGED", 4
    MESSAGE = "MESSAGE", 5
    ERROR = "ERROR", 6
    SHUTDOWN = "SHUTDOWN", 7
    HEARTBEAT = "HEARTBEAT", 9


class CallType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBE = "SUBSCRIBE", 1
    UPDATE = "UPDATE", 2
    MESSAGE = "MESSAGE", 3
    HEARTBEAT = "HEARTBEAT", 4


class EventSubscribed(Message):
    executor_info: Annotated[mesos.ExecutorInfo, 1]
    framework_info: Annotated[mesos.FrameworkInfo, 2]
    agent_info: Annotated[mesos.AgentInfo, 3]
    container_id: Annotated[mesos.ContainerID | None, 4] = None


class EventLaunch(Message):
    task: Annotated[mesos.TaskInfo, 1]


class EventLaunchGroup(Message):
    task_group: Annotated[mesos.TaskGroupInfo, 1]


class EventKill(Message):
    task_id: Annotated[mesos.TaskID, 1]
    kill_policy: Annotated[mesos.KillPolicy | None, 2] = None


class EventAcknowledged(Message):
    task_id: Annotated[mesos.TaskID, 1]
    uuid: Annotated[bytes, 2]


class EventMessage(Message):
    data: Annotated[bytes, 1]


class EventError(Message):
    message: Annotated[str, 1]


class Event(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[EventType | None, 1] = None
    subscribed: Annotated[EventSubscribed | None, 2] = None
    acknowledged: Annotated[EventAcknowledged | None, 3] = None
    launch: Annotated[EventLaunch | None, 4] = None
    kill: Annotated[EventKill | None, 5] = None
    message: Annotated[EventMessage | None, 6] = None
    error: Annotated[EventError | None, 7] = None
    launch_group: Annotated[EventLaunchGroup | None, 8] = None


class CallUpdate(Message):
    status: Annotated[mesos.TaskStatus, 1]


class CallSubscribe(Message):
    unacknowledged_tasks: Annotated[tuple[mesos.TaskInfo, ...], 1] = ()
    unacknowledged_updates: Annotated[tuple[CallUpdate, ...], 2] = ()


class CallMessage(Message):
    data: Annotated[bytes, 2]


class Call(Message):
    """`type` says which of the other fields counts."""

    executor_id: Annotated[mesos.ExecutorID, 1]
    framework_id: Annotated[mesos.FrameworkID, 2]
    type: Annotated[CallType | None, 3] = None
    subscribe: Annotated[CallSubscribe | None, 4] = None
    update: Annotated[CallUpdate | None, 5] = None
    message: Annotated[CallMessage | None, 6] = None
