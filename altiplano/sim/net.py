"""A network in memory: listeners, connections, delays, cuts.

Servers and clients use it through their event loop (`create_server`, `create_connection`), so uvicorn
and aiohttp run on it as they are.  Bytes of one direction arrive in order; a `Path` between two
addresses may delay them, swallow them (one direction at a time: a link that is cut without anybody
noticing) or be cut, which both ends notice as a lost connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

HIGH_WATER_BYTES = 64 * 1024
"""Unread bytes beyond which a writer is asked to pause."""

HOLD_LOOK_S = 0.5
"""Between two looks of somebody who dials whether the way is free again."""

GIVEN_UP_S = 900.0
"""After so long a system gives up a connection whose other end is silent: what TCP does with unacknowledged data."""

PORT_FIRST = 40_000
"""Where ports given by the network begin."""


HOST: contextvars.ContextVar[str] = contextvars.ContextVar("HOST", default="client")
"""On which host the running code is: whom its connections come from.  Tasks and callbacks inherit it."""


def one_machine(one: str, other: str) -> bool:
    """Whether two hosts are processes of one machine: `machine` and `machine/process`."""
    return one.partition("/")[0] == other.partition("/")[0]


def no_delay() -> float:
    return 0.0


@dataclass(slots=True)
class Path:
    """One direction between two hosts.  `delay_s` is asked for each piece of data."""

    delay_s: Callable[[], float] = no_delay
    drops: bool = False
    held: int = 0
    """How many holds are on it."""
    stuck: list[Transport] = field(default_factory=list)
    """Whose pieces wait for the end of the hold, in order."""


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, net: Net, here: tuple[str, int], there: tuple[str, int]
    ) -> None:
        super().__init__({"peername": there, "sockname": here, "socket": None, "sslcontext": None})
        self._loop = loop
        self._net = net
        self._here = here
        self._there = there
        self._protocol: asyncio.Protocol | None = None
        self._peer: Transport | None = None
        self._closing = False
        self._ended = False
        self._reading = True
        self._on_way: deque[bytes | None] = deque()
        self._inbound: deque[bytes | None] = deque()
        self._last_arrival_s = 0.0
        self._on_way_bytes = 0
        self._paused_writer = False
        self._spoiled: bool | None = None
        # What the protocol does happens on its own host, whoever caused it.
        self._context = contextvars.copy_context()

    def start(self, protocol: asyncio.Protocol, peer: Transport) -> None:
        self._protocol = protocol
        self._peer = peer
        protocol.connection_made(self)
        if self._ended:
            # It was cut before it had a protocol that could be told.
            self._loop.call_soon(protocol.connection_lost, None)
        self._deliver()

    def expect(self, peer: Transport) -> None:
        """Take data for a protocol that is still to come."""
        self._peer = peer

    # -- asyncio's side

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return self._on_way_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the network's own."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self._send(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Send what was written, then end."""
        if not self._closing:
            self._closing = True
            self._send(None)
            self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        self.cut(None)

    def cut(self, error: Exception | None) -> None:
        """End this side at once; the other side hears of it as soon as news travel."""
        if not self._ended:
            self._closing = True
            self._send(None)
            self._end(error)

    def vanish(self) -> None:
        """End this side at once; the other side hears nothing until its system gives the connection up."""
        self._closing = True
        self._end(None)
        if self._peer is not None:
            self._loop.call_later(GIVEN_UP_S, self._peer.give_up, context=self._peer._context)

    def give_up(self) -> None:
        """What was sent was not acknowledged for too long."""
        if not self._ended:
            self._closing = True
            self._end(TimeoutError("the other side does not answer"))

    def spoil(self, *, repeat: bool) -> None:
        """Double the next piece that is sent, or lose it."""
        self._spoiled = repeat

    # -- the network's side

    def _send(self, piece: bytes | None) -> None:
        path = self._net.path(self._here[0], self._there[0])
        if path.drops:
            return
        for _ in range(self._copies(piece)):
            self._on_way_bytes += len(piece) if piece else 0
            # Timers of one moment fire in any order, so a timer brings the next piece, not one of its own.
            self._on_way.append(piece)
            if path.held:
                path.stuck.append(self)
            else:
                self._travel(path)
        if self._on_way_bytes > HIGH_WATER_BYTES and not self._paused_writer and self._protocol is not None:
            self._paused_writer = True
            self._protocol.pause_writing()

    def _copies(self, piece: bytes | None) -> int:
        if piece is None or self._spoiled is None:
            return 1
        repeat, self._spoiled = self._spoiled, None
        return 2 if repeat else 0

    def _travel(self, path: Path) -> None:
        # No piece overtakes another of its direction.
        self._last_arrival_s = max(self._last_arrival_s, self._loop.time() + path.delay_s())
        context = self._peer._context if self._peer is not None else None
        self._loop.call_at(self._last_arrival_s, self._arrive, context=context)

    def _arrive(self) -> None:
        piece, peer = self._on_way.popleft(), self._peer
        if peer is not None:
            peer._inbound.append(piece)
            peer._deliver()

    def _taken(self, size: int) -> None:
        self._on_way_bytes -= size
        if self._paused_writer and self._on_way_bytes <= HIGH_WATER_BYTES // 4 and not self._ended:
            self._paused_writer = False
            assert self._protocol is not None
            self._loop.call_soon(self._protocol.resume_writing, context=self._context)

    def _deliver(self) -> None:
        while self._inbound and self._reading and not self._ended and self._protocol is not None:
            piece = self._inbound.popleft()
            if piece is None:
                self._protocol.eof_received()
                self._closing = True
                self._end(None)
                return
            if self._peer is not None:
                self._peer._taken(len(piece))
            self._protocol.data_received(piece)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._net.forget(self)
        if self._protocol is not None:
            self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)

    @property
    def host(self) -> str:
        """The host that this end is on."""
        return self._here[0]

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset((self._here[0], self._there[0]))


