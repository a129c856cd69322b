"""The promises of the probes port, kept by real sockets and by the twin in memory."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from altiplano.adapters.probes import SocketProbes
from altiplano.ports import probes
from altiplano.testing.probes import MemoryProbes

WAIT_S = 20.0


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/around":
            self.send_response(302)
            self.send_header("Location", "/around")
        else:
            self.send_response({"/alive": 200, "/old": 301}.get(self.path, 404))
            if self.path == "/old":
                self.send_header("Location", "/alive")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def garbage() -> Iterator[int]:
    """A port that says what is no HTTP, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(WAIT_S)


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(params=["memory", "sockets"])
async def bench(request: pytest.FixtureRequest, served: int, garbage: int) -> AsyncIterator[probes.Probes]:
    twin = MemoryProbes(pages={(served, "/alive"): 200, (served, "/old"): 200}, ports={garbage})
    made: probes.Probes = twin if request.param == "memory" else SocketProbes()
    async with asyncio.timeout(WAIT_S):
        yield made
        await made.close()


async def test_an_open_port_is_connected_to(bench: probes.Probes, served: int) -> None:
    assert (await bench.ask(probes.Tcp(port=served))).connected


async def test_a_closed_port_is_told_with_its_reason(bench: probes.Probes, closed: int) -> None:
    answer = await bench.ask(probes.Tcp(port=closed))
    assert (answer.connected, answer.sentence) == (False, f"port {closed}: connection refused")
    page = await bench.ask(probes.Http(port=closed))
    assert (page.connected, page.sentence) == (False, f"http://127.0.0.1:{closed}/: connection refused")


async def test_a_page_is_known_by_its_status(bench: probes.Probes, served: int) -> None:
    assert (await bench.ask(probes.Http(port=served, path="/alive"))).status_code == 200
    assert (await bench.ask(probes.Http(port=served, path="/missing"))).status_code == 404


async def test_a_redirect_is_followed(bench: probes.Probes, served: int) -> None:
    assert (await bench.ask(probes.Http(port=served, path="/old"))).status_code == 200


async def test_what_is_no_http_has_no_status(bench: probes.Probes, garbage: int) -> None:
    answer = await bench.ask(probes.Http(port=garbage))
    assert answer.status_code is None
    assert str(garbage) in answer.sentence


@pytest.mark.parametrize(
    "target",
    [
        probes.Tcp(port=70_000),
        probes.Tcp(port=0),
        probes.Tcp(port=1, ipv6=True),
        probes.Http(port=70_000),
        probes.Http(port=0),
        probes.Http(port=1, ipv6=True),
        probes.Http(port=1, path="/\udcff\n \0"),
        probes.Http(port=1, path="/[::1"),
    ],
)
async def test_whatever_a_task_asks_for_is_answered(target: probes.Target) -> None:
    asks = SocketProbes()
    async with asyncio.timeout(WAIT_S):
        answer = await asks.ask(target)
    await asks.close()
    assert answer.status_code is None
    assert answer.sentence


async def test_what_is_no_tls_is_told(served: int) -> None:
    asks = SocketProbes()
    async with asyncio.timeout(WAIT_S):
        answer = await asks.ask(probes.Http(port=served, scheme="https"))
    await asks.close()
    assert answer.status_code is None
    assert f"https://127.0.0.1:{served}/" in answer.sentence


async def test_redirects_in_a_circle_end(served: int) -> None:
    asks = SocketProbes()
    async with asyncio.timeout(WAIT_S):
        answer = await asks.ask(probes.Http(port=served, path="/around"))
    await asks.close()
    assert answer.status_code is None
    assert "redirects more than 5 times" in answer.sentence
