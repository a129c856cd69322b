"""What a flow's core is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from altiplano.engine.core import Event, Wake
from altiplano.frameworks.flows.graph import Graph, RuleKey
from altiplano.frameworks.flows.placement import Amount, Offer
from altiplano.frameworks.flows.progress import Stamp
from altiplano.model.tasks import State


class Opened(Event, frozen=True, kw_only=True):
    """The log has been read; the run begins or goes on.

    `stamps` tells of every file that the log's finished rules took or made, None for one that is
    not there.  `run_id` counts only if the log knows none.
    """

    run_id: str
    stamps: Mapping[str, Stamp | None]


class EndpointOpened(Event, frozen=True, kw_only=True):
    """Inputs are served and outputs taken at `port`; tokens are made from `secret`."""

    port: int
    secret: str


class Connected(Event, frozen=True, kw_only=True):
    """The master knows this framework; offers from before are void."""

    framework_id: str


class OffersArrived(Event, frozen=True, kw_only=True):
    offers: tuple[Offer, ...]


class AgentTotal(msgspec.Struct, frozen=True, kw_only=True):
    """An agent and all it could give if it were idle."""

    agent_id: str
    hostname: str
    total: Amount


class AgentsListed(Event, frozen=True, kw_only=True):
    """All agents of the pool; None if the master does not tell this framework."""

    agents: tuple[AgentTotal, ...] | None


class TaskChanged(Event, frozen=True, kw_only=True):
    """A task has a new state.  `update_id` is what an acknowledgement must name; empty if none is wanted."""

    task_id: str
    state: State
    sentence: str = ""
    exit_status: int | None = None
    began: bool = True
    """False where it ended before its command was started, as when its inputs could not be fetched."""
    update_id: str = ""
    agent_id: str = ""


class Prepared(Event, frozen=True, kw_only=True):
    """Old outputs of a rule are gone, and its inputs can be served."""

    key: RuleKey


class PreparationFailed(Event, frozen=True, kw_only=True):
    key: RuleKey
    sentence: str


class NestedOpened(Event, frozen=True, kw_only=True):
    """The workflow file of a MAKEFLOW rule has been read.

    `stamps` as in `Opened`, for the rules inside that the log knows.
    """

    key: RuleKey
    graph: Graph
    stamps: Mapping[str, Stamp | None]


class OutputsChecked(Event, frozen=True, kw_only=True):
    """What is there after a command succeeded; `stamps` of the rule's files that are."""

    key: RuleKey
    tries: int
    missing: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    stamps: Mapping[str, Stamp]


class LocalEnded(Event, frozen=True, kw_only=True):
    """A LOCAL command has ended; negative statuses are signals."""

    key: RuleKey
    tries: int
    exit_status: int
    stderr_tail: str


class StderrRead(Event, frozen=True, kw_only=True):
    """The last lines that a failed command wrote to its stderr."""

    key: RuleKey
    tries: int
    text: str


class Interrupted(Event, frozen=True, kw_only=True):
    """Somebody wants the run to end now."""

    sentence: str


FlowEvent: TypeAlias = (
    Opened
    | EndpointOpened
    | Connected
    | OffersArrived
    | AgentsListed
    | TaskChanged
    | Prepared
    | PreparationFailed
    | NestedOpened
    | OutputsChecked
    | LocalEnded
    | StderrRead
    | Interrupted
    | Wake
)
