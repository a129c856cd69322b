"""Connections over real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from altiplano.engine import http
from altiplano.link import messages, proxy, session, streams, transport

BIG = 3 * session.STREAM_CREDIT_BYTES


async def agent_api(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    """An application such as an agent's: echoes, streams, fails."""
    if scope["path"] == "/echo":
        body = await http.read_body(scope, receive)
        await http.respond(send, 200, body, content_type="text/plain")
    elif scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
    else:
        raise RuntimeError("a bug of the agent")


class Ends:
    """Both ends of one connection."""

    def __init__(self) -> None:
        self.master: transport.Connection | None = None
        self.agent: transport.Connection | None = None
        self.heard: list[session.Arrival] = []
        self.closed: list[str] = []


@asynccontextmanager
async def linked() -> AsyncIterator[Ends]:
    ends = Ends()
    listener = http.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]

    def opened(connection: transport.Connection) -> None:
        ends.master = connection

    endpoint = transport.LinkEndpoint(
        epoch=lambda: 1,
        opened=opened,
        heard=lambda _, message: ends.heard.append(message),
        closed=lambda _, reason: ends.closed.append(reason),
    )
    server = http.HttpServer(endpoint, host="127.0.0.1", port=port, listener=listener)
    await server.start()
    async with aiohttp.ClientSession() as client:
        ends.agent = await transport.dial(client, f"127.0.0.1:{port}", epoch=0, app=agent_api)
        running = asyncio.create_task(ends.agent.run(lambda *_: None))
        try:
            yield ends
        finally:
            ends.agent.close("the test is over")
            await running
            await server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_messages_travel_in_order_over_a_socket() -> None:
    async with linked() as ends:
        assert ends.agent is not None
        for n in range(500):
            ends.agent.send(messages.Pong(cause=str(n)))
        await until(lambda: len(ends.heard) == 500)
        assert [m.cause for m in ends.heard if isinstance(m, messages.Pong)] == [str(n) for n in range(500)]


async def test_a_request_through_the_link_is_answered_by_the_agents_own_application() -> None:
    async with linked() as ends:
        assert ends.master is not None
        body = bytes(range(256)) * (BIG // 256)
        answer = await ends.master.streams.request("POST", "/echo", body=body)
        assert answer.status == 200
        assert ("content-type", "text/plain") in answer.headers
        assert b"".join([part async for part in answer.parts()]) == body
        assert ends.agent is not None
        await until(lambda: len(ends.agent.streams) == 0)
        assert len(ends.master.streams) == 0


async def test_a_stalled_download_holds_up_neither_memory_nor_other_requests() -> None:
    async with linked() as ends:
        assert ends.master is not None
        stalled = await ends.master.streams.request("GET", "/endless")
        answer = await ends.master.streams.request("POST", "/echo", body=b"still here")
        assert [part async for part in answer.parts()] == [b"still here"]
        stalled.leave()
        assert ends.agent is not None
        await until(lambda: len(ends.agent.streams) == 0)


async def test_a_bug_of_the_agent_breaks_that_request_only() -> None:
    async with linked() as ends:
        assert ends.master is not None
        with pytest.raises(streams.StreamBroken, match="failed to answer"):
            await ends.master.streams.request("GET", "/bug")
        answer = await ends.master.streams.request("POST", "/echo", body=b"alive")
        assert [part async for part in answer.parts()] == [b"alive"]


async def test_requests_under_way_fail_when_the_link_ends() -> None:
    async with linked() as ends:
        assert ends.master is not None
        answer = await ends.master.streams.request("GET", "/endless")
        ends.master.close("cut by the test")
        with pytest.raises(streams.StreamBroken, match="cut by the test"):
            async for _ in answer.parts():
                pass
        await until(lambda: ends.closed == ["cut by the test"])


async def test_dialling_where_nobody_answers_is_told_in_a_sentence() -> None:
    listener = http.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    async with aiohttp.ClientSession() as client:
        with pytest.raises(transport.CannotDial, match=f"no master answers at 127.0.0.1:{port}"):
            await transport.dial(client, f"127.0.0.1:{port}", epoch=0, app=None)


async def passed_on(ends: Ends, path: str, body: bytes = b"") -> tuple[int, bytes]:
    assert ends.master is not None
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "query_string": b"", "headers": [(b"cookie", b"secret")]}
    await proxy.pass_on(ends.master.streams, path, scope, receive, send, cause="test")
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])


async def test_a_request_is_passed_on_and_its_answer_streamed_back() -> None:
    async with linked() as ends:
        assert await passed_on(ends, "/echo", b"there and back") == (200, b"there and back")


async def test_an_agent_that_cannot_answer_is_a_bad_gateway_with_a_sentence() -> None:
    async with linked() as ends:
        status, body = await passed_on(ends, "/bug")
        assert status == 502
        assert b"the agent cannot be asked now" in body


def test_only_a_path_with_an_agent_and_a_rest_is_passed_on() -> None:
    assert proxy.split("/agent/a%20b/state") == ("a b", "/state")
    assert proxy.split("/agent/a/") == ("a", "/")
    for path in ("/agent/", "/agent/a", "/agent//state", "/agents/a/state"):
        assert proxy.split(path) is None
