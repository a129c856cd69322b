"""A pool whose processes die, by their own hand at a crash point or by the test's, and are started again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import random
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from nursery import Child, Nursery

from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import processes
from altiplano.kit import crash

START_S_MAX = 30.0
STOP_S_MAX = 20.0
LEFT_S_MAX = 3.0

PROBED = cgroups.Cgroups("probe")
HAVE_CGROUPS = PROBED.trouble is None
PROBED.remove_base()


class KillablePool:
    """A master and an agent.  One that dies by SIGKILL is started again; any other end is a failure."""

    def __init__(
        self,
        nursery: Nursery,
        folder: pathlib.Path,
        points: Sequence[str],
        master_flags: Sequence[str],
        agent_flags: Sequence[str],
    ) -> None:
        self._nursery = nursery
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.ports = {"master": free_port(), "agent": free_port()}
        self.deaths: Counter[str] = Counter()
        self.awake = {"master": asyncio.Event(), "agent": asyncio.Event()}
        """A process whose event is cleared is not started again until it is set."""
        self._points = tuple(points)
        self._master_flags = tuple(master_flags)
        self._agent_flags = tuple(agent_flags)
        self._running: dict[str, Child] = {}
        self._stopping = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['master']}"

    @property
    def hit(self) -> set[str]:
        return {path.name for path in self.marks.iterdir()}

    def _words(self, name: str) -> list[str]:
        words = ["--ip", "127.0.0.1", "--port", str(self.ports[name]), "--work-dir", str(self.folder / name)]
        if name == "master":
            return ["master", *words, "--allocation-interval", "200ms", *self._master_flags]
        isolation = "cgroups" if HAVE_CGROUPS else "posix"
        words += ["--master", self.address, "--resources", "cpus:64;mem:65536;disk:65536", "--isolation", isolation]
        words += ["--registration-backoff-factor", "0.1", "--stop-tasks-on-exit", *self._agent_flags]
        return ["agent", "start", *words]

    def _environment(self, name: str) -> dict[str, str]:
        """A process is armed with one of its points that was not hit yet, supervisor and keeper with all of theirs."""
        open_ = [point for point in self._points if point.partition(":")[0] not in self.hit]
        armed = [point for point in open_ if point.startswith(f"{name}.")][:1]
        armed += [point for point in self._points if point.startswith(("supervisor.", "keeper."))]
        return {**os.environ, crash.POINT_VARIABLE: ",".join(armed), crash.MARKS_VARIABLE: str(self.marks)}

    async def watch(self, name: str) -> None:
        """Keep one process running until the pool is stopped."""
        self.awake[name].set()
        while not self._stopping:
            await self.awake[name].wait()
            log = str(self.folder / f"{name}.log")
            process = await self._nursery.start(self._words(name), self._environment(name), log)
            self._running[name] = process
            status = await process.wait()
            if self._stopping:
                assert status == 0, f"the {name} ended with {status}: {self.last_words(name)}"
            else:
                assert status == -signal.SIGKILL, f"the {name} ended with {status}: {self.last_words(name)}"
                self.deaths[name] += 1

    def last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def pid(self, name: str) -> int | None:
        """The living process of this name: master, agent, supervisor or keeper."""
        if name in self._running:
            process = self._running[name]
            return process.pid if process.alive else None
        found = self.pair()
        return found.get(name)

    def pair(self) -> dict[str, int]:
        """Supervisor and keeper, when both are settled: one of each, the keeper its parent."""
        state = str(self.folder / "agent" / "supervisor")
        found: dict[str, list[int]] = {"server": [], "keeper": []}
        for pid in processes.everybody():
            words = command(pid).split(b"\0")
            if state.encode() in words and len(words) > 5:
                kind = words[4].rpartition(b"import ")[2].partition(b";")[0].decode()
                if kind in found:
                    found[kind].append(pid)
        if [len(pids) for pids in found.values()] != [1, 1]:
            return {}
        (supervisor,), (keeper,) = found["server"], found["keeper"]
        seen = processes.stat(supervisor)
        return {"supervisor": supervisor, "keeper": keeper} if seen is not None and seen.parent == keeper else {}

    def kill(self, name: str) -> bool:
        """Kill a process, unless it is dead already or its death would be the second of a pair."""
        pid = self.pid(name)
        if pid is None:
            return False
        if name == "keeper" and len(processes.children(pid)) != 1:
            # It is the only parent of inherited tasks: with it their status would go, unless the kernel tells it.
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            if name not in self._running:
                self.deaths[name] += 1
            return True
        return False

    def kill_one(self, chance: random.Random) -> str | None:
        """Kill any of the four; which one, or None if that one could not be killed just then."""
        name = chance.choice(("master", "agent", "supervisor", "keeper"))
        return name if self.kill(name) else None

    async def stop(self) -> None:
        self._stopping = True
        for name in ("agent", "master"):
            process = self._running.get(name)
            if process is not None and process.alive:
                # Before its handlers are in place a SIGTERM would end it like any program.
                await self._serving(name)
                os.kill(process.pid, signal.SIGTERM)
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()

    async def _serving(self, name: str) -> None:
        async with asyncio.timeout(START_S_MAX):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
                    writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    if b" 200 " in answer.partition(b"\r\n")[0]:
                        return
                await asyncio.sleep(0.05)

    def clear(self) -> None:
        """Kill whatever a failed test left."""
        for _ in range(20):
            left = self.left_processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return

    async def left_over(self) -> list[str]:
        """Processes, sockets and cgroups that a stopped pool has left."""
        for _ in range(int(LEFT_S_MAX / 0.1)):
            left = [command(pid).decode(errors="replace") for pid in self.left_processes()]
            socket = self.folder / "agent" / "supervisor" / "socket"
            left += [str(socket)] if socket.exists() else []
            left += self._groups()
            if not left:
                return []
            await asyncio.sleep(0.1)
        return left

    def left_processes(self) -> list[int]:
        mine = str(self.folder).encode()
        return [
            pid
            for pid in processes.everybody()
            if pid != os.getpid()
            and (seen := processes.stat(pid)) is not None
            and seen.state not in (b"Z", b"X")
            and mine in (processes.environment(pid) or b"") + b"\0" + command(pid)
        ]

    def _groups(self) -> list[str]:
        if not HAVE_CGROUPS:
            return []
        bases = {f"{found.mount}/{cgroups.ROOT_NAME}" for found in cgroups.find().values()}
        kept = {path for base in bases if os.path.isdir(base) for path in pathlib.Path(base).iterdir() if path.is_dir()}
        return sorted(str(path) for path in kept if path.name == self._agent_key())

    def _agent_key(self) -> str:
        return hashlib.sha256(str(self.folder / "agent" / "supervisor").encode()).hexdigest()[:12]


@contextlib.asynccontextmanager
async def killable_pool(
    nursery: Nursery, *points: str, master_flags: Sequence[str] = (), agent_flags: Sequence[str] = ()
) -> AsyncIterator[KillablePool]:
    """A running pool; at the end it is stopped, and nothing of it may be left."""
    # Sockets have little room for the names of their directories.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kill-", dir="/tmp")).resolve()
    pool = KillablePool(nursery, folder, points, master_flags, agent_flags)
    try:
        async with asyncio.TaskGroup() as group:
            for name in pool.ports:
                group.create_task(pool.watch(name))
            yield pool
            await pool.stop()
        assert await pool.left_over() == []
    finally:
        pool.clear()
        shutil.rmtree(folder, ignore_errors=True)


def command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
