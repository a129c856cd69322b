"""The shell of a master: carries out what the core decides, and brings it what happens.

Names of streams, links and callers are made here; the core knows nothing else of connections.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import structlog

from altiplano.engine.core import Effect, Event, Wake
from altiplano.engine.journal import Journal
from altiplano.engine.loop import Engine, InboxFull
from altiplano.engine.recorder import Recorder
from altiplano.engine.records import FactCodec
from altiplano.engine.streams import Backlog, EventStream
from altiplano.kit import crash, recordio
from altiplano.link import messages as link_messages
from altiplano.link.session import Arrival
from altiplano.link.transport import Connection
from altiplano.master import answers, division, effects, events, facts
from altiplano.master.core import Core
from altiplano.master.state import Config
from altiplano.ports.clock import Clock
from altiplano.ports.ids import Ids
from altiplano.ports.log import Registry
from altiplano.wire.codec import Codec
from altiplano.wire.messages import master, mesos, scheduler

OFFERS_BYTES_MAX = 3 * 1024 * 1024
"""Offers beyond this go out as several events: Go clients refuse records above 4 MiB."""

PART_PAUSE_S = 0.05
"""Time after which a part of a large call is offered again to a core, or for a reader, that has too much before it."""

READ_SECONDS_MAX = 60.0
"""Time for which a caller may leave unread what it was told before it is told more."""

RECONCILING_MAX = 8
"""Large RECONCILE calls that are on their way to their callers; what each asks about is held meanwhile."""

TOLD_BYTES_MAX = 4 * 1024 * 1024
"""What may wait in the stream of a caller when the next part of its large call is decided."""

POINTS = (
    "registry_read",
    "hello_heard",
    "welcome_said",
    "subscribe_heard",
    "subscribed_said",
    "offers_said",
    "accept_heard",
    "before_task_order",
    "after_task_order",
    "accept_answered",
    "update_heard",
    "update_forwarded",
    "acknowledgement_heard",
    "acknowledgement_passed_on",
    "kill_heard",
    "kill_passed_on",
)
"""Crash points of a master's shell (`altiplano.kit.crash`)."""

_CALLED_AT = {
    scheduler.CallType.ACCEPT: "accept_heard",
    scheduler.CallType.ACKNOWLEDGE: "acknowledgement_heard",
    scheduler.CallType.KILL: "kill_heard",
}
_HEARD_AT = {link_messages.Hello: "hello_heard", link_messages.StatusUpdate: "update_heard"}
_ORDERED_AT = {
    link_messages.Welcome: "welcome_said",
    link_messages.RunTask: "after_task_order",
    link_messages.Acknowledge: "acknowledgement_passed_on",
    link_messages.KillTask: "kill_passed_on",
}
_SENT_AT = {
    scheduler.EventType.SUBSCRIBED: "subscribed_said",
    scheduler.EventType.OFFERS: "offers_said",
    scheduler.EventType.UPDATE: "update_forwarded",
}

log = structlog.get_logger("altiplano.master")


Done = Callable[[int, str], None]
"""Takes status and body of the answer to a call, once; must not fail."""

Asked = events.FrameworkCalls | events.OperatorCalls


class _Rest:
    """The parts of a large call after the first, on their way to the core one by one."""

    def __init__(
        self,
        ask: Callable[[Asked, Done], None],
        first: events.FrameworkCalls,
        parts: Iterator[tuple[scheduler.Call, bool]],
        done: Done,
        crowded: Callable[[], bool],
    ) -> None:
        """`crowded`: whether so much waits for the caller to read that it is not told more for now."""
        self._crowded = crowded
        self._crowded_since_s: float | None = None
        self._ask = ask
        self._event = first
        self._parts = parts
        self._done = done
        self._answer = (202, "")
        self._loop = asyncio.get_running_loop()

    def said(self, status: int, body: str) -> None:
        """A part is answered.  Whatever became of it the others follow: the last gives back what is left of offers."""
        if self._answer[0] == 202:
            self._answer = (status, body)
        if not self._event.more:
            self._done(*self._answer)
            return
        call, more = next(self._parts)
        self._event = msgspec.structs.replace(self._event, call=call, more=more)
        # Not at once: this is the turn of the engine, and the others shall have theirs in between.
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._must_wait():
            self._loop.call_later(PART_PAUSE_S, self._go_on)
            return
        try:
            self._ask(self._event, self.said)
        except InboxFull:
            self._loop.call_later(PART_PAUSE_S, self._go_on)

    def _must_wait(self) -> bool:
        if not self._crowded():
            self._crowded_since_s = None
            return False
        if self._crowded_since_s is None:
            self._crowded_since_s = self._loop.time()
        # Whoever does not read at all is told on, until its stream is cut for it.
        return self._loop.time() - self._crowded_since_s < READ_SECONDS_MAX


