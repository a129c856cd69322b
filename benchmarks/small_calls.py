"""Small calls on the operator API: GET_HEALTH by 64 connections that are kept alive.

The client is a bare asyncio protocol, so that the server is what is measured; it runs on the other core.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import cast

from altiplano.kit import eventloop
from benchmarks.measure import Measurement, cpu_seconds, median, pool

CONNECTIONS = 64
SECONDS = 4.0
WARM_SECONDS = 0.5
ROUNDS = 3
BODY = b'{"type":"GET_HEALTH"}'


class Client(asyncio.Protocol):
    """Sends the next request when an answer is complete."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.count = 0
        self.size = 0
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is one without saying so.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.size:
            head, mark, _ = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the master answers {head[:80]!r}")
            lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self.size = len(head) + 4 + int(lines[0].split(b":")[1])
        if len(self.buffer) >= self.size:
            self.buffer = self.buffer[self.size :]
            self.size = 0 if not self.buffer else self.size
            self.count += 1
            assert self.transport is not None
            self.transport.write(self.request)


async def load(port: int) -> float:
    request = (
        b"POST /api/v1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (port, len(BODY), BODY)
    )
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: Client(request), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(WARM_SECONDS)
    before, start = sum(c.count for c in clients), time.perf_counter()
    await asyncio.sleep(SECONDS)
    rate = (sum(c.count for c in clients) - before) / (time.perf_counter() - start)
    for client in clients:
        assert client.transport is not None
        client.transport.abort()
    return rate


def run() -> Iterable[Measurement]:
    cores = sorted(os.sched_getaffinity(0))
    with pool() as running:
        os.sched_setaffinity(running.master.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        try:
            start, calls = cpu_seconds(running.master.pid), 0.0
            rates = []
            for _ in range(ROUNDS):
                rates.append(eventloop.run(load(running.port)))
                calls += rates[-1] * SECONDS + WARM_SECONDS * rates[-1]
            each = (cpu_seconds(running.master.pid) - start) / calls
        finally:
            os.sched_setaffinity(0, set(cores))
    value, spread = median(rates)
    yield Measurement(
        name="small_calls",
        value=value,
        unit="calls/s",
        better="higher",
        goal=20_000,
        spread=spread,
        note=f"{each * 1e6:.0f} us of the master's processor time a call",
    )
