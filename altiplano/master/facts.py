"""What holds from now on in a master.

The first half is the registry: what outlives the process.  The rest is known to one process and
learned again from frameworks and agents after a restart.  `core.Core.apply` is the only reader.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from altiplano.engine.core import Fact
from altiplano.link import messages as link_messages
from altiplano.master.machines import Plan
from altiplano.master.reports import Reported
from altiplano.master.standing import Orders
from altiplano.master.state import Asked, Parting
from altiplano.model.resources import Resources
from altiplano.model.tasks import State
from altiplano.model.time import Instant
from altiplano.wire.messages import mesos, scheduler

VERSION = 1
"""Version of the durable facts: a program reads its own and the one before."""


class EpochBegan(Fact, frozen=True, kw_only=True):
    """A process took office."""

    epoch: int
    master_id: str
    at_s: float


class AgentAdmitted(Fact, frozen=True, kw_only=True):
    """An agent became a member of the pool, or a member with changed properties."""

    agent_id: str
    info: mesos.AgentInfo
    at_s: float


class AgentUnreachable(Fact, frozen=True, kw_only=True):
    """A member has been silent for too long."""

    agent_id: str
    since_s: float


class AgentGone(Fact, frozen=True, kw_only=True):
    """An operator said that an agent will never return."""

    agent_id: str
    at_s: float


class AgentRemoved(Fact, frozen=True, kw_only=True):
    """An agent left for good."""

    agent_id: str
    at_s: float


class FrameworkRegistered(Fact, frozen=True, kw_only=True):
    """A framework is known; its deadline, if one ran, is lifted."""

    framework_id: str
    name: str
    failover_timeout_s: float
    at_s: float


class FrameworkAway(Fact, frozen=True, kw_only=True):
    """A framework has lost its stream, and is removed at `deadline_s` (wall clock) unless it comes back."""

    framework_id: str
    deadline_s: float


class FrameworkRemoved(Fact, frozen=True, kw_only=True):
    """A framework is gone for good, with all its tasks."""

    framework_id: str
    at_s: float


class WeightsSet(Fact, frozen=True, kw_only=True):
    """These roles count so many times from now on; other roles keep their weights."""

    weights: tuple[tuple[str, float], ...]


class RoleQuota(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts in thousandths; both empty: the role has no quota."""

    role: str
    guarantees: tuple[tuple[str, int], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()


class QuotasSet(Fact, frozen=True, kw_only=True):
    """These roles have these guarantees and limits from now on; other roles keep theirs."""

    quotas: tuple[RoleQuota, ...]


class OrdersGiven(Fact, frozen=True, kw_only=True):
    """An agent is not to work as usual, by an operator's order; without orders it works again."""

    agent_id: str
    orders: Orders | None


class MaintenancePlanned(Fact, frozen=True, kw_only=True):
    """This is the maintenance that is planned and under way; there is no other."""

    plan: Plan


DURABLE = (
    EpochBegan,
    AgentAdmitted,
    AgentUnreachable,
    AgentGone,
    AgentRemoved,
    FrameworkRegistered,
    FrameworkAway,
    FrameworkRemoved,
    WeightsSet,
    QuotasSet,
    OrdersGiven,
    MaintenancePlanned,
)


class Volatile(Fact, frozen=True, kw_only=True):
    """A fact that is not written down."""

    durable: ClassVar[bool] = False


class TimerSet(Volatile, frozen=True, kw_only=True):
    """Wake up for `what` about `subject` at `at_s` (monotonic), or no more."""

    what: str
    subject: str
    at_s: float | None


# -- frameworks


class FrameworkSubscribed(Volatile, frozen=True, kw_only=True):
    """A framework is connected by a stream, with a description of itself that passed all checks."""

    framework_id: str
    stream: str
    info: mesos.FrameworkInfo
    suppressed: tuple[str, ...] = ()
    constraints: scheduler.OfferConstraints | None = None
    at: Instant


class FrameworkBrought(Volatile, frozen=True, kw_only=True):
    """A framework is known from an agent that runs its tasks; it has not subscribed to this master."""

    info: mesos.FrameworkInfo
    at_s: float


class FrameworkUpdated(Volatile, frozen=True, kw_only=True):
    """A connected framework described itself anew."""

    framework_id: str
    info: mesos.FrameworkInfo
    suppressed: tuple[str, ...] = ()
    constraints: scheduler.OfferConstraints | None = None


class FrameworkDisconnected(Volatile, frozen=True, kw_only=True):
    framework_id: str


class FrameworkEnding(Volatile, frozen=True, kw_only=True):
    """A framework is about to be removed, with what it has in pieces; `to` gets its answer of `status` at the end."""

    framework_id: str
    to: str | None
    status: int
    sentence: str


class HoldingsEnded(Volatile, frozen=True, kw_only=True):
    """These tasks and executors of a framework that ends are gone; the agents that were `told` end them."""

    framework_id: str
    task_ids: tuple[str, ...]
    executors: tuple[tuple[str, str], ...]
    told: tuple[str, ...]


class FrameworkEnded(Volatile, frozen=True, kw_only=True):
    """Nothing is left of a framework that was removed."""

    framework_id: str


class RolesSuppressed(Volatile, frozen=True, kw_only=True):
    framework_id: str
    roles: tuple[str, ...]


class RolesRevived(Volatile, frozen=True, kw_only=True):
    """The framework wants offers again for these roles; what it declined is forgotten."""

    framework_id: str
    roles: tuple[str, ...]


# -- agents


class AgentConnected(Volatile, frozen=True, kw_only=True):
    agent_id: str
    link: str
    peer: str
    altiplano_version: str
    at_s: float


class AgentDisconnected(Volatile, frozen=True, kw_only=True):
    """The link broke.  The tasks of `forsaken` frameworks, which do not checkpoint, are lost."""

    agent_id: str
    forsaken: tuple[str, ...] = ()


class EmptinessSeen(Volatile, frozen=True, kw_only=True):
    """An agent that drains was looked at: whether it has nothing left is decided."""

    agent_id: str


class AgentsSwept(Volatile, frozen=True, kw_only=True):
    """These agents with a maintenance window, the next ones, were looked at for frameworks that are to be asked."""

    agent_ids: tuple[str, ...]


class InverseMade(Volatile, frozen=True, kw_only=True):
    """A framework is asked to leave an agent."""

    agent_id: str
    framework_id: str
    asked: Asked


class InverseAnswered(Volatile, frozen=True, kw_only=True):
    """It has answered."""

    agent_id: str
    framework_id: str
    asked: Asked


class InverseEnded(Volatile, frozen=True, kw_only=True):
    """It is not asked any more, and what it answered is forgotten."""

    agent_id: str
    framework_id: str


class AgentParts(Volatile, frozen=True, kw_only=True):
    """An agent is about to lose what it ran, in pieces."""

    agent_id: str
    parting: Parting


class RemembranceLeft(Volatile, frozen=True, kw_only=True):
    """These frameworks are still to be looked at for unreachable tasks of an agent that is gone."""

    agent_id: str
    framework_ids: tuple[str, ...]


class AgentParted(Volatile, frozen=True, kw_only=True):
    """An agent has lost all that it was to lose."""

    agent_id: str


class HelloHeard(Volatile, frozen=True, kw_only=True):
    """An agent with many tasks wants to come; it is taken in piece by piece."""

    link: str
    peer: str
    message: link_messages.Hello


class ReportsRead(Volatile, frozen=True, kw_only=True):
    """These of an agent's tasks, the next ones, were read."""

    link: str
    reported: tuple[Reported, ...]


class ArrivalBegan(Volatile, frozen=True, kw_only=True):
    """An agent of which everything was read is a member; its tasks are taken over next."""

    link: str
    agent_id: str
    is_new: bool
    returns: bool


class ReportsTaken(Volatile, frozen=True, kw_only=True):
    """So many tasks of an agent, the next ones, were taken over."""

    link: str
    count: int


class ArrivalOver(Volatile, frozen=True, kw_only=True):
    """An agent is connected, or did not come after all."""

    link: str


class AgentPinged(Volatile, frozen=True, kw_only=True):
    """A ping is under way; `misses` of them in a row have had no answer."""

    agent_id: str
    misses: int


class AgentAnswered(Volatile, frozen=True, kw_only=True):
    agent_id: str


# -- offers


class OfferMade(Volatile, frozen=True, kw_only=True):
    """Resources of an agent are held for a framework.  It is told at the end of the allocation run."""

    offer: mesos.Offer
    role: str
    resources: Resources
    part: bool = False
    """Whether the agent was divided among several frameworks."""


class OffersTold(Volatile, frozen=True, kw_only=True):
    """These frameworks were told all offers that waited for them, at `at_s` (monotonic).

    With the last of them the run is over.
    """

    framework_ids: tuple[str, ...]
    at_s: float
    last: bool = True


class OfferEnded(Volatile, frozen=True, kw_only=True):
    """An offer was used, declined or withdrawn; its resources are free."""

    offer_id: str


class OffersWithdrawn(Volatile, frozen=True, kw_only=True):
    """Offers of a framework are void, all or those that are named.  Their resources come back in pieces."""

    framework_id: str
    offer_ids: tuple[str, ...] | None = None


class WithdrawnEnded(Volatile, frozen=True, kw_only=True):
    """The resources of these void offers are free."""

    framework_id: str
    offer_ids: tuple[str, ...]


class OfferKept(Volatile, frozen=True, kw_only=True):
    """An accepted offer stays with its framework with what is left of it: more of the call follows."""

    offer: mesos.Offer
    role: str
    resources: Resources


class Declined(Volatile, frozen=True, kw_only=True):
    """A framework does not want these or less of an agent until `until_s` (monotonic)."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources
    until_s: float
    short: bool
    part: bool = False
    """Whether what was declined was a part of an agent."""


class AllocationDue(Volatile, frozen=True, kw_only=True):
    """Agents have something to offer; they are looked at together at `at_s` (monotonic)."""

    at_s: float


class AllocationBegan(Volatile, frozen=True, kw_only=True):
    """The agents that were marked by now are looked at, in slices.  `expired_s`: refusals up to then have ended."""

    at_s: float
    expired_s: float | None = None


class AgentsReviewed(Volatile, frozen=True, kw_only=True):
    """So many agents, the next in turn, are looked at in the next run, whether anything is known to have changed."""

    count: int


class AgentsVisited(Volatile, frozen=True, kw_only=True):
    """These agents of the run have been looked at; what was kept waiting for somebody on them is free again.

    Of those that are `withheld`, quotas kept something back that somebody would have been offered.
    """

    agent_ids: tuple[str, ...]
    withheld: tuple[str, ...] = ()


class TurnKept(Volatile, frozen=True, kw_only=True):
    """What is free on an agent waits for a framework that declined it a moment ago, counted as its own."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


# -- tasks and executors


class TaskAdded(Volatile, frozen=True, kw_only=True):
    """A task was launched, or came with an agent."""

    framework_id: str
    task_id: str
    agent_id: str
    name: str
    role: str
    state: State
    resources: Resources
    info: bytes
    executor_id: str | None = None
    statuses: tuple[mesos.TaskStatus, ...] = ()
    update_state: State | None = None
    update_uuid: bytes | None = None
    returned: bool = False
    at_s: float


class TaskUpdated(Volatile, frozen=True, kw_only=True):
    """A task is in `state`; `status` is what was told about it, if anything was."""

    framework_id: str
    task_id: str
    state: State
    status: mesos.TaskStatus | None = None
    reliable: bool = False
    update_state: State | None = None
    """With `update_uuid`: the oldest update that no scheduler has acknowledged, as its agent reported it."""
    update_uuid: bytes | None = None


class ReconciliationLeft(Volatile, frozen=True, kw_only=True):
    """These tasks are still to be told to a framework that asked about all it has; none if that is done."""

    framework_id: str
    task_ids: tuple[str, ...]


class UnreachableEnded(Volatile, frozen=True, kw_only=True):
    """A task that was unreachable will not come back: its agent is gone."""

    framework_id: str
    task_id: str
    status: mesos.TaskStatus


class TaskCompleted(Volatile, frozen=True, kw_only=True):
    """Nothing more is expected about a task; it moves to the memory of completed or unreachable ones."""

    framework_id: str
    task_id: str


class KillAsked(Volatile, frozen=True, kw_only=True):
    """A task is to be killed; the order is given again should its agent come back with the task."""

    framework_id: str
    task_id: str
    kill_policy: mesos.KillPolicy | None = None


class ExecutorAdded(Volatile, frozen=True, kw_only=True):
    framework_id: str
    agent_id: str
    executor_id: str
    role: str
    resources: Resources
    info: mesos.ExecutorInfo


class ExecutorRemoved(Volatile, frozen=True, kw_only=True):
    framework_id: str
    agent_id: str
    executor_id: str


class OperatorSubscribed(Volatile, frozen=True, kw_only=True):
    stream: str


class OperatorLeft(Volatile, frozen=True, kw_only=True):
    stream: str


AnyFact = (
    EpochBegan
    | AgentAdmitted
    | AgentUnreachable
    | AgentGone
    | AgentRemoved
    | FrameworkRegistered
    | FrameworkAway
    | FrameworkRemoved
    | WeightsSet
    | QuotasSet
    | OrdersGiven
    | MaintenancePlanned
    | AgentsSwept
    | InverseMade
    | InverseAnswered
    | InverseEnded
    | EmptinessSeen
    | TimerSet
    | FrameworkSubscribed
    | FrameworkBrought
    | FrameworkUpdated
    | FrameworkDisconnected
    | FrameworkEnding
    | HoldingsEnded
    | FrameworkEnded
    | RolesSuppressed
    | RolesRevived
    | AgentConnected
    | AgentDisconnected
    | AgentParts
    | RemembranceLeft
    | AgentParted
    | HelloHeard
    | ReportsRead
    | ArrivalBegan
    | ReportsTaken
    | ArrivalOver
    | AgentPinged
    | AgentAnswered
    | OfferMade
    | OffersTold
    | OfferEnded
    | OffersWithdrawn
    | WithdrawnEnded
    | Declined
    | OfferKept
    | ReconciliationLeft
    | AllocationDue
    | AllocationBegan
    | AgentsReviewed
    | AgentsVisited
    | TurnKept
    | TaskAdded
    | TaskUpdated
    | TaskCompleted
    | UnreachableEnded
    | KillAsked
    | ExecutorAdded
    | ExecutorRemoved
    | OperatorSubscribed
    | OperatorLeft
)