class Shell:
    """One master process, without its HTTP server."""

    def __init__(self, config: Config, *, registry: Registry, clock: Clock, ids: Ids, check: bool = False) -> None:
        """`recordings`, set by who owns a directory, is where a bug leaves the way to it."""
        self.recordings: str | None = None
        self.core = Core(config)
        self.clock = clock
        self.ids = ids
        self.calls: Counter[str] = Counter()
        self.journal = Journal("master")
        self.recorder = Recorder()
        self.ready = False
        self.connections: dict[str, Connection] = {}
        self._registry = registry
        self._streams: dict[str, EventStream] = {}
        self._backlog = Backlog()
        self._waiting: dict[str, Done] = {}
        self._reconciling = 0
        self._numbers = itertools.count(1)
        self.engine: Engine[events.AnyEvent] = Engine(
            self.core,
            log=registry,
            codec=FactCodec(facts.DURABLE, version=facts.VERSION),
            clock=clock,
            perform=self._perform,
            bug=self._bug,
            wake=lambda cause: Wake(cause=cause),
            journal=self.journal,
            recorder=self.recorder,
            check=check,
        )

    async def start(self) -> None:
        """Recover from the registry and take office."""
        count = await self.engine.recover()
        crash.at("registry_read")
        master_id = self.ids.uuid()
        log.info("recovered", action="recover", cause="start", facts=count, epoch=self._registry.epoch)
        self.engine.post(events.Started(master_id=master_id, epoch=self._registry.epoch, cause=self.cause("start")))
        self.ready = True

    async def run(self) -> None:
        """Serve until cancelled; raises when the registry fails."""
        await self.engine.run()

    def cause(self, what: str) -> str:
        """A new name of something that begins here."""
        return f"{what}-{next(self._numbers)}"

    @property
    def epoch(self) -> int:
        return self._registry.epoch

    @property
    def operator_streams(self) -> int:
        return len(self.core.state.operators)

    # -- callers

    def call(self, call: scheduler.Call, stream: str | None, principal: str | None, done: Done) -> None:
        """Let the core decide a framework's call; `done` gets status and body of the answer.

        Raises InboxFull, and then nothing has happened.
        """
        to = self.cause("call")
        self.calls[call.type.value if call.type is not None else "none"] += 1
        crash.at_entry(_CALLED_AT, call.type)
        if call.type is scheduler.CallType.ACCEPT:
            done = partial(_accepted, done)
        parts = division.parts(call)
        part, more = next(parts)
        event = events.FrameworkCalls(to=to, stream=stream, call=part, principal=principal, cause=to, more=more)
        if more and call.type is scheduler.CallType.RECONCILE:
            self._reconcile(event, parts, done)
        elif more:
            self._ask(event, _Rest(self._ask, event, parts, done, _never).said)
        else:
            self._ask(event, done)

    def _reconcile(
        self, first: events.FrameworkCalls, parts: Iterator[tuple[scheduler.Call, bool]], done: Done
    ) -> None:
        """A large RECONCILE is answered after its first part: its caller may read what it is told only then."""
        if self._reconciling >= RECONCILING_MAX:
            done(503, f"{RECONCILING_MAX} large RECONCILE calls are being answered: try again in a moment")
            return

        def ended(_status: int, _body: str) -> None:
            self._reconciling -= 1

        rest = _Rest(self._ask, first, parts, ended, partial(self._is_crowded, first.stream))

        def began(status: int, body: str) -> None:
            done(status, body)
            rest.said(status, body)

        self._ask(first, began)
        self._reconciling += 1

    def _is_crowded(self, name: str | None) -> bool:
        stream = self._streams.get(name or "")
        return stream is not None and stream.size_bytes > TOLD_BYTES_MAX

    def operate(self, call: master.Call, principal: str | None, done: Done) -> None:
        """Let the core decide an operator's call.  Raises InboxFull, and then nothing has happened."""
        to = self.cause("operator")
        self._ask(events.OperatorCalls(to=to, call=call, principal=principal, cause=to), done)

    def _ask(self, event: Asked, done: Done) -> None:
        self.engine.post(event)
        self._waiting[event.to] = done

    def _bug(self, event: Event, error: Exception) -> None:
        if self.recordings is not None:
            path = self.recorder.save(self.recordings, event.cause)
            log.error("a bug in the master; the event was dropped", action="bug", cause=event.cause, recording=path)
        to = getattr(event, "to", None)
        if to is not None:
            self._answer(to, 500, f"the master failed on this call, which changed nothing: {type(error).__name__}")

    def _answer(self, to: str, status: int, body: str) -> None:
        done = self._waiting.pop(to, None)
        if done is not None:
            done(status, body)

    # -- streams

    def subscribe(
        self, codec: Codec, framework_id: str | None, subscribe: scheduler.CallSubscribe, principal: str | None
    ) -> EventStream:
        """Open the event stream of a framework."""
        stream = EventStream(self.ids.uuid(), codec, self._backlog)
        self.calls["SUBSCRIBE"] += 1
        crash.at("subscribe_heard")
        self.engine.post(
            events.FrameworkSubscribes(
                stream=stream.name,
                framework_id=framework_id,
                subscribe=subscribe,
                principal=principal,
                cause=self.cause("subscribe"),
            )
        )
        self._streams[stream.name] = stream
        return stream

    def follow(self, codec: Codec) -> EventStream:
        """Open the event stream of an operator."""
        stream = EventStream(self.cause("follow"), codec, self._backlog)
        self.engine.post(events.OperatorSubscribes(stream=stream.name, cause=stream.name))
        self._streams[stream.name] = stream
        return stream

    def left(self, stream: EventStream, reason: str) -> None:
        """The subscriber's connection has ended."""
        stream.close()
        if self._streams.pop(stream.name, None) is not None:
            self._gone(stream, reason)

    def _gone(self, stream: EventStream, reason: str) -> None:
        event = events.StreamClosed(stream=stream.name, reason=reason, cause=self.cause("closed"))
        self.engine.post(event)

    def _send(self, effect: effects.Send) -> None:
        stream = self._streams.get(effect.stream)
        if stream is not None:
            for record in _records(stream.codec, effect.event):
                self._put(stream, record)
            crash.at_entry(_SENT_AT, effect.event.type)

    def _put(self, stream: EventStream, record: bytes) -> None:
        if not stream.put(record):
            self._cut(stream)
        elif self._backlog.is_over:
            stream = max(self._streams.values(), key=lambda one: one.size_bytes)
            stream.cut(f"{self._backlog.size_bytes} bytes wait for all subscribers, most of them for this one")
            self._cut(stream)

    def _cut(self, stream: EventStream) -> None:
        self._streams.pop(stream.name, None)
        log.warning("cut off", action="cut-stream", cause=stream.name, reason=stream.cut_because)
        self._gone(stream, stream.cut_because or "")

    def _publish(self, effect: effects.Publish) -> None:
        names = (effect.stream,) if effect.stream is not None else tuple(self.core.state.operators)
        encoded: dict[str, bytes] = {}
        for name in names:
            stream = self._streams.get(name)
            if stream is None:
                continue
            record = encoded.get(stream.codec.media_type)
            if record is None:
                record = encoded[stream.codec.media_type] = stream.codec.record(effect.event)
            self._put(stream, record)

    # -- links

    def link_opened(self, connection: Connection) -> None:
        self.connections[connection.name] = connection

    def link_heard(self, connection: Connection, arrival: Arrival) -> None:
        if isinstance(arrival, link_messages.FromAgent):
            crash.at_entry(_HEARD_AT, type(arrival))
            self.engine.post(
                events.AgentSays(
                    link=connection.name,
                    peer=connection.peer,
                    message=arrival,
                    cause=arrival.cause or self.cause(connection.name),
                )
            )

    def link_closed(self, connection: Connection, reason: str) -> None:
        if self.connections.pop(connection.name, None) is not None:
            self.engine.post(events.LinkClosed(link=connection.name, reason=reason, cause=self.cause("unlink")))

    def connection_of(self, agent_id: str) -> Connection | None:
        """The living connection of an agent."""
        agent = self.core.state.agents.get(agent_id)
        return self.connections.get(agent.link) if agent is not None and agent.link is not None else None

    # -- effects

    def _perform(self, effect: Effect) -> None:
        match effect:
            case effects.Reply():
                self._answer(effect.to, effect.status, effect.body)
            case effects.Send():
                self._send(effect)
            case effects.ToAgent():
                connection = self.connections.get(effect.link)
                if connection is not None:
                    if isinstance(effect.message, link_messages.RunTask):
                        crash.at("before_task_order")
                    connection.send(effect.message)
                    crash.at_entry(_ORDERED_AT, type(effect.message))
            case effects.CloseStream():
                stream = self._streams.pop(effect.stream, None)
                if stream is not None:
                    stream.close()
            case effects.CloseLink():
                connection = self.connections.get(effect.link)
                if connection is not None:
                    connection.close(effect.reason)
            case effects.Show():
                stream = self._streams.get(effect.stream)
                if stream is not None:
                    stream.begin(answers.written(stream.codec, answers.subscribed(effect.shot, effect.heartbeat_s)))
            case effects.Publish():
                self._publish(effect)
            case _:
                raise AssertionError(f"an effect of type {type(effect).__name__}")


def _never() -> bool:
    return False


def _accepted(done: Done, status: int, body: str) -> None:
    crash.at("accept_answered")
    done(status, body)


def _records(codec: Codec, event: scheduler.Event) -> list[bytes]:
    """An event as records; offers that are too large for one are divided."""
    data = codec.encode(event)
    offers = event.offers.offers if event.offers is not None else ()
    if len(data) <= OFFERS_BYTES_MAX or len(offers) < 2:
        return [recordio.record(data)]
    half = len(offers) // 2
    return _records(codec, _offers(offers[:half])) + _records(codec, _offers(offers[half:]))


def _offers(offers: tuple[mesos.Offer, ...]) -> scheduler.Event:
    return scheduler.Event(type=scheduler.EventType.OFFERS, offers=scheduler.EventOffers(offers=offers))
