"""The agent's side of the supervisor: attaches to the one of a work directory, or starts it.

The one thing to know before changing it: every request carries a container id
and may be repeated, so a lost connection is no error here.  What was asked and
not answered is asked again of the next supervisor, in the same order.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, cast

import msgspec

import altiplano
from altiplano.adapters.supervisor import keeper
from altiplano.kit import crash
from altiplano.ports import launcher

PROTOCOL: Final = 1
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
IN_FLIGHT_MAX: Final = 2_048
"""Requests that wait for an answer; further calls wait for their turn."""
START_S_MAX: Final = 20.0
"""How long a supervisor may take to answer, from the first try to reach it."""
RETRY_S: Final = 0.02
ERRORS: Final[Mapping[str, type[launcher.LauncherError]]] = {
    "UnknownContainer": launcher.UnknownContainer,
    "LauncherClosed": launcher.LauncherClosed,
}


class SupervisorUnreachable(launcher.LauncherError):
    """No supervisor answers in this work directory and none could be started."""


async def connect(
    work_dir: str, *, agent_key: str | None = None, environment: Mapping[str, str] | None = None
) -> SupervisorClient:
    """Attach to the supervisor of this work directory, starting it where there is none.

    `agent_key` names the agent among the cgroups; without one it follows from
    the directory.  `environment` is added to that of a supervisor started now.
    """
    client = SupervisorClient(work_dir, agent_key, environment or {})
    try:
        await client.open()
    except BaseException:  # also when cancelled, nothing stays open
        await client.close()
        raise
    return client


class SupervisorClient:
    """A `Launcher` whose containers are started by another process, which outlives this one."""

    def __init__(self, work_dir: str, agent_key: str | None, environment: Mapping[str, str]) -> None:
        self.state_dir = os.path.join(os.path.realpath(work_dir), "supervisor")
        self.agent_key = agent_key or hashlib.sha256(self.state_dir.encode()).hexdigest()[:12]
        self._environment = environment
        self._numbers = 0
        self._asked: dict[int, tuple[bytes, asyncio.Future[Any]]] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._writer: asyncio.StreamWriter | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: launcher.LauncherError | None = None
        self._exits: dict[str, launcher.Exited] = {}
        self._news: asyncio.Queue[launcher.LauncherEvent | None] | None = None
        self._degraded: tuple[str, ...] = ()
        self._facts: tuple[str, ...] = ()
        self.pid = 0
        self.keeper_pid = 0
        self._stopped = self._upgraded = False
        self.connections = 0
        """How often a supervisor was reached; more than one means that one was lost."""

    async def open(self) -> None:
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        self._task = asyncio.create_task(self._stay_connected(), name="supervisor connection")
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    # The port.

    async def launch(self, spec: launcher.LaunchSpec) -> launcher.Started | launcher.LaunchFailed:
        sentence = launcher.refusal(spec)
        if sentence is not None:
            return launcher.LaunchFailed(container_id=spec.container_id, sentence=sentence)
        answer = await self._ask("launch", spec)
        return cast(
            launcher.Started | launcher.LaunchFailed,
            msgspec.convert(answer, launcher.Started | launcher.LaunchFailed),
        )

    async def kill(self, container_id: str, signal_number: int, scope: launcher.Scope = launcher.Scope.GROUP) -> None:
        await self._ask("kill", {"container_id": container_id, "signal_number": signal_number, "scope": scope})

    async def destroy(self, container_id: str) -> None:
        await self._ask("destroy", {"container_id": container_id})

    async def forget(self, container_id: str) -> None:
        await self._ask("forget", {"container_id": container_id})
        self._exits.pop(container_id, None)

    async def update(self, container_id: str, limits: launcher.CgroupLimits) -> None:
        await self._ask("update", {"container_id": container_id, "limits": limits})

    async def inventory(self) -> tuple[launcher.Container, ...]:
        return msgspec.convert(await self._ask("inventory", {}), tuple[launcher.Container, ...])

    async def usage(self, container_id: str) -> launcher.Usage:
        return msgspec.convert(await self._ask("usage", {"container_id": container_id}), launcher.Usage)

    async def events(self) -> AsyncIterator[launcher.LauncherEvent]:
        news: asyncio.Queue[launcher.LauncherEvent | None] = asyncio.Queue()
        self._news = news
        if self._degraded:
            news.put_nowait(launcher.Degraded(sentences=self._degraded))
        for exited in self._exits.values():
            news.put_nowait(exited)
        while self._failure is None or not news.empty():
            event = await news.get()
            if event is None:
                return
            yield event

    @property
    def degraded(self) -> tuple[str, ...]:
        return self._degraded

    @property
    def facts(self) -> tuple[str, ...]:
        return self._facts

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._fail(launcher.LauncherClosed("The launcher was closed; connect again to use it."))

    async def stop(self, grace_s: float) -> None:
        pids = await self._ask("stop", {"grace_s": grace_s})
        await self.close()  # `_stopped` has kept the connection from starting another supervisor meanwhile
        async with asyncio.timeout(START_S_MAX):
            while any(map(_lives, pids)):  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(RETRY_S)

    async def __aenter__(self) -> SupervisorClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The connection.

    async def _ask(self, verb: str, arguments: object) -> Any:
        async with self._slots:
            if self._failure is not None:
                raise self._failure
            self._numbers += 1
            number = self._numbers
            line = msgspec.json.encode([number, verb, arguments]) + b"\n"
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._asked[number] = (line, future)
            try:
                if self._writer is not None:
                    self._writer.write(line)
                return await future
            finally:
                self._asked.pop(number, None)

    async def _stay_connected(self) -> None:
        try:
            while not self._stopped:
                await self._serve(await self._reach())
        except launcher.LauncherError as failure:
            self._fail(failure)
        except BaseException:  # who waits for an answer hears of every end
            self._fail(launcher.LauncherClosed("The connection to the supervisor has ended; connect again."))
            raise

    def _fail(self, failure: launcher.LauncherError) -> None:
        self._failure = self._failure or failure
        self._ready.set()
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(self._failure)
        if self._news is not None:
            self._news.put_nowait(None)

    async def _reach(self) -> socket.socket:
        """A connected socket: to the supervisor that is there, or to one started now."""
        deadline = time.monotonic() + START_S_MAX
        while True:
            sock = _dial(self.state_dir)
            if sock is not None:
                return sock
            if time.monotonic() > deadline:
                raise SupervisorUnreachable(
                    f"No supervisor answers at {self.state_dir}/socket within {START_S_MAX:.0f} s; "
                    f"its last words may be in {self.state_dir}/messages."
                )
            await self._start()
            await asyncio.sleep(RETRY_S)

    async def _start(self) -> None:
        """Start keeper and supervisor unless somebody holds the lock of this directory."""
        lock = os.open(f"{self.state_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            with _listen(self.state_dir) as listener:
                await self._spawn_keeper(lock, listener.fileno())
        finally:
            os.close(lock)

    async def _spawn_keeper(self, lock: int, listener: int) -> None:
        names = ("PATH", "LANG", "TZ", crash.POINT_VARIABLE, crash.MARKS_VARIABLE)
        environment = {name: os.environ[name] for name in names if name in os.environ} | dict(self._environment)
        command = keeper.interpreter("keeper", self.state_dir, self.agent_key, str(lock), str(listener), "fresh")
        command[0] = sys.executable
        messages = os.open(f"{self.state_dir}/messages", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - 1 ms, once in the life of a supervisor
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                pass_fds=(lock, listener),
                start_new_session=True,
            )
        finally:
            os.close(messages)
        # The first process leaves as soon as the keeper is detached: some 20 ms.
        while process.poll() is None:  # noqa: ASYNC110 - asyncio's own watcher would start a thread for this
            await asyncio.sleep(0.002)

    async def _serve(self, sock: socket.socket) -> None:
        """Say hello, ask again what has no answer, take answers until the connection ends."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LINE_BYTES_MAX)
        try:
            writer.write(msgspec.json.encode([0, "hello", {}]) + b"\n")
            for line, _ in self._asked.values():
                writer.write(line)
            self._writer = writer
            while line := await reader.readline():
                self._take(msgspec.json.decode(line))
        except ConnectionError:
            pass
        finally:
            self._writer = None
            writer.close()

    def _take(self, words: list[Any]) -> None:
        match words:
            case [0, "ok", introduction]:
                self._introduce(introduction)
            case [0, "exited", fact]:
                exited = msgspec.convert(fact, launcher.Exited)
                self._exits[exited.container_id] = exited
                self._tell(exited)
            case [0, "degraded", sentences]:
                self._degraded = tuple(sentences)
                self._tell(launcher.Degraded(sentences=self._degraded))
            case [0, "stopped"]:
                self._stopped = True
            case [number, "ok", value]:
                self._settle(number, value, None)
            case [number, "refused", kind, sentence]:
                self._settle(number, None, ERRORS.get(kind, launcher.LauncherError)(sentence))
            case _:
                raise launcher.LauncherError(f"The supervisor said something unknown: {words!r:.200}")

    def _introduce(self, introduction: dict[str, Any]) -> None:
        if introduction["protocol"] != PROTOCOL:
            raise launcher.LauncherError(
                f"The running supervisor speaks version {introduction['protocol']} and this agent {PROTOCOL}; "
                "stop it with the release that started it."
            )
        self.pid, self.keeper_pid = introduction["pid"], introduction["keeper_pid"]
        self.connections += 1
        self._facts = tuple(introduction["facts"])
        if tuple(introduction["degraded"]) != self._degraded:
            self._degraded = tuple(introduction["degraded"])
            self._tell(launcher.Degraded(sentences=self._degraded))
        self._ready.set()
        if introduction["version"] != altiplano.__version__ and not self._upgraded:
            # Once only: two agents of two versions must not replace each other's supervisor in turns.
            self._upgraded = True
            self.upgrade()

    def upgrade(self) -> None:
        """Let supervisor and keeper go on, in place, with the programs that are on disk; no task notices."""
        if self._writer is not None:
            self._writer.write(msgspec.json.encode([-1, "upgrade", {}]) + b"\n")

    def _settle(self, number: int, value: Any, error: launcher.LauncherError | None) -> None:
        _, future = self._asked.get(number, (b"", None))
        if future is None or future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _tell(self, event: launcher.LauncherEvent) -> None:
        if self._news is not None:
            self._news.put_nowait(event)


@contextlib.contextmanager
def _near(state_dir: str) -> Iterator[str]:
    """A short path to the socket: an address holds 107 bytes, a work directory may be longer."""
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/socket"
    finally:
        os.close(folder)


def _dial(state_dir: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _near(state_dir) as path:
            sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        sock.close()
        return None
    return sock


def _listen(state_dir: str) -> socket.socket:
    """Only under the lock: whoever had the socket before is dead."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{state_dir}/socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _near(state_dir) as path:
        sock.bind(path)
    os.chmod(f"{state_dir}/socket", 0o600)
    sock.listen(16)
    return sock


def _lives(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody took away does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False
