"""A launcher in memory: scripted programs on the event loop's timers, honest about losses.

`MemoryMachine` is what outlives the agent (supervisor and containers),
`MemoryLauncher` is one agent's connection to it.  All waiting goes through the
running loop, so on a virtual clock a day of tasks takes no time.  Both pass
`tests/contracts/test_launcher.py`, as the real supervisor does.

Programs it knows: `true`, `false`, `sleep SECONDS`, and `sh -c` with a script
of `sleep`, `echo`, `true`, `false`, `trap '' SIGNAL`, `exec`, `kill -N $$` and
`exit`, joined by semicolons.  Anything else is given by `programs`.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from altiplano.ports import launcher

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container will do if nobody kills it."""

    duration_s: float = 0.0
    """`inf` runs until killed."""
    wait_status: int = 0
    ignores: frozenset[int] = frozenset()
    memory_bytes: int = 1024 * 1024
    """Its peak; above the hard limit it is killed for want of memory."""


class NotAProgram(Exception):
    """The launch fails with this sentence."""


def script(spec: launcher.LaunchSpec) -> Program:
    """The programs every twin knows."""
    name = spec.executable.rpartition("/")[2]
    match name, spec.argv[1:]:
        case "true", _:
            return Program()
        case "false", _:
            return Program(wait_status=1 << 8)
        case "sleep", (seconds,):
            return Program(duration_s=float(seconds))
        case "sh", ("-c", text):
            return _shell(text)
        case _:
            raise NotAProgram(f"The program {spec.executable} does not exist.")


def _shell(text: str) -> Program:
    duration_s, ignores, status = 0.0, frozenset[int](), 0
    for statement in text.split(";"):
        words = shlex.split(statement)
        if words[:1] == ["exec"]:
            words = words[1:]
        match words:
            case ["sleep", seconds]:
                duration_s, status = duration_s + float(seconds), 0
            case ["echo", *_] | ["true"] | []:
                status = 0
            case ["false"]:
                status = 1 << 8
            case ["trap", "", name]:
                ignores |= {signal.Signals[f"SIG{name}"]}
            case ["kill", number, "$$"]:
                status = int(number[1:])
                break
            case ["exit", code]:
                status = int(code) << 8
                break
            case _:
                raise NotAProgram(f"The twin's shell does not know {statement.strip()!r}.")
    return Program(duration_s=duration_s, wait_status=status, ignores=ignores)


@dataclass(slots=True)
class _Box:
    """A container on the machine."""

    spec: launcher.LaunchSpec
    program: Program | None
    start: launcher.Started | launcher.LaunchFailed
    limits: launcher.CgroupLimits | None
    exited: launcher.Exited | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def outcome(self) -> launcher.Outcome:
        return self.exited or self.start


