"""A whole master: registry, shell, link, HTTP server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import structlog

from altiplano.adapters import sqlite
from altiplano.adapters.sqlite import SqliteRegistry
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.engine import guard, http
from altiplano.engine import loop as engine_loop
from altiplano.engine.exchange import Small
from altiplano.engine.loop import InboxFull
from altiplano.engine.verbosity import toggle_logging
from altiplano.kit import crash
from altiplano.link import transport
from altiplano.link.transport import LINK_PATH, LinkEndpoint
from altiplano.master import pages, settings
from altiplano.master import shell as master_shell
from altiplano.master.api import endpoint
from altiplano.master.api.legacy import LegacyApi
from altiplano.master.api.operator import OperatorApi
from altiplano.master.api.proxy import PREFIX, AgentProxy
from altiplano.master.api.scheduler import SchedulerApi
from altiplano.master.settings import Settings
from altiplano.master.shell import Shell
from altiplano.pagekit.api import InProcess
from altiplano.ports.clock import Clock
from altiplano.ports.ids import Ids
from altiplano.ports.log import Registry
from altiplano.wire.codec import JSON
from altiplano.wire.messages import maintenance, master, mesos, quota

MASTER_PREFIX = "/master"

FORM_BYTES_MAX = 64 * 1024
"""Size of a body of the older endpoints."""

POINTS = (*engine_loop.POINTS, *sqlite.POINTS, *transport.POINTS, *master_shell.POINTS)
"""Crash points of a master (`altiplano.kit.crash`)."""

FULL = http.Refusal(503, "too much waits for this master: try again in a moment")

log = structlog.get_logger("altiplano.master")


class Router:
    """All paths of a master.  Refusals become answers here, and only here."""

    def __init__(self, shell: Shell, shown: Settings, *, jsonp: bool = True) -> None:
        self._shell = shell
        self._legacy = LegacyApi(shell, shown, jsonp=jsonp)
        self._pages: http.App | None = None
        self._proxy = AgentProxy(shell)
        frameworks, operators = SchedulerApi(shell), OperatorApi(shell, shown)
        short = {"/api/v1/scheduler": _answering(frameworks.small), "/api/v1": _answering(operators.small)}
        self.small = {prefix + path: handler for path, handler in short.items() for prefix in ("", MASTER_PREFIX)}
        """Handlers of small requests, by path."""
        self._posts: dict[str, http.App] = {
            "/api/v1/scheduler": frameworks,
            "/api/v1": operators,
            LINK_PATH: LinkEndpoint(
                epoch=lambda: shell.epoch, opened=shell.link_opened, heard=shell.link_heard, closed=shell.link_closed
            ),
        }

    def mount(self, shown: http.App) -> None:
        """Serve pages: the overview, and what is below `/ui/` and `/static/`."""
        self._pages = shown

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        try:
            await self._route(scope, receive, send)
        except http.Refusal as refusal:
            await http.refuse(send, refusal)
        except InboxFull:
            await http.refuse(send, FULL)

    async def _route(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        path: str = scope["path"]
        endpoint = self._posts.get(path)
        if endpoint is None and path.startswith(MASTER_PREFIX + "/"):
            path = path.removeprefix(MASTER_PREFIX)
            endpoint = self._posts.get(path)
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": f"{LINK_PATH} is the agent link"})
            return
        if path.startswith(PREFIX):
            await self._proxy(scope, receive, send)
            return
        if path == "/teardown":
            await self._teardown(scope, receive, send)
            return
        if path == "/weights" and scope["method"] == "PUT":
            await self._put_weights(scope, receive, send)
            return
        if path == "/quota" and scope["method"] == "POST":
            await self._post_quota(scope, receive, send)
            return
        if path.startswith("/quota/") and scope["method"] == "DELETE":
            await self._delete_quota(path.removeprefix("/quota/"), send)
            return
        if path == "/maintenance/schedule" and scope["method"] == "POST":
            await self._post_schedule(scope, receive, send)
            return
        if path in ("/machine/down", "/machine/up"):
            await self._post_machines(scope, receive, send, down=path == "/machine/down")
            return
        if path == "/logging/toggle":
            await toggle_logging(scope, send)
            return
        bare = path.removesuffix(".json")
        if self._legacy.serves(bare):
            await self._legacy(bare, scope, send)
            return
        if self._pages is not None and (path == "/" or path.startswith(("/ui/", "/static/"))):
            await self._pages(scope, receive, send)
            return
        raise http.Refusal(404, f"there is nothing at {path} on this master")

    async def _teardown(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """The older form of the operators' TEARDOWN: a form with `frameworkId`."""
        endpoint.require_ready(self._shell)
        endpoint.require_post(scope)
        form = parse_qs((await http.read_body(scope, receive, limit_bytes=FORM_BYTES_MAX)).decode("utf-8", "replace"))
        framework_id = form.get("frameworkId", [""])[-1]
        if not framework_id:
            raise http.Refusal(400, "Missing 'frameworkId' query parameter in the request body")
        teardown = master.CallTeardown(framework_id=mesos.FrameworkID(value=framework_id))
        await self._operate(master.Call(type=master.CallType.TEARDOWN, teardown=teardown), send)

    async def _put_weights(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """The older form of UPDATE_WEIGHTS: a list of objects with role and weight."""
        endpoint.require_ready(self._shell)
        body = b'{"weight_infos":%b}' % (await http.read_body(scope, receive, limit_bytes=FORM_BYTES_MAX))
        update = endpoint.decode(JSON, master.CallUpdateWeights, body, "a list of weights")
        call = master.Call(type=master.CallType.UPDATE_WEIGHTS, update_weights=update)
        await self._operate(call, send)

    async def _post_quota(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """The older form of SET_QUOTA: an object with role, guarantee and force."""
        endpoint.require_ready(self._shell)
        body = await http.read_body(scope, receive, limit_bytes=FORM_BYTES_MAX)
        request = endpoint.decode(JSON, quota.QuotaRequest, body, "a quota request")
        wanted = master.CallSetQuota(quota_request=request)
        await self._operate(master.Call(type=master.CallType.SET_QUOTA, set_quota=wanted), send)

    async def _delete_quota(self, role: str, send: http.Send) -> None:
        endpoint.require_ready(self._shell)
        gone = master.CallRemoveQuota(role=role)
        await self._operate(master.Call(type=master.CallType.REMOVE_QUOTA, remove_quota=gone), send)

    async def _post_schedule(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """The older form of UPDATE_MAINTENANCE_SCHEDULE: the schedule."""
        endpoint.require_ready(self._shell)
        body = await http.read_body(scope, receive, limit_bytes=endpoint.CALL_BYTES_MAX)
        schedule = endpoint.decode(JSON, maintenance.Schedule, body, "a maintenance schedule")
        update = master.CallUpdateMaintenanceSchedule(schedule=schedule)
        kind = master.CallType.UPDATE_MAINTENANCE_SCHEDULE
        await self._operate(master.Call(type=kind, update_maintenance_schedule=update), send)

    async def _post_machines(self, scope: http.Scope, receive: http.Receive, send: http.Send, *, down: bool) -> None:
        """The older forms of START_MAINTENANCE and STOP_MAINTENANCE: a list of machines."""
        endpoint.require_ready(self._shell)
        endpoint.require_post(scope)
        body = b'{"machines":%b}' % (await http.read_body(scope, receive, limit_bytes=FORM_BYTES_MAX))
        if down:
            start = endpoint.decode(JSON, master.CallStartMaintenance, body, "a list of machines")
            call = master.Call(type=master.CallType.START_MAINTENANCE, start_maintenance=start)
        else:
            stop = endpoint.decode(JSON, master.CallStopMaintenance, body, "a list of machines")
            call = master.Call(type=master.CallType.STOP_MAINTENANCE, stop_maintenance=stop)
        await self._operate(call, send)

    async def _operate(self, call: master.Call, send: http.Send) -> None:
        done = endpoint.Awaited()
        self._shell.operate(call, None, done)
        await http.respond_text(send, *await done)


def _answering(handler: Small) -> Small:
    """A handler whose refusals become answers."""

    def handle(scope: http.Scope, body: bytes, answer: http.Answer) -> bool:
        try:
            return handler(scope, body, answer)
        except http.Refusal as refusal:
            http.answer_text(answer, refusal.status, refusal.sentence, headers=refusal.headers)
        except InboxFull:
            http.answer_text(answer, FULL.status, FULL.sentence)
        return True

    return handle


class Server:
    """A master process: everything joined."""

    def __init__(
        self, shown: Settings, *, registry: Registry | None = None, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self.settings = shown
        self._registry = registry
        self._clock = clock or SystemClock()
        self._ids = ids or SystemIds()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.  Raises CannotListen, LogInUse, LogFailed and the like with sentences."""
        crash.arm("master", POINTS)
        token = settings.token(self.settings)
        hosts = settings.hosts(self.settings) or guard.names(self.settings.ip, self.settings.hostname)
        listener = http.listen(self.settings.ip, self.settings.port)
        port: int = listener.getsockname()[1]
        directory = Path(self.settings.work_dir)
        directory.mkdir(parents=True, exist_ok=True)
        registry = self._registry or SqliteRegistry(directory)
        config = settings.config_of(self.settings, port=port)
        shell = Shell(config, registry=registry, clock=self._clock, ids=self._ids, check=self.settings.check)
        shell.recordings = shell.recorder.directory = str(directory / "recordings")
        router = Router(shell, self.settings, jsonp=token is None)
        beside = self.settings.frameworks_port
        shown = pages.build(
            api=InProcess(router),
            version=lambda: shell.engine.statistics.facts,
            clock=self._clock,
            more=() if beside is None else ((f":{beside}/flows/", "Flows"),),
        )
        router.mount(shown.app)
        app: http.App = router
        small = router.small
        if token is not None or hosts is not None:
            app = gate = guard.Guard(app, token=token, hosts=hosts, realm="mesos-master")
            small = {path: gate.before(handler) for path, handler in small.items()}
        http_server = http.HttpServer(
            app, host=self.settings.ip, port=port, listener=listener, small=small, waiting=lambda: shell.engine.waiting
        )
        try:
            # Agents and frameworks that dial meanwhile wait in the listener's queue: a Hello that were decided before
            # the master is in office would be given an id without the master's own.
            await shell.start()
            await http_server.start()
            log.info(
                "serving",
                action="serve",
                cause="start",
                address=f"{self.settings.ip}:{port}",
                work_dir=str(directory),
            )
            await _until_stopped(shell.run(), shown.sample())
        finally:
            await http_server.stop()
            await registry.close()


async def _until_stopped(*work: Coroutine[Any, Any, None]) -> None:
    """Do the work until a signal comes or a part of it fails."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(part) for part in work]
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((*tasks, waiting), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
