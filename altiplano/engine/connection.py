"""HTTP/1.1 connections of our servers, on httptools.

Uvicorn listens, counts connections, speaks WebSocket and shuts down; a connection until then is ours, because
most of a master's time went into what a general server does for each small call: a task, an event, two
messages, two writes.  Here requests are of two kinds, and their answers leave in the order of the requests:

* A *small* one, of a path that has a `Small` handler and with a short body that is whole, is handed to a plain function
  with a callback for the answer.  Those that came behind each other are begun together and answered in one write.
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
_LONG_HEAD: Final = RefusedHead(431, f"the head of a request has at most {HEAD_BYTES_MAX} bytes")


class Connection(asyncio.Protocol):
    """One connection of a server, until it ends or a WebSocket takes it over."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.lost = False
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that was the last one is not read, but it must not spoil its answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._exchanges: deque[Exchange] = deque()
        """Requests without an answer that has left, in order."""
        self._unbegun: deque[Exchange] = deque()
        self._slow: Exchange | None = None
        """The ASGI call that is under way."""
        self._receiving: Exchange | None = None
        """Whose body is arriving."""
        self._in_head = False
        self._began_here = False
        self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._upgrades = False
        self._deaf = False
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
        self._gathering = True
        self._began_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._deaf = True
            if self._upgrades:
                self._hand_over(data[upgrade.args[0] :])
                return
        except httptools.HttpParserCallbackError as error:
            self._refuse(_refusal(error.__context__))
        except httptools.HttpParserError:
            self._refuse(_BAD)
        if self._in_head and not self._deaf:
            self._head_bytes = 0 if self._began_here else self._head_bytes + len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_LONG_HEAD)
        self._begin()
        self._flush()
        self._wait()

    # -- the parser's side; what is raised here reaches `data_received` wrapped

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._in_head = self._began_here = True
        self._since_s = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        self._in_head = False
        self._fresh = False
        if len(self._url) + sum([len(name) + len(value) for name, value in headers]) > HEAD_BYTES_MAX:
            raise _LONG_HEAD
        if len(self.site.state.connections) > CONNECTIONS_MAX:
            raise RefusedHead(503, f"this server has {CONNECTIONS_MAX} connections, and no more: try again later")
        version = parser.get_http_version()
        keep_alive = version == "1.1" and parser.should_keep_alive()
        if parser.should_upgrade():
            self._upgrades = _header(headers, b"upgrade").lower() == b"websocket"
            if self._upgrades and self._exchanges:
                raise RefusedHead(400, "a WebSocket begins where no request before it waits for an answer")
            # What follows belongs to another protocol, or is lost with the body that the parser leaves there.
            keep_alive = False
        scope = self._scope(version)
        handler = self.site.small.get(scope["path"])
        exchange = Exchange(self, scope, None, keep_alive=keep_alive)
        for name, value in headers:
            if name == b"expect" and value.lower() == b"100-continue":
                exchange.expects_word = True
        if handler is not None and scope["method"] == "POST" and _is_small(headers):
            exchange.handler = handler
        self._receiving = exchange
        if not self._upgrades:
            self._exchanges.append(exchange)
            self._unbegun.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._receiving
        if exchange is not None and not exchange.done:
            exchange.body += data
            exchange.wake()

    def on_message_complete(self) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.whole = True
            exchange.wake()
        self._since_s = self._loop.time()

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
        self._after(exchange.keep_alive)

    def _begin(self) -> None:
        """Begin what may be: small ones behind each other, an ASGI call by itself."""
        while self._unbegun and self._slow is None:
            exchange = self._unbegun[0]
            if exchange.handler is not None:
                if not exchange.whole:
                    return
                if self._take(exchange, exchange.handler):
                    self._unbegun.popleft()
                    continue
                exchange.handler = None
            if exchange is not self._exchanges[0]:
                return
            self._unbegun.popleft()
            self._slow = exchange
            tasks = self.site.state.tasks
            task = self._loop.create_task(exchange.run(self.site.app))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def _take(self, exchange: Exchange, handler: Small) -> bool:
        try:
            return handler(exchange.scope, bytes(exchange.body), exchange.answer)
        except Exception:  # the outermost shell of a request: a bug costs it a 500
            log.exception("a request failed", action="bug", cause="http", path=exchange.scope["path"])
            exchange.answer(500, b"the server failed on this request", content_type=TEXT)
            return True

    def _flush(self) -> None:
        """Let the answers leave that no request before them holds back."""
        self._gathering = False
        if self.lost:
            return
        exchanges, parts, keep_alive = self._exchanges, [], True
        while exchanges and exchanges[0].answered is not None and keep_alive:
            exchange = exchanges.popleft()
            assert exchange.answered is not None
            parts.append(exchange.answered)
            keep_alive = exchange.keep_alive
        if parts:
            self.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
            self.site.state.total_requests += len(parts)
            self._after(keep_alive)
        else:
            self.pace()

    def _after(self, keep_alive: bool) -> None:
        """Answers have left: go on, or end."""
        if not keep_alive or (self._closing and not self._exchanges):
            self._close()
            return
        if self._receiving is None and not self._in_head:
            self._since_s = self._loop.time()
        self._begin()
        self.pace()
        self._wait()

    def _refuse(self, refusal: RefusedHead) -> None:
        """Answer what cannot be read, after what was asked before, and hear no more."""
        self._deaf = True
        self._in_head = False
        broken, self._receiving = self._receiving, None
        if broken is not None and broken in self._unbegun:
            self._unbegun.remove(broken)
            self._exchanges.remove(broken)
        elif broken is not None and not broken.done:
            # Its application waits for a body that will never be whole, and has an answer to that.
            broken.keep_alive, broken.broken = False, True
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
        if not self.lost:
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
        if self.lost or self.transport.is_closing():
            return
        receiving = self._receiving
        reads = (
            len(self._exchanges) < PIPELINED_MAX
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
