"""What a running flow answers over HTTP, on one port: its data path, its pages, its state as JSON.

    /in/…  /out/…       the data path; each URL carries a permit of its own (`datapath`)
    /ui/…  /static/…    pages, behind the pool's token
    GET /api/v1/flow    the flow: counts by state and by category
    GET /api/v1/rules   its rules; ?state=failed chooses
    GET /health         whether it lives

Pages are loaded when somebody looks at them: most flows are over before anybody does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from altiplano.engine import guard, http
from altiplano.frameworks.flows import view
from altiplano.frameworks.flows.datapath import DataPath
from altiplano.frameworks.flows.state import FlowState
from altiplano.ports.clock import Clock
from altiplano.sdk.credentials import Place

PORTS = range(20_000, 31_000)
"""A flow's port lies below those that agents offer and the kernel gives to connections, so that a resumed run
finds it free: tasks of the run before send their outputs there."""

PORT_ATTEMPTS_MAX = 50
PROBE_PORT = 5050


class Api:
    """The application behind the guard."""

    def __init__(self, state: FlowState, *, version: Callable[[], int], clock: Clock, pool_url: str) -> None:
        self._state = state
        self._version = version
        self._clock = clock
        self._pool_url = pool_url
        self._pages: http.App | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        match scope["type"], scope["path"]:
            case "http", "/health":
                await http.respond_text(send, 200, "ok")
            case "http", "/":
                # One process runs one flow, so a list of flows would be a detour.
                location = f"/ui/flows/{self._state.run_id or 'flow'}"
                await http.respond(send, 303, headers=[(b"location", location.encode())])
            case "http", "/api/v1/flow":
                await self._respond(send, view.view(self._state))
            case "http", "/api/v1/rules":
                chosen = http.query(scope).get("state")
                rules = (view.rule_view(self._state, key) for key in self._state.nodes)
                await self._respond(send, [rule for rule in rules if chosen in (None, rule.state)])
            case _:
                await (await self._load_pages())(scope, receive, send)

    async def _respond(self, send: http.Send, value: object) -> None:
        await http.respond(send, 200, msgspec.json.encode(value), content_type="application/json")

    async def _load_pages(self) -> http.App:
        async with self._loading:
            if self._pages is None:
                self._pages = await asyncio.to_thread(self._build_pages)
        return self._pages

    def _build_pages(self) -> http.App:
        from altiplano.frameworks.flows import pages
        from altiplano.frameworks.flows.pages.picture import of_state

        return pages.build(
            flows=lambda: [of_state(self._state)],
            version=self._version,
            clock=self._clock,
            pool_url=self._pool_url,
        )


class Endpoint:
    """The one application of a flow: tasks and people come in by the same port."""

    def __init__(self, data: DataPath, api: Api, *, token: str | None, hosts: frozenset[str] | None) -> None:
        self._data = data
        self._guarded = guard.Guard(api, token=token, hosts=hosts, realm="altiplano flow")

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/in/", "/out/")):
            await self._data(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)


def listen(ip: str, wanted: int | None) -> socket.socket:
    """A listening socket at the wanted port, or else at any that a flow may have.  Raises CannotListen."""
    if wanted is not None:
        return http.listen(ip, wanted)
    for _ in range(PORT_ATTEMPTS_MAX - 1):
        try:
            return http.listen(ip, random.choice(PORTS))
        except http.CannotListen:
            continue
    return http.listen(ip, random.choice(PORTS))


def names_of(ip: str) -> frozenset[str] | None:
    """Names by which people may call the endpoint: those of loopback, or any where machines come from outside."""
    own = f"[{ip}]" if ":" in ip else ip
    return frozenset({own, "localhost", "127.0.0.1", "[::1]"}) if is_loopback(ip) else None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_address(place: Place) -> str:
    """The address of this machine on the way to the master: loopback if the master is there."""
    url = urlsplit(place.masters[0])
    host = url.hostname or "127.0.0.1"
    if is_loopback(host):
        return "127.0.0.1"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, url.port or PROBE_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            # Connecting a datagram socket sends nothing; it only asks the kernel for the way.
            probe.connect(address)
            found: str = probe.getsockname()[0]
            return found
    except OSError:
        return "127.0.0.1"
