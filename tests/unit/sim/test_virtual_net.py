"""The network in memory, first with plain streams, then with a real HTTP server and client."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import uvicorn

from altiplano.sim import loop as virtual
from altiplano.sim.net import HIGH_WATER_BYTES, HOST, Net


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


def test_data_arrives_in_order_after_the_delay_of_its_path() -> None:
    net = Net()
    delays = iter([0.0, 0.0, 5.0, 1.0] + [0.0] * 100)
    net.path("client", "server").delay_s = lambda: next(delays)

    async def main() -> None:
        await asyncio.start_server(echo, "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        started = asyncio.get_running_loop().time()
        for piece in (b"one ", b"two ", b"three "):
            writer.write(piece)
        assert await reader.readexactly(14) == b"one two three "
        assert asyncio.get_running_loop().time() - started == 5.0
        writer.close()

    virtual.run(main(), net=net)


def test_nobody_there_is_a_refused_connection() -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError, match="nobody listens on server:81"):
            await asyncio.open_connection("server", 81)

    virtual.run(main(), net=Net())


def test_a_cut_is_noticed_at_both_ends() -> None:
    net = Net()
    ended: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            ended.append("server")
            writer.close()

    async def main() -> None:
        await asyncio.start_server(serve, "server", 80)
        reader, _ = await asyncio.open_connection("server", 80)
        await asyncio.sleep(1)
        assert net.cut("client", "server") == 2
        with pytest.raises(ConnectionResetError, match="cut by the simulation"):
            await reader.read()
        await asyncio.sleep(1)
        assert ended == ["server"]

    virtual.run(main(), net=net)


def test_a_direction_that_drops_is_noticed_by_nobody() -> None:
    net = Net()

    async def main() -> None:
        await asyncio.start_server(echo, "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        net.path("server", "client").drops = True
        writer.write(b"heard, answered, never seen")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await reader.read(10)

    virtual.run(main(), net=net)


def test_a_reader_that_does_not_read_stops_its_writer() -> None:
    async def stare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(100)
        while await reader.read(100_000):
            pass
        writer.close()

    async def main() -> None:
        await asyncio.start_server(stare, "server", 80)
        _, writer = await asyncio.open_connection("server", 80)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(20):
            writer.write(bytes(HIGH_WATER_BYTES))
            await writer.drain()
        assert loop.time() - started >= 100
        writer.close()

    virtual.run(main(), net=Net())


async def hello(scope: dict[str, object], receive: object, send: object) -> None:
    """The smallest ASGI application that reads a body and answers."""
    size, more = 0, True
    while more:
        message = await receive()  # type: ignore[operator]
        size, more = size + len(message["body"]), message.get("more_body", False)
    body = b"%d bytes" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": body})  # type: ignore[operator]


def test_uvicorn_and_aiohttp_run_on_it_unmodified() -> None:
    net = Net()
    net.path("client", "master").delay_s = lambda: 0.25

    async def main() -> tuple[list[str], float]:
        config = uvicorn.Config(hello, host="master", port=5050, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server._serve())
        await asyncio.sleep(1)
        started = asyncio.get_running_loop().time()
        answers = []
        async with aiohttp.ClientSession() as session:
            for size in (0, 10, 200_000):
                async with session.post("http://master:5050/api/v1", data=b"x" * size) as response:
                    answers.append(await response.text())
        took_s = asyncio.get_running_loop().time() - started
        server.should_exit = True
        await serving
        return answers, took_s

    answers, took_s = virtual.run(main(), net=net)
    assert answers == ["0 bytes", "10 bytes", "200000 bytes"]
    assert took_s >= 3 * 0.25
    assert virtual.run(main(), net=net) == (answers, took_s)


def test_what_is_sent_during_a_hold_arrives_in_order_when_the_last_hold_ends() -> None:
    net = Net()

    async def main() -> None:
        await asyncio.start_server(echo, "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        loop = asyncio.get_running_loop()
        started = loop.time()
        net.hold("client", "server")
        net.hold("client", "server")
        writer.write(b"one ")
        loop.call_later(10, net.release, "client", "server")
        loop.call_later(20, net.release, "client", "server")
        loop.call_later(30, writer.write, b"two")
        assert await reader.readexactly(4) == b"one "
        assert loop.time() - started == 20
        assert await reader.readexactly(3) == b"two"
        writer.close()

    virtual.run(main(), net=net)


@pytest.mark.parametrize(("repeat", "arrives"), [(True, b"frameframe."), (False, b".")])
def test_a_spoiled_piece_comes_twice_or_never(repeat: bool, arrives: bytes) -> None:
    net = Net()

    async def main() -> None:
        await asyncio.start_server(echo, "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        for end in net.between("client", "server"):
            if end.host == "client":
                end.spoil(repeat=repeat)
        writer.write(b"frame")
        writer.write(b".")
        assert await reader.readexactly(len(arrives)) == arrives
        writer.close()

    virtual.run(main(), net=net)


@pytest.mark.parametrize("silently", [True, False])
def test_a_host_that_dies_listens_no_more_and_is_missed_only_if_it_was_not_silent(silently: bool) -> None:
    net = Net()

    async def main() -> None:
        await asyncio.start_server(echo, "server", 80)
        reader, _ = await asyncio.open_connection("server", 80)
        net.kill("server", silently=silently)
        if silently:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3600):
                    await reader.read(1)
        else:
            assert await reader.read(1) == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("server", 80)

    virtual.run(main(), net=net)


def test_each_end_of_a_connection_runs_on_its_own_host() -> None:
    net = Net()
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        seen.append(HOST.get())
        writer.close()

    async def main() -> None:
        HOST.set("server")
        await asyncio.start_server(serve, "server", 80)
        HOST.set("laptop")
        reader, writer = await asyncio.open_connection("server", 80)
        assert writer.get_extra_info("sockname")[0] == "laptop"
        writer.write(b"?")
        await reader.read()

    virtual.run(main(), net=net)
    assert seen == ["server"]
