"""What holds of a flow from some moment on.

Durable facts are the transaction log: they lead an interrupted run to where it was.  The others
are learned again by the next process.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from altiplano.engine.core import Fact
from altiplano.frameworks.flows.events import AgentTotal
from altiplano.frameworks.flows.graph import Graph, RuleKey
from altiplano.frameworks.flows.placement import Amount
from altiplano.frameworks.flows.progress import Stamp

VERSION = 1
"""Of the durable facts' form; the reader takes this one and the one before."""


class RunBegan(Fact, frozen=True, kw_only=True):
    """First fact of a log.  Task ids begin with `run_id`."""

    run_id: str
    file: str
    wall_s: float
    launches: int = 0
    """Tasks started before, by runs that a snapshot sums up: task ids are never used twice."""


class RunResumed(Fact, frozen=True, kw_only=True):
    wall_s: float


class EndpointKnown(Fact, frozen=True, kw_only=True):
    """Tasks know this address: a resumed run must serve and take files there."""

    port: int
    secret: str


class FrameworkKnown(Fact, frozen=True, kw_only=True):
    framework_id: str


class RuleReset(Fact, frozen=True, kw_only=True):
    """A rule begins anew, because a resumed run found that it must."""

    key: RuleKey
    why: str


class RuleLaunched(Fact, frozen=True, kw_only=True):
    key: RuleKey
    task_id: str
    agent_id: str
    hostname: str
    wall_s: float
    cause: str


class RuleStartedHere(Fact, frozen=True, kw_only=True):
    """A LOCAL rule runs next to the manager."""

    key: RuleKey
    wall_s: float
    cause: str


class RuleEndedWell(Fact, frozen=True, kw_only=True):
    """The command has succeeded; its outputs are not checked yet."""

    key: RuleKey
    wall_s: float
    cause: str


class RuleDone(Fact, frozen=True, kw_only=True):
    """`outputs` and `inputs` as they were then."""

    key: RuleKey
    outputs: dict[str, Stamp]
    inputs: dict[str, Stamp]
    command_hash: str
    wall_s: float
    cause: str


class RuleRetried(Fact, frozen=True, kw_only=True):
    """A try has ended badly and another follows.  `counted` is False when the rule is not to blame."""

    key: RuleKey
    why: str
    counted: bool
    wall_s: float
    cause: str


class RuleFailed(Fact, frozen=True, kw_only=True):
    key: RuleKey
    why: str
    wall_s: float
    cause: str


class RuleBlocked(Fact, frozen=True, kw_only=True):
    key: RuleKey
    why: str


class RuleAborted(Fact, frozen=True, kw_only=True):
    key: RuleKey


class StderrKept(Fact, frozen=True, kw_only=True):
    key: RuleKey
    text: str


class RunEnded(Fact, frozen=True, kw_only=True):
    exit_code: int
    wall_s: float


class _Passing(Fact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class RunOpened(_Passing, frozen=True, kw_only=True):
    """This process has set the rules to where the log and the files say they are."""


class RulePreparing(_Passing, frozen=True, kw_only=True):
    key: RuleKey


class RuleReady(_Passing, frozen=True, kw_only=True):
    key: RuleKey
    mono_s: float


class RuleRunning(_Passing, frozen=True, kw_only=True):
    key: RuleKey
    deadline_mono_s: float | None


class RuleOverdue(_Passing, frozen=True, kw_only=True):
    """Its wall time is over, and it is being killed."""

    key: RuleKey


class RuleExpanded(_Passing, frozen=True, kw_only=True):
    """The rules of its nested workflow take its place."""

    key: RuleKey
    graph: Graph


class AgentSeen(_Passing, frozen=True, kw_only=True):
    agent_id: str
    hostname: str
    free: Amount


class AgentsKnown(_Passing, frozen=True, kw_only=True):
    agents: tuple[AgentTotal, ...] | None
    mono_s: float


class AgentsAsked(_Passing, frozen=True, kw_only=True):
    mono_s: float


class OffersWanted(_Passing, frozen=True, kw_only=True):
    """Whether offers are wanted, and whether some are held back by our own answers."""

    wanted: bool
    held_back: bool


class SessionWanted(_Passing, frozen=True, kw_only=True):
    """All that the log knows has its place; the master may be spoken to."""


class AbortBegan(_Passing, frozen=True, kw_only=True):
    sentence: str
    deadline_mono_s: float


DurableFact: TypeAlias = (
    RunBegan
    | RunResumed
    | EndpointKnown
    | FrameworkKnown
    | RuleReset
    | RuleLaunched
    | RuleStartedHere
    | RuleEndedWell
    | RuleDone
    | RuleRetried
    | RuleFailed
    | RuleBlocked
    | RuleAborted
    | StderrKept
    | RunEnded
)
DURABLE_TYPES: tuple[type[Fact], ...] = (
    RunBegan,
    RunResumed,
    EndpointKnown,
    FrameworkKnown,
    RuleReset,
    RuleLaunched,
    RuleStartedHere,
    RuleEndedWell,
    RuleDone,
    RuleRetried,
    RuleFailed,
    RuleBlocked,
    RuleAborted,
    StderrKept,
    RunEnded,
)
