"""What a master does: everything it says, and to whom.

Streams, links and waiting callers are known by name only; a name that is gone is silently passed
over, since whoever it belonged to has left.
"""

from __future__ import annotations

from altiplano.engine.core import Effect
from altiplano.link import messages as link_messages
from altiplano.master.snapshot import Snapshot
from altiplano.wire.messages import master, scheduler


class Reply(Effect, frozen=True, kw_only=True):
    """Answer a call."""

    to: str
    status: int
    body: str = ""


class Send(Effect, frozen=True, kw_only=True):
    """Send an event to a framework; it is put into the stream's own form at the edge."""

    stream: str
    event: scheduler.Event


class CloseStream(Effect, frozen=True, kw_only=True):
    """End a stream, after what was sent before."""

    stream: str


class ToAgent(Effect, frozen=True, kw_only=True):
    link: str
    message: link_messages.FromMaster


class CloseLink(Effect, frozen=True, kw_only=True):
    link: str
    reason: str


class Publish(Effect, frozen=True, kw_only=True):
    """Tell an event to operators: to all that subscribed, or to one of them."""

    event: master.Event
    stream: str | None = None


class Show(Effect, frozen=True, kw_only=True):
    """Begin the stream of an operator with the state as it was then."""

    stream: str
    shot: Snapshot
    heartbeat_s: float
