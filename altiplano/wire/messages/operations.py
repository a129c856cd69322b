"""Operations on resources (reserve, create a volume ...) and what became of them."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered
from altiplano.wire.messages.ids import UUID, AgentID, FrameworkID, OperationID, ResourceProviderID
from altiplano.wire.messages.offers import OfferOperation
from altiplano.wire.messages.resources import Resource


class OperationState(Numbered):
    OPERATION_UNSUPPORTED = "OPERATION_UNSUPPORTED", 0
    OPERATION_PENDING = "OPERATION_PENDING", 1
    OPERATION_FINISHED = "OPERATION_FINISHED", 2
    OPERATION_FAILED = "OPERATION_FAILED", 3
    OPERATION_ERROR = "OPERATION_ERROR", 4
    OPERATION_DROPPED = "OPERATION_DROPPED", 5
    OPERATION_UNREACHABLE = "OPERATION_UNREACHABLE", 6
    OPERATION_GONE_BY_OPERATOR = "OPERATION_GONE_BY_OPERATOR", 7
    OPERATION_RECOVERING = "OPERATION_RECOVERING", 8
    OPERATION_UNKNOWN = "OPERATION_UNKNOWN", 9


class OperationStatus(Message):
    operation_id: Annotated[OperationID | None, 1] = None
    state: Annotated[OperationState, 2]
    message: Annotated[str | None, 3] = None
    converted_resources: Annotated[tuple[Resource, ...], 4] = ()
    uuid: Annotated[UUID | None, 5] = None
    agent_id: Annotated[AgentID | None, 6] = None
    resource_provider_id: Annotated[ResourceProviderID | None, 7] = None


class Operation(Message):
    framework_id: Annotated[FrameworkID | None, 1] = None
    agent_id: Annotated[AgentID | None, 2] = None
    info: Annotated[OfferOperation, 3]
    latest_status: Annotated[OperationStatus, 4]
    statuses: Annotated[tuple[OperationStatus, ...], 5] = ()
    uuid: Annotated[UUID, 6]
