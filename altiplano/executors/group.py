"""The built-in executor of task groups: what the end of one task means for the others.

Each task of a group is a command in a container of its own, reported as `command` says.  What makes them
a group: they are launched all or none, and when one fails or is killed the others are killed.  One that
finishes leaves them alone.  The executor ends with its last task.
"""

from __future__ import annotations

from altiplano.model.tasks import State

SPOILING = frozenset({State.FAILED, State.KILLED})
"""Ends of one task that end its whole group."""

EXIT_STATUS = 0
"""The wait status that is told of an executor that has no process."""


def spoils(end: State) -> bool:
    """Whether the others of the group are killed after such an end."""
    return end in SPOILING
