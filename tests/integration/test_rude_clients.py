"""Clients that send too much, read nothing or never finish: a real master serves the others meanwhile.

A polite client makes its calls one after the other while the rude ones are at work; that all of them are
answered, and rightly, is what is asserted, not how fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pools import free_ports, wait_until

POLITE_CALLS = 20
ANSWER_S_MAX = 15.0
IDLE_SUBSCRIBERS = 1000
GROWTH_BYTES_MAX = 160 * 1024 * 1024

SCHEDULER = "/api/v1/scheduler"
OPERATOR = "/api/v1"


class Master:
    def __init__(self, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
        self.port = port
        self.process = process
        self.output = output

    @property
    def memory_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def running() -> Iterator[Master]:
    """A master without agents, as a process of its own."""
    port = free_ports()
    with tempfile.TemporaryDirectory(prefix="rude-", dir="/tmp") as directory:
        output = Path(directory) / "log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "altiplano.cli.main",
                    "master",
                    "--ip",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--work-dir",
                    directory,
                ],
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: b"action=serve" in output.read_bytes(), "the master serves", 30.0)
            yield Master(port, process, output)
        finally:
            process.terminate()
            process.wait(20)


@contextlib.asynccontextmanager
async def connected(master: Master) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Accept: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One answer with a length; every answer is HTTP or this fails."""
    async with asyncio.timeout(ANSWER_S_MAX):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    for word in (b"Traceback", b".py", b"/work", b"site-packages"):
        assert word not in body, f"an answer shows {word!r}"
    return int(status), body


async def ask(master: Master, request: bytes) -> tuple[int, bytes]:
    async with connected(master) as (reader, writer):
        writer.write(request)
        return await answer(reader)


async def politely(master: Master, times: int = POLITE_CALLS) -> None:
    """Calls of somebody else, one after the other on one connection."""
    async with connected(master) as (reader, writer):
        for _ in range(times):
            writer.write(post(OPERATOR, b'{"type":"GET_HEALTH"}'))
            status, body = await answer(reader)
            assert (status, json.loads(body)["get_health"]["healthy"]) == (200, True)


def call(kind: str, framework_id: str = "f", **payload: Any) -> bytes:
    return json.dumps({"type": kind, "framework_id": {"value": framework_id}, **payload}).encode()


INFO = {"user": "nobody", "name": "rude", "roles": ["*"], "capabilities": [{"type": "MULTI_ROLE"}]}


def subscribe(**changes: Any) -> bytes:
    return json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": INFO | changes}}).encode()


async def subscribed(reader: asyncio.StreamReader) -> tuple[str, str]:
    """The ids of framework and stream, once the first record is here."""
    async with asyncio.timeout(ANSWER_S_MAX):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        stream = next(line.split(":")[1].strip() for line in head.split("\r\n") if line.lower().startswith("mesos-st"))
        text = b""
        while b"heartbeat_interval_seconds" not in text:
            text += await reader.read(65536)
    return text.decode().split('"framework_id":{"value":"')[1].split('"')[0], stream


MANY = 30_000
RUDE: dict[str, tuple[bytes, int]] = {
    "a body beyond the limit": (post(SCHEDULER, b" " * (32 * 1024 * 1024 + 1)), 413),
    "a length that is a lie": (post(SCHEDULER, b"{}", length=10**12), 413),
    "a bomb": (post(SCHEDULER, gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"), 413),
    "half a gzip": (post(SCHEDULER, gzip.compress(b"{}" * 9999)[:-9], "Content-Encoding: gzip"), 400),
    "nested arrays": (post(SCHEDULER, b"[" * 50_000), 400),
    "nested objects": (post(OPERATOR, b'{"type":' * 50_000), 400),
    "too many elements": (post(SCHEDULER, b'{"a":[' + b"{}," * 600_000 + b"{}]}"), 413),
    "too many elements of protobuf": (
        post(SCHEDULER, b"\x2a\x80\xbe\x92\x01" + b"\x0a\x00" * 1_200_000).replace(b"n/json", b"n/x-protobuf", 1),
        413,
    ),
    "no call at all": (post(SCHEDULER, b'{"type":"UNKNOWN","framework_id":{"value":"f"}}'), 400),
    "an operator call that is none": (post(OPERATOR, b'{"type":"UNKNOWN"}'), 501),
    "a long id": (post(SCHEDULER, call("KILL", kill={"task_id": {"value": "x" * 10**6}})), 400),
    "a long framework id": (post(SCHEDULER, call("TEARDOWN", "x" * 10**6)), 400),
    "a long agent id": (
        post(
            OPERATOR,
            json.dumps({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": "x" * 10**6}}}).encode(),
        ),
        404,
    ),
    "reconciling strangers": (
        post(SCHEDULER, call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "t"}}] * MANY})),
        400,
    ),
    "not a number": (post(OPERATOR, b'{"type":"GET_METRICS","get_metrics":{"timeout":{"nanoseconds":1e999}}}'), 400),
    "bad utf-8": (post(OPERATOR, b'{"type":"\xff\xfe"}'), 400),
}