@dataclass(slots=True)
class MemoryMachine:
    """Supervisor and containers of one agent; lives on when the agent's connection ends."""

    programs: Callable[[launcher.LaunchSpec], Program] = script
    users: frozenset[str] = frozenset({"root", "nobody"})
    directories: Callable[[str], bool] = lambda _: True
    has_cgroups: bool = True
    latency_s: float = 0.0
    """Between a request and its answer."""
    wall_offset_s: float = 0.0
    """Wall time minus loop time."""
    boxes: dict[str, _Box] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    """How often each id was really started; a checker wants to see ones only."""
    generation: int = 0
    """Counts lost connections: an answer of an older one never arrives."""
    connections: list[MemoryLauncher] = field(default_factory=list)
    _pids: int = 1000
    _orphans: set[str] = field(default_factory=set)
    _up: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._up.set()

    def connect(self) -> MemoryLauncher:
        """Another agent process attaches."""
        client = MemoryLauncher(self)
        self.connections.append(client)
        return client

    # Faults.

    def lose_connection(self) -> None:
        """Answers under way are lost, everything is asked again, every end is told again."""
        self.generation += 1
        for client in self.connections:
            client._retell()

    def lose_supervisor(self, away_s: float = 0.0) -> None:
        """The supervisor dies; the next one answers after `away_s`.  The keeper loses no status meanwhile."""
        self._up.clear()
        self._orphans = {name for name, box in self.boxes.items() if self._runs(box)}
        asyncio.get_running_loop().call_later(away_s, self._return)

    def lose_machine(self) -> None:
        """Supervisor and keeper died and the containers with them: nobody saw how they ended."""
        for name, box in self.boxes.items():
            if self._runs(box):
                self._end(name, None)
        self.lose_connection()

    def _return(self) -> None:
        self._up.set()
        self.lose_connection()
        self._tell_degraded()

    @property
    def degraded(self) -> tuple[str, ...]:
        count = len(self._orphans)
        if not count:
            return ()
        return (f"A supervisor or keeper died: {count} containers have the keeper as only parent until they end.",)

    def _tell_degraded(self) -> None:
        for client in self.connections:
            client._hear(launcher.Degraded(sentences=self.degraded))

    # Requests, each safe to repeat.

    def launch(self, spec: launcher.LaunchSpec) -> launcher.Started | launcher.LaunchFailed:
        name = spec.container_id
        known = self.boxes.get(name)
        if known is not None:
            return known.start
        if spec.inside is not None:
            self._running(spec.inside)
        sentence = self._refusal(spec)
        if sentence is None:
            try:
                program = self.programs(spec)
            except NotAProgram as error:
                sentence = str(error)
        if sentence is not None:
            failed = launcher.LaunchFailed(container_id=name, sentence=sentence)
            self.boxes[name] = _Box(spec, None, failed, None)
            return failed
        self._pids += 1
        self.starts[name] = self.starts.get(name, 0) + 1
        loop = asyncio.get_running_loop()
        ticks = int(loop.time() * 100)
        started = launcher.Started(container_id=name, pid=self._pids, start_ticks=ticks, started_wall_s=self._wall_s())
        box = self.boxes[name] = _Box(spec, program, started, spec.cgroup)
        if program.duration_s != float("inf"):
            box.timer = loop.call_later(program.duration_s, self._finish, name)
        return started

    def _refusal(self, spec: launcher.LaunchSpec) -> str | None:
        if spec.user is not None and spec.user not in self.users:
            return f"This machine has no user {spec.user}; name one it has, or none."
        if not self.directories(spec.directory):
            return f"The directory {spec.directory} cannot be entered: No such file or directory."
        if spec.cgroup is not None and not self.has_cgroups:
            return "No cgroup hierarchy is mounted; ask for no limits."
        return None

    def kill(self, name: str, number: int) -> None:
        box = self._running(name)
        assert box.program is not None
        if number == signal.SIGKILL or (number not in box.program.ignores and number != 0):
            self._end(name, number)

    def destroy(self, name: str) -> None:
        box = self.boxes.get(name)
        if box is not None and self._runs(box):
            self._end(name, signal.SIGKILL)

    def forget(self, name: str) -> None:
        box = self.boxes.get(name)
        if box is not None and self._runs(box):
            raise launcher.LauncherError(f"The container {name} still runs; destroy it before forgetting it.")
        self.boxes.pop(name, None)

    def update(self, name: str, limits: launcher.CgroupLimits) -> None:
        box = self._running(name)
        if box.limits is None:
            raise launcher.LauncherError(f"The container {name} was started without a cgroup: no limits.")
        box.limits = launcher.CgroupLimits(
            **{key: _newer(getattr(limits, key), getattr(box.limits, key)) for key in limits.__struct_fields__}
        )

    def usage(self, name: str) -> launcher.Usage:
        box = self._running(name)
        assert box.program is not None
        return launcher.Usage(
            container_id=name,
            measured_wall_s=self._wall_s(),
            processes=1,
            cpu_user_s=0.0,
            cpu_system_s=0.0,
            memory_rss_bytes=box.program.memory_bytes,
            memory_limit_bytes=box.limits.memory_hard_bytes if box.limits is not None else None,
        )

    def inventory(self) -> tuple[launcher.Container, ...]:
        return tuple(launcher.Container(container_id=name, outcome=box.outcome) for name, box in self.boxes.items())

    def stop(self, grace_s: float) -> float:
        """SIGTERM now, SIGKILL later; how long it takes."""
        running = [name for name, box in self.boxes.items() if self._runs(box)]
        for name in running:
            self.kill(name, signal.SIGTERM)
        stubborn = [name for name in running if self._runs(self.boxes[name])]
        for name in stubborn:
            asyncio.get_running_loop().call_later(grace_s, self.destroy, name)
        return grace_s if stubborn else 0.0

    # What happens by itself.

    def _runs(self, box: _Box) -> bool:
        return box.exited is None and isinstance(box.start, launcher.Started)

    def _running(self, name: str) -> _Box:
        box = self.boxes.get(name)
        if box is None or not self._runs(box):
            raise launcher.UnknownContainer(f"The container {name} does not run here.")
        return box

    def _wall_s(self) -> float:
        return asyncio.get_running_loop().time() + self.wall_offset_s

    def _finish(self, name: str) -> None:
        box = self.boxes[name]
        assert box.program is not None
        hard = box.limits.memory_hard_bytes if box.limits is not None else None
        if hard is not None and box.program.memory_bytes > hard:
            self._end(name, signal.SIGKILL, oom=hard)
        else:
            self._end(name, box.program.wait_status)

    def _end(self, name: str, status: int | None, oom: int | None = None) -> None:
        box = self.boxes[name]
        assert isinstance(box.start, launcher.Started)
        if box.timer is not None:
            box.timer.cancel()
        limitation = (
            f"Memory limit exceeded: limit {oom // 1048576} MiB; ask for more memory or use less." if oom else None
        )
        if status is None:
            limitation = "It ended while neither supervisor nor keeper was there to see how."
        box.exited = launcher.Exited(
            container_id=name,
            wait_status=status if status is None else int(status),
            started_wall_s=box.start.started_wall_s,
            ended_wall_s=self._wall_s(),
            oom_killed=oom is not None,
            memory_limit_bytes=box.limits.memory_hard_bytes if box.limits is not None else None,
            limitation=limitation,
        )
        if self._up.is_set():  # otherwise the next supervisor tells of it
            for client in self.connections:
                client._hear(box.exited)
        if name in self._orphans:
            self._orphans.discard(name)
            self._tell_degraded()
        for guest, other in list(self.boxes.items()):
            if other.spec.inside == name and self._runs(other):
                self._end(guest, signal.SIGKILL)


