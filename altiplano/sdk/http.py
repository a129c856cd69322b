"""A small HTTP client: few connections, long streams, quick to load.

It is what `altiplano run` waits for before it can say anything, so it is made of asyncio's streams
and the parser that our servers use, which load in a tenth of the time of a full client.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit

CONNECT_S_MAX = 5.0
ANSWER_S_MAX = 30.0
ANSWER_BYTES_MAX = 512 * 1024 * 1024
"""A larger answer is refused; `/state` of a large pool has some hundred megabytes."""

READ_BYTES = 256 * 1024


class ConnectionFailed(Exception):
    """The server could not be reached, did not answer in time, or broke off; the text says which."""


class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Parser(Protocol):
    """The part of httptools that is used."""

    def feed_data(self, data: bytes) -> None: ...
    def get_status_code(self) -> int: ...
    def get_http_version(self) -> str: ...


class _Reading:
    """One answer as it comes in: the callbacks of the parser."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.headed = False
        self.complete = False

    @property
    def stays(self) -> bool:
        """Whether the server keeps the connection.  The parser itself has forgotten it when the answer is complete."""
        return "close" not in self.headers.get("connection", "").lower()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def on_message_complete(self) -> None:
        self.complete = True

    def take(self) -> bytes:
        data = b"".join(self.chunks)
        self.chunks.clear()
        return data


