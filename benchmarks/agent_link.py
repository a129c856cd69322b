"""Trial: what carries the agent link.

Compares, in one run on this machine, candidates for a full-duplex message connection between many agents and one
master: WebSocket as uvicorn and aiohttp do it with compression off and on, and a bare TCP stream with length prefixes
as the floor.  Each carries small JSON messages one by one, answered by the server.  Prints round trips per second
of both sides in one process, and resident memory per idle connection (both ends).

    python benchmarks/agent_link.py [--connections 300] [--rounds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import platform
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import psutil
import uvicorn

from altiplano.engine import http

MESSAGE = '{"seq":12345,"ack":12344,"epoch":1,"messages":[{"m":"Ping","connected":true,"cause":"ping-000017"}]}'
Echo = Callable[[], Awaitable[None]]


async def websocket_echo(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


@contextlib.asynccontextmanager
async def websocket(compress: bool) -> AsyncIterator[Callable[[], Awaitable[Echo]]]:
    listener = http.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        websocket_echo,
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        log_config=None,
        ws_per_message_deflate=compress,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # signals stay ours
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def connect() -> Echo:
            socket = await client.ws_connect(f"http://127.0.0.1:{port}/", compress=15 if compress else 0)

            async def echo() -> None:
                await socket.send_str(MESSAGE)
                await socket.receive()

            return echo

        yield connect
    server.should_exit = True
    await running


@contextlib.asynccontextmanager
async def plain() -> AsyncIterator[Callable[[], Awaitable[Echo]]]:
    head = struct.Struct(">I")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                size = head.unpack(await reader.readexactly(4))[0]
                writer.write(head.pack(size) + await reader.readexactly(size))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    writers = []
    data = head.pack(len(MESSAGE)) + MESSAGE.encode()

    async def connect() -> Echo:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)

        async def echo() -> None:
            writer.write(data)
            await reader.readexactly(len(data))

        return echo

    yield connect
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.1)


async def measure(
    name: str, way: contextlib.AbstractAsyncContextManager[Callable[[], Awaitable[Echo]]], connections: int, rounds: int
) -> None:
    process = psutil.Process()
    async with way as connect:
        warm = await connect()
        await warm()
        gc.collect()
        before = process.memory_info().rss
        echoes = [await connect() for _ in range(connections)]
        await asyncio.gather(*(echo() for echo in echoes))
        gc.collect()
        memory = (process.memory_info().rss - before) / connections / 1024
        start, start_cpu = time.perf_counter(), time.process_time()

        async def client(echo: Echo) -> None:
            for _ in range(rounds):
                await echo()

        await asyncio.gather(*(client(echo) for echo in echoes))
        wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        count = connections * rounds
        print(f"{name:<34} {count / wall:10.0f}/s {cpu / count * 1e6:8.0f} us CPU {memory:8.1f} KiB/connection")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}; {len(MESSAGE)} bytes, both ends here")
    for name, way in (
        ("TCP with length prefix", lambda: plain()),
        ("WebSocket, compression off", lambda: websocket(False)),
        ("WebSocket, compression on", lambda: websocket(True)),
    ):
        asyncio.run(measure(name, way(), arguments.connections, arguments.rounds))


if __name__ == "__main__":
    main()
