"""What a framework may ask of the master.

They are engine effects: a framework with a core returns them, its shell hands them to
`Session.perform`.  A call that makes no sense without its subscription says what becomes of it then.
"""

from __future__ import annotations

from typing import TypeAlias

from altiplano.engine.core import Effect
from altiplano.wire.messages import mesos, scheduler

REFUSE_S_DEFAULT = 5.0
"""For how long the rest of an accepted offer is not offered again, unless the framework says otherwise."""

REFUSE_LONG_S = 300.0
"""For how long a framework that has nothing to do lets offers go; reviving ends it at any time."""


class Accept(Effect, frozen=True, kw_only=True):
    """Use offers of one agent; what the operations leave over is declined for `refuse_s`.

    Where one of the offers is void by now, each task is told to be `TASK_DROPPED`, as a master does.
    """

    offer_ids: tuple[str, ...]
    operations: tuple[mesos.OfferOperation, ...]
    refuse_s: float = REFUSE_S_DEFAULT


class Decline(Effect, frozen=True, kw_only=True):
    """Let offers go.  Void offers are left out."""

    offer_ids: tuple[str, ...]
    refuse_s: float = REFUSE_S_DEFAULT


class AcceptInverse(Effect, frozen=True, kw_only=True):
    """Promise to leave a machine in time."""

    inverse_offer_ids: tuple[str, ...]


class DeclineInverse(Effect, frozen=True, kw_only=True):
    """Say that a machine cannot be left in time."""

    inverse_offer_ids: tuple[str, ...]
    refuse_s: float = REFUSE_S_DEFAULT


class Kill(Effect, frozen=True, kw_only=True):
    """End a task.  Remembered until the task has ended: repeated after each subscription."""

    task_id: str
    agent_id: str | None = None
    grace_s: float | None = None


class Acknowledge(Effect, frozen=True, kw_only=True):
    """The framework has taken a status.  Without a subscription nothing is lost: it comes again, unseen."""

    status: mesos.TaskStatus


class AcknowledgeOperation(Effect, frozen=True, kw_only=True):
    """The framework has taken the status of an operation."""

    status: mesos.OperationStatus


class Suppress(Effect, frozen=True, kw_only=True):
    """No offers for these roles (none named: all) until revived; kept over subscriptions."""

    roles: tuple[str, ...] = ()


class Revive(Effect, frozen=True, kw_only=True):
    """Offers again for these roles (none named: all), and forget what was declined."""

    roles: tuple[str, ...] = ()


class Reconcile(Effect, frozen=True, kw_only=True):
    """Ask for the latest state of tasks (id, agent id if known); none named: of all that the master knows.

    The session does this by itself after each subscription.
    """

    tasks: tuple[tuple[str, str | None], ...] = ()


class ReconcileOperations(Effect, frozen=True, kw_only=True):
    """Ask for the latest state of operations (id, agent id if known)."""

    operations: tuple[tuple[str, str | None], ...] = ()


class SendMessage(Effect, frozen=True, kw_only=True):
    """Bytes for an executor, delivered at most once; lost without a subscription."""

    agent_id: str
    executor_id: str
    data: bytes


class ShutdownExecutor(Effect, frozen=True, kw_only=True):
    """End an executor and all its tasks; lost without a subscription."""

    agent_id: str
    executor_id: str


class UpdateFramework(Effect, frozen=True, kw_only=True):
    """Change roles, name, labels and so on; user and checkpoint must stay."""

    info: mesos.FrameworkInfo
    suppressed_roles: tuple[str, ...] = ()
    constraints: scheduler.OfferConstraints | None = None


class Teardown(Effect, frozen=True, kw_only=True):
    """Remove the framework: all its tasks are killed, its id is used up, the session ends."""


FrameworkCall: TypeAlias = (
    Accept
    | Decline
    | AcceptInverse
    | DeclineInverse
    | Kill
    | Acknowledge
    | AcknowledgeOperation
    | Suppress
    | Revive
    | Reconcile
    | ReconcileOperations
    | SendMessage
    | ShutdownExecutor
    | UpdateFramework
    | Teardown
)
