"""The API between an agent and its resource providers."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered


class EventType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBED = "SUBSCRIBED", 1
    APPLY_OPERATION = "APPLY_OPERATION", 2
    PUBLISH_RESOURCES = "PUBLISH_RESOURCES", 3
    ACKNOWLEDGE_OPERATION_STATUS = "ACKNOWLEDGE_OPERATION_STATUS", 4
    RECONCILE_OPERATIONS = "RECONCILE_OPERATIONS", 5
    TEARDOWN = "TEARDOWN", 6


class CallType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBE = "SUBSCRIBE", 1
    UPDATE_OPERATION_STATUS = "UPDATE_OPERATION_STATUS", 2
    UPDATE_STATE = "UPDATE_STATE", 3
    UPDATE_PUBLISH_RESOURCES_STATUS = "UPDATE_PUBLISH_RESOURCES_STATUS", 4


class CallUpdatePublishResourcesStatusStatus(Numbered):
    UNKNOWN = "UNKNOWN", 0
    OK = "OK", 1
    FAILED = "FAILED", 2


class EventSubscribed(Message):
    provider_id: Annotated[mesos.ResourceProviderID, 1]


class EventApplyOperation(Message):
    framework_id: Annotated[mesos.FrameworkID | None, 1] = None
    info: Annotated[mesos.OfferOperation, 2]
    operation_uuid: Annotated[mesos.UUID, 3]
    resource_version_uuid: Annotated[mesos.UUID, 4]


class EventPublishResources(Message):
    uuid: Annotated[mesos.UUID, 1]
    resources: Annotated[tuple[mesos.Resource, ...], 2] = ()


class EventAcknowledgeOperationStatus(Message):
    status_uuid: Annotated[mesos.UUID, 1]
    operation_uuid: Annotated[mesos.UUID, 2]


class EventReconcileOperations(Message):
    operation_uuids: Annotated[tuple[mesos.UUID, ...], 1] = ()


class Event(Message):
    type: Annotated[EventType | None, 1] = None
    subscribed: Annotated[EventSubscribed | None, 2] = None
    apply_operation: Annotated[EventApplyOperation | None, 3] = None
    publish_resources: Annotated[EventPublishResources | None, 4] = None
    acknowledge_operation_status: Annotated[EventAcknowledgeOperationStatus | None, 5] = None
    reconcile_operations: Annotated[EventReconcileOperations | None, 6] = None


class CallSubscribe(Message):
    resource_provider_info: Annotated[mesos.ResourceProviderInfo, 1]


class CallUpdateOperationStatus(Message):
    framework_id: Annotated[mesos.FrameworkID | None, 1] = None
    status: Annotated[mesos.OperationStatus, 2]
    latest_status: Annotated[mesos.OperationStatus | None, 3] = None
    operation_uuid: Annotated[mesos.UUID, 4]


class CallUpdateState(Message):
    operations: Annotated[tuple[mesos.Operation, ...], 1] = ()
    resources: Annotated[tuple[mesos.Resource, ...], 2] = ()
    resource_version_uuid: Annotated[mesos.UUID, 3]


class CallUpdatePublishResourcesStatus(Message):
    uuid: Annotated[mesos.UUID, 1]
    status: Annotated[CallUpdatePublishResourcesStatusStatus, 2]


class Call(Message):
    resource_provider_id: Annotated[mesos.ResourceProviderID | None, 1] = None
    type: Annotated[CallType | None, 2] = None
    subscribe: Annotated[CallSubscribe | None, 3] = None
    update_operation_status: Annotated[CallUpdateOperationStatus | None, 4] = None
    update_state: Annotated[CallUpdateState | None, 5] = None
    update_publish_resources_status: Annotated[CallUpdatePublishResourcesStatus | None, 6] = None
