"""How far a rule is.

    WAITING ──► PREPARING ──► READY ──► LAUNCHED ──► RUNNING ──► CHECKING ──► DONE
       │         ▲  │  │                   │            │           │
       │         │  │  └► EXPANDED ────────┼────────────┼──► (its own rules run) ──► CHECKING
       │         │  │                      │            │           │
       │         └──┼──── tried again ◄────┴────────────┴───────────┤
       ▼            ▼                                               ▼
    BLOCKED       FAILED            ABORTED: from any that has not ended

A resumed run may send any rule back to WAITING: `RESET` is not a step but a new beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec


class RuleState(Enum):
    WAITING = "waiting"
    """Inputs are still to be made."""
    PREPARING = "preparing"
    """Old outputs are removed, inputs are hashed, a nested workflow is read."""
    READY = "ready"
    """Needs nothing but a place to run."""
    LAUNCHED = "launched"
    RUNNING = "running"
    EXPANDED = "expanded"
    """The rules of its nested workflow run."""
    CHECKING = "checking"
    """The command has succeeded; are its outputs there?"""
    DONE = "done"
    FAILED = "failed"
    """No try is left."""
    BLOCKED = "blocked"
    """Something it needs will never be made."""
    ABORTED = "aborted"
    """The run was interrupted."""


ENDS = frozenset({RuleState.DONE, RuleState.FAILED, RuleState.BLOCKED, RuleState.ABORTED})
_AGAIN = frozenset({RuleState.PREPARING, RuleState.FAILED, RuleState.ABORTED})

STEPS: Mapping[RuleState, frozenset[RuleState]] = {
    RuleState.WAITING: frozenset({RuleState.PREPARING, RuleState.BLOCKED, RuleState.ABORTED}),
    RuleState.PREPARING: frozenset({RuleState.READY, RuleState.EXPANDED}) | _AGAIN,
    RuleState.READY: frozenset({RuleState.LAUNCHED, RuleState.RUNNING, RuleState.FAILED, RuleState.ABORTED}),
    RuleState.LAUNCHED: frozenset({RuleState.RUNNING, RuleState.CHECKING}) | _AGAIN,
    RuleState.RUNNING: frozenset({RuleState.CHECKING}) | _AGAIN,
    RuleState.EXPANDED: frozenset({RuleState.CHECKING, RuleState.FAILED, RuleState.ABORTED}),
    RuleState.CHECKING: frozenset({RuleState.DONE}) | _AGAIN,
    RuleState.DONE: frozenset(),
    RuleState.FAILED: frozenset(),
    RuleState.BLOCKED: frozenset(),
    RuleState.ABORTED: frozenset(),
}


class Stamp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """By what a file is known to be the same as before."""

    size_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Progress:
    """What the core knows of one rule."""

    state: RuleState = RuleState.WAITING
    tries: int = 0
    """Times it was started, on agents or here."""
    failures: int = 0
    losses: int = 0
    """Tasks that ended through no fault of the rule: they do not count as tries."""
    task_id: str = ""
    agent_id: str = ""
    hostname: str = ""
    started_wall_s: float = 0.0
    ended_wall_s: float = 0.0
    ready_mono_s: float = 0.0
    deadline_mono_s: float | None = None
    overdue: bool = False
    """Killed because its wall time was over."""
    why: str = ""
    """The last failure, in a sentence."""
    stderr_tail: str = ""
    outputs: dict[str, Stamp] = field(default_factory=dict)
    inputs: dict[str, Stamp] = field(default_factory=dict)
    command_hash: str = ""

    def step(self, state: RuleState, story: str) -> None:
        """Go on to `state`; a step that the table lacks is a bug, told with the rule's story."""
        assert state in STEPS[self.state], f"{story}: {self.state} -> {state} after {self.tries} tries ({self.why})"
        self.state = state
