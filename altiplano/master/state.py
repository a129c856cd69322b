"""What a master knows.

Records here are changed by `core.Core.apply` only, through the functions of `frameworks`, `agents`,
`offers` and `tasks` that apply facts.  Everything else reads.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from enum import Enum
from heapq import heappop, heappush

import msgspec

from altiplano.engine.histogram import Histogram
from altiplano.master import machines
from altiplano.master.allocator.allocator import Allocator
from altiplano.master.reports import Arriving
from altiplano.master.standing import Orders, Standing
from altiplano.model.resources import EMPTY, Resources
from altiplano.model.tasks import State as TaskState
from altiplano.wire.messages import allocator, mesos, scheduler

STATUSES_MAX = 16
"""Statuses kept of one task; the oldest go first."""

REMOVED_AGENTS_MAX = 102_400
"""Unreachable, gone and removed agents that are remembered, each."""

Capability = mesos.FrameworkInfoCapabilityType


class Presence(Enum):
    """How a framework is known.

    REGISTERED (from the registry only, unknown to callers) ──► RECOVERED (an agent runs its tasks)
         │                                                          │
         └───────────────────► CONNECTED ◄──► DISCONNECTED ◄────────┘        any ──► ENDING ──► COMPLETED
    """

    REGISTERED = "registered"
    RECOVERED = "recovered"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    ENDING = "ending"
    COMPLETED = "completed"


class Membership(Enum):
    """How an agent is known.

    AWAITED (from the registry, not back since the restart) ──► CONNECTED ◄──► DISCONNECTED      any ──► LEAVING
    """

    AWAITED = "awaited"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LEAVING = "leaving"


class End(Enum):
    """Why an agent loses what it ran."""

    SILENCE = "silence"
    GOODBYE = "goodbye"
    GONE = "gone"
    LINK = "link"
    """The link broke: frameworks that do not checkpoint lose their tasks, the agent stays a member."""
    DOWN = "down"
    """An operator took its machine down for maintenance."""
    FORGOTTEN = "forgotten"
    """The agent came back without them, and stays a member."""

    @property
    def leaves(self) -> bool:
        return self not in (End.LINK, End.FORGOTTEN)


class Task(msgspec.Struct, kw_only=True, gc=False):
    """A task.  `info` is its TaskInfo in canonical JSON; the other fields are what decisions need of it."""

    id: str
    framework_id: str
    agent_id: str
    name: str
    role: str
    state: TaskState
    resources: Resources
    info: bytes
    executor_id: str | None
    statuses: tuple[mesos.TaskStatus, ...]
    update_state: TaskState | None = None
    update_uuid: bytes | None = None
    holds: bool = True
    kill_asked: bool = False
    kill_policy: mesos.KillPolicy | None = None
    added_s: float = 0.0


class Executor(msgspec.Struct, kw_only=True, gc=False):
    """A custom executor that runs on an agent, or is about to."""

    id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources
    info: mesos.ExecutorInfo


class Offer(msgspec.Struct, kw_only=True, gc=False):
    """Resources that are held for a framework.  `told` once it has heard of them."""

    id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources
    message: mesos.Offer
    told: bool = False
    told_s: float = math.inf
    """When it was told (monotonic), for its timeout; what is kept between the parts of a call has none."""
    part: bool = False
    """Whether it is a part of an agent that was divided among several."""


TaskKey = tuple[str, str]
"""Framework and task: task ids are unique within their framework only."""


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that is losing what it ran, piece by piece.

    Only what belongs to `framework_ids`, if some are named, and what is not `kept`.  `to` waits for an answer.  `left`:
    frameworks whose unreachable tasks are still to be looked at.
    """

    end: End
    sentence: str = ""
    since_s: float = 0.0
    framework_ids: frozenset[str] | None = None
    kept: frozenset[TaskKey] = frozenset()
    to: str | None = None
    left: tuple[str, ...] | None = None


