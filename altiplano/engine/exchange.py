"""One request over HTTP/1.1 and its answer, on the way between a connection and what answers."""

from __future__ import annotations

import asyncio
import http as standard
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from uvicorn.server import ServerState

from altiplano.engine.turns import Turns

if TYPE_CHECKING:
    from altiplano.engine.connection import Connection

Scope = MutableMapping[str, Any]
Headers = Sequence[tuple[bytes, bytes]]

_STATUS_LINES: Final[Mapping[int, bytes]] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in standard.HTTPStatus
}
_BODILESS: Final = frozenset({204, 304})
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
TEXT: Final = b"text/plain; charset=utf-8"

log = structlog.get_logger("altiplano.http")


class Answer(Protocol):
    """Answers a request, once; afterwards and on a connection that has ended it does nothing."""

    def __call__(
        self, status: int, body: bytes = b"", *, content_type: bytes | None = None, headers: Headers = ()
    ) -> None: ...


Small = Callable[[Scope, bytes, Answer], bool]
"""Takes a request and answers at once or later; False, before anything has happened, leaves it to the application."""


class Framing(Enum):
    """How the other side knows where the body of an answer ends."""

    UNKNOWN = "the answer has not begun"
    BODILESS = "it has none"
    COUNTED = "by its length"
    CHUNKED = "in pieces, each with its length"
    UNTIL_CLOSE = "with the connection"


