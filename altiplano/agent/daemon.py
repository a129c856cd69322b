"""An agent as a process of its own: settings in, an exit status out."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Mapping

import aiohttp
import msgspec
import structlog

import altiplano
from altiplano.adapters import sqlite
from altiplano.adapters.files import LocalFiles
from altiplano.adapters.probes import SocketProbes
from altiplano.adapters.supervisor import client as supervisor_client
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.agent import detect, place, shell
from altiplano.agent.api import access
from altiplano.agent.fetcher import Cache, Fetcher
from altiplano.agent.server import Application
from altiplano.agent.settings import Node, Settings
from altiplano.engine import guard, http
from altiplano.engine import loop as engine_loop
from altiplano.kit import crash
from altiplano.link import transport
from altiplano.link.transport import Connection

log = structlog.get_logger("altiplano.agent")

POINTS = (*engine_loop.POINTS, *sqlite.POINTS, *transport.POINTS, *shell.POINTS)
"""Crash points of an agent (`altiplano.kit.crash`)."""

SECRET_BYTES = 32
ISOLATIONS = {"posix": False, "cgroups": True, "posix/cpu,posix/mem": False, "cgroups/cpu,cgroups/mem": True}


async def run(settings: Settings) -> int:
    """Run an agent until it ends; 0 when it was asked to, 1 otherwise.

    Raises BadSetting, BadCredentials, CannotListen, LogInUse and the like before it has begun.
    """
    crash.arm("agent", POINTS)
    told = _Orders(settings)
    work_dir = os.path.realpath(settings.work_dir)
    os.makedirs(work_dir, exist_ok=True)
    try:
        place.take(work_dir)
    except place.Copied as error:
        raise detect.BadSetting(str(error)) from error
    listener = http.listen(settings.ip, settings.port)
    node = node_of(settings, work_dir, listener.getsockname()[1])
    async with aiohttp.ClientSession() as client:
        log_ = sqlite.SqliteLog(os.path.join(work_dir, "log"))
        fetcher = Fetcher(
            client,
            Cache(settings.cache_dir, settings.fetcher_cache_size),
            staging=os.path.join(work_dir, "staging"),
            frameworks_home=settings.frameworks_home,
            stall_s=settings.fetcher_stall_timeout,
        )
        fetcher.prepare()
        tasks = await supervisor_client.connect(work_dir)
        probes = SocketProbes()
        app: http.App | None = None

        async def dial(epoch: int) -> Connection:
            headers = {} if node.credential is None else {"Authorization": f"Bearer {node.credential}"}
            return await transport.dial(client, settings.master, epoch=epoch, app=app, headers=headers)

        outside = shell.Outside(
            log=log_,
            launcher=tasks,
            files=LocalFiles(),
            probes=probes,
            fetcher=fetcher,
            clock=SystemClock(),
            ids=SystemIds(),
            dial=dial,
            boot_id=detect.boot_id(),
            disk_used=lambda: shell.disk_used(work_dir),
        )
        agent = shell.Agent(node, outside, check=settings.check)
        agent.engine.recorder.directory = os.path.join(node.work_dir, "recordings")
        machine = (
            *detect.machine(work_dir, settings.isolation, switch_user=settings.switch_user),
            *tasks.facts,
        )
        app = Application(agent, settings, _access(settings), machine)
        server = http.HttpServer(_guarded(app, settings), host=settings.ip, port=node.port, listener=listener)
        try:
            return await _serve(agent, server, settings, told)
        finally:
            await probes.close()


class _Orders:
    """What people tell the process by signals: kept until the agent has recovered and can hear it.

    They are listened to from the first moment on.  A process that were ended by the signal itself would leave
    supervisor and keeper of the one before, although it was told to leave nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._agent: shell.Agent | None = None
        self._kept: list[tuple[bool, bool]] = []
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, settings.stop_tasks_on_exit, False)
        loop.add_signal_handler(signal.SIGUSR1, self._told, False, True)

    def _told(self, with_tasks: bool, for_good: bool) -> None:
        self._kept.append((with_tasks, for_good))
        self._pass_on()

    def heard_by(self, agent: shell.Agent) -> None:
        """From now on an agent obeys."""
        self._agent = agent
        self._pass_on()

    def _pass_on(self) -> None:
        while self._agent is not None and self._kept:
            with_tasks, for_good = self._kept.pop(0)
            self._agent.stop(with_tasks=with_tasks, for_good=for_good)


