"""A simulated master: the real core and engine; streams and links are conduits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from altiplano.engine.core import Effect, Wake
from altiplano.engine.records import FactCodec
from altiplano.link.session import LinkError, Session, Side
from altiplano.master import answers, core, effects, events, facts, pieces, snapshot
from altiplano.master.state import Config
from altiplano.sim.process import Process
from altiplano.sim.weather import End
from altiplano.testing.log import MemoryDisk, MemoryRegistry
from altiplano.wire import json
from altiplano.wire.messages import master as operator
from altiplano.wire.messages import scheduler

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

MASTER = "master"
Frame = str | bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back on a connection of a scheduler: the answer to a call, or bytes of its stream."""

    status: int
    body: bytes
    stream_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST to /api/v1/scheduler, or of an operator to /api/v1."""

    body: bytes
    stream_id: str = ""


class MasterProcess(Process):
    """One life of the master."""

    def __init__(self, cluster: Cluster, disk: MemoryDisk) -> None:
        super().__init__(cluster, MASTER, disk, registry=True)
        self.core = core.Core(Config())
        self.engine = self.make_engine(
            self.core, FactCodec(facts.DURABLE, version=facts.VERSION), lambda cause: Wake(cause=cause)
        )
        self._links: dict[str, tuple[End, Session]] = {}
        self._streams: dict[str, End] = {}
        self._followers: dict[str, End] = {}
        self._callers: dict[str, Callable[[int, str], None]] = {}
        self._count = 0

    async def recovered(self) -> None:
        assert isinstance(self.log, MemoryRegistry)
        self.post(events.Started(cause=self._name("start"), master_id=self.cluster.ids.uuid(), epoch=self.log.epoch))
        self.cluster.listens(self)

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Send():
                if (stream := self._streams.get(effect.stream)) is not None:
                    stream.send(Answer(200, json.encode(effect.event), effect.stream))
            case effects.CloseStream():
                if (stream := self._streams.pop(effect.stream, self._followers.pop(effect.stream, None))) is not None:
                    stream.ended = lambda _: None
                    stream.close("the master closed the stream")
            case effects.ToAgent():
                if (link := self._links.get(effect.link)) is not None:
                    link[1].send(effect.message)
                    self._pump(effect.link)
            case effects.CloseLink():
                self._drop(effect.link, effect.reason, told=True)
            case effects.Reply():
                if (caller := self._callers.pop(effect.to, None)) is not None:
                    caller(effect.status, effect.body)
            case effects.Show():
                if (stream := self._followers.get(effect.stream)) is not None:
                    first = b"".join(pieces.to_json(answers.subscribed(effect.shot, effect.heartbeat_s)))
                    stream.send(Answer(200, first, effect.stream))
            case effects.Publish():
                followers = self._followers if effect.stream is None else {effect.stream}
                for name in [name for name in followers if name in self._followers]:
                    self._followers[name].send(Answer(200, json.encode(effect.event), name))
            case _:
                raise AssertionError(f"a master has no effect {type(effect).__name__}")

    # -- agents

    def accept_link(self, end: End) -> None:
        """An agent has dialled."""
        assert isinstance(self.log, MemoryRegistry)
        link = self._name("link")
        self._links[link] = (end, Session(Side.MASTER, epoch=self.log.epoch))
        end.heard = lambda frame: self._heard(link, frame)
        end.ended = lambda reason: self._drop(link, reason)

    def _heard(self, link: str, frame: Frame) -> None:
        if not self.alive or link not in self._links:
            return
        end, session = self._links[link]
        try:
            arrivals = session.receive(frame)
        except LinkError as error:
            self._drop(link, str(error))
            return
        for message in arrivals:
            cause = getattr(message, "cause", "") or self._name("heard")
            self.post(events.AgentSays(cause=cause, link=link, peer=end.peer.host, message=message))  # type: ignore[arg-type]  # the peer is an agent
        self._pump(link)

    def _pump(self, link: str) -> None:
        end, session = self._links[link]
        for frame in session.outgoing():
            end.send(frame)

    def _drop(self, link: str, reason: str, *, told: bool = False) -> None:
        found = self._links.pop(link, None)
        if found is not None:
            found[0].ended = lambda _: None
            found[0].close(reason)
            self.post(events.LinkClosed(cause=self._name("lost"), link=link, reason=reason))

    # -- frameworks

    def accept_stream(self, end: End, request: Request) -> None:
        """A scheduler has posted SUBSCRIBE; the connection becomes its stream."""
        call = json.decode(scheduler.Call, request.body)
        assert call.subscribe is not None
        stream = self._name("stream")
        self._streams[stream] = end
        end.ended = lambda reason: self._stream_ended(stream, reason)
        framework_id = call.framework_id.value if call.framework_id is not None else None
        self.post(
            events.FrameworkSubscribes(
                cause=self._name("subscribe"), stream=stream, framework_id=framework_id, subscribe=call.subscribe
            )
        )

    def _stream_ended(self, stream: str, reason: str) -> None:
        if self._streams.pop(stream, None) is not None:
            self.post(events.StreamClosed(cause=self._name("ended"), stream=stream, reason=reason))

    def accept_call(self, end: End, request: Request) -> None:
        """A scheduler has posted another call."""
        caller = self._name("call")
        self._callers[caller] = lambda status, body: end.send(Answer(status, body.encode()))
        call = json.decode(scheduler.Call, request.body)
        self.post(events.FrameworkCalls(cause=caller, to=caller, stream=request.stream_id, call=call))

    # -- operators

    def accept_operator(self, end: End, request: Request) -> None:
        """An operator has posted a call: to follow what happens, to look at it, or to change it."""
        call = json.decode(operator.Call, request.body)
        caller = self._name("operator")
        if call.type is operator.CallType.SUBSCRIBE:
            self._followers[caller] = end
            end.ended = lambda reason: self._follower_left(caller, reason)
            self.post(events.OperatorSubscribes(cause=caller, stream=caller))
        elif call.type is operator.CallType.GET_STATE:
            self.spawn(self._show_state(end))
        else:
            self._callers[caller] = lambda status, body: end.send(Answer(status, body.encode()))
            self.post(events.OperatorCalls(cause=caller, to=caller, call=call))

    async def _show_state(self, end: End) -> None:
        await self.engine.settle()
        shown = answers.response(operator.ResponseType.GET_STATE, "get_state", answers.get_state(self._snapshot()))
        end.send(Answer(200, b"".join(pieces.to_json(shown))))

    def _snapshot(self) -> snapshot.Snapshot:
        return snapshot.take(self.core.state)

    def _follower_left(self, name: str, reason: str) -> None:
        if self._followers.pop(name, None) is not None:
            self.post(events.StreamClosed(cause=self._name("ended"), stream=name, reason=reason))

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what}-{self.cluster.lives(MASTER)}-{self._count}"