class Heads:
    """The status line and the headers that all answers have; made anew when those change, once a second."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._made_of: object = None
        self._common = b""
        self._heads: dict[int, bytes] = {}

    def of(self, status: int) -> bytes:
        if self._state.default_headers is not self._made_of:
            self._made_of = self._state.default_headers
            self._common = lines(self._state.default_headers)
            self._heads.clear()
        head = self._heads.get(status)
        if head is None:
            line = _STATUS_LINES.get(status, b"HTTP/1.1 %d \r\n" % status)
            head = self._heads[status] = line + self._common
        return head


@dataclass(frozen=True, slots=True)
class Site:
    """What all connections of one server share.

    `small` are handlers by path, and `turns` says who may go to them next; `web_socket` makes the protocol that takes
    over a connection.
    """

    app: Callable[..., Any]
    small: Mapping[str, Small]
    state: ServerState
    heads: Heads
    turns: Turns
    web_socket: Callable[[], asyncio.Protocol]


class Exchange:
    """One request and its answer.  With `handler` it is a small one."""

    __slots__ = (
        "answered",
        "body",
        "broken",
        "connection",
        "done",
        "expects_word",
        "framing",
        "handler",
        "head",
        "keep_alive",
        "left",
        "ring",
        "scope",
        "told_whole",
        "whole",
    )

    def __init__(self, connection: Connection, scope: Scope, handler: Small | None, *, keep_alive: bool) -> None:
        self.connection = connection
        self.scope = scope
        self.handler = handler
        self.keep_alive = keep_alive
        self.expects_word = False
        """Whether the peer waits for our word before it sends the body."""
        self.body = bytearray()
        self.whole = False
        self.broken = ""
        """Why the body will never be whole, although the peer is still there."""
        self.answered: bytes | None = None
        """The whole answer of a small request, until it leaves."""
        self.done = False
        self.told_whole = False
        self.ring: asyncio.Future[None] | None = None
        self.head: bytes | None = None
        self.framing = Framing.UNKNOWN
        self.left = 0

    # -- a small one

    def answer(
        self, status: int, body: bytes = b"", *, content_type: bytes | None = None, headers: Headers = ()
    ) -> None:
        """Answer a small request (`Answer`)."""
        if self.done or self.connection.lost:
            return
        self.done = True
        head = self.connection.site.heads.of(status)
        if content_type is not None:
            head += b"content-type: %b\r\n" % content_type
        if headers:
            head += lines(headers)
        if not self.keep_alive:
            head += b"connection: close\r\n"
        self.answered = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        self.connection.ready()

    # -- an ASGI call

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the answer: ASGI has no word for ending a connection whose peer does not read."""
        return self.connection.transport

    async def run(self, app: Callable[..., Any]) -> None:
        """Let the application answer.  Where it fails the connection ends, after a 500 if that can still be said."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.done and self.connection.hung_up:
                self.connection.transport.abort()
            elif not self.done and not self.connection.lost:
                raise RuntimeError("the application returned without a whole answer")
        except Exception:  # the outermost shell of a request: a bug costs it a 500
            log.exception("a request failed", action="bug", cause="http", path=self.scope["path"])
            self._broke()
        except BaseException:  # also when cancelled: half an answer cannot be taken back
            self.connection.transport.abort()
            raise

    def _broke(self) -> None:
        if self.connection.lost or self.done:
            return
        if self.framing is not Framing.UNKNOWN:
            self.connection.transport.abort()
            return
        self.keep_alive = False
        text = b"the server failed on this request"
        head = self.connection.site.heads.of(500)
        tail = b"content-type: %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (TEXT, len(text))
        self._leave(head + tail + text, last=True)

    async def receive(self) -> MutableMapping[str, Any]:
        connection = self.connection
        if self.expects_word and not self.whole and not connection.lost:
            self.expects_word = False
            connection.transport.write(_CONTINUE)
        while not (self.body or (self.whole and not self.told_whole) or self._over()):
            connection.pace()
            self.ring = asyncio.get_running_loop().create_future()
            await self.ring
        # Whoever has its body and still listens wants to know when its client goes: one that hung up has gone.
        if self._over() and not (connection.hung_up and self.whole and not self.told_whole and not connection.lost):
            return {"type": "http.disconnect", "reason": self.broken}
        body, self.body = bytes(self.body), bytearray()
        self.told_whole = self.whole
        connection.pace()
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    def _over(self) -> bool:
        return self.done or bool(self.broken) or self.connection.lost or self.connection.hung_up

    def wake(self) -> None:
        """Something came for the application, or the end."""
        if self.ring is not None and not self.ring.done():
            self.ring.set_result(None)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        connection = self.connection
        await connection.writable()
        if connection.lost:
            return
        match message["type"]:
            case "http.response.start":
                assert self.framing is Framing.UNKNOWN, "an answer begins once"
                # It waits for the first part of the body: one write less.
                self.head = self._head(message["status"], message.get("headers", ()))
            case "http.response.body":
                assert self.framing is not Framing.UNKNOWN, "an answer begins with its head"
                assert not self.done, "an answer ends once"
                last = not message.get("more_body", False)
                self._leave(self._framed(message.get("body", b""), last=last), last=last)
            case kind:
                raise AssertionError(f"an ASGI message of type {kind}")

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        parts = [self.connection.site.heads.of(status)]
        length: int | None = None
        for name, value in headers:
            if b"\n" in value or b"\r" in value or b"\0" in value or b"\n" in name or b":" in name:
                raise ValueError(f"the header {name!r} would be read as several")
            match name:
                case b"content-length":
                    length = int(value)
                case b"connection" if b"close" in value.lower():
                    self.keep_alive = False
                    continue
                case b"connection" | b"transfer-encoding":
                    continue
            parts.append(b"%b: %b\r\n" % (name, value))
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self.framing = Framing.BODILESS
        elif length is not None:
            self.framing, self.left = Framing.COUNTED, length
        elif self.scope["http_version"] == "1.1":
            self.framing = Framing.CHUNKED
            parts.append(b"transfer-encoding: chunked\r\n")
        else:
            self.framing, self.keep_alive = Framing.UNTIL_CLOSE, False
        if self.expects_word and not self.whole:
            # It may send the body or not: where the next request begins cannot be told.
            self.keep_alive = False
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        head, self.head = self.head or b"", None
        match self.framing:
            case Framing.BODILESS:
                return head
            case Framing.CHUNKED:
                chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                return head + chunk + (b"0\r\n\r\n" if last else b"")
            case Framing.COUNTED:
                self.left -= len(body)
                if self.left < 0 or (last and self.left):
                    raise RuntimeError("the answer is not as long as its head said")
        return head + body if head else body

    def _leave(self, data: bytes, *, last: bool) -> None:
        if data:
            self.connection.transport.write(data)
        if last:
            self.done = True
            self.wake()
            self.connection.completed(self)


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they stand in a head."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