async def _serve(agent: shell.Agent, server: http.HttpServer, settings: Settings, told: _Orders) -> int:
    work = asyncio.ensure_future(agent.run())
    recovered = asyncio.ensure_future(agent.recovered.wait())
    await asyncio.wait((work, recovered), return_when=asyncio.FIRST_COMPLETED)
    recovered.cancel()
    if not work.done():
        told.heard_by(agent)
        await server.start()
        log.info("the agent serves", action="serving", address=agent.node.address, work_dir=agent.node.work_dir)
    try:
        ended = await work
    finally:
        await server.stop()
    log.info(ended.sentence, action="stopped", failed=ended.failed)
    return 1 if ended.failed else 0


def node_of(settings: Settings, work_dir: str, port: int) -> Node:
    """The settings resolved on this machine."""
    if settings.isolation not in ISOLATIONS:
        raise detect.BadSetting(f"--isolation {settings.isolation} is not known: use posix or cgroups")
    ip = settings.advertise_ip or settings.ip
    if ip in ("0.0.0.0", "::"):
        ip = _own_address()
    hostname = settings.hostname or (settings.ip if settings.ip not in ("0.0.0.0", "::") else detect.hostname())
    return Node(
        work_dir=work_dir,
        hostname=hostname,
        ip=ip,
        port=port,
        resources=detect.resources(settings.resources, settings.default_role, work_dir),
        attributes=detect.attributes(settings.attributes),
        altiplano_version=altiplano.__version__,
        credential=_secret(settings.credential) or _secret(settings.token_file),
        user=detect.user(),
        may_switch_user=settings.switch_user and os.geteuid() == 0,
        cgroups=ISOLATIONS[settings.isolation],
        hard_cpu_limit=settings.cgroups_enable_cfs,
        output_max_bytes=settings.output_max or None,
        environment=tuple(sorted(_variables(settings.executor_environment_variables).items())),
        shutdown_grace_s=settings.executor_shutdown_grace_period,
        registration_timeout_s=settings.executor_registration_timeout,
        reregistration_timeout_s=settings.executor_reregistration_timeout,
        recovery_timeout_s=settings.recovery_timeout,
        executor_secret=_executor_secret(work_dir) if settings.token_file is not None else None,
        backoff_first_s=settings.registration_backoff_factor,
        gc_delay_s=settings.gc_delay,
        gc_disk_headroom=settings.gc_disk_headroom,
        disk_watch_s=settings.disk_watch_interval,
    )


def _access(settings: Settings) -> access.Access:
    reading, writing = settings.authenticate_http_readonly, settings.authenticate_http_readwrite
    if (reading or writing) and settings.http_credentials is None:
        raise access.BadCredentials("calls are to be authenticated, and --http-credentials names no file")
    secrets = access.load(settings.http_credentials) if settings.http_credentials is not None else None
    return access.Access(secrets, reading=reading, writing=writing)


def _guarded(app: http.App, settings: Settings) -> http.App:
    token = _secret(settings.token_file)
    hosts = guard.names(settings.ip, settings.hostname, settings.advertise_ip)
    if token is None and hosts is None:
        return app
    return guard.Guard(app, token=token, hosts=hosts, own_check=frozenset({"/api/v1/executor"}))


def _secret(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path.removeprefix("file://")) as file:
            return file.read().strip()
    except OSError as error:
        raise detect.BadSetting(f"the secret in {path} cannot be read: {error.strerror}") from error


def _executor_secret(work_dir: str) -> bytes:
    """What this agent signs the tokens of executors with, made at the first start and kept: they outlive it."""
    path = os.path.join(work_dir, "executor-secret")
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        secret = secrets.token_bytes(SECRET_BYTES)
    fresh = f"{path}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)
    return secret


def _variables(text: str | None) -> Mapping[str, str]:
    if text is None:
        return {}
    if text.startswith("file://"):
        with open(text.removeprefix("file://")) as file:
            text = file.read()
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise detect.BadSetting(
            f'--executor-environment-variables must be a JSON object of texts, as {{"SITE": "x"}}: {error}'
        ) from error


def _own_address() -> str:
    """The address that this machine uses towards others.  No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
