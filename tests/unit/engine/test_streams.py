"""Streams of events to one subscriber, and what happens to those who do not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from altiplano.engine import streams
from altiplano.engine.streams import Backlog, EventStream
from altiplano.wire.codec import JSON


class Connection(asyncio.Transport):
    """A connection whose peer reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()


class Cycle:
    """A request as the server knows it: what is sent waits until the peer reads or the connection ends."""

    def __init__(self) -> None:
        self.transport = Connection()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            await self.transport.aborted.wait()

    async def receive(self) -> Any:
        await self.transport.aborted.wait()
        return {"type": "http.disconnect"}


async def test_a_subscriber_that_does_not_read_is_cut_off_with_its_connection(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "STREAM_BYTES_MAX", 1000)
    backlog, cycle = Backlog(), Cycle()
    stream = EventStream("s", JSON, backlog)
    carried = asyncio.create_task(streams.carry(stream, cycle.receive, cycle.send))
    assert stream.put(b"x" * 900)
    await asyncio.sleep(0)
    while backlog.size_bytes:
        await asyncio.sleep(0)
    assert stream.put(b"x" * 900)
    assert not stream.put(b"x" * 900)
    async with asyncio.timeout(10):
        reason = await carried
    assert "reads too slowly" in reason
    assert "1000" in reason
    assert backlog.size_bytes == 0


async def test_what_waits_for_a_subscriber_that_leaves_is_dropped():
    backlog, cycle = Backlog(), Cycle()
    stream = EventStream("s", JSON, backlog)
    stream.put(b"x" * 900)
    carried = asyncio.create_task(streams.carry(stream, cycle.receive, cycle.send))
    for _ in range(5):
        await asyncio.sleep(0)
    stream.put(b"x" * 900)
    assert backlog.size_bytes == 900
    cycle.transport.abort()
    async with asyncio.timeout(10):
        assert await carried == "the subscriber closed the connection"
    assert backlog.size_bytes == 0