@pytest.mark.parametrize("name", list(RUDE))
async def test_a_rude_call_is_refused_and_the_others_are_served(running: Master, name: str) -> None:
    request, expected = RUDE[name]
    (status, _), _ = await asyncio.gather(ask(running, request), politely(running, 5))
    assert status == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": [f"r{number}" for number in range(10_000)]},
        {"roles": ["a/" * 10_000 + "a"]},
        {"name": "n" * 10**6},
        {"labels": {"labels": [{"key": "k", "value": "v" * 1000}] * 3000}},
    ],
    ids=["roles", "a deep role", "a name", "labels"],
)
async def test_a_description_that_is_too_large_ends_its_stream_with_a_sentence(
    running: Master, changes: dict[str, Any]
) -> None:
    async with connected(running) as (reader, writer):
        writer.write(post(SCHEDULER, subscribe(**changes)))
        async with asyncio.timeout(ANSWER_S_MAX):
            said = await reader.readuntil(b"}}")
        assert b'"ERROR"' in said
        assert b"the most" in said


async def test_large_calls_that_are_right_are_carried_out_while_others_are_served(running: Master) -> None:
    async with connected(running) as (reader, writer):
        writer.write(post(SCHEDULER, subscribe()))
        framework_id, stream = await subscribed(reader)
        header = f"Mesos-Stream-Id: {stream}"
        tasks = [{"task_id": {"value": f"t{number}"}} for number in range(100_000)]
        offers = [{"value": f"o{number}"} for number in range(MANY)]
        launches = [{"type": "LAUNCH", "launch": {"task_infos": []}}] * 10_000
        polite = asyncio.create_task(politely(running))
        for body in (
            call("DECLINE", framework_id, decline={"offer_ids": offers}),
            call("ACCEPT", framework_id, accept={"offer_ids": [{"value": "o"}], "operations": launches}),
            call("REVIVE", framework_id, revive={"roles": [f"r{number}" for number in range(10_000)]}),
            call("RECONCILE", framework_id, reconcile={"tasks": tasks}),
        ):
            assert (await ask(running, post(SCHEDULER, body, header)))[0] == 202
        await polite
        told = 0
        rest = b""
        async with asyncio.timeout(ANSWER_S_MAX):
            while told < len(tasks):
                data = rest + await reader.read(1 << 20)
                told += data.count(b'"TASK_LOST"')
                rest = data[-11:] if not data.endswith(b'"TASK_LOST"') else b""
        assert told == len(tasks)


async def test_slow_and_half_open_connections_keep_nobody_out(running: Master) -> None:
    before = running.descriptors
    async with contextlib.AsyncExitStack() as stack:
        for number in range(300):
            _, writer = await stack.enter_async_context(connected(running))
            if number % 3 == 1:
                writer.write(b"POST /api/v1 HTTP/1.1\r\nHost: 127.0")
            elif number % 3 == 2:
                writer.write(post(SCHEDULER, b"{", length=5_000_000))
        await politely(running)
        assert (await ask(running, post(SCHEDULER, call("KILL", kill={"task_id": {"value": "t"}}))))[0] == 400
        # A connection of the test before may still have been closing when they were counted.
        assert running.descriptors >= before + 295
    async with asyncio.timeout(ANSWER_S_MAX):
        while running.descriptors > before + 5:
            await asyncio.sleep(0.05)


async def test_a_thousand_idle_subscribers_cost_little_and_their_memory_comes_back(running: Master) -> None:
    body = b'{"type":"SUBSCRIBE"}'
    before, descriptors = running.memory_bytes, running.descriptors
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(IDLE_SUBSCRIBERS):
            _, writer = await stack.enter_async_context(connected(running))
            writer.write(post(OPERATOR, body))
        await politely(running)
        assert running.memory_bytes < before + GROWTH_BYTES_MAX
    async with asyncio.timeout(ANSWER_S_MAX):
        while running.descriptors > descriptors + 5:
            await asyncio.sleep(0.05)
    await politely(running)
    assert running.memory_bytes < before + GROWTH_BYTES_MAX


async def test_afterwards_the_master_is_as_it_was(running: Master) -> None:
    assert running.process.poll() is None
    await politely(running)
    assert b"action=bug" not in running.output.read_bytes()
    assert b"Traceback" not in running.output.read_bytes()