class _Answers:
    """Whole answers to requests that were sent behind each other: the callbacks of one parser."""

    def __init__(self) -> None:
        self.ready: deque[Answer] = deque()
        self.stays = True
        self.size_bytes = 0
        self.parser: Parser | None = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []

    def on_message_begin(self) -> None:
        self._headers, self._chunks, self.size_bytes = {}, [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size_bytes += len(chunk)

    def on_message_complete(self) -> None:
        assert self.parser is not None
        self.ready.append(Answer(self.parser.get_status_code(), self._headers, b"".join(self._chunks)))
        self.stays = "close" not in self._headers.get("connection", "").lower()


class Stream:
    """An answer whose body is read as it comes.  Closing it closes its connection."""

    def __init__(self, connection: Connection, reading: _Reading, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = reading.headers
        self._connection = connection
        self._reading = reading

    async def chunks(self) -> AsyncIterator[bytes]:
        """Parts of the body until the server ends it.  Raises ConnectionFailed when it breaks off."""
        while True:
            if data := self._reading.take():
                yield data
            if self._reading.complete:
                return
            await self._connection.feed()

    async def read(self) -> bytes:
        """The rest of the body, for answers that turn out to be no stream."""
        async with asyncio.timeout(ANSWER_S_MAX):
            return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Connection:
    """One connection to one server, made on the first request; one request at a time."""

    def __init__(self, base: str, *, headers: Mapping[str, str] | None = None) -> None:
        url = urlsplit(base)
        self.base = base
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = url.scheme == "https"
        self._authority = url.netloc
        self._headers = dict(headers or {})
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._parser: Parser | None = None
        self._reading = _Reading()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = ANSWER_S_MAX,
        repeatable: bool = False,
    ) -> Answer:
        """Send a request and read the whole answer.

        Servers close idle connections at any time.  A kept connection that breaks before a byte of
        the answer came is made anew once where the request may be sent twice: GET, or `repeatable`.
        """
        once = self._writer is None or not (repeatable or method == "GET")
        try:
            try:
                return await self._request(method, path, body, headers, timeout_s)
            except ConnectionFailed:
                if once or self._reading.headed:
                    raise
                return await self._request(method, path, body, headers, timeout_s)
        except BaseException:  # also when cancelled: half an exchange cannot be reused
            self.close()
            raise

    async def requests(
        self, method: str, path: str, bodies: Sequence[bytes], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Answer]:
        """Send requests behind each other, without waiting for answers in between; the answers, in order.

        Raises ConnectionFailed when the connection ends before the last answer: what became of the others is unknown.
        """
        from httptools import HttpResponseParser

        answers = _Answers()
        answers.parser = self._parser = HttpResponseParser(answers)
        left = len(bodies)
        try:
            async with asyncio.timeout(ANSWER_S_MAX) as patience:
                await self._write([self._request_of(method, path, body, headers) for body in bodies])
                while left:
                    await self.feed()
                    if answers.size_bytes > ANSWER_BYTES_MAX:
                        raise ConnectionFailed(f"{self._authority} answers with more than {ANSWER_BYTES_MAX} bytes")
                    while answers.ready:
                        left -= 1
                        patience.reschedule(asyncio.get_running_loop().time() + ANSWER_S_MAX)
                        yield answers.ready.popleft()
        except TimeoutError:
            self.close()
            raise ConnectionFailed(f"{self._authority} did not answer within {ANSWER_S_MAX:g} s") from None
        except BaseException:  # also when cancelled: half an exchange cannot be reused
            self.close()
            raise
        finally:
            answers.parser = None
        if not answers.stays:
            self.close()

    async def stream(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Stream:
        """Send a request; returns when the head of the answer is there.  The connection belongs to the stream."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await self._send(method, path, body, headers)
                while not self._reading.headed:
                    await self.feed()
        except TimeoutError:
            self.close()
            raise ConnectionFailed(f"{self._authority} did not answer within {ANSWER_S_MAX:g} s") from None
        except BaseException:  # also when cancelled: half an exchange cannot be reused
            self.close()
            raise
        assert self._parser is not None
        return Stream(self, self._reading, self._parser.get_status_code())

    async def feed(self) -> None:
        """Read what comes next.  Raises ConnectionFailed at the end."""
        from httptools import HttpParserError

        if self._reader is None:
            raise ConnectionFailed(f"the connection to {self._authority} was closed")
        assert self._parser is not None
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            self.close()
            raise ConnectionFailed(f"the connection to {self._authority} broke: {error}") from error
        if not data:
            self.close()
            raise ConnectionFailed(f"{self._authority} closed the connection")
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.close()
            raise ConnectionFailed(f"{self._authority} answered with something that is not HTTP: {error}") from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None, timeout_s: float
    ) -> Answer:
        size = 0
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(method, path, body, headers)
                while not self._reading.complete:
                    await self.feed()
                    data = self._reading.take()
                    size += len(data)
                    parts.append(data)
                    if size > ANSWER_BYTES_MAX:
                        raise ConnectionFailed(
                            f"{self._authority} answers with more than {ANSWER_BYTES_MAX} bytes: ask for less"
                        )
        except TimeoutError:
            self.close()
            raise ConnectionFailed(f"{self._authority} did not answer within {timeout_s:g} s") from None
        assert self._parser is not None
        status = self._parser.get_status_code()
        keep = self._reading.stays and self._parser.get_http_version() == "1.1"
        answer = Answer(status, self._reading.headers, b"".join(parts))
        if not keep:
            self.close()
        return answer

    async def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> None:
        from httptools import HttpResponseParser

        self._reading = _Reading()
        self._parser = HttpResponseParser(self._reading)
        await self._write([self._request_of(method, path, body, headers)])

    async def _write(self, requests: Sequence[bytes]) -> None:
        if self._reader is not None and self._reader.at_eof():
            self.close()
        if self._writer is None:
            await self._connect()
        assert self._writer is not None
        try:
            self._writer.write(b"".join(requests))
            await self._writer.drain()
        except OSError as error:
            self.close()
            raise ConnectionFailed(f"the connection to {self._authority} broke: {error}") from error

    def _request_of(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> bytes:
        head = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}"]
        head += [f"{name}: {value}" for name, value in {**self._headers, **(headers or {})}.items()]
        if body or method != "GET":
            head.append(f"Content-Length: {len(body)}")
        text = "\r\n".join(head)
        if any(sign in text.replace("\r\n", "") for sign in "\r\n"):
            raise ValueError("a path or header holds a line break, which would be read as another header")
        return text.encode("latin-1") + b"\r\n\r\n" + body

    async def _connect(self) -> None:
        context = ssl.create_default_context() if self._tls else None
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                opened = await asyncio.open_connection(self._host, self._port, ssl=context, limit=READ_BYTES)
        except TimeoutError:
            raise ConnectionFailed(f"{self._authority} did not accept a connection in {CONNECT_S_MAX:g} s") from None
        except OSError as error:
            # asyncio's own text repeats the address.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ConnectionFailed(f"nobody answers at {self._authority}: {reason}") from error
        self._reader, self._writer = opened
