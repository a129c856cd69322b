"""The processes of `altiplano up`: starts what `up_core` decides and tells it what becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from altiplano.cli import ending, pool_dir, up_core
from altiplano.cli.failures import Failure
from altiplano.sdk import http
from altiplano.sdk.credentials import UpRecord

LOOK_AGAIN_S = 0.03
"""Pause between two looks whether a child that starts answers already."""

OFFSETS = {"master": 0, "agent": 1, "host": 2}
"""Ports, counted from the master's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    directory: pool_dir.PoolDirectory
    ip: str
    port: int
    token: str | None
    resources: str | None = None
    attributes: str | None = None
    isolation: str | None = None
    ready_fd: int | None = None
    as_json: bool = False

    def address(self, name: str) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port + OFFSETS[name]}"

    def asked_at(self, name: str) -> str:
        """Where we reach a child ourselves: a wildcard is no address to connect to."""
        wild = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
        return f"{wild[self.ip]}:{self.port + OFFSETS[name]}" if self.ip in wild else self.address(name)

    def arguments(self, name: str) -> list[str]:
        """The command line of a child."""
        path = self.directory.path
        common = ["--ip", self.ip, "--port", str(self.port + OFFSETS[name])]
        if self.token is not None:
            common += ["--token-file", str(self.directory.token_path)]
        match name:
            case "master":
                beside = ["--frameworks-port", str(self.port + OFFSETS["host"])]
                return ["master", *common, *beside, "--work-dir", str(path / "master")]
            case "agent":
                given = [
                    ("--resources", self.resources),
                    ("--attributes", self.attributes),
                    ("--isolation", self.isolation),
                ]
                chosen = [part for flag, value in given if value is not None for part in (flag, value)]
                where = ["--master", self.asked_at("master"), "--work-dir", str(path / "agent")]
                return ["agent", "start", *where, *common, "--stop-tasks-on-exit", *chosen]
            case _:
                where = ["--master", self.asked_at("master"), "--work-dir", str(path / "frameworks")]
                return ["host", *where, *common]


def run(plan: Plan) -> int:
    """Run the pool; the exit code.  Raises Failure when it cannot start."""
    _check_ports(plan)
    return asyncio.run(Shell(plan).run())


def greeting(address: str, token: str | None, directory: Path, *, as_json: bool) -> str:
    """What a user needs to know of a pool that works."""
    page = f"http://{address}/" if token is None else f"http://{address}/login?token={token}"
    if as_json:
        return json.dumps({"page": page, "master": address, "work_dir": str(directory)})
    lines = [f"the pool works: {page}", f"state and logs are in {directory}", "try: altiplano run -- echo hello"]
    if os.geteuid() != 0:
        lines.append("not root: tasks run as you, and nothing limits their processors and memory")
    return "\n".join(lines)


