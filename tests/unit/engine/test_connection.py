"""Our side of HTTP/1.1: order, framing, limits and patience, on a virtual clock and a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from altiplano.engine import connection, http, turns
from altiplano.sim import loop as virtual
from altiplano.sim.net import HIGH_WATER_BYTES, Net

PORT = 80


class Peer(asyncio.Protocol):
    """The other end: what it was sent, in the pieces in which it was written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.text.split("HTTP/1.1 ")[1:]]

    @property
    def bodies(self) -> list[str]:
        return [part.partition("\r\n\r\n")[2] for part in self.text.split("HTTP/1.1 ")[1:]]

    def say(self, *parts: bytes) -> None:
        self.transport.write(b"".join(parts))


class Served:
    """A server with one small path, which keeps its callers waiting if told to, and an application."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, http.Answer]] = []
        self.holds = False
        self.begun: list[str] = []
        self.heard: list[str] = []
        self.gate = asyncio.Event()
        self.server = http.HttpServer(self.app, host="server", port=PORT, small={"/small": self.small})

    def small(self, scope: http.Scope, body: bytes, answer: http.Answer) -> bool:
        self.begun.append(body.decode())
        if body == b"no":
            return False
        if body == b"bug":
            raise ZeroDivisionError
        if self.holds:
            self.waiting.append((body, answer))
        else:
            answer(200, body, content_type=b"text/plain")
        return True

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        self.begun.append(scope["path"])
        match scope["path"]:
            case "/fails":
                raise ZeroDivisionError
            case "/fails-later":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                raise ZeroDivisionError
            case "/waits":
                await self.gate.wait()
                await http.respond_text(send, 200, "waited")
            case "/pieces":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for piece in (b"ab", b"", b"cde"):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            case "/large":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                for _ in range(100):
                    await send({"type": "http.response.body", "body": b"x" * HIGH_WATER_BYTES, "more_body": True})
                    self.heard.append("sent")
                await send({"type": "http.response.body", "body": b""})
            case "/until-gone":
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.heard.append("gone")
            case "/unread":
                await http.respond_text(send, 413, "too much")
            case _:
                try:
                    body = await http.read_body(scope, receive)
                except http.Refusal as refusal:
                    await http.refuse(send, refusal)
                else:
                    await http.respond_text(send, 200, f"{scope['path']} {scope['query_string'].decode()} {len(body)}")


Story = Callable[[Served, Peer], Coroutine[Any, Any, None]]


def play(story: Story) -> Served:
    async def main() -> Served:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual.VirtualLoop)
        loop.net = Net()
        served = Served()
        await served.server.start()
        _, peer = await loop.create_connection(Peer, "server", PORT)
        await story(served, peer)
        peer.transport.abort()
        await served.server.stop()
        return served

    return virtual.run(main())


def post(path: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: server", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body


async def a_while() -> None:
    await asyncio.sleep(0.01)


def test_small_requests_behind_each_other_are_begun_together_and_answered_in_one_write() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(*(post("/small", b"%d" % number) for number in range(50)))
        await a_while()
        assert len(peer.pieces) == 1
        assert peer.bodies == [str(number) for number in range(50)]

    play(story)


def test_answers_leave_in_the_order_of_the_requests_whenever_they_come() -> None:
    async def story(served: Served, peer: Peer) -> None:
        served.holds = True
        peer.say(*(post("/small", b"%d" % number) for number in range(3)))
        await a_while()
        assert served.begun == ["0", "1", "2"]
        for body, answer in reversed(served.waiting):
            assert peer.pieces == []
            answer(202, body)
            answer(500, b"a second answer is none")
        await a_while()
        assert len(peer.pieces) == 1
        assert peer.bodies == ["0", "1", "2"]

    play(story)


def test_a_slow_request_begins_when_all_before_it_are_answered_and_holds_back_those_behind_it() -> None:
    async def story(served: Served, peer: Peer) -> None:
        served.holds = True
        peer.say(post("/small", b"first"), b"GET /waits HTTP/1.1\r\n\r\n", post("/small", b"last"))
        await a_while()
        assert served.begun == ["first"]
        served.waiting.pop()[1](200)
        await a_while()
        assert served.begun == ["first", "/waits"]
        served.gate.set()
        await a_while()
        assert served.begun == ["first", "/waits", "last"]
        served.waiting.pop()[1](200, b"ok")
        await a_while()
        assert peer.bodies == ["", "waited", "ok"]

    play(story)


@pytest.mark.parametrize(
    "request_",
    [
        post("/small", b"no"),
        post("/small", b"x" * (connection.SMALL_BODY_BYTES + 1)),
        post("/small", b"xx", "Content-Encoding: identity"),
        b"POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n",
    ],
    ids=["its handler leaves it", "a long body", "an encoding", "a body without a length"],
)
def test_what_is_not_small_goes_to_the_application(request_: bytes) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(request_)
        await a_while()
        assert "/small" in served.begun
        assert peer.statuses == [200]

    play(story)


def test_a_handler_that_fails_costs_its_call_a_500_and_nobody_else_anything() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/small", b"a"), post("/small", b"bug"), post("/small", b"b"))
        await a_while()
        assert peer.statuses == [200, 500, 200]

    play(story)


def test_an_application_that_fails_says_500_or_breaks_off() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /fails HTTP/1.1\r\n\r\n")
        await a_while()
        assert peer.statuses == [500]
        assert peer.lost
        _, other = await asyncio.get_running_loop().create_connection(Peer, "server", PORT)
        other.say(b"GET /fails-later HTTP/1.1\r\n\r\n")
        await a_while()
        assert other.lost
        assert "0\r\n\r\n" not in other.text

    play(story)


def test_a_query_an_escaped_path_and_a_whole_url_are_understood() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /a%20b?c=d HTTP/1.1\r\n\r\nGET http://server/e?f HTTP/1.1\r\n\r\n")
        await a_while()
        assert peer.bodies == ["/a b c=d 0", "/e f 0"]

    play(story)


def test_answers_without_a_length_are_chunked_and_end_with_the_connection_for_old_clients() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /pieces HTTP/1.1\r\n\r\n")
        await a_while()
        assert peer.bodies == ["2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"]
        peer.say(b"HEAD /pieces HTTP/1.1\r\n\r\n")
        await a_while()
        assert peer.bodies[1] == ""
        peer.say(b"GET /pieces HTTP/1.0\r\n\r\n")
        await a_while()
        assert peer.bodies[2] == "abcde"
        assert peer.lost

    play(story)


def test_a_client_that_waits_for_our_word_before_its_body_gets_it() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/small", b"", "Expect: 100-continue", length=4))
        await a_while()
        assert peer.statuses == [100]
        peer.say(b"body")
        await a_while()
        assert peer.bodies[1] == "/small  4"

    play(story)


def test_a_client_that_gets_an_answer_instead_of_our_word_is_left() -> None:
    """Whether its body still comes cannot be known, so neither where its next request begins."""

    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/unread", b"", "Expect: 100-continue", length=4))
        await a_while()
        assert peer.statuses == [413]
        assert "connection: close" in peer.text
        assert peer.lost

    play(story)


def test_a_body_that_nobody_reads_is_passed_over() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/unread", b"x" * 1000), post("/small", b"next"))
        await a_while()
        assert peer.statuses == [413, 200]
        peer.say(post("/unread", b"", length=1000))
        await asyncio.sleep(connection.BODY_SECONDS_MAX + 1)
        assert peer.statuses == [413, 200, 413]
        assert peer.lost

    play(story)


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"],
)
def test_what_is_not_http_gets_400_after_the_answers_before_it(request_: bytes) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/small", b"first"), request_)
        await a_while()
        assert peer.statuses == [200, 400]
        assert peer.lost

    play(story)


def test_a_body_that_breaks_off_in_nonsense_ends_its_call() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"POST /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n")
        await a_while()
        peer.say(b"nonsense\r\n")
        await a_while()
        assert peer.statuses == [400]
        assert peer.lost

    play(story)


@pytest.mark.parametrize("step", [100_000, 1000], ids=["at once", "bit by bit"])
def test_a_head_beyond_the_limit_is_refused_with_the_limit(step: int) -> None:
    async def story(served: Served, peer: Peer) -> None:
        request = b"GET / HTTP/1.1\r\nX: " + b"y" * connection.HEAD_BYTES_MAX + b"\r\n\r\n"
        for start in range(0, len(request), step):
            peer.say(request[start : start + step])
            await a_while()
        assert peer.statuses == [431]
        assert str(connection.HEAD_BYTES_MAX) in peer.text
        assert peer.lost

    play(story)


def test_half_a_head_is_waited_for_so_long_and_no_longer() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/small", b"before"))
        await asyncio.sleep(10)
        peer.say(b"POST /small HTTP/1.1\r\nHost: ser")
        await asyncio.sleep(connection.HEAD_SECONDS_MAX - 1)
        assert not peer.lost
        peer.say(b"v")
        await asyncio.sleep(2)
        assert peer.statuses == [200, 408]
        assert peer.lost

    play(story)


def test_a_connection_that_never_says_anything_is_closed_without_a_word() -> None:
    async def story(served: Served, peer: Peer) -> None:
        await asyncio.sleep(connection.HEAD_SECONDS_MAX - 1)
        assert not peer.lost
        await asyncio.sleep(2)
        assert peer.lost
        assert peer.pieces == []

    play(story)


def test_an_idle_connection_is_kept_for_its_time_counted_from_the_last_answer() -> None:
    async def story(served: Served, peer: Peer) -> None:
        for _ in range(3):
            peer.say(post("/small", b"x"))
            await asyncio.sleep(connection.KEEP_ALIVE_S - 1)
            assert not peer.lost
        await asyncio.sleep(2)
        assert peer.lost
        assert peer.statuses == [200, 200, 200]

    play(story)


@pytest.mark.parametrize("path", ["/small", "/read"])
def test_a_body_that_does_not_come_gets_408(path: str) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post(path, b"half", length=8))
        await asyncio.sleep(connection.BODY_SECONDS_MAX - 1)
        assert peer.pieces == []
        await asyncio.sleep(2)
        assert peer.statuses == [408]

    play(story)


def test_whoever_waits_for_us_is_waited_for() -> None:
    async def story(served: Served, peer: Peer) -> None:
        served.holds = True
        peer.say(post("/small", b"x"))
        await asyncio.sleep(1000)
        assert not peer.lost
        served.waiting.pop()[1](200, b"late")
        await a_while()
        assert peer.bodies == ["late"]

    play(story)


def test_a_peer_that_asks_more_than_may_wait_is_not_listened_to_meanwhile() -> None:
    async def story(served: Served, peer: Peer) -> None:
        served.holds = True
        for _ in range(connection.PIPELINED_MAX + 10):
            peer.say(post("/small", b"x"))
        await a_while()
        assert len(served.begun) == connection.PIPELINED_MAX
        served.holds = False
        for _, answer in served.waiting:
            answer(200)
        await a_while()
        assert len(peer.statuses) == connection.PIPELINED_MAX + 10

    play(story)


def test_a_long_body_waits_at_the_peer_until_somebody_reads_it() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /waits HTTP/1.1\r\n\r\n", post("/read", length=1_000_000))
        for _ in range(100):
            peer.say(b"x" * 10_000)
        await a_while()
        assert peer.transport.get_write_buffer_size() > 800_000
        served.gate.set()
        await a_while()
        assert peer.bodies == ["waited", "/read  1000000"]

    play(story)


def test_an_answer_that_is_not_read_waits_in_the_application() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.transport.pause_reading()
        peer.say(b"GET /large HTTP/1.1\r\n\r\n")
        await a_while()
        assert len(served.heard) <= 2
        peer.transport.resume_reading()
        await a_while()
        assert len(served.heard) == 100
        assert peer.text.endswith("0\r\n\r\n")

    play(story)


def test_the_application_hears_that_its_client_has_gone() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /until-gone HTTP/1.1\r\n\r\n")
        await a_while()
        assert served.heard == []
        peer.transport.abort()
        await a_while()
        assert served.heard == ["gone"]

    play(story)


def test_a_server_that_stops_answers_what_was_asked_and_closes() -> None:
    async def story(served: Served, peer: Peer) -> None:
        _, idle = await asyncio.get_running_loop().create_connection(Peer, "server", PORT)
        served.holds = True
        peer.say(post("/small", b"x"))
        await a_while()
        stopping = asyncio.ensure_future(served.server.stop())
        await asyncio.sleep(0.2)
        assert idle.lost
        assert not peer.lost
        served.waiting.pop()[1](200, b"the last")
        await stopping
        assert peer.bodies == ["the last"]
        assert peer.lost

    play(story)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /a HTTP/1.1\r\nHost: one\r\nHost: other\r\n\r\n", 400),
        (b"GET http://other/a HTTP/1.1\r\nHost: one\r\n\r\n", 400),
        (b"GET http://one@other/a HTTP/1.1\r\nHost: one\r\n\r\n", 400),
        (b"GET /a HTTP/2.0\r\nHost: one\r\n\r\n", 505),
        (b"GET /a\r\n\r\n", 505),
        (b"POST /a HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /a HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\n" + b"a:b\r\n" * 15_000 + b"\r\n", 431),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(request_: bytes, status: int) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(request_)
        await a_while()
        assert peer.statuses == [status]
        assert served.begun == []

    play(story)


@pytest.mark.parametrize("path", ["/small", "/other"])
def test_a_wish_for_another_protocol_is_not_heard_and_its_request_is_answered(path: str) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post(path, b"hello", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"))
        peer.say(post("/small", b"next"))
        await a_while()
        assert peer.statuses == [200, 200]
        assert peer.bodies == ["hello" if path == "/small" else "/other  5", "next"]

    play(story)


def test_only_a_get_becomes_a_websocket() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(post("/small", b"hello", "Connection: Upgrade", "Upgrade: websocket"))
        await a_while()
        assert peer.bodies == ["hello"]

    play(story)


def test_trailers_are_no_headers() -> None:
    heard: list[http.Headers] = []

    async def story(served: Served, peer: Peer) -> None:
        app = served.app

        async def keep(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
            await app(scope, receive, send)
            heard.append(scope["headers"])

        object.__setattr__(served.server._site, "app", keep)
        chunked = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        peer.say(chunked, b"2\r\nhi\r\n0\r\nMesos-Stream-Id: stolen\r\n\r\n")
        await a_while()
        assert peer.bodies == ["/a  2"]

    play(story)
    assert heard == [[(b"transfer-encoding", b"chunked")]]


@pytest.mark.parametrize(
    "body",
    [b"1;" + b"x" * 100_000 + b"\r\na\r\n0\r\n\r\n", b"1\r\na\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"],
    ids=["extensions", "trailers"],
)
def test_a_body_with_too_much_around_its_chunks_is_refused_with_the_limit(body: bytes) -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 10_000):
            peer.say(body[start : start + 10_000])
        await a_while()
        assert peer.statuses == [400]
        assert str(connection.HEAD_BYTES_MAX) in peer.text

    play(story)


def test_chunks_of_one_byte_are_a_body_like_another() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 50_000, b"0\r\n\r\n")
        await a_while()
        assert peer.bodies == ["/a  50000"]

    play(story)


def test_a_client_that_only_ends_its_own_side_is_answered() -> None:
    async def story(served: Served, peer: Peer) -> None:
        served.holds = True
        for mine in served.server._site.state.connections:
            peer.say(post("/small", b"call"), b"GET /waits HTTP/1.1\r\n\r\n", b"GET /half")
            await a_while()
            assert isinstance(mine, connection.Connection)
            assert mine.eof_received()
        served.waiting[0][1](202)
        await a_while()
        served.gate.set()
        await a_while()
        assert peer.statuses == [202, 200]
        assert peer.lost

    play(story)


def test_a_stream_ends_with_the_side_of_its_reader() -> None:
    async def story(served: Served, peer: Peer) -> None:
        peer.say(b"GET /until-gone HTTP/1.1\r\n\r\n")
        await a_while()
        for mine in tuple(served.server._site.state.connections):
            assert isinstance(mine, connection.Connection)
            assert mine.eof_received()
        await a_while()
        assert served.heard == ["gone"]
        assert peer.lost

    play(story)


def test_one_connection_with_many_calls_does_not_stand_before_the_one_of_another() -> None:
    async def story(served: Served, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        _, other = await loop.create_connection(Peer, "server", PORT)
        peer.say(*(post("/small", b"many") for _ in range(1000)))
        other.say(post("/small", b"one"))
        while "one" not in served.begun:
            await asyncio.sleep(0)
        assert served.begun.index("one") <= 2 * turns.REQUESTS_PER_ROUND
        await a_while()
        assert peer.statuses == [200] * 1000
        assert other.statuses == [200]

    play(story)
