"""What happens to a master."""

from __future__ import annotations

from altiplano.engine.core import Event, Wake
from altiplano.link import messages as link_messages
from altiplano.wire.messages import master, scheduler


class Started(Event, frozen=True, kw_only=True):
    """The log is recovered and this process is in office.

    `master_id` is new with every start; ids of frameworks, agents and offers begin with it, so they
    never repeat.
    """

    master_id: str
    epoch: int


class FrameworkSubscribes(Event, frozen=True, kw_only=True):
    """A framework has opened an event stream; its call has passed the checks of the endpoint."""

    stream: str
    framework_id: str | None = None
    subscribe: scheduler.CallSubscribe
    principal: str | None = None


class FrameworkCalls(Event, frozen=True, kw_only=True):
    """A call other than SUBSCRIBE; the answer goes to `to`.  `stream` is what its Mesos-Stream-Id said.

    `more`: this is a part of a call, and others follow; what is left of accepted offers waits for them.
    """

    to: str
    stream: str | None = None
    call: scheduler.Call
    principal: str | None = None
    more: bool = False


class StreamClosed(Event, frozen=True, kw_only=True):
    """The event stream of a framework or operator has ended, from the other side or for want of reading."""

    stream: str
    reason: str


class AgentSays(Event, frozen=True, kw_only=True):
    """A message of an agent came over a link."""

    link: str
    peer: str = ""
    message: link_messages.FromAgent


class LinkClosed(Event, frozen=True, kw_only=True):
    link: str
    reason: str


class OperatorCalls(Event, frozen=True, kw_only=True):
    """An operator wants something changed; the answer goes to `to`."""

    to: str
    call: master.Call
    principal: str | None = None


class OperatorSubscribes(Event, frozen=True, kw_only=True):
    """An operator has opened an event stream."""

    stream: str


AnyEvent = (
    Started
    | FrameworkSubscribes
    | FrameworkCalls
    | StreamClosed
    | AgentSays
    | LinkClosed
    | OperatorCalls
    | OperatorSubscribes
    | Wake
)
