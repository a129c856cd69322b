"""Status update streams: one per task, first in first out, the head in flight.

The head is sent again, ever more rarely, until its scheduler acknowledges it; only then the next one
goes.  A stream is a value; the agent's facts say what enters and leaves it.
"""

from __future__ import annotations

import msgspec

from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

RESEND_FIRST_S = 10.0
"""Seconds until an unacknowledged update is sent again."""

RESEND_MAX_S = 600.0
"""The longest pause; each pause is twice the one before."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Updates not acknowledged yet, oldest first; never empty."""

    pending: tuple[mesos.TaskStatus, ...]
    interval_s: float = RESEND_FIRST_S

    @property
    def head(self) -> mesos.TaskStatus:
        return self.pending[0]

    @property
    def newest(self) -> mesos.TaskStatus:
        return self.pending[-1]


def queued(stream: Stream | None, status: mesos.TaskStatus) -> Stream:
    """The stream with one more update at its end."""
    if stream is None:
        return Stream(pending=(status,))
    return msgspec.structs.replace(stream, pending=(*stream.pending, status))


def acknowledged(stream: Stream) -> Stream | None:
    """The stream without its head; None when nothing is left."""
    rest = stream.pending[1:]
    return Stream(pending=rest) if rest else None


def next_interval_s(interval_s: float) -> float:
    """The pause after a pause.

    >>> next_interval_s(10.0), next_interval_s(400.0)
    (20.0, 600.0)
    """
    return min(interval_s * 2, RESEND_MAX_S)


def state_of(status: mesos.TaskStatus) -> State:
    return State(status.state.value)
