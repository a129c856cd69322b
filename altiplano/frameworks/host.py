"""The process in which `altiplano up` runs frameworks: each starts at its first use, and again when it fails.

A framework that wants to live here has a module with `hosted(context)`, named in `FRAMEWORKS`.  The
first request below its path starts it; so does a state directory that it left, since what was
begun goes on after a restart.  Run alone it needs none of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from altiplano.engine import guard, http
from altiplano.kit.backoff import BackOff
from altiplano.sdk import credentials, masters
from altiplano.sdk.credentials import Place

FRAMEWORKS: Mapping[str, str] = {"flows": "altiplano.frameworks.flows.hosted"}
"""Paths and the modules behind them."""

RESTART = BackOff(base_s=1.0, cap_s=60.0)
START_S_MAX = 20.0

log = structlog.get_logger("altiplano.host")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a hosted framework is given."""

    place: Place
    """The master and our credentials."""
    directory: Path
    """For its state; exists."""
    url: str
    """Where its pages are, for `webui_url`."""


class Hosted(Protocol):
    """One framework: an ASGI application for the paths below its own, and the work behind it."""

    async def run(self, opened: Callable[[], None]) -> None:
        """Serve until cancelled; `opened` is called when requests may come."""
        ...

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None: ...


class Room:
    """One framework's place in the host."""

    def __init__(self, name: str, module: str, context: Context) -> None:
        self.name = name
        self.failure = ""
        self._module = module
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._decided = asyncio.Event()
        """It runs, or its last attempt has failed."""
        self._hosted: Hosted | None = None

    @property
    def state(self) -> str:
        if self._task is None:
            return "not used yet"
        return "running" if self._ready.is_set() else self.failure or "starting"

    def start(self, group: asyncio.TaskGroup) -> None:
        if self._task is None:
            self._task = group.create_task(self._run())

    async def answer(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """Pass a request on as soon as the framework runs; while it cannot run, say why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S_MAX):
                await self._decided.wait()
        if not self._ready.is_set():
            reason = self.failure or "it is starting"
            await http.respond_text(send, 503, f"framework {self.name} does not run: {reason}; try again in a moment")
            return
        assert self._hosted is not None
        inner = dict(scope) | {"root_path": f"/{self.name}", "path": scope["path"].removeprefix(f"/{self.name}") or "/"}
        await self._hosted(inner, receive, send)

    def _opened(self) -> None:
        self.failure = ""
        self._ready.set()
        self._decided.set()

    async def end(self) -> None:
        """Cancel the framework and wait until it has gone."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        back_off = RESTART
        while True:
            try:
                self._context.directory.mkdir(parents=True, exist_ok=True)
                self._hosted = importlib.import_module(self._module).hosted(self._context)
                await self._hosted.run(self._opened)
                self.failure = "it ended"
            except Exception as error:  # the outermost shell of a framework
                # One framework's bug must not cost the others; its own story is in the log.
                self.failure = f"{type(error).__name__}: {error}"
                log.exception("a framework failed", action="framework-failed", cause="host", framework=self.name)
            self._ready.clear()
            self._decided.set()
            delay_s, back_off = back_off.next(random.random())
            await asyncio.sleep(delay_s)


class Host:
    """The application of the host."""

    def __init__(self, rooms: Mapping[str, Room], group: asyncio.TaskGroup) -> None:
        self._rooms = rooms
        self._group = group

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        name = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
        room = self._rooms.get(name)
        if room is not None:
            room.start(self._group)
            await room.answer(scope, receive, send)
        elif scope["type"] != "http":
            await http.refuse(send, http.Refusal(404, "there is nothing here"))
        elif scope["path"] == "/health":
            await http.respond_text(send, 200, "ok")
        elif scope["path"] in ("/", "/frameworks"):
            body = msgspec.json.encode({name: room.state for name, room in self._rooms.items()})
            await http.respond(send, 200, body, content_type="application/json")
        else:
            known = ", ".join(f"/{name}" for name in self._rooms) or "none"
            await http.respond_text(send, 404, f"no framework lives at '/{name}'; there are {known}")


async def serve(*, master: str, work_dir: Path, ip: str, port: int, token: str | None) -> None:
    """Run the host until SIGTERM or SIGINT."""
    authorization = credentials.bearer(token) if token is not None else None
    place = Place(masters=masters.parse(master), authorization=authorization)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = http.listen(ip, port)
    rooms = {
        name: Room(name, module, Context(place=place, directory=work_dir / name, url=f"http://{ip}:{port}/{name}/"))
        for name, module in FRAMEWORKS.items()
    }
    async with asyncio.TaskGroup() as group:
        app = guard.Guard(Host(rooms, group), token=token, hosts=guard.names(ip))
        server = http.HttpServer(app, host=ip, port=port, listener=listener)
        await server.start()
        for name, room in rooms.items():
            if (work_dir / name).exists():
                room.start(group)
        await stop.wait()
        await server.stop()
        for room in rooms.values():
            await room.end()
