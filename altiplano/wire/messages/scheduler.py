"""The scheduler API: frameworks call a master, a master tells frameworks of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered, OneOf, int32, uint32


class EventType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBED = "SUBSCRIBED", 1
    OFFERS = "OFFERS", 2
    INVERSE_OFFERS = "INVERSE_OFFERS", 9
    RESCIND = "RESCIND", 3
    RESCIND_INVERSE_OFFER = "RESCIND_INVERSE_OFFER", 10
    UPDATE = "UPDATE", 4
    UPDATE_OPERATION_STATUS = "UPDATE_OPERATION_STATUS", 11
    MESSAGE = "MESSAGE", 5
    FAILURE = "FAILURE", 6
    ERROR = "ERROR", 7
    HEARTBEAT = "HEARTBEAT", 8


class ResponseType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    RECONCILE_OPERATIONS = "RECONCILE_OPERATIONS", 1


class AttributeConstraintSelectorPseudoattributeType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    HOSTNAME = "HOSTNAME", 1
    REGION = "REGION", 2
    ZONE = "ZONE", 3


class CallType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBE = "SUBSCRIBE", 1
    TEARDOWN = "TEARDOWN", 2
    ACCEPT = "ACCEPT", 3
    DECLINE = "DECLINE", 4
    ACCEPT_INVERSE_OFFERS = "ACCEPT_INVERSE_OFFERS", 13
    DECLINE_INVERSE_OFFERS = "DECLINE_INVERSE_OFFERS", 14
    REVIVE = "REVIVE", 5
    KILL = "KILL", 6
    SHUTDOWN = "SHUTDOWN", 7
    ACKNOWLEDGE = "ACKNOWLEDGE", 8
    ACKNOWLEDGE_OPERATION_STATUS = "ACKNOWLEDGE_OPERATION_STATUS", 15
    RECONCILE = "RECONCILE", 9
    RECONCILE_OPERATIONS = "RECONCILE_OPERATIONS", 16
    MESSAGE = "MESSAGE", 10
    REQUEST = "REQUEST", 11
    SUPPRESS = "SUPPRESS", 12
    UPDATE_FRAMEWORK = "UPDATE_FRAMEWORK", 17


class EventSubscribed(Message):
    framework_id: Annotated[mesos.FrameworkID, 1]
    heartbeat_interval_seconds: Annotated[float | None, 2] = None
    master_info: Annotated[mesos.MasterInfo | None, 3] = None


class EventOffers(Message):
    offers: Annotated[tuple[mesos.Offer, ...], 1] = ()


class EventInverseOffers(Message):
    inverse_offers: Annotated[tuple[mesos.InverseOffer, ...], 1] = ()


class EventRescind(Message):
    offer_id: Annotated[mesos.OfferID, 1]


class EventRescindInverseOffer(Message):
    inverse_offer_id: Annotated[mesos.OfferID, 1]


class EventUpdate(Message):
    status: Annotated[mesos.TaskStatus, 1]


class EventUpdateOperationStatus(Message):
    status: Annotated[mesos.OperationStatus, 1]


class EventMessage(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    executor_id: Annotated[mesos.ExecutorID, 2]
    data: Annotated[bytes, 3]


class EventFailure(Message):
    agent_id: Annotated[mesos.AgentID | None, 1] = None
    executor_id: Annotated[mesos.ExecutorID | None, 2] = None
    status: Annotated[int32 | None, 3] = None


class EventError(Message):
    message: Annotated[str, 1]


class Event(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[EventType | None, 1] = None
    subscribed: Annotated[EventSubscribed | None, 2] = None
    offers: Annotated[EventOffers | None, 3] = None
    rescind: Annotated[EventRescind | None, 4] = None
    update: Annotated[EventUpdate | None, 5] = None
    message: Annotated[EventMessage | None, 6] = None
    failure: Annotated[EventFailure | None, 7] = None
    error: Annotated[EventError | None, 8] = None
    inverse_offers: Annotated[EventInverseOffers | None, 9] = None
    rescind_inverse_offer: Annotated[EventRescindInverseOffer | None, 10] = None
    update_operation_status: Annotated[EventUpdateOperationStatus | None, 11] = None


class ResponseReconcileOperations(Message):
    operation_statuses: Annotated[tuple[mesos.OperationStatus, ...], 1] = ()  # deprecated


class Response(Message):
    type: Annotated[ResponseType | None, 1] = None
    reconcile_operations: Annotated[ResponseReconcileOperations | None, 2] = None  # deprecated


class AttributeConstraintSelector(Message):
    pseudoattribute_type: Annotated[AttributeConstraintSelectorPseudoattributeType | None, 1, OneOf("selector")] = None
    attribute_name: Annotated[str | None, 2, OneOf("selector")] = None


class AttributeConstraintPredicateExists(Message):
    """Has no fields: its presence is what it says."""


class AttributeConstraintPredicateNotExists(Message):
    """Has no fields: its presence is what it says."""


class AttributeConstraintPredicateTextEquals(Message):
    value: Annotated[str, 1]


class AttributeConstraintPredicateTextNotEquals(Message):
    value: Annotated[str, 1]


class AttributeConstraintPredicateTextMatches(Message):
    regex: Annotated[str, 1]


class AttributeConstraintPredicateTextNotMatches(Message):
    regex: Annotated[str, 1]


class AttributeConstraintPredicate(Message):
    exists: Annotated[AttributeConstraintPredicateExists | None, 1, OneOf("predicate")] = None
    not_exists: Annotated[AttributeConstraintPredicateNotExists | None, 2, OneOf("predicate")] = None
    text_equals: Annotated[AttributeConstraintPredicateTextEquals | None, 3, OneOf("predicate")] = None
    text_not_equals: Annotated[AttributeConstraintPredicateTextNotEquals | None, 4, OneOf("predicate")] = None
    text_matches: Annotated[AttributeConstraintPredicateTextMatches | None, 5, OneOf("predicate")] = None
    text_not_matches: Annotated[AttributeConstraintPredicateTextNotMatches | None, 6, OneOf("predicate")] = None


class AttributeConstraint(Message):
    selector: Annotated[AttributeConstraintSelector, 1]
    predicate: Annotated[AttributeConstraintPredicate, 2]


class OfferConstraintsRoleConstraintsGroup(Message):
    attribute_constraints: Annotated[tuple[AttributeConstraint, ...], 1] = ()


class OfferConstraintsRoleConstraints(Message):
    groups: Annotated[tuple[OfferConstraintsRoleConstraintsGroup, ...], 1] = ()


class OfferConstraints(Message):
    role_constraints: Annotated[Mapping[str, OfferConstraintsRoleConstraints], 1] = field(default_factory=dict)


class CallSubscribe(Message):
    framework_info: Annotated[mesos.FrameworkInfo, 1]
    suppressed_roles: Annotated[tuple[str, ...], 2] = ()
    offer_constraints: Annotated[OfferConstraints | None, 3] = None


class CallAccept(Message):
    offer_ids: Annotated[tuple[mesos.OfferID, ...], 1] = ()
    operations: Annotated[tuple[mesos.OfferOperation, ...], 2] = ()
    filters: Annotated[mesos.Filters | None, 3] = None


class CallDecline(Message):
    offer_ids: Annotated[tuple[mesos.OfferID, ...], 1] = ()
    filters: Annotated[mesos.Filters | None, 2] = None


class CallAcceptInverseOffers(Message):
    inverse_offer_ids: Annotated[tuple[mesos.OfferID, ...], 1] = ()
    filters: Annotated[mesos.Filters | None, 2] = None


class CallDeclineInverseOffers(Message):
    inverse_offer_ids: Annotated[tuple[mesos.OfferID, ...], 1] = ()
    filters: Annotated[mesos.Filters | None, 2] = None


class CallRevive(Message):
    roles: Annotated[tuple[str, ...], 1] = ()


class CallKill(Message):
    task_id: Annotated[mesos.TaskID, 1]
    agent_id: Annotated[mesos.AgentID | None, 2] = None
    kill_policy: Annotated[mesos.KillPolicy | None, 3] = None


class CallShutdown(Message):
    executor_id: Annotated[mesos.ExecutorID, 1]
    agent_id: Annotated[mesos.AgentID, 2]


class CallAcknowledge(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    task_id: Annotated[mesos.TaskID, 2]
    uuid: Annotated[bytes, 3]


class CallAcknowledgeOperationStatus(Message):
    agent_id: Annotated[mesos.AgentID | None, 1] = None
    resource_provider_id: Annotated[mesos.ResourceProviderID | None, 2] = None
    uuid: Annotated[bytes, 3]
    operation_id: Annotated[mesos.OperationID, 4]


class CallReconcileTask(Message):
    task_id: Annotated[mesos.TaskID, 1]
    agent_id: Annotated[mesos.AgentID | None, 2] = None


class CallReconcile(Message):
    tasks: Annotated[tuple[CallReconcileTask, ...], 1] = ()


class CallReconcileOperationsOperation(Message):
    operation_id: Annotated[mesos.OperationID, 1]
    agent_id: Annotated[mesos.AgentID | None, 2] = None
    resource_provider_id: Annotated[mesos.ResourceProviderID | None, 3] = None


class CallReconcileOperations(Message):
    operations: Annotated[tuple[CallReconcileOperationsOperation, ...], 1] = ()


class CallMessage(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    executor_id: Annotated[mesos.ExecutorID, 2]
    data: Annotated[bytes, 3]


class CallRequest(Message):
    requests: Annotated[tuple[mesos.Request, ...], 1] = ()


class CallSuppress(Message):
    roles: Annotated[tuple[str, ...], 1] = ()


class CallUpdateFramework(Message):
    framework_info: Annotated[mesos.FrameworkInfo, 1]
    suppressed_roles: Annotated[tuple[str, ...], 2] = ()
    offer_constraints: Annotated[OfferConstraints | None, 3] = None


class Call(Message):
    """`type` says which of the other fields counts."""

    framework_id: Annotated[mesos.FrameworkID | None, 1] = None
    type: Annotated[CallType | None, 2] = None
    subscribe: Annotated[CallSubscribe | None, 3] = None
    accept: Annotated[CallAccept | None, 4] = None
    decline: Annotated[CallDecline | None, 5] = None
    kill: Annotated[CallKill | None, 6] = None
    shutdown: Annotated[CallShutdown | None, 7] = None
    acknowledge: Annotated[CallAcknowledge | None, 8] = None
    reconcile: Annotated[CallReconcile | None, 9] = None
    message: Annotated[CallMessage | None, 10] = None
    request: Annotated[CallRequest | None, 11] = None
    accept_inverse_offers: Annotated[CallAcceptInverseOffers | None, 13] = None
    decline_inverse_offers: Annotated[CallDeclineInverseOffers | None, 14] = None
    revive: Annotated[CallRevive | None, 15] = None
    suppress: Annotated[CallSuppress | None, 16] = None
    acknowledge_operation_status: Annotated[CallAcknowledgeOperationStatus | None, 17] = None
    reconcile_operations: Annotated[CallReconcileOperations | None, 18] = None
    update_framework: Annotated[CallUpdateFramework | None, 19] = None


class APIResult(Message):
    status_code: Annotated[uint32, 1]
    response: Annotated[Response | None, 2] = None
    error: Annotated[str | None, 3] = None
