"""Connections of the link on WebSocket: the master's end and the agent's.

A `Connection` pumps a session: what is sent is collected and leaves once a turn of the event loop,
what arrives is handed to one callback.  It ends as a whole: when either direction fails, or the
session finds the protocol broken.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp
import structlog

from altiplano.engine import http
from altiplano.kit import crash
from altiplano.link import messages
from altiplano.link.session import Arrival, LinkError, Session, Side
from altiplano.link.streams import Streams

LINK_PATH = "/link"
GATHER_S = 0.001
"""A frame that follows another one sooner waits this long for company: each costs a system call and wakes a process."""

CLOSE_SECONDS_MAX = 2.0
DIAL_SECONDS_MAX = 10.0

POINTS = ("frame_heard", "frame_sent")
"""Crash points of both ends (`altiplano.kit.crash`)."""

log = structlog.get_logger("altiplano.link")


class Channel(Protocol):
    """A message-wise full-duplex connection."""

    async def send(self, frame: str | bytes) -> None: ...

    async def receive(self) -> str | bytes | None:
        """The next frame; None when the other side has closed."""
        ...

    async def close(self, reason: str) -> None: ...


class CannotDial(Exception):
    """No connection to the master; the text says why."""


Heard = Callable[["Connection", Arrival], None]


class Connection:
    """One living connection.  `name` is unique in this process."""

    _numbers = itertools.count(1)

    def __init__(self, channel: Channel, session: Session, *, peer: str, app: http.App | None = None) -> None:
        """`app` answers the requests that the other side opens as streams."""
        self.name = f"link-{next(self._numbers)}"
        self.peer = peer
        self.session = session
        self.streams = Streams(self._say, self._say_bytes, app=app, first=1 if session.side is Side.MASTER else 2)
        self.closed_because: str | None = None
        self._channel = channel
        self._ring = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self.closed_because is not None

    def send(self, message: messages.AnyMessage) -> None:
        """Queue a message; silently dropped when the connection has ended, as if it had been lost under way."""
        self._say(message)

    def close(self, reason: str) -> None:
        """End the connection; what was queued before still leaves if the other side takes it at once."""
        if self.closed_because is None:
            self.closed_because = reason
        self._ring.set()

    def _say(self, message: messages.AnyMessage) -> None:
        if self.closed_because is None:
            try:
                self.session.send(message)
            except LinkError as error:
                self.close(str(error))
            self._ring.set()

    def _say_bytes(self, stream: int, data: bytes) -> None:
        if self.closed_because is None:
            try:
                self.session.send_bytes(stream, data)
            except LinkError as error:
                self.close(str(error))
            self._ring.set()

    async def run(self, heard: Heard) -> str:
        """Carry the connection until it ends; why it ended.  `heard` gets every message but those of streams."""
        reader = asyncio.create_task(self._read(heard), name=f"{self.name}-read")
        writer = asyncio.create_task(self._write(), name=f"{self.name}-write")
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            for task in (reader, writer):
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    self.close(str(error) or type(error).__name__)
                    if not isinstance(error, LinkError | OSError | aiohttp.ClientError):
                        log.error(
                            "a connection of the link broke", action="link-broken", peer=self.peer, exc_info=error
                        )
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            reason = self.closed_because or "the other side closed the connection"
            self.closed_because = reason
            await self.streams.end(reason)
            try:
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await self._channel.close(reason)
            except (TimeoutError, OSError, RuntimeError, aiohttp.ClientError):
                pass  # The connection is gone either way.
        return reason

    async def _read(self, heard: Heard) -> None:
        while (frame := await self._channel.receive()) is not None:
            crash.at("frame_heard")
            for arrival in self.session.receive(frame):
                if not self.streams.heard(arrival):
                    heard(self, arrival)
            self._ring.set()

    async def _write(self) -> None:
        loop, sent_s = asyncio.get_running_loop(), float("-inf")
        while True:
            await self._ring.wait()
            if self.closed_because is None and loop.time() - sent_s < GATHER_S:
                await asyncio.sleep(GATHER_S)
            self._ring.clear()
            frames = self.session.outgoing()
            for frame in frames:
                await self._channel.send(frame)
                crash.at("frame_sent")
            if frames:
                sent_s = loop.time()
            if self.closed_because is not None:
                return


class _AsgiChannel:
    def __init__(self, receive: http.Receive, send: http.Send) -> None:
        self._receive, self._send = receive, send

    async def send(self, frame: str | bytes) -> None:
        key = "text" if isinstance(frame, str) else "bytes"
        await self._send({"type": "websocket.send", key: frame})

    async def receive(self) -> str | bytes | None:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            return None
        text: str | None = event.get("text")
        data: bytes = event.get("bytes") or b""
        return text if text is not None else data

    async def close(self, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": 1000, "reason": reason[:120]})


class LinkEndpoint:
    """The master's end: an ASGI application for `LINK_PATH`."""

    def __init__(
        self,
        *,
        epoch: Callable[[], int],
        opened: Callable[[Connection], None],
        heard: Heard,
        closed: Callable[[Connection, str], None],
    ) -> None:
        self._epoch, self._opened, self._heard, self._closed = epoch, opened, heard, closed

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["type"] != "websocket":
            await http.respond_text(send, 426, "the agent link speaks WebSocket", headers=((b"upgrade", b"websocket"),))
            return
        await receive()
        await send({"type": "websocket.accept"})
        client = scope.get("client") or ("?", 0)
        session = Session(Side.MASTER, epoch=self._epoch())
        connection = Connection(_AsgiChannel(receive, send), session, peer=f"{client[0]}:{client[1]}")
        self._opened(connection)
        reason = "the server stopped"
        try:
            reason = await connection.run(self._heard)
        finally:
            self._closed(connection, reason)


class _AiohttpChannel:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            await self._socket.send_str(frame)
        else:
            await self._socket.send_bytes(frame)

    async def receive(self) -> str | bytes | None:
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
            data: str | bytes = message.data
            return data
        return None

    async def close(self, reason: str) -> None:
        await self._socket.close(message=reason.encode()[:120])


async def dial(
    client: aiohttp.ClientSession,
    master: str,
    *,
    epoch: int,
    app: http.App | None,
    headers: Mapping[str, str] | None = None,
) -> Connection:
    """Connect to the master at `host:port`.  Raises CannotDial with a sentence.

    `app` is the agent's own HTTP application, which answers requests that come through the master.
    """
    try:
        async with asyncio.timeout(DIAL_SECONDS_MAX):
            socket = await client.ws_connect(
                f"http://{master}{LINK_PATH}",
                headers=dict(headers or {}),
                compress=0,
                max_msg_size=http.LINK_MESSAGE_BYTES_MAX,
                autoping=True,
                heartbeat=None,
            )
    except aiohttp.WSServerHandshakeError as error:
        raise CannotDial(
            f"the master at {master} refuses the link with status {error.status}: {error.message}"
        ) from error
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        raise CannotDial(f"no master answers at {master}: {str(error) or type(error).__name__}") from error
    return Connection(_AiohttpChannel(socket), Session(Side.AGENT, epoch=epoch), peer=master, app=app)
