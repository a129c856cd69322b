"""What a framework is told: the events of its subscription.

They are engine events, so that a framework with a core of its own can post them to its engine as
they come, and its flight recorder can write them down.
"""

from __future__ import annotations

from typing import TypeAlias

from altiplano.engine.core import Event
from altiplano.wire.messages import mesos


class Subscribed(Event, frozen=True, kw_only=True):
    """The master knows the framework; every offer from before is void.

    `again` tells that this process was subscribed before.  A framework stores `framework_id` and
    gives it to its next session: without it a restart is a new framework.
    """

    framework_id: str
    master: str
    again: bool


class Disconnected(Event, frozen=True, kw_only=True):
    """The subscription broke: all offers are void.  Tasks go on; the session subscribes again by itself."""

    sentence: str


class Offered(Event, frozen=True, kw_only=True):
    """Resources that may be taken until they are accepted, declined or rescinded."""

    offers: tuple[mesos.Offer, ...]


class InverseOffered(Event, frozen=True, kw_only=True):
    """Machines that their operator wants back."""

    inverse_offers: tuple[mesos.InverseOffer, ...]


class Rescinded(Event, frozen=True, kw_only=True):
    """An offer is void."""

    offer_id: str


class InverseRescinded(Event, frozen=True, kw_only=True):
    inverse_offer_id: str


class Updated(Event, frozen=True, kw_only=True):
    """A new state of a task, told once even if the master sends it again.

    One with a `uuid` has to be acknowledged, after what follows from it is safe.
    """

    status: mesos.TaskStatus


class OperationUpdated(Event, frozen=True, kw_only=True):
    """What became of an operation that had an id."""

    status: mesos.OperationStatus


class Received(Event, frozen=True, kw_only=True):
    """Bytes from an executor."""

    agent_id: str
    executor_id: str
    data: bytes


class ExecutorFailed(Event, frozen=True, kw_only=True):
    """An executor ended; `wait_status` as `os.waitstatus_to_exitcode` takes it, -1 if nobody knows."""

    agent_id: str
    executor_id: str
    wait_status: int


class AgentFailed(Event, frozen=True, kw_only=True):
    """An agent was removed.  Its tasks are told one by one as well."""

    agent_id: str


class CallRefused(Event, frozen=True, kw_only=True):
    """The master refused a call as a whole; nothing of it happened."""

    call: str
    sentence: str


SchedulerEvent: TypeAlias = (
    Subscribed
    | Disconnected
    | Offered
    | InverseOffered
    | Rescinded
    | InverseRescinded
    | Updated
    | OperationUpdated
    | Received
    | ExecutorFailed
    | AgentFailed
    | CallRefused
)
