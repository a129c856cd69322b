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
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

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
LEAVE_S_MAX: Final = 5.0
"""How long supervisor and keeper may take to be gone after they have said that all is over."""
RETRY_S: Final = 0.02
MESSAGES_CHARS_MAX: Final = 2_000
ERRORS: Final[Mapping[str, type[launcher.LauncherError]]] = {
    "UnknownContainer": launcher.UnknownContainer,
    "LauncherClosed": launcher.LauncherClosed,
    "LaunchRefused": launcher.LaunchRefused,
}


T = TypeVar("T")
_encode = msgspec.json.encode
_WORDS = msgspec.json.Decoder(list[msgspec.Raw])

_STARTS: Final = msgspec.json.Decoder(launcher.Started | launcher.LaunchFailed)
_EXITED = msgspec.json.Decoder(launcher.Exited)
_INVENTORY = msgspec.json.Decoder(tuple[launcher.Container, ...])
_USAGE = msgspec.json.Decoder(launcher.Usage)
_SENTENCES = msgspec.json.Decoder(tuple[str, ...])
_SENTENCE = msgspec.json.Decoder(str)
_PIDS = msgspec.json.Decoder(list[int])
_NOTHING = msgspec.json.Decoder(None)


class SupervisorUnreachable(launcher.LauncherError):
    """No supervisor answers in this work directory and none could be started."""


class _Asked:
    """A request, as it was and may again be sent, and whoever waits for its answer."""

    __slots__ = ("answer", "line", "reads")

    def __init__(self, line: bytes, answer: asyncio.Future[Any], reads: msgspec.json.Decoder[Any]) -> None:
        self.line = line
        self.answer = answer
        self.reads = reads