def _newer(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


class MemoryLauncher:
    """One agent's connection to a `MemoryMachine`."""

    def __init__(self, machine: MemoryMachine) -> None:
        self.machine = machine
        self._closed = False
        self._news: asyncio.Queue[launcher.LauncherEvent | None] | None = None

    async def launch(self, spec: launcher.LaunchSpec) -> launcher.Started | launcher.LaunchFailed:
        sentence = launcher.refusal(spec)
        if sentence is not None:
            return launcher.LaunchFailed(container_id=spec.container_id, sentence=sentence)
        return await self._ask(lambda: self.machine.launch(spec))

    async def kill(self, container_id: str, signal_number: int, scope: launcher.Scope = launcher.Scope.GROUP) -> None:
        await self._ask(lambda: self.machine.kill(container_id, signal_number))

    async def destroy(self, container_id: str) -> None:
        await self._ask(lambda: self.machine.destroy(container_id))

    async def forget(self, container_id: str) -> None:
        await self._ask(lambda: self.machine.forget(container_id))

    async def update(self, container_id: str, limits: launcher.CgroupLimits) -> None:
        await self._ask(lambda: self.machine.update(container_id, limits))

    async def inventory(self) -> tuple[launcher.Container, ...]:
        return await self._ask(self.machine.inventory)

    async def usage(self, container_id: str) -> launcher.Usage:
        return await self._ask(lambda: self.machine.usage(container_id))

    async def events(self) -> AsyncIterator[launcher.LauncherEvent]:
        news: asyncio.Queue[launcher.LauncherEvent | None] = asyncio.Queue()
        self._news = news
        if self.machine.degraded:
            self._hear(launcher.Degraded(sentences=self.machine.degraded))
        self._retell()
        while not self._closed or not news.empty():
            event = await news.get()
            if event is None:
                return
            yield event

    @property
    def degraded(self) -> tuple[str, ...]:
        return self.machine.degraded

    @property
    def facts(self) -> tuple[str, ...]:
        return ("Containers are scripts in memory.",)

    async def close(self) -> None:
        self._closed = True
        if self in self.machine.connections:
            self.machine.connections.remove(self)
        if self._news is not None:
            self._news.put_nowait(None)

    async def stop(self, grace_s: float) -> None:
        await asyncio.sleep(await self._ask(lambda: self.machine.stop(grace_s)))
        await self.close()

    async def _ask(self, act: Callable[[], T]) -> T:
        """Carry out a request; if the connection is lost before the answer, carry it out again."""
        while True:
            if self._closed:
                raise launcher.LauncherClosed("The launcher was closed; connect again to use it.")
            await self.machine._up.wait()
            generation = self.machine.generation
            refused: launcher.LauncherError | None = None
            try:
                answer = act()
            except launcher.LauncherError as error:
                refused = error
            await asyncio.sleep(self.machine.latency_s)
            if generation == self.machine.generation and self.machine._up.is_set():
                if refused is not None:
                    raise refused
                return answer

    def _hear(self, event: launcher.LauncherEvent) -> None:
        if self._news is not None and not self._closed:
            self._news.put_nowait(event)

    def _retell(self) -> None:
        for box in self.machine.boxes.values():
            if box.exited is not None:
                self._hear(box.exited)
