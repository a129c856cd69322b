"""Names of things, and points and spans of time."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, int32, int64

# Levels of containers inside containers; each level is also a directory level on the agent.
CONTAINER_NESTING_MAX = 32


class FrameworkID(Message):
    value: Annotated[str, 1]


class AgentID(Message):
    value: Annotated[str, 1]


class OfferID(Message):
    value: Annotated[str, 1]


class TaskID(Message):
    value: Annotated[str, 1]


class ExecutorID(Message):
    value: Annotated[str, 1]


class ContainerID(Message):
    """A container, and the one it is nested in."""

    value: Annotated[str, 1]
    parent: Annotated[ContainerID | None, 2] = None

    def __post_init__(self) -> None:
        # The only message that contains itself: the limit keeps every message shallow enough for recursive code.
        depth, parent = 0, self.parent
        while parent is not None:
            depth, parent = depth + 1, parent.parent
        if depth > CONTAINER_NESTING_MAX:
            raise ValueError(f"a container may be nested at most {CONTAINER_NESTING_MAX} deep")


class ResourceProviderID(Message):
    value: Annotated[str, 1]


class OperationID(Message):
    value: Annotated[str, 1]


class UUID(Message):
    value: Annotated[bytes, 1]


class TimeInfo(Message):
    """A point in time, counted from 1970."""

    nanoseconds: Annotated[int64, 1]


class DurationInfo(Message):
    nanoseconds: Annotated[int64, 1]


class Duration(Message):
    seconds: Annotated[int64 | None, 1] = None
    nanos: Annotated[int32 | None, 2] = None