class Listener(asyncio.AbstractServer):
    """A server's ear.  `sockets` is there for servers that list theirs: it has none."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        net: Net,
        factory: Callable[[], asyncio.Protocol],
        address: tuple[str, int],
    ) -> None:
        self._loop = loop
        self.factory = factory
        self.address = address
        self._net = net
        self.sockets: list[Any] = []
        self.context = contextvars.copy_context()

    def close(self) -> None:
        if self.is_serving():
            self._net.unlisten(self.address)

    async def wait_closed(self) -> None:
        """Closed is closed."""

    def is_serving(self) -> bool:
        return self._net.listens(self)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def serve_forever(self) -> None:
        await self._loop.create_future()

    async def start_serving(self) -> None:
        """It serves from the start."""


class Net:
    """All hosts and what lies between them.  A host is whatever name servers listen on.

    `delay_s` is that of every path that has no other.
    """

    def __init__(self, delay_s: Callable[[], float] = no_delay) -> None:
        self._delay_s = delay_s
        self._paths: dict[tuple[str, str], Path] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._dialled: dict[int, Transport] = {}
        self._transports: dict[Transport, None] = {}
        self._ports = itertools.count(PORT_FIRST)

    def resolve(self, host: str) -> str:
        """Hosts have no other address than their name."""
        return host

    def path(self, source: str, target: str) -> Path:
        """The path from one host to another, to be changed at will."""
        key = (source, target)
        if key not in self._paths:
            self._paths[key] = Path(delay_s=self._delay_s)
        return self._paths[key]

    def cut(self, one: str, other: str) -> int:
        """Cut all connections between two hosts; how many there were."""
        found = self.between(one, other)
        for transport in found:
            transport.cut(ConnectionResetError("cut by the simulation"))
        return len(found)

    def between(self, one: str, other: str) -> list[Transport]:
        """The ends of all connections between two hosts."""
        hosts = frozenset((one, other))
        return [transport for transport in self._transports if transport.hosts == hosts]

    def hold(self, source: str, target: str) -> None:
        """Let nothing pass in one direction until `release`; what is sent meanwhile arrives then."""
        self.path(source, target).held += 1

    def release(self, source: str, target: str) -> None:
        path = self.path(source, target)
        path.held -= 1
        if path.held:
            return
        stuck, path.stuck = path.stuck, []
        for transport in stuck:
            transport._travel(path)

    def kill(self, host: str, *, silently: bool = False) -> None:
        """End all that a host listens on and is connected to, as when its process or (`silently`) its machine dies."""
        for address in [address for address in self._listeners if address[0] == host]:
            self.unlisten(address)
        for transport in [transport for transport in self._transports if transport.host == host]:
            # Processes of one machine are told by its system, whatever became of the network.
            if silently and not all(one_machine(host, other) for other in transport.hosts):
                transport.vanish()
            else:
                transport.cut(None)

    # -- the loop's side

    def listen(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> Listener:
        address = (host, port or next(self._ports))
        if address in self._listeners:
            raise OSError(98, f"{host}:{port} is in use")
        listener = self._listeners[address] = Listener(loop, self, factory, address)
        return listener

    def unlisten(self, address: tuple[str, int]) -> None:
        self._listeners.pop(address, None)

    def listens(self, listener: Listener) -> bool:
        return self._listeners.get(listener.address) is listener

    def forget(self, transport: Transport) -> None:
        self._transports.pop(transport, None)

    async def dial(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, address: tuple[str, int]) -> None:
        """First half of a connection made by way of a socket: see `claim`."""
        self._dialled[id(sock)] = await self._reach(loop, (str(address[0]), int(address[1])))

    def claim(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Second half: the connection that was dialled with this socket gets its protocol."""
        transport = self._dialled.pop(id(sock))
        sock.close()
        return self._join(transport, factory)

    async def connect(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        return self._join(await self._reach(loop, (host, port)), factory)

    async def _reach(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> Transport:
        source = HOST.get()
        way, back = self.path(source, address[0]), self.path(address[0], source)
        await asyncio.sleep(way.delay_s() + back.delay_s())
        if way.drops or back.drops:
            await loop.create_future()
        while way.held or back.held:  # noqa: ASYNC110  (time is free here)
            await asyncio.sleep(HOLD_LOOK_S)
        listener = self._listeners.get(address)
        if listener is None:
            raise ConnectionRefusedError(111, f"nobody listens on {address[0]}:{address[1]}")
        here = (source, next(self._ports))
        client = Transport(loop, self, here, address)
        server = listener.context.copy().run(Transport, loop, self, address, here)
        client.expect(server)
        self._transports[client] = None
        self._transports[server] = None
        listener.context.copy().run(server.start, listener.factory(), client)
        return client

    def _join(
        self, transport: Transport, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = factory()
        peer = transport._peer
        assert peer is not None
        transport.start(protocol, peer)
        return transport, protocol
