"""HTTP requests inside the link.

One side opens a stream with a request line and headers and sends the body; the other side lets its
own ASGI application answer.  So an agent that nobody can dial serves files, logs and statistics through
its master, with the same code that serves them directly.  Each direction has a credit in bytes that
the reader renews as it consumes: a stalled download holds up neither the link nor memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import structlog

from altiplano.engine import http
from altiplano.link import messages
from altiplano.link.session import STREAM_CHUNK_BYTES, STREAM_CREDIT_BYTES, Arrival, StreamBytes

STREAMS_MAX = 1000
"""Requests under way in one connection."""

HEAD_SECONDS_MAX = 30.0

log = structlog.get_logger("altiplano.link")


class StreamBroken(Exception):
    """The request could not be carried to its end; the text says why."""


class _Pipe:
    """One direction of a stream at its reading end."""

    def __init__(self, grant: Callable[[int], None]) -> None:
        self._grant = grant
        self._parts: deque[bytes] = deque()
        self._ring = asyncio.Event()
        self._waiting_bytes = 0
        self._ended = False
        self._broken: str | None = None

    def put(self, data: bytes) -> bool:
        """Take bytes that arrived; False when they exceed the credit."""
        self._waiting_bytes += len(data)
        self._parts.append(data)
        self._ring.set()
        return self._waiting_bytes <= STREAM_CREDIT_BYTES

    def end(self) -> None:
        self._ended = True
        self._ring.set()

    def fail(self, sentence: str) -> None:
        self._broken = self._broken or sentence
        self._ring.set()

    async def get(self) -> bytes | None:
        """The next bytes, None at the end; raises StreamBroken."""
        while not self._parts:
            if self._broken is not None:
                raise StreamBroken(self._broken)
            if self._ended:
                return None
            self._ring.clear()
            await self._ring.wait()
        data = self._parts.popleft()
        self._waiting_bytes -= len(data)
        self._grant(len(data))
        return data


class _Stream:
    def __init__(self, number: int, say: Callable[[messages.AnyMessage], None]) -> None:
        self.number = number
        self.head: asyncio.Future[messages.StreamHead] = asyncio.get_running_loop().create_future()
        self.inward = _Pipe(lambda size: say(messages.StreamCredit(stream=number, size_bytes=size)))
        self.credit = STREAM_CREDIT_BYTES
        self.renewed = asyncio.Event()
        self.broken: str | None = None
        self.task: asyncio.Task[None] | None = None

    def fail(self, sentence: str) -> None:
        self.broken = self.broken or sentence
        self.inward.fail(sentence)
        self.renewed.set()
        if not self.head.done():
            self.head.set_exception(StreamBroken(sentence))
            self.head.exception()


class Answer:
    """The other side's answer to a request: head first, then its bytes."""

    def __init__(self, head: messages.StreamHead, pipe: _Pipe, leave: Callable[[], None]) -> None:
        self.status = head.status
        self.headers = head.headers
        self._pipe = pipe
        self._leave = leave

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it arrives.  Raises StreamBroken.  Leaving early cancels the request at the other side."""
        try:
            while (data := await self._pipe.get()) is not None:
                yield data
        finally:
            self._leave()

    def leave(self) -> None:
        """Give up the rest."""
        self._leave()


class Streams:
    """The streams of one connection, both those opened here and those opened by the other side."""

    def __init__(
        self,
        say: Callable[[messages.AnyMessage], None],
        say_bytes: Callable[[int, bytes], None],
        *,
        app: http.App | None,
        first: int,
    ) -> None:
        """Numbers of streams opened here are `first`, `first` + 2, …, so that both sides may open some."""
        self._say, self._say_bytes, self._app = say, say_bytes, app
        self._numbers = itertools.count(first, 2)
        self._streams: dict[int, _Stream] = {}
        self._ended: str | None = None

    def __len__(self) -> int:
        return len(self._streams)

    # -- the asking side

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        cause: str = "",
    ) -> Answer:
        """Ask the other side's application.  Raises StreamBroken when the link ends or nothing answers in time."""
        if self._ended is not None:
            raise StreamBroken(self._ended)
        if len(self._streams) >= STREAMS_MAX:
            raise StreamBroken(f"{STREAMS_MAX} requests are under way to this agent already: try again in a moment")
        stream = _Stream(next(self._numbers), self._say)
        self._streams[stream.number] = stream
        opening = messages.StreamOpen(
            stream=stream.number, method=method, path=path, query=query, headers=tuple(headers), cause=cause
        )
        self._say(opening)
        try:
            await self._send_all(stream, body)
            self._say(messages.StreamEnd(stream=stream.number))
            async with asyncio.timeout(HEAD_SECONDS_MAX):
                head = await stream.head
        except TimeoutError:
            self._leave(stream.number)
            raise StreamBroken(f"the other side did not answer within {HEAD_SECONDS_MAX:g} seconds") from None
        except BaseException:  # also when cancelled, the other side is told
            self._leave(stream.number)
            raise
        return Answer(head, stream.inward, lambda: self._leave(stream.number))

    def _leave(self, number: int) -> None:
        """Forget a stream; the other side is told unless it has ended by itself."""
        if self._streams.pop(number, None) is not None:
            self._say(messages.StreamReset(stream=number))

    async def _send_all(self, stream: _Stream, data: bytes) -> None:
        view = memoryview(data)
        while view:
            while stream.credit <= 0:
                if stream.broken is not None:
                    raise StreamBroken(stream.broken)
                stream.renewed.clear()
                await stream.renewed.wait()
            size = min(len(view), stream.credit, STREAM_CHUNK_BYTES)
            stream.credit -= size
            self._say_bytes(stream.number, bytes(view[:size]))
            view = view[size:]
        if stream.broken is not None:
            raise StreamBroken(stream.broken)

    # -- what arrives

    def heard(self, arrival: Arrival) -> bool:
        """Take what belongs to a stream; False for everything else."""
        match arrival:
            case messages.StreamOpen():
                self._open(arrival)
            case StreamBytes(stream=number, data=data):
                stream = self._streams.get(number)
                if stream is not None and not stream.inward.put(data):
                    self._break(number, "more bytes came than were asked for")
            case messages.StreamHead(stream=number):
                stream = self._streams.get(number)
                if stream is not None and not stream.head.done():
                    stream.head.set_result(arrival)
            case messages.StreamEnd(stream=number):
                stream = self._streams.get(number)
                if stream is not None:
                    stream.inward.end()
            case messages.StreamReset(stream=number, sentence=sentence):
                stream = self._streams.pop(number, None)
                if stream is not None:
                    stream.fail(sentence or "the other side gave up the request")
                    if stream.task is not None:
                        stream.task.cancel()
            case messages.StreamCredit(stream=number, size_bytes=size):
                stream = self._streams.get(number)
                if stream is not None:
                    stream.credit += size
                    stream.renewed.set()
            case _:
                return False
        return True

    def _break(self, number: int, sentence: str) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.fail(sentence)
            if stream.task is not None:
                stream.task.cancel()
            self._say(messages.StreamReset(stream=number, sentence=sentence))

    # -- the answering side

    def _open(self, opening: messages.StreamOpen) -> None:
        number = opening.stream
        if self._app is None or len(self._streams) >= STREAMS_MAX or number in self._streams:
            self._say(messages.StreamReset(stream=number, sentence="no more requests are taken on this link"))
            return
        stream = _Stream(number, self._say)
        self._streams[number] = stream
        stream.task = asyncio.create_task(self._answer(self._app, stream, opening), name=f"stream-{number}")

    async def _answer(self, app: http.App, stream: _Stream, opening: messages.StreamOpen) -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            try:
                data = await stream.inward.get()
            except StreamBroken:
                return {"type": "http.disconnect"}
            if data is None:
                if gone.is_set():
                    await asyncio.Event().wait()
                gone.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": data, "more_body": True}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                headers = tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in event.get("headers", ()))
                self._say(messages.StreamHead(stream=stream.number, status=event["status"], headers=headers))
            elif event["type"] == "http.response.body":
                await self._send_all(stream, event.get("body", b""))
                if not event.get("more_body"):
                    self._say(messages.StreamEnd(stream=stream.number))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": opening.method,
            "scheme": "http",
            "path": opening.path,
            "raw_path": opening.path.encode(),
            "query_string": opening.query.encode("latin-1"),
            "root_path": "",
            "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in opening.headers],
            "client": None,
            "server": None,
            "altiplano.link": True,
        }
        try:
            await app(scope, receive, send)
        except StreamBroken:
            pass  # The asker has left, nobody is there to be told.
        except Exception:  # the outermost shell of a request: a bug costs it its stream
            log.exception(
                "a request through the link failed", action="stream-failed", path=opening.path, cause=opening.cause
            )
            self._say(
                messages.StreamReset(stream=stream.number, sentence="the agent failed to answer; its log says why")
            )
        finally:
            self._streams.pop(stream.number, None)

    async def end(self, reason: str) -> None:
        """The connection is over: fail what waits, stop what answers."""
        self._ended = reason
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for stream in list(self._streams.values()):
            stream.fail(reason)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._streams.clear()
