"""The life of a task.

            STAGING ──► STARTING ──► RUNNING ──► KILLING
               │            │           │           │
               └────────────┴─────┬─────┴───────────┘
                                  ▼
       FINISHED FAILED KILLED ERROR DROPPED GONE            ends
       UNREACHABLE ──► any state again, when the agent returns
       LOST, GONE_BY_OPERATOR                               ends that may come back

`STEPS` says what may follow what.  A task that has ended never changes its state; updates that
come later are passed on, but the state is kept (the two ends that may come back excepted).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """States of a task, by the names of the Mesos v1 API."""

    STAGING = "TASK_STAGING"
    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    LOST = "TASK_LOST"
    DROPPED = "TASK_DROPPED"
    UNREACHABLE = "TASK_UNREACHABLE"
    GONE = "TASK_GONE"
    GONE_BY_OPERATOR = "TASK_GONE_BY_OPERATOR"
    UNKNOWN = "TASK_UNKNOWN"

    @property
    def ended(self) -> bool:
        """Whether a task in this state has ended: it holds no resources and will not run again."""
        return self in ENDS


ENDS: frozenset[State] = frozenset(
    {
        State.FINISHED,
        State.FAILED,
        State.KILLED,
        State.ERROR,
        State.LOST,
        State.DROPPED,
        State.GONE,
        State.GONE_BY_OPERATOR,
    }
)

_ANY_END = ENDS | {State.UNREACHABLE}
_BACK = frozenset(State) - {State.STAGING, State.UNKNOWN}

STEPS: Mapping[State, frozenset[State]] = {
    State.STAGING: frozenset({State.STARTING, State.RUNNING, State.KILLING}) | _ANY_END,
    State.STARTING: frozenset({State.STARTING, State.RUNNING, State.KILLING}) | _ANY_END,
    State.RUNNING: frozenset({State.STARTING, State.RUNNING, State.KILLING}) | _ANY_END,
    State.KILLING: frozenset({State.KILLING}) | _ANY_END,
    State.UNREACHABLE: _BACK | {State.STAGING},
    State.LOST: _BACK,
    State.GONE_BY_OPERATOR: _BACK,
    State.FINISHED: frozenset(),
    State.FAILED: frozenset(),
    State.KILLED: frozenset(),
    State.ERROR: frozenset(),
    State.DROPPED: frozenset(),
    State.GONE: frozenset(),
    State.UNKNOWN: frozenset(),
}


def may_step(before: State, after: State) -> bool:
    """Whether a task may go from `before` to `after`."""
    return after in STEPS[before]
