"""HTTP/1.1 connections of our servers, on httptools.

Uvicorn listens, counts connections, speaks WebSocket and shuts down; a connection until then is ours, because
most of a master's time went into what a general server does for each small call: a task, an event, two
messages, two writes.  Here requests are of two kinds, and their answers leave in the order of the requests:

* A *small* one, of a path that has a `Small` handler and with a short body that is whole, is handed to a plain function
  with a callback for the answer.  Those that came behind each other are begun together and answered in one write,
  as many as it is this connection's turn for (`turns`).
* Every other one is an ASGI call in a task of its own.  It begins when all before it are answered, and nothing
  behind it begins before it is over.

Whatever a peer can make long or slow has a limit here.  An answer beyond the limits of the protocol itself
(a bad head, a head or body that does not come) closes the connection after a sentence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast
from urllib.parse import unquote

import httptools
import structlog

from altiplano.engine import silence
from altiplano.engine.exchange import TEXT, Answer, Exchange, Headers, Scope, Site, Small, lines

HEAD_BYTES_MAX: Final = 64 * 1024
"""Size of the head of a request."""

HEAD_SECONDS_MAX: Final = 30.0
"""Time in which the head of a request must have arrived; for the first one it runs from the connection's start."""

BODY_SECONDS_MAX: Final = 60.0
"""Time in which a body must have arrived, also one that nobody waits for any more."""

KEEP_ALIVE_S: Final = 75.0
"""Time for which a connection without a request is kept."""

CLOSE_SECONDS_MAX: Final = 10.0
"""Time for which the last answer may wait to be read before the connection is cut."""

SMALL_BODY_BYTES: Final = 64 * 1024
"""Calls up to this size are read on the loop: that takes at most some milliseconds."""

BODY_AHEAD_BYTES: Final = 64 * 1024
"""Bytes of a body that may wait for their reader; beyond it the peer is not listened to."""

PIPELINED_MAX: Final = 1024
"""Requests of a connection that may wait for their answers; beyond it the peer is not listened to."""

UNBEGUN_MAX: Final = 64
"""Requests of a connection that may wait for their turn; beyond it nothing more of what came is read."""

READ_BYTES: Final = 4096
"""Heads and small bodies are read in pieces of this size, so that nobody's many requests are read in one go."""

PADDING_FACTOR: Final = 8
"""A body may come with so many times its size in the lines between its chunks, and HEAD_BYTES_MAX more: chunks
of one byte do, endless extensions and trailers do not."""

CONNECTIONS_MAX: Final = 65_536

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_SPECIAL: Final = frozenset({b"content-encoding", b"transfer-encoding", b"expect"})

log = structlog.get_logger("altiplano.http")


