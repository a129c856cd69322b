"""What a flow's shell is asked to do."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec

from altiplano.engine.core import Effect
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.placement import Amount


class Prepare(Effect, frozen=True, kw_only=True):
    """Remove what lies where the rule's outputs go, and know its inputs by content.  Answered by
    `Prepared` or `PreparationFailed`."""

    key: RuleKey
    cause: str


class Connect(Effect, frozen=True, kw_only=True):
    """Subscribe, with the tasks that are known to run."""

    framework_id: str
    tasks: tuple[tuple[str, str], ...]
    """Their ids and those of their agents."""


class OpenNested(Effect, frozen=True, kw_only=True):
    """Read the workflow file of a MAKEFLOW rule.  Answered by `NestedOpened` or `PreparationFailed`."""

    key: RuleKey
    cause: str


class Start(msgspec.Struct, frozen=True, kw_only=True):
    key: RuleKey
    task_id: str
    amount: Amount


class Launch(Effect, frozen=True, kw_only=True):
    """Accept an offer with these tasks on it."""

    offer_id: str
    agent_id: str
    starts: tuple[Start, ...]
    refuse_s: float
    """How long what is left of the offer stays away."""
    cause: str


class Decline(Effect, frozen=True, kw_only=True):
    offer_ids: tuple[str, ...]
    refuse_s: float


class Suppress(Effect, frozen=True, kw_only=True):
    """No offers are wanted."""


class Revive(Effect, frozen=True, kw_only=True):
    """Offers are wanted, also those that were declined."""


class Acknowledge(Effect, frozen=True, kw_only=True):
    update_id: str


class KillTask(Effect, frozen=True, kw_only=True):
    task_id: str
    agent_id: str


class RunHere(Effect, frozen=True, kw_only=True):
    """Run a LOCAL rule.  Answered by `LocalEnded`."""

    key: RuleKey
    tries: int
    cause: str


class KillHere(Effect, frozen=True, kw_only=True):
    key: RuleKey


class CheckOutputs(Effect, frozen=True, kw_only=True):
    """Look at the files of a rule.  Answered by `OutputsChecked`."""

    key: RuleKey
    tries: int
    cause: str


class SetAside(Effect, frozen=True, kw_only=True):
    """Move what a failed try has left of its outputs out of the way."""

    key: RuleKey


class ReadStderr(Effect, frozen=True, kw_only=True):
    """Fetch the end of a failed task's stderr.  Answered by `StderrRead`, or not at all."""

    key: RuleKey
    tries: int
    task_id: str
    agent_id: str


class ListAgents(Effect, frozen=True, kw_only=True):
    """Answered by `AgentsListed`."""


class What(Enum):
    """What people are told of."""

    KEPT = "kept"
    STARTED = "started"
    DONE = "done"
    RETRIED = "retried"
    FAILED = "failed"
    BLOCKED = "not run"
    RESET = "again"


class Report(Effect, frozen=True, kw_only=True):
    """Tell people about a rule."""

    what: What
    key: RuleKey
    sentence: str = ""


class Finish(Effect, frozen=True, kw_only=True):
    """The run is over."""

    exit_code: int
    sentence: str


FlowEffect: TypeAlias = (
    Connect
    | Prepare
    | OpenNested
    | Launch
    | Decline
    | Suppress
    | Revive
    | Acknowledge
    | KillTask
    | RunHere
    | KillHere
    | CheckOutputs
    | SetAside
    | ReadStderr
    | ListAgents
    | Report
    | Finish
)
