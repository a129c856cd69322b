"""Endless answers: events of a core on their way to one subscriber, as records in the form it chose."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from altiplano.engine import http
from altiplano.wire.codec import Codec

STREAM_BYTES_MAX = 64 * 1024 * 1024
"""What may wait in one stream; a subscriber that lets more pile up is not reading and is cut off."""

WRITE_BYTES = 256 * 1024
"""Records are handed to the connection in pieces of about this size."""


STREAMS_BYTES_MAX = 512 * 1024 * 1024
"""What may wait in all streams of a process together; beyond it the one that is most behind is cut off."""


class Backlog:
    """What waits in all streams together."""

    def __init__(self) -> None:
        self.size_bytes = 0

    @property
    def is_over(self) -> bool:
        return self.size_bytes > STREAMS_BYTES_MAX


class EventStream:
    """Records on their way to one subscriber.

    `abort`, set by whoever carries the stream, ends a connection that nobody reads from.
    """

    def __init__(self, name: str, codec: Codec, backlog: Backlog | None = None) -> None:
        self.name = name
        self.codec = codec
        self.abort: Callable[[], None] = _nothing
        self._backlog = backlog or Backlog()
        self.closed = False
        self.cut_because: str | None = None
        self._parts: deque[bytes] = deque()
        self._first: Callable[[], Iterator[bytes]] | None = None
        self._size = 0
        self._ring = asyncio.Event()

    def put(self, record: bytes) -> bool:
        """Queue a record; False if the subscriber is too far behind, and cut off for it."""
        if self.closed:
            return True
        if self._size + len(record) > STREAM_BYTES_MAX:
            self.cut(
                f"{self._size} bytes wait for this subscriber, which reads too slowly; the most is {STREAM_BYTES_MAX}"
            )
            return False
        self._parts.append(record)
        self._grow(len(record))
        self._ring.set()
        return True

    def begin(self, write: Callable[[], Iterator[bytes]]) -> None:
        """Let a large record lead the stream, whatever was put before it leaves.

        `write` is called twice, and writes the same both times: the length of a record comes before it, and to
        write it a second time costs less than to hold it for every subscriber that reads slowly.
        """
        self._first = write
        self._ring.set()

    @property
    def size_bytes(self) -> int:
        """What waits."""
        return self._size

    def cut(self, reason: str) -> None:
        """Give the subscriber up: what waits is dropped, and so is its connection."""
        self.cut_because = reason
        self._parts.clear()
        self._grow(-self._size)
        self.close()
        self.abort()

    def forget(self) -> None:
        """Nobody reads any more: what waits is dropped."""
        self._parts.clear()
        self._grow(-self._size)
        self.close()

    def _grow(self, count: int) -> None:
        self._size += count
        self._backlog.size_bytes += count

    def close(self) -> None:
        """No more records; those that wait still leave."""
        self.closed = True
        self._ring.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the stream as they come, until it is closed."""
        while True:
            if self._first is not None:
                write, self._first = self._first, None
                length = 0
                async for piece in http.breathing(write()):
                    length += len(piece)
                yield b"%d\n" % length
                async for piece in http.breathing(write()):
                    yield piece
            while self._parts and self._first is None:
                batch = bytearray()
                while self._parts and len(batch) < WRITE_BYTES:
                    batch += self._parts.popleft()
                self._grow(-len(batch))
                yield bytes(batch)
            if self.closed:
                return
            self._ring.clear()
            await self._ring.wait()


async def carry(stream: EventStream, receive: http.Receive, send: http.Send, *, headers: http.Headers = ()) -> str:
    """Carry a stream until either side ends it; returns why.  The head leaves at once: clients wait for it."""
    head = [(b"content-type", stream.codec.media_type.encode()), *headers]
    reason = "the subscriber closed the connection"
    listener = asyncio.create_task(_until_disconnect(receive, stream))
    stream.abort = lambda: _abort(send)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": head})
        # An empty piece makes the server send the head now.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        async for chunk in stream.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not listener.done():
            await send({"type": "http.response.body", "body": b""})
    except OSError as error:
        reason = f"the connection broke: {error}"
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        stream.abort = _nothing
        stream.forget()
    return stream.cut_because or reason


async def _until_disconnect(receive: http.Receive, stream: EventStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close()


def _abort(send: http.Send) -> None:
    """End the connection of a request, however much waits to be written to it.

    ASGI has no word for this: closing waits until the peer has read, and the peer does not read.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if isinstance(transport, asyncio.Transport):
        transport.abort()


def _nothing() -> None:
    """A stream that nobody carries has no connection."""