class RefusedHead(Exception):
    """A request that is refused by its form: the status and a sentence for the peer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


_BAD: Final = RefusedHead(400, "the request is not well-formed HTTP/1.1")
_TWO_HOSTS: Final = RefusedHead(400, "a request names one host, and names it once")
_VERSION: Final = RefusedHead(505, "of the versions of HTTP this server speaks 1.1 and 1.0")
_CODING: Final = RefusedHead(501, "of the transfer codings this server knows chunked alone")
_PADDED: Final = RefusedHead(
    400,
    f"the chunks of a body have at most {HEAD_BYTES_MAX} bytes around them besides {PADDING_FACTOR} for each inside",
)
_LONG_HEAD: Final = RefusedHead(431, f"the head of a request has at most {HEAD_BYTES_MAX} bytes")


class Connection(asyncio.Protocol):
    """One connection of a server, until it ends or a WebSocket takes it over."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.lost = False
        self.hung_up = False
        """Whether the peer has said that it says no more; it may still listen."""
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._parser = self._new_parser()
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._exchanges: deque[Exchange] = deque()
        """Requests without an answer that has left, in order."""
        self._unbegun: deque[Exchange] = deque()
        self._slow: Exchange | None = None
        """The ASGI call that is under way."""
        self._receiving: Exchange | None = None
        """Whose body is arriving."""
        self._arrived = b""
        """What came and is not read yet."""
        self._padding = 0
        """Bytes of the body's way here that were neither of it nor allowed for it."""
        self._waits_turn = False
        self._in_head = False
        self._began_here = False
        self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._upgrades = False
        self._declined = False
        """Whether the request asked for another protocol than a WebSocket, which is not heard."""
        self._deaf = False
        self._refused = False
        self._closing = False
        self._gathering = False
        self._reading = True
        self._drained: asyncio.Future[None] | None = None
        self._since_s = self._loop.time()
        """When that began which the peer is waited for: a head, a body, the next request."""
        self._fresh = True
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if (there := transport.get_extra_info("socket")) is not None:
            silence.watch(there)
        self._client = _address(transport, "peername")
        self._server = _address(transport, "sockname")
        self.site.state.connections.add(self)  # type: ignore[arg-type]  # it asks for `shutdown` only
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.site.state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        for exchange in self._exchanges:
            exchange.wake()
        self._exchanges.clear()
        self._unbegun.clear()
        self._arrived = b""
        self._slow = self._receiving = None

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self.pace()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self.pace()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._arrived = self._arrived + data if self._arrived else data
        self._flush()

    def eof_received(self) -> bool:
        """What was asked is still answered: the peer may have ended its own side only.

        Who answers without end hears that the peer has gone, as most that hang up have.
        """
        if self._deaf:
            return bool(self._exchanges)
        self.hung_up = self._closing = True
        if self._slow is not None:
            self._slow.wake()
        self._drop_unfinished()
        return bool(self._exchanges) or bool(self._arrived)

    def _read(self) -> None:
        """Read what came, unless enough waits for its turn, and begin what may be."""
        while self._arrived and not self._deaf and self._has_room():
            arrived, receiving = self._arrived, self._receiving
            size = READ_BYTES if receiving is None or receiving.handler is not None else len(arrived)
            self._arrived = arrived[size:]
            self._feed(arrived[:size])
            self._begin()
        if self.hung_up:
            self._drop_unfinished()

    def _has_room(self) -> bool:
        return len(self._unbegun) < UNBEGUN_MAX and len(self._exchanges) < PIPELINED_MAX

    def _feed(self, data: bytes) -> None:
        self._began_here = False
        self._padding += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._declined:
                self._decline(rest)
                return
            self._deaf = True
            if self._upgrades:
                self._hand_over(rest + self._arrived)
                return
        except httptools.HttpParserCallbackError as error:
            self._refuse(_refusal(error.__context__))
        except httptools.HttpParserError:
            self._refuse(_BAD)
        if self._deaf:
            return
        if self._in_head:
            self._head_bytes = 0 if self._began_here else self._head_bytes + len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_LONG_HEAD)
        elif self._receiving is None:
            self._padding = 0
        elif self._padding > HEAD_BYTES_MAX:
            self._refuse(_PADDED)

    def _decline(self, rest: bytes) -> None:
        """Read a request anew without its wish for another protocol: the parser has left its body unread."""
        wish = (b"upgrade", b"connection", b"http2-settings")
        headers = [(name, value) for name, value in self._headers if name not in wish]
        if any(b"close" in value.lower() for name, value in self._headers if name == b"connection"):
            headers.append((b"connection", b"close"))
        version = self._parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), self._url, version, lines(headers))
        self._declined = False
        self._parser = self._new_parser()
        self._feed(head)
        if not self._deaf:
            self._arrived = rest + self._arrived

    def _drop_unfinished(self) -> None:
        """Forget the request that is not whole and will never be."""
        receiving = self._receiving
        if receiving is None or self._arrived:
            return
        self._receiving = None
        receiving.keep_alive = False
        if receiving is self._slow or receiving.done:
            receiving.broken = "the connection ended before the body had arrived"
            receiving.wake()
        elif receiving in self._unbegun:
            self._unbegun.remove(receiving)
            self._exchanges.remove(receiving)

    # -- the parser's side; what is raised here reaches `data_received` wrapped

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._in_head = self._began_here = True
        self._since_s = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind a body come trailers, which nobody asked for and which must not pass for headers.
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        self._in_head = False
        self._fresh = False
        self._padding = 0
        if len(self._url) + sum([len(name) + len(value) + 4 for name, value in headers]) > HEAD_BYTES_MAX:
            raise _LONG_HEAD
        if len(self.site.state.connections) > CONNECTIONS_MAX:
            raise RefusedHead(503, f"this server has {CONNECTIONS_MAX} connections, and no more: try again later")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _VERSION
        keep_alive = version == "1.1" and parser.should_keep_alive()
        if parser.should_upgrade():
            method = parser.get_method()
            self._upgrades = method == b"GET" and _header(headers, b"upgrade").lower() == b"websocket"
            if self._upgrades and self._exchanges:
                raise RefusedHead(400, "a WebSocket begins where no request before it waits for an answer")
            if not self._upgrades and method != b"CONNECT":
                self._declined = True
                return
            # What follows belongs to another protocol.
            keep_alive = False
        scope = self._scope(version)
        handler = self.site.small.get(scope["path"])
        exchange = Exchange(self, scope, None, keep_alive=keep_alive)
        hosts = 0
        for name, value in headers:
            if name == b"expect" and value.lower() == b"100-continue":
                exchange.expects_word = version == "1.1"
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise _CODING
            elif name == b"host":
                hosts += 1
        if hosts > 1 or (hosts and not self._names_its_host()):
            raise _TWO_HOSTS
        if handler is not None and scope["method"] == "POST" and _is_small(headers):
            exchange.handler = handler
        self._receiving = exchange
        if not self._upgrades:
            self._exchanges.append(exchange)
            self._unbegun.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._receiving
        self._padding = max(0, self._padding - (PADDING_FACTOR + 1) * len(data))
        if exchange is not None and not exchange.done:
            exchange.body += data
            exchange.wake()

    def on_message_complete(self) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.whole = True
            exchange.wake()
        self._since_s = self._loop.time()

    def _names_its_host(self) -> bool:
        """Whether a target that is a whole URL is of the host that the head names: either may be what a guard reads."""
        if self._url.startswith((b"/", b"*")) or self._parser.get_method() == b"CONNECT":
            return True
        authority = self._url.partition(b"://")[2]
        for end in b"/?#":
            authority = authority.partition(bytes((end,)))[0]
        return authority.lower() == _header(self._headers, b"host").strip().lower()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request that was the last one is not read, but it must not spoil its answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _scope(self, version: str) -> Scope:
        url = self._url
        if not url.startswith(b"/") or b"?" in url or b"#" in url or b"%" in url:
            parsed = httptools.parse_url(url)
            raw, query = parsed.path or b"/", parsed.query or b""
        else:
            raw, query = url, b""
        path = raw.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "state": {},
        }

    # -- answering

    def ready(self) -> None:
        """A small request has its answer, which leaves with those that follow in this turn of the loop."""
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._flush)

    def completed(self, exchange: Exchange) -> None:
        """An ASGI call has answered."""
        self._slow = None
        self._exchanges.popleft()
        if self._goes_on(exchange.keep_alive):
            self._flush()

    def _begin(self) -> None:
        """Begin what may be: small ones behind each other when it is their turn, an ASGI call by itself."""
        if not self._unbegun or self._slow is not None or self._waits_turn:
            return
        exchange = self._unbegun[0]
        if exchange.handler is not None:
            if exchange.whole:
                self._waits_turn = True
                self.site.turns.join(self, _header(exchange.scope["headers"], b"mesos-stream-id") or self)
        elif exchange is self._exchanges[0]:
            self._unbegun.popleft()
            self._slow = exchange
            tasks = self.site.state.tasks
            task = self._loop.create_task(exchange.run(self.site.app))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def take_turn(self, most: int) -> int:
        """Begin so many small requests (`turns.Member`)."""
        gathers, self._gathering = self._gathering, True
        begun = 0
        while begun < most and self._unbegun and self._slow is None:
            exchange = self._unbegun[0]
            if exchange.handler is None or not exchange.whole:
                break
            if not self._take(exchange, exchange.handler):
                exchange.handler = None
                break
            self._unbegun.popleft()
            begun += 1
        self._waits_turn = False
        self._begin()
        if not gathers:
            self._flush()
        return begun

    def _take(self, exchange: Exchange, handler: Small) -> bool:
        try:
            return handler(exchange.scope, bytes(exchange.body), exchange.answer)
        except Exception:  # the outermost shell of a request: a bug costs it a 500
            log.exception("a request failed", action="bug", cause="http", path=exchange.scope["path"])
            exchange.answer(500, b"the server failed on this request", content_type=TEXT)
            return True

    def _flush(self) -> None:
        """Read on, and let the answers leave that no request before them holds back."""
        self._gathering = True
        while not self.lost:
            self._read()
            parts, keep_alive = self._leaving()
            if not parts:
                break
            self.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
            self.site.state.total_requests += len(parts)
            if not self._goes_on(keep_alive):
                break
        self._gathering = False
        self.pace()
        self._wait()

    def _leaving(self) -> tuple[list[bytes], bool]:
        """The answers that may leave, and whether the connection goes on after them."""
        exchanges, parts, keep_alive = self._exchanges, [], True
        while exchanges and exchanges[0].answered is not None and keep_alive:
            exchange = exchanges.popleft()
            assert exchange.answered is not None
            parts.append(exchange.answered)
            keep_alive = exchange.keep_alive
        return parts, keep_alive

    def _goes_on(self, keep_alive: bool) -> bool:
        """Answers have left: begin what waited for that, or end."""
        if not keep_alive or (self._closing and not self._exchanges and not self._arrived):
            self._close()
            return False
        if self._receiving is None and not self._in_head:
            self._since_s = self._loop.time()
        self._begin()
        return True

    def _refuse(self, refusal: RefusedHead) -> None:
        """Answer what cannot be read, after what was asked before, and hear no more."""
        self._deaf = self._refused = True
        self._arrived = b""
        self._in_head = False
        broken, self._receiving = self._receiving, None
        if broken is not None and broken in self._unbegun:
            self._unbegun.remove(broken)
            self._exchanges.remove(broken)
        elif broken is not None and not broken.done:
            # Its application waits for a body that will never be whole, and has an answer to that.
            broken.keep_alive, broken.broken = False, refusal.sentence
            broken.wake()
            return
        elif broken is not None:
            self._close()
            return
        exchange = Exchange(self, {"path": ""}, _answered, keep_alive=False)
        exchange.answer(refusal.status, refusal.sentence.encode(), content_type=TEXT)
        self._exchanges.append(exchange)

    def _close(self) -> None:
        """End the connection once the peer has read what was said, or has had its time to."""
        self._deaf = True
        self._arrived = b""
        if not self.lost:
            if self._refused and self.transport.can_write_eof():
                # It may be saying more, and to close on what is not read would take back what was said.
                self.transport.write_eof()
                self.transport.resume_reading()
            else:
                self.transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(CLOSE_SECONDS_MAX, self.transport.abort)

    def shutdown(self) -> None:
        """The server ends: take leave once all that was asked is answered."""
        self._closing = True
        if not self._exchanges:
            self._close()

    def _hand_over(self, rest: bytes) -> None:
        """A WebSocket takes over the connection; it reads the head for itself."""
        assert self._receiving is not None or self._url
        if self._timer is not None:
            self._timer.cancel()
        self.site.state.connections.discard(self)
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self._parser.get_method(), self._url, lines(self._headers))
        protocol = self.site.web_socket()
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(head)
        if rest:
            protocol.data_received(rest)

    # -- patience

    def pace(self) -> None:
        """Listen to the peer unless too much of it waits here."""
        if self.lost or self.hung_up or self.transport.is_closing():
            return
        receiving = self._receiving
        reads = (
            not self._arrived
            and len(self._exchanges) < PIPELINED_MAX
            and (self._drained is None or self._slow is not None)
            and (receiving is None or receiving.handler is not None or len(receiving.body) <= BODY_AHEAD_BYTES)
        )
        if reads is not self._reading:
            self._reading = reads
            if reads:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    async def writable(self) -> None:
        """Return when the peer has read enough of what was said, or is gone."""
        while self._drained is not None:
            # Shielded, since several may wait and one that is cancelled shall not cancel it for the others.
            await asyncio.shield(self._drained)

    def _deadline_s(self) -> float | None:
        """Until when the peer has to do something; None while it waits for us."""
        receiving = self._receiving
        if receiving is not None:
            waits = receiving.handler is not None or receiving.done
            return self._since_s + BODY_SECONDS_MAX if waits else None
        if self._exchanges:
            return None
        return self._since_s + (HEAD_SECONDS_MAX if self._in_head or self._fresh else KEEP_ALIVE_S)

    def _wait(self) -> None:
        """Set the timer, if there is something to wait for; it may fire too early, never too late."""
        deadline_s = self._deadline_s()
        if deadline_s is None or self._deaf:
            return
        if self._timer is not None:
            if not self._in_head and self._receiving is None:
                # A request that comes before it fires makes it harmless: one timer serves many requests.
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline_s, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        deadline_s = self._deadline_s()
        if self.lost or self._deaf or deadline_s is None:
            return
        if self._loop.time() < deadline_s:
            self._timer = self._loop.call_at(deadline_s, self._timed_out)
        elif self._receiving is not None and not self._receiving.done:
            self._refuse(RefusedHead(408, f"the body did not arrive within {BODY_SECONDS_MAX:g} seconds"))
            self._flush()
        elif self._in_head:
            self._refuse(RefusedHead(408, f"the head of a request did not arrive within {HEAD_SECONDS_MAX:g} seconds"))
            self._flush()
        else:
            self._close()


def _refusal(raised: BaseException | None) -> RefusedHead:
    """What a callback of the parser meant by what it raised."""
    if isinstance(raised, RefusedHead):
        return raised
    if not isinstance(raised, httptools.HttpParserError):
        log.error("reading a request failed", action="bug", cause="http", exc_info=raised)
    return _BAD


def _answered(scope: Scope, body: bytes, answer: Answer) -> bool:
    """The handler of a request that was refused before it was one."""
    return True


def _is_small(headers: Headers) -> bool:
    """Whether a body comes as it is, with a length that says it is short."""
    length: bytes | None = None
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name in _SPECIAL:
            return False
    return length is not None and length.isdigit() and len(length) < 10 and int(length) <= SMALL_BODY_BYTES


def _header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")


def _address(transport: asyncio.BaseTransport, which: str) -> tuple[str, int] | None:
    found = transport.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else None