class Shell:
    """Carries out what the parent's core decides."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._core = up_core.Parent()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._left: asyncio.Future[int] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        plan = self._plan
        record = UpRecord(
            pid=os.getpid(),
            master=plan.asked_at("master"),
            agent=plan.asked_at("agent"),
            frameworks=plan.asked_at("host"),
            start_ticks=pool_dir.start_ticks(os.getpid()),
            token=plan.token is not None,
        )
        plan.directory.record(record)
        self._left = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._do(self._core.start(loop.time()))
            code = await self._left
            if self._timer is not None:
                self._timer.cancel()
            if self._ending is not None:
                self._ending.cancel()
        return code

    def _stop(self) -> None:
        if not self._core.stopping:
            click.echo("ending: frameworks, tasks, agent, master …", err=True)
        self._do(self._core.stop(asyncio.get_running_loop().time()))

    def _do(self, acts: Sequence[up_core.Act]) -> None:
        assert self._group is not None
        for act in acts:
            match act:
                case up_core.Start(name=name):
                    self._group.create_task(self._watch(name))
                case up_core.End(name=name):
                    self._signal(name, signal.SIGTERM)
                case up_core.Kill(name=name):
                    self._signal(name, signal.SIGKILL)
                case up_core.Say(sentence=sentence):
                    click.echo(f"altiplano: {sentence}", err=True)
                case up_core.Announce():
                    self._announce()
                case up_core.EndTasks():
                    self._ending = self._group.create_task(self._end_tasks())
                case up_core.Leave(code=code):
                    if self._left is not None and not self._left.done():
                        self._left.set_result(code)
        self._set_timer()

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self._core.wake_at()
        if wake_at is not None and self._left is not None and not self._left.done():
            self._timer = loop.call_at(wake_at, lambda: self._do(self._core.wake(loop.time())))

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes.get(name)
        if process is not None and process.returncode is None:
            process.send_signal(number)

    def _announce(self) -> None:
        plan = self._plan
        click.echo(greeting(plan.asked_at("master"), plan.token, plan.directory.path, as_json=plan.as_json))
        sys.stdout.flush()
        if plan.ready_fd is not None:
            os.write(plan.ready_fd, b"ready\n")
            os.close(plan.ready_fd)

    async def _watch(self, name: str) -> None:
        """One life of a child."""
        loop = asyncio.get_running_loop()
        try:
            log = self._plan.directory.open_log(name)
        except OSError as error:
            where = self._plan.directory.path
            click.echo(f"altiplano: the log of the {name} in {where} cannot be opened: {error.strerror}", err=True)
            self._do(self._core.exited(name, up_core.LOST, loop.time(), random.random()))
            return
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "altiplano.cli.child",
                str(os.getpid()),
                *self._plan.arguments(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for the parent, which ends its children in order.
                start_new_session=True,
                env=_environment(),
            )
        finally:
            os.close(log)
        self._processes[name] = process
        answers = asyncio.create_task(self._wait_for_answer(name))
        ended = asyncio.create_task(process.wait())
        await asyncio.wait((answers, ended), return_when=asyncio.FIRST_COMPLETED)
        if answers.done() and process.returncode is None:
            self._do(self._core.ready(name, loop.time()))
        code = await ended
        answers.cancel()
        if code > 0:  # it said why; nobody should have to look for that in its log
            click.echo(f"altiplano: {self._last_words(name)}", err=True)
        self._do(self._core.exited(name, code, loop.time(), random.random()))

    async def _end_tasks(self) -> None:
        trouble = await ending.end_tasks(self._plan.directory.path / "agent")
        if trouble is not None:
            click.echo(f"altiplano: {trouble}", err=True)
        self._do(self._core.tasks_ended())

    async def _wait_for_answer(self, name: str) -> None:
        connection = http.Connection(f"http://{self._plan.asked_at(name)}")
        while True:
            try:
                answer = await connection.request("GET", "/health")
                if answer.status == 200:
                    connection.close()
                    return
            except http.ConnectionFailed:
                pass
            await asyncio.sleep(LOOK_AGAIN_S)

    def _last_words(self, name: str) -> str:
        path = self._plan.directory.path / "log" / f"{name}.log"
        try:
            lines = path.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            return f"what the {name} said in {path} cannot be read: {error.strerror}"
        return lines[-1].removeprefix("altiplano: ") if lines else f"the {name} said nothing; its log is {path}"


def _environment() -> dict[str, str]:
    """Ours, without what would set flags of the children: they are told everything that they need."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ALTIPLANO_")} | {
        name: value for name, value in os.environ.items() if name == "ALTIPLANO_TRACEBACK"
    }


def _check_ports(plan: Plan) -> None:
    """Refuse ports that are taken, before anything is started."""
    import errno
    import socket

    for name, offset in OFFSETS.items():
        family = socket.AF_INET6 if ":" in plan.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((plan.ip, plan.port + offset))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise Failure(f"{plan.ip} is no address of this machine: choose one with --ip") from error
                raise Failure(
                    f"port {plan.port + offset}, meant for the {up_core.WORDS[name]}, cannot be used: "
                    f"{error.strerror or error}. Choose others with --port; "
                    "--port 6050 takes 6050, 6051 and 6052"
                ) from error