class _Wire(asyncio.Protocol):
    """The lines that arrive on one connection; `ended` is done when none will come any more."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = heard
        self._parts: list[bytes] = []
        self._size = 0

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        *lines, rest = data.split(b"\n")
        try:
            if lines:
                self._heard(b"".join((*self._parts, lines[0])))
                for line in lines[1:]:
                    self._heard(line)
                self._parts, self._size = [], 0
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > LINE_BYTES_MAX:
                raise launcher.LauncherError(f"The supervisor said more than {LINE_BYTES_MAX} bytes in one line.")
        except Exception as error:  # a protocol's bug is told to who waits for its end
            self.ended.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


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
        self._asked: dict[int, _Asked] = {}
        self._waiting: deque[tuple[int, _Asked]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: launcher.LauncherError | None = None
        self._exits: dict[str, launcher.Exited] = {}
        self._news: asyncio.Queue[launcher.LauncherEvent | None] | None = None
        self._degraded: tuple[str, ...] = ()
        self._facts: tuple[str, ...] = ()
        self.pid = 0
        self.keeper_pid = 0
        self._heard_at = time.monotonic()
        """When one was last there.  Whoever accepts a connection and dies before a word does not count."""
        self._stopped = self._upgraded = self._introduced = False
        self.connections = 0
        """How often a supervisor was reached; more than one means that one was lost."""

    async def open(self) -> None:
        try:
            os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise SupervisorUnreachable(
                f"No supervisor can be started in {self.state_dir}: {error.strerror}. "
                "Give the agent a work directory that can be written."
            ) from error
        self._task = asyncio.create_task(self._stay_connected(), name="supervisor connection")
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    # The port.

    def launch(self, spec: launcher.LaunchSpec) -> asyncio.Future[launcher.Started | launcher.LaunchFailed]:
        text = _encode(spec)
        sentence = launcher.refusal(spec, text)
        if sentence is None:
            return self._ask("launch", text, _STARTS)
        refused = asyncio.get_running_loop().create_future()
        refused.set_result(launcher.LaunchFailed(container_id=spec.container_id, sentence=sentence))
        return refused

    async def kill(self, container_id: str, signal_number: int, scope: launcher.Scope = launcher.Scope.GROUP) -> None:
        arguments = {"container_id": container_id, "signal_number": signal_number, "scope": scope}
        await self._ask("kill", _encode(arguments), _NOTHING)

    async def destroy(self, container_id: str) -> None:
        await self._ask("destroy", _encode({"container_id": container_id}), _NOTHING)

    def forget(self, container_id: str) -> asyncio.Future[None]:
        self._exits.pop(container_id, None)
        return self._ask("forget", _encode({"container_id": container_id}), _NOTHING)

    async def update(self, container_id: str, limits: launcher.CgroupLimits) -> None:
        await self._ask("update", _encode({"container_id": container_id, "limits": limits}), _NOTHING)

    async def inventory(self) -> tuple[launcher.Container, ...]:
        return await self._ask("inventory", b"{}", _INVENTORY)

    async def usage(self, container_id: str) -> launcher.Usage:
        return await self._ask("usage", _encode({"container_id": container_id}), _USAGE)

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
                break
            yield event
        if isinstance(self._failure, SupervisorUnreachable):
            raise self._failure

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
        pids = await self._ask("stop", _encode({"grace_s": grace_s}), _PIDS)
        await self.close()  # `_stopped` has kept the connection from starting another supervisor meanwhile
        deadline = time.monotonic() + LEAVE_S_MAX
        while any(map(_lives, pids)) and time.monotonic() < deadline + LEAVE_S_MAX:
            if time.monotonic() > deadline:
                # Nothing is left for them to do: whoever is paused or hangs now would only stay.
                for pid in filter(_lives, pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(RETRY_S)

    async def __aenter__(self) -> SupervisorClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The connection.

    def _ask(self, verb: str, arguments: bytes, reads: msgspec.json.Decoder[T]) -> asyncio.Future[T]:
        """Queue a request; its answer as soon as there is one, after however many connections."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            answer.set_exception(self._failure)
            return answer
        self._numbers += 1
        asked = _Asked(b'[%d,"%b",%b]\n' % (self._numbers, verb.encode(), arguments), answer, reads)
        if len(self._asked) < IN_FLIGHT_MAX:
            self._send(self._numbers, asked)
        else:
            self._waiting.append((self._numbers, asked))
        return answer

    def _send(self, number: int, asked: _Asked) -> None:
        """What is asked in one turn of the event loop leaves together."""
        self._asked[number] = asked
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(asked.line)

    def _flush(self) -> None:
        lines, self._unsent = self._unsent, []
        if self._transport is not None and lines:
            self._transport.write(b"".join(lines))

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
        for asked in (*self._asked.values(), *(asked for _, asked in self._waiting)):
            if not asked.answer.done():
                asked.answer.set_exception(self._failure)
        self._asked.clear()
        self._waiting.clear()
        if self._news is not None:
            self._news.put_nowait(None)

    async def _reach(self) -> socket.socket:
        """A connected socket: to the supervisor that is there, or to one started now."""
        while True:
            if time.monotonic() > self._heard_at + START_S_MAX:
                raise SupervisorUnreachable(
                    f"No supervisor answers at {self.state_dir}/socket within {START_S_MAX:.0f} s{self._last_words()}"
                )
            sock = _dial(self.state_dir)
            if sock is not None:
                return sock
            await self._start()
            await asyncio.sleep(RETRY_S)

    def _last_words(self) -> str:
        """Why none came to work, as far as one could say it."""
        with contextlib.suppress(OSError):
            if os.statvfs(self.state_dir).f_bavail == 0:
                return ": the disk is full. Make room for its records."
            with open(f"{self.state_dir}/messages", errors="replace") as file:
                lines = file.read()[-MESSAGES_CHARS_MAX:].strip().splitlines()
            return f": {lines[-1]}" if lines else ", and none said why."
        return "."

    async def _start(self) -> None:
        """Start keeper and supervisor unless somebody holds the lock of this directory."""
        try:
            lock = os.open(f"{self.state_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SupervisorUnreachable(
                f"No supervisor can be started in {self.state_dir}: {error.strerror}. "
                "The agent needs its work directory as long as it runs; give it one that is there and can be written."
            ) from error
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
        wire = _Wire(self._take)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: wire, sock=sock)
        try:
            # Nobody waits any more for what was given up.
            self._asked = {number: asked for number, asked in self._asked.items() if not asked.answer.done()}
            self._unsent = []
            lines = [b'[0,"hello",{}]\n', *(asked.line for asked in self._asked.values())]
            transport.write(b"".join(lines))
            self._transport = transport
            await wire.ended
        finally:
            if self._introduced:
                self._heard_at = time.monotonic()
            self._introduced = False
            self._transport = None
            transport.close()

    def _take(self, line: bytes) -> None:
        number, word, *rest = map(bytes, _WORDS.decode(line))
        if number != b"0":
            self._answered(int(number), word == b'"ok"', rest)
        elif word == b'"exited"':
            exited = _EXITED.decode(rest[0])
            self._exits[exited.container_id] = exited
            self._tell(exited)
        elif word == b'"ok"':
            self._introduce(msgspec.json.decode(rest[0]))
        elif word == b'"degraded"':
            self._degraded = _SENTENCES.decode(rest[0])
            self._tell(launcher.Degraded(sentences=self._degraded))
        elif word == b'"stopped"':
            self._stopped = True
        else:
            raise launcher.LauncherError(f"The supervisor said something unknown: {line!r:.200}")

    def _answered(self, number: int, well: bool, rest: list[bytes]) -> None:
        asked = self._asked.pop(number, None)
        while self._waiting and len(self._asked) < IN_FLIGHT_MAX:
            self._send(*self._waiting.popleft())
        if asked is None or asked.answer.done():
            return
        if well:
            asked.answer.set_result(asked.reads.decode(rest[0]))
        else:
            kind, sentence = (_SENTENCE.decode(part) for part in rest)
            asked.answer.set_exception(ERRORS.get(kind, launcher.LauncherError)(sentence))

    def _introduce(self, introduction: dict[str, Any]) -> None:
        if introduction["protocol"] != PROTOCOL:
            raise launcher.LauncherError(
                f"The running supervisor speaks version {introduction['protocol']} and this agent {PROTOCOL}; "
                "stop it with the release that started it."
            )
        self._introduced = True
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
        self._flush()
        if self._transport is not None:
            self._transport.write(b'[-1,"upgrade",{}]\n')

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
