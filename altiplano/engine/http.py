"""HTTP for the APIs: a server inside our event loop, and what bare ASGI callables need.

Uvicorn listens, speaks WebSocket and shuts down; HTTP/1.1 itself is in `connection`.

The v1 APIs are bare ASGI callables because a framework around them would cost more than they do
themselves.  Everything a peer can make long has a limit here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gzip
import socket as sockets
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast
from urllib.parse import parse_qsl

import uvicorn

from altiplano.engine import connection, exchange, turns
from altiplano.engine.connection import BODY_SECONDS_MAX, CONNECTIONS_MAX
from altiplano.engine.exchange import TEXT, Small
from altiplano.engine.exchange import Answer as Answer
from altiplano.engine.exchange import Headers as Headers
from altiplano.engine.exchange import Scope as Scope

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Size of a request's body, also after decompression."""

GZIP_FROM_BYTES = 1024
"""Answers from this size on are compressed for clients that accept it."""

WRITE_BYTES = 64 * 1024
"""Large answers are handed to the connection in pieces of about this size."""

WRITE_SLICE_S = 0.002
"""Time for which a large answer is written before the event loop gets a turn."""

LINK_MESSAGE_BYTES_MAX = 32 * 1024 * 1024
STOP_SECONDS_MAX = 3.0


class CannotListen(Exception):
    """The address cannot be bound; the text says why and what to do."""


class Refusal(Exception):
    """A request that is refused: the status and a sentence for the caller."""

    def __init__(self, status: int, sentence: str, headers: Headers = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers


def listen(host: str, port: int, *, backlog: int = 4096) -> sockets.socket:
    """A listening socket; port 0 takes a free one.  Raises CannotListen with a sentence."""
    try:
        family = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0][0]
        listener = sockets.socket(family, sockets.SOCK_STREAM)
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} of {host} is in use by another process: end that process, "
                "or choose another port with --port"
            ) from error
        if error.errno == errno.EACCES:
            raise CannotListen(f"port {port} needs more rights than this user has: choose one above 1023") from error
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process it lives in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves one ASGI application in the running event loop."""

    def __init__(
        self,
        app: App,
        *,
        host: str,
        port: int,
        listener: sockets.socket | None = None,
        small: Mapping[str, Small] | None = None,
        waiting: Callable[[], int] = turns.nothing_waits,
    ) -> None:
        """`listener` is a socket from `listen`; without one the loop binds `host` and `port` itself.

        `small` are handlers by path that are asked before `app` (`altiplano.engine.connection`), and `waiting` is
        how much of what they took the process has not looked at yet (`altiplano.engine.turns`).
        """
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            # It calls the class of a protocol, and nothing else of it.
            http=cast(type[asyncio.Protocol], self._connection),
            ws="websockets-sansio",
            loop="none",
            lifespan="off",
            # It believes who a peer says it is; nothing here asks for that.
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            ws_per_message_deflate=False,
            ws_max_size=LINK_MESSAGE_BYTES_MAX,
            ws_ping_interval=None,
            ws_ping_timeout=None,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=1,
        )
        self._config = config
        self._server = _Server(config)
        state = self._server.server_state
        ring = turns.Turns(lambda act: asyncio.get_running_loop().call_soon(act), waiting)
        self._site = exchange.Site(app, dict(small or {}), state, exchange.Heads(state), ring, self._web_socket)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def _connection(self, **_of_uvicorn: Any) -> connection.Connection:
        return connection.Connection(self._site)

    def _web_socket(self) -> asyncio.Protocol:
        make = cast(Callable[..., asyncio.Protocol], self._config.ws_protocol_class)
        return make(config=self._config, server_state=self._server.server_state, app_state={})

    async def start(self) -> None:
        """Return when requests are served."""
        listeners = None if self._listener is None else [self._listener]
        self._task = asyncio.create_task(self._server.serve(sockets=listeners))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise CannotListen("the HTTP server ended before it had started")
            await asyncio.sleep(0.001)

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Close all connections and return; streams that do not end by themselves are cut."""
        self._server.should_exit = True
        if self._task is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.shield(self._task)
        except TimeoutError:
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header (`name` in lower case), None without one."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def query(scope: Scope) -> dict[str, str]:
    """The parameters of the query string; the last of equal names wins."""
    raw: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}


@functools.lru_cache(maxsize=64)
def accepts(accept: str | None, media_type: str) -> bool:
    """Whether an Accept header allows a media type: as itself, `type/*` or `*/*`, unless its q is 0."""
    if accept is None:
        return True
    wanted = (media_type, media_type.split("/", 1)[0] + "/*", "*/*")
    for part in accept.split(","):
        name, *parameters = (p.strip().lower() for p in part.split(";"))
        if name in wanted:
            return not any(p.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters)
    return False


