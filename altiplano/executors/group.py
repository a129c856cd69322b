"""The built-in executor of task groups: what the end of one task means for the others.

Each task of a group is a command in a container of its own, reported as `command` says.  What makes them
a group: they are launched all or none, and when one fails or is killed the others are killed.  One that
finishes leaves them alone.  The executor ends with its last task.
"""

from __future__ import annotations

from altiplano.model.tasks import State

SPOILING = frozenset({State.FAILED, State.KILLED})
"""Ends of one task that end its whole group."""


def spoils(end: State) -> bool:
    """Whether the others of the group are killed after such an end."""
    return end in SPOILING


def wait_status(*, spoiled: bool) -> int:
    """What is told of the end of an executor that has no process, as if it were one."""
    return 1 << 8 if spoiled else 0
