"""The session on real connections, against a small server that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from altiplano import sdk
from altiplano.kit import recordio
from altiplano.sdk import calls, core, events, session
from altiplano.sdk.credentials import Place
from altiplano.wire import json
from altiplano.wire.messages import mesos, scheduler

INFO = mesos.FrameworkInfo(user="eva", name="probe", failover_timeout=60.0)
DONE_S = 10.0


class Peer:
    """Speaks enough HTTP to be a master: one stream, and 202 to every call."""

    def __init__(self) -> None:
        self.calls: list[scheduler.Call] = []
        self.headers: list[dict[str, str]] = []
        self.subscriptions = 0
        self.answer: bytes | None = None
        """Instead of a stream."""
        self.call_answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        self.stream: asyncio.StreamWriter | None = None
        self.got = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")[1:]
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
                call = json.decode(scheduler.Call, await reader.readexactly(int(headers["content-length"])))
                self.calls.append(call)
                self.headers.append(headers)
                self.reply(call, writer)
                self.got.set()
        writer.close()

    def reply(self, call: scheduler.Call, writer: asyncio.StreamWriter) -> None:
        if call.type is not scheduler.CallType.SUBSCRIBE:
            writer.write(self.call_answer)
        elif self.answer is not None:
            writer.write(self.answer)
        else:
            self.subscriptions += 1
            self.stream = writer
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            writer.write(head + b"Mesos-Stream-Id: s%d\r\n\r\n" % self.subscriptions)
            subscribed = scheduler.EventSubscribed(framework_id=mesos.FrameworkID(value="fw-1"))
            self.say(scheduler.Event(type=scheduler.EventType.SUBSCRIBED, subscribed=subscribed))

    def say(self, event: scheduler.Event) -> None:
        assert self.stream is not None
        data = recordio.record(json.encode(event))
        # Chunks and records do not end at the same places.
        for part in (data[:3], data[3:]):
            self.stream.write(b"%x\r\n%b\r\n" % (len(part), part))


@contextlib.asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[str]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def listen(until: Callable[[events.SchedulerEvent], None]) -> tuple[list[str], Callable[[events.SchedulerEvent], None]]:
    story: list[str] = []

    def listener(event: events.SchedulerEvent) -> None:
        story.append(type(event).__name__)
        until(event)

    return story, listener


async def test_a_session_subscribes_calls_and_ends() -> None:
    peer = Peer()
    async with asyncio.timeout(DONE_S), serving(peer) as base:

        def then(event: events.SchedulerEvent) -> None:
            one.perform(calls.Suppress())
            one.perform(calls.Teardown())

        story, listener = listen(then)
        one = session.Session(INFO, Place(masters=(base,), authorization="Bearer x"), listener)
        await one.run()
    assert story == ["Subscribed"]
    assert one.framework_id == "fw-1"
    kinds = [call.type for call in peer.calls]
    assert kinds == [scheduler.CallType.SUBSCRIBE, scheduler.CallType.SUPPRESS, scheduler.CallType.TEARDOWN]
    assert [headers.get("mesos-stream-id") for headers in peer.headers] == [None, "s1", "s1"]
    assert {headers["authorization"] for headers in peer.headers} == {"Bearer x"}
    assert {headers["content-type"] for headers in peer.headers} == {"application/json"}


async def test_a_broken_stream_is_followed_by_a_new_subscription_with_the_id() -> None:
    peer = Peer()
    async with asyncio.timeout(DONE_S), serving(peer) as base:

        def then(event: events.SchedulerEvent) -> None:
            if isinstance(event, events.Subscribed):
                assert peer.stream is not None
                if event.again:
                    one.leave()
                else:
                    peer.stream.close()

        story, listener = listen(then)
        one = session.Session(INFO, Place(masters=(base,)), listener)
        await one.run()
    assert story == ["Subscribed", "Disconnected", "Subscribed"]
    again = [call for call in peer.calls if call.type is scheduler.CallType.SUBSCRIBE][1]
    assert again.framework_id == mesos.FrameworkID(value="fw-1")


async def test_a_redirection_is_followed() -> None:
    leader, follower = Peer(), Peer()
    async with asyncio.timeout(DONE_S), serving(leader) as base, serving(follower) as wrong:
        location = base.removeprefix("http:")
        text = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}/api/v1/scheduler\r\nContent-Length: 0\r\n\r\n"
        follower.answer = text.encode()
        story, listener = listen(lambda event: one.leave())
        one = session.Session(INFO, Place(masters=(wrong,)), listener)
        await one.run()
    assert story == ["Subscribed"]
    assert leader.subscriptions == 1


async def test_refused_credentials_are_a_sentence() -> None:
    peer = Peer()
    peer.answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 14\r\n\r\nwho are you?\r\n"
    async with asyncio.timeout(DONE_S), serving(peer) as base:
        one = session.Session(INFO, Place(masters=(base,)), lambda event: None)
        with pytest.raises(session.MasterRefused, match=r"does not accept our credentials \(401: who are you"):
            await one.run()


async def test_nobody_there_is_told_and_tried_again() -> None:
    peer = Peer()
    async with asyncio.timeout(DONE_S):
        async with serving(peer) as base:
            pass
        story, listener = listen(lambda event: one.leave())
        one = session.Session(INFO, Place(masters=(base,)), listener)
        await one.run()
    assert story == ["Disconnected"]


async def test_a_call_without_a_subscription_behind_it_is_followed_by_a_new_one() -> None:
    peer = Peer()
    peer.call_answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\n\r\nFramework cannot be found"
    async with asyncio.timeout(DONE_S), serving(peer) as base:

        def then(event: events.SchedulerEvent) -> None:
            if isinstance(event, events.Subscribed):
                if event.again:
                    one.leave()
                else:
                    one.perform(calls.Revive())

        story, listener = listen(then)
        one = session.Session(INFO, Place(masters=(base,)), listener)
        await one.run()
    assert story == ["Subscribed", "Disconnected", "Subscribed"]


async def test_an_error_in_a_callback_ends_the_framework_with_that_error() -> None:
    class Broken(sdk.Framework):
        def subscribed(self, again: bool) -> None:
            raise LookupError("a bug in the framework")

    peer = Peer()
    async with asyncio.timeout(DONE_S), serving(peer) as base:
        with pytest.raises(LookupError, match="a bug in the framework"):
            await sdk.serve(Broken(), Place(masters=(base,)))


async def test_updates_are_acknowledged_after_the_callback() -> None:
    class Once(sdk.Framework):
        async def update(self, status: sdk.Status) -> None:
            await asyncio.sleep(0)
            assert [call.type for call in peer.calls] == [scheduler.CallType.SUBSCRIBE]
            self.stop()

        def subscribed(self, again: bool) -> None:
            status = mesos.TaskStatus(
                task_id=mesos.TaskID(value="t1"),
                state=mesos.TaskState.TASK_FINISHED,
                uuid=b"u" * 16,
                agent_id=mesos.AgentID(value="agent-1"),
            )
            update = scheduler.EventUpdate(status=status)
            peer.say(scheduler.Event(type=scheduler.EventType.UPDATE, update=update))

    peer = Peer()
    async with asyncio.timeout(DONE_S), serving(peer) as base:
        await sdk.serve(Once(), Place(masters=(base,)))
    kinds = [call.type for call in peer.calls]
    assert kinds == [scheduler.CallType.SUBSCRIBE, scheduler.CallType.ACKNOWLEDGE, scheduler.CallType.TEARDOWN]


def test_the_protocol_has_a_table_of_its_phases() -> None:
    assert set(core.STEPS) == set(core.Phase)
    assert core.STEPS[core.Phase.FINISHED] == frozenset()