async def read_body(scope: Scope, receive: Receive, *, limit_bytes: int = BODY_BYTES_MAX) -> bytes:
    """The body of a request, decompressed if it came with gzip.

    Raises Refusal: 413 beyond the limit, 408 when it takes too long, 415 for another encoding.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            body = await _collect(receive, limit_bytes)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_SECONDS_MAX:g} seconds") from None
    encoding = header(scope, b"content-encoding")
    coding = (encoding or "identity").strip().lower()
    if coding == "identity":
        return body
    if coding not in ("gzip", "x-gzip"):
        raise Refusal(415, f"Content-Encoding '{encoding}' is not known here: send the body plain or with gzip")
    # A small body may unpack to a large one, which takes long.
    return await asyncio.to_thread(gunzip, body, limit_bytes)


async def _collect(receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        return body
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Refusal(400, message.get("reason") or "the connection closed before the body had arrived")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def gunzip(data: bytes, limit_bytes: int) -> bytes:
    """Decompress, refusing more than `limit_bytes` of result (Refusal 413) and broken data (400)."""
    engine = zlib.decompressobj(wbits=31)
    try:
        out = engine.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not valid gzip: {error}") from None
    if len(out) > limit_bytes or engine.unconsumed_tail:
        raise _too_large(limit_bytes)
    if not engine.eof:
        raise Refusal(400, "the body is not valid gzip: it ends too early")
    return out


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, f"the body is longer than {limit_bytes} bytes, the limit of one request")


async def respond(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    content_type: str | None = None,
    headers: Headers = (),
    scope: Scope | None = None,
) -> None:
    """Send a whole answer; compressed if it is large and `scope` (the request) says that the client takes gzip."""
    out: list[tuple[bytes, bytes]] = list(headers)
    if content_type is not None:
        out.append((b"content-type", content_type.encode("latin-1")))
    if scope is not None and len(body) >= GZIP_FROM_BYTES and "gzip" in (header(scope, b"accept-encoding") or ""):
        body = await asyncio.to_thread(gzip.compress, body, 5) if len(body) > 256 * 1024 else gzip.compress(body, 5)
        out.append((b"content-encoding", b"gzip"))
        out.append((b"vary", b"accept-encoding"))
    if status not in (204, 304):
        out.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": out})
    await send({"type": "http.response.body", "body": body})


_writing: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
"""One slice of all large answers of an event loop is written at a time: it is held for a slice, in order of asking."""


async def breathing(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces gathered to some size; the loop gets a turn whenever writing them has taken a slice.

    Of many large answers only one has a slice in a turn of the loop: together they would be as one long slice.
    """
    loop = asyncio.get_running_loop()
    slices = _writing.setdefault(loop, asyncio.Lock())
    rest = iter(pieces)
    ended = False
    while not ended:
        gathered = bytearray()
        async with slices:
            end_s = loop.time() + WRITE_SLICE_S
            ended = True
            for piece in rest:
                gathered += piece
                if len(gathered) >= WRITE_BYTES or loop.time() > end_s:
                    ended = False
                    break
            # Whoever waits for the next slice has it in the next turn, not in this one.
            await asyncio.sleep(0)
        if gathered:
            yield bytes(gathered)


async def respond_pieces(send: Send, pieces: Iterable[bytes], *, content_type: str, scope: Scope) -> None:
    """Send an answer that is written piece by piece, as fast as the client reads it, compressed if it takes gzip."""
    headers = [(b"content-type", content_type.encode("latin-1"))]
    engine = None
    if "gzip" in (header(scope, b"accept-encoding") or ""):
        engine = zlib.compressobj(level=1, wbits=31)
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for piece in breathing(pieces):
        body = piece if engine is None else engine.compress(piece)
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if engine is None else engine.flush()})


async def respond_text(send: Send, status: int, sentence: str, *, headers: Headers = ()) -> None:
    """Send a sentence as plain text."""
    await respond(send, status, sentence.encode(), content_type="text/plain; charset=utf-8", headers=headers)


def answer_text(answer: Answer, status: int, sentence: str, *, headers: Headers = ()) -> None:
    """Answer a small request with a sentence as plain text, or with nothing."""
    if sentence:
        answer(status, sentence.encode(), content_type=TEXT, headers=headers)
    else:
        answer(status, headers=headers)


async def refuse(send: Send, refusal: Refusal) -> None:
    """Answer with a refusal."""
    await respond_text(send, refusal.status, refusal.sentence, headers=refusal.headers)


def host_of(text: str) -> str:
    """The host of a `Host` header or authority, without port and in lower case."""
    text = text.strip().lower()
    if text.startswith("["):
        return text[: text.find("]") + 1]
    return text.rsplit(":", 1)[0] if ":" in text else text


Routes = Mapping[str, App]