class Ending(msgspec.Struct, kw_only=True):
    """A framework that is losing what it has, piece by piece.  `told`: agents that were told to end it."""

    to: str | None
    status: int
    sentence: str
    told: set[str] = msgspec.field(default_factory=set)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A framework was asked, on a stream, to leave an agent.  `open` while it has not answered the offer of `id`."""

    id: str
    stream: str
    open: bool = True
    status: allocator.InverseOfferStatusStatus = allocator.InverseOfferStatusStatus.UNKNOWN
    at_s: float = 0.0
    until_s: float = math.inf
    """When it may be asked again (monotonic)."""

    def may_be_repeated(self, now_s: float) -> bool:
        return not self.open and self.until_s <= now_s


class Agent(msgspec.Struct, kw_only=True):
    id: str
    info: mesos.AgentInfo
    total: Resources
    membership: Membership
    registered_s: float
    reregistered_s: float | None = None
    link: str | None = None
    peer: str = ""
    altiplano_version: str = ""
    misses: int = 0
    used: Resources = EMPTY
    offered: Resources = EMPTY
    tasks: dict[TaskKey, Task] = msgspec.field(default_factory=dict)
    executors: dict[TaskKey, Executor] = msgspec.field(default_factory=dict)
    offers: dict[str, Offer] = msgspec.field(default_factory=dict)
    forsaken: set[str] = msgspec.field(default_factory=set)
    """Frameworks whose tasks were declared lost when the link broke; the agent ends them when it returns."""
    orders: Orders | None = None
    """What operators ordered for it, if it is not to work as usual: those of `MasterState.orders`."""
    unavailability: mesos.Unavailability | None = None
    """When its machine will be away for maintenance, if that is planned."""
    asked: dict[str, Asked] = msgspec.field(default_factory=dict)
    """Frameworks that were asked to leave it for that."""

    @property
    def connected(self) -> bool:
        return self.membership is Membership.CONNECTED

    @property
    def offerable(self) -> bool:
        """Whether what is free on it may be offered: whoever calls it active means this."""
        return self.connected and self.orders is None

    @property
    def draining(self) -> bool:
        return self.orders is not None and self.orders.standing is Standing.DRAINING


class Framework(msgspec.Struct, kw_only=True):
    id: str
    name: str
    presence: Presence
    failover_timeout_s: float
    registered_s: float
    info: mesos.FrameworkInfo | None = None
    roles: tuple[str, ...] = ()
    suppressed: frozenset[str] = frozenset()
    constraints: scheduler.OfferConstraints | None = None
    capabilities: frozenset[Capability] = frozenset()
    stream: str | None = None
    reregistered_s: float | None = None
    unregistered_s: float | None = None
    deadline_s: float | None = None
    tasks: dict[str, Task] = msgspec.field(default_factory=dict)
    completed: OrderedDict[str, Task] = msgspec.field(default_factory=OrderedDict)
    unreachable: OrderedDict[str, Task] = msgspec.field(default_factory=OrderedDict)
    executors: dict[tuple[str, str], Executor] = msgspec.field(default_factory=dict)
    offers: dict[str, Offer] = msgspec.field(default_factory=dict)
    withdrawn: dict[str, tuple[Offer, str | None]] = msgspec.field(default_factory=dict)
    """Offers that are void but not yet given back, each with the stream on which that is to be said."""
    used: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Amounts by name.  Ports and volumes of different machines have the same names and do not add up."""

    @property
    def connected(self) -> bool:
        return self.presence is Presence.CONNECTED

    @property
    def partition_aware(self) -> bool:
        return Capability.PARTITION_AWARE in self.capabilities

    @property
    def multi_role(self) -> bool:
        return Capability.MULTI_ROLE in self.capabilities

    @property
    def refined(self) -> bool:
        return Capability.RESERVATION_REFINEMENT in self.capabilities

    @property
    def checkpoint(self) -> bool:
        return self.info is not None and self.info.checkpoint


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What of the settings the core needs, in plain numbers."""

    hostname: str = "127.0.0.1"
    ip: str = "127.0.0.1"
    port: int = 5050
    allocation_interval_s: float = 1.0
    minimums: tuple[tuple[tuple[str, int], ...], ...] = ((("cpus", 10),), (("mem", 32_000),))
    offer_timeout_s: float | None = None
    ping_interval_s: float = 15.0
    ping_misses_max: int = 5
    reregister_timeout_s: float = 600.0
    completed_frameworks_max: int = 50
    completed_tasks_max: int = 1000
    unreachable_tasks_max: int = 1000
    roles: frozenset[str] | None = None
    root_submissions: bool = True
    filter_gpus: bool = True
    excluded: frozenset[str] = frozenset()
    weights: tuple[tuple[str, float], ...] = ()
    operator_streams_max: int = 1000
    holdings_per_slice: int = 100
    """Tasks, executors and offers that end together before other calls are served: two or three milliseconds."""


class Timers:
    """Points in time at which something is due, each named by what and about whom."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str, str]] = []
        self._at: dict[tuple[str, str], float] = {}

    def set(self, what: str, subject: str, at_s: float | None) -> None:
        """Set, move or (None) stop a timer."""
        if at_s is None:
            self._at.pop((what, subject), None)
        else:
            self._at[what, subject] = at_s
            heappush(self._heap, (at_s, what, subject))
        # The root is kept true, so that `next_s` can look at it without changing anything.
        while self._heap and self._is_stale(self._heap[0]):
            heappop(self._heap)
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._heap = sorted((at, *key) for key, at in self._at.items())

    def runs(self, what: str, subject: str) -> bool:
        """Whether a timer is set."""
        return (what, subject) in self._at

    def next_s(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def first_due(self, now_s: float) -> tuple[str, str] | None:
        """What has been due longest, if anything is.  Changes nothing: whoever handles a timer sets it anew."""
        if not self._heap or self._heap[0][0] > now_s:
            return None
        _, what, subject = self._heap[0]
        return what, subject

    def _is_stale(self, entry: tuple[float, str, str]) -> bool:
        return self._at.get((entry[1], entry[2])) != entry[0]


class MasterState:
    """Everything a master knows."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.master_id = ""
        self.epoch = 0
        self.started_s = 0.0
        self.elected_s = 0.0
        self.frameworks: dict[str, Framework] = {}
        self.completed: OrderedDict[str, Framework] = OrderedDict()
        self.by_stream: dict[str, str] = {}
        self.agents: dict[str, Agent] = {}
        self.by_link: dict[str, str] = {}
        self.awaited: set[str] = set()
        self.unreachable: OrderedDict[str, float] = OrderedDict()
        self.gone: OrderedDict[str, float] = OrderedDict()
        self.orders: dict[str, Orders] = {}
        """What operators ordered for agents, members or unreachable ones, that are not to work as usual."""
        self.plan = machines.Plan()
        self.scheduled: Mapping[machines.Key, mesos.Unavailability] = {}
        self.down: frozenset[machines.Key] = frozenset()
        self.concerned: dict[str, None] = {}
        """Agents with a maintenance window, those first that were not looked at for longest."""
        self.emptied: dict[str, None] = {}
        """Agents that drain and may have nothing left."""
        self.offers: dict[str, Offer] = {}
        self.untold: dict[str, list[str]] = {}
        self.withdrawing: dict[str, None] = {}
        self.ending: dict[str, Ending] = {}
        self.parting: dict[str, Parting] = {}
        self.arriving: dict[str, Arriving] = {}
        self.reconciling: dict[str, tuple[str, ...]] = {}
        self.operators: dict[str, None] = {}
        self.timers = Timers()
        self.counts: Counter[str] = Counter()
        self.allocation_began_s = 0.0
        self.allocation_s = Histogram()
        """How long allocation runs take, from their beginning to their offers."""
        self.next_framework = 0
        self.next_agent = 0
        self.next_offer = 0
        self.allocator = Allocator(
            interval_s=config.allocation_interval_s,
            minimums=tuple(dict(minimum) for minimum in config.minimums),
            excluded=config.excluded,
            gpus_apart=config.filter_gpus,
        )
        self.weights = dict(config.weights)
        for role, weight in config.weights:
            self.allocator.shares.set_weight(role, weight)

    def framework(self, framework_id: str) -> Framework | None:
        """A framework that calls may name: one that has subscribed here or was brought by an agent."""
        framework = self.frameworks.get(framework_id)
        if framework is None or framework.presence in (Presence.REGISTERED, Presence.ENDING):
            return None
        return framework

    @property
    def slices_wait(self) -> bool:
        """Whether something that ends or arrives piece by piece has pieces left."""
        return bool(self.parting or self.ending or self.arriving)

    def is_over(self, framework_id: str) -> bool:
        """Whether a framework was removed, even if not all that it had is gone."""
        return framework_id in self.completed or framework_id in self.ending

    def task(self, framework_id: str, task_id: str) -> Task | None:
        framework = self.frameworks.get(framework_id)
        return framework.tasks.get(task_id) if framework is not None else None
