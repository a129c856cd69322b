"""How a task is best started, measured on this machine.

First the candidates in the open: the same 400 `true` with a cpu and a memory
cgroup (v1) made, limited and removed for each, 32 alive at once, by one small
process.  Then the real supervisor through its client, with sandboxes, output
files, durable records and acknowledgement; then its memory with 1,000 tasks.

    python benchmarks/launch_path.py [--tasks N] [--output FILE]

Needs root and v1 cgroups for the first half; without them it is left out.
Recorded results and what follows from them: docs/decisions/0002-launch-path.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import client
from altiplano.ports import launcher

ROUNDS = 5
ALIVE_MAX = 32
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
LIMITS = launcher.CgroupLimits(cpu_shares=256, memory_hard_bytes=64 << 20)

Start = Callable[[int], int]


class Candidates:
    """Ways to get a process into two fresh v1 cgroups."""

    def __init__(self) -> None:
        found = cgroups.find()
        homes = cgroups.parse_homes(pathlib.Path("/proc/self/cgroup").read_text())
        self.cpu = f"{found['cpu'].mount}/altiplano-bench"
        self.memory = f"{found['memory'].mount}/altiplano-bench"
        self.cpu_home = f"{found['cpu'].mount}{homes['cpu'].rstrip('/')}/tasks"
        self.memory_home = f"{found['memory'].mount}{homes['memory'].rstrip('/')}/tasks"
        for base in (self.cpu, self.memory):
            os.makedirs(base, exist_ok=True)

    def remove(self) -> None:
        for base in (self.cpu, self.memory):
            os.rmdir(base)

    def make(self, number: int) -> None:
        os.mkdir(f"{self.cpu}/{number}")
        os.mkdir(f"{self.memory}/{number}")
        write(f"{self.cpu}/{number}/cpu.shares", b"256")
        write(f"{self.memory}/{number}/memory.limit_in_bytes", b"67108864")

    def unmake(self, number: int) -> None:
        os.rmdir(f"{self.cpu}/{number}")
        os.rmdir(f"{self.memory}/{number}")

    def bare(self, number: int) -> int:
        return spawn()

    def made_unused(self, number: int) -> int:
        self.make(number)
        return spawn()

    def born_in_both(self, number: int) -> int:
        """The supervisor's way."""
        self.make(number)
        write(f"{self.cpu}/{number}/tasks", b"0")
        write(f"{self.memory}/{number}/tasks", b"0")
        pid = spawn()
        write(self.cpu_home, b"0")
        write(self.memory_home, b"0")
        return pid

    def born_in_memory(self, number: int) -> int:
        """Exact in memory; whoever forked before the move is found in its list."""
        self.make(number)
        write(f"{self.memory}/{number}/tasks", b"0")
        pid = spawn()
        write(self.memory_home, b"0")
        with contextlib.suppress(ProcessLookupError):
            write(f"{self.cpu}/{number}/cgroup.procs", b"%d" % pid)
        pathlib.Path(f"{self.memory}/{number}/cgroup.procs").read_bytes()
        return pid

    def shell_stub(self, number: int) -> int:
        self.make(number)
        reader, writer = os.pipe()
        stub = ("sh", "-c", 'read _; exec "$@"', "sh", "/bin/true")
        pid = os.posix_spawn("/bin/sh", stub, ENVIRONMENT, setsid=True, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
        write(f"{self.cpu}/{number}/tasks", b"%d" % pid)
        write(f"{self.memory}/{number}/tasks", b"%d" % pid)
        os.write(writer, b"\n")
        os.close(reader)
        os.close(writer)
        return pid

    def fork_moves_itself(self, number: int) -> int:
        self.make(number)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                write(f"{self.cpu}/{number}/tasks", b"0")
                write(f"{self.memory}/{number}/tasks", b"0")
                os.execve("/bin/true", ["true"], ENVIRONMENT)
            finally:
                os._exit(127)
        return pid


def spawn() -> int:
    return os.posix_spawn("/bin/true", ("true",), ENVIRONMENT, setsid=True)


def write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def rate(start: Start, finish: Callable[[int], None], tasks: int) -> float:
    """Tasks per second with at most `ALIVE_MAX` alive."""
    alive: list[tuple[int, int]] = []
    began = time.perf_counter()
    for number in range(tasks):
        alive.append((number, start(number)))
        if len(alive) >= ALIVE_MAX:
            end_first(alive, finish)
    while alive:
        end_first(alive, finish)
    return tasks / (time.perf_counter() - began)


def end_first(alive: list[tuple[int, int]], finish: Callable[[int], None]) -> None:
    number, pid = alive.pop(0)
    os.waitpid(pid, 0)
    finish(number)


def measure_candidates(tasks: int) -> dict[str, list[float]]:
    """All ways in turn, several rounds, so that a noisy neighbour hits each."""
    ways = Candidates()
    starts: dict[str, tuple[Start, Callable[[int], None]]] = {
        "no cgroup: posix_spawn": (ways.bare, lambda _: None),
        "cgroups made and removed, not entered": (ways.made_unused, ways.unmake),
        "born in memory, then moved to cpu": (ways.born_in_memory, ways.unmake),
        "born in both": (ways.born_in_both, ways.unmake),
        "fork, child moves itself": (ways.fork_moves_itself, ways.unmake),
        "shell stub waits on a pipe": (ways.shell_stub, ways.unmake),
    }
    rates: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(ROUNDS):
        for name, (start, finish) in starts.items():
            rates[name].append(rate(start, finish, tasks))
    ways.remove()
    return rates


def spec(folder: pathlib.Path, name: str, argv: tuple[str, ...], **more: object) -> launcher.LaunchSpec:
    sandbox = folder / name
    sandbox.mkdir()
    values: dict[str, object] = {
        "container_id": name,
        "executable": argv[0],
        "argv": argv,
        "environment": tuple(ENVIRONMENT.items()),
        "directory": str(sandbox),
        "stdout": str(sandbox / "stdout"),
        "stderr": str(sandbox / "stderr"),
        **more,
    }
    return launcher.LaunchSpec(**values)  # type: ignore[arg-type]  # each value by its field's name


async def ended(user: client.SupervisorClient, names: set[str]) -> None:
    async for event in user.events():
        if isinstance(event, launcher.Exited):
            names.discard(event.container_id)
            if not names:
                break


async def real_rate(user: client.SupervisorClient, specs: list[launcher.LaunchSpec]) -> float:
    """Tasks per second from the first request to the last end told."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(ended(user, {one.container_id for one in specs}))
        await asyncio.gather(*map(user.launch, specs))
    took = time.perf_counter() - began
    await asyncio.gather(*(user.forget(one.container_id) for one in specs))
    return len(specs) / took


async def measure_real(folder: pathlib.Path, tasks: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    ways: dict[str, dict[str, object]] = {"supervisor, no cgroup": {}}
    probed = cgroups.Cgroups("bench")
    probed.remove_base()
    if probed.trouble is None:
        ways["supervisor, cpu and memory cgroups"] = {"cgroup": LIMITS}
        ways["supervisor, cgroups and resource limits"] = {
            "cgroup": LIMITS,
            "rlimits": (launcher.Rlimit(name="RLIMIT_CORE", soft=0, hard=0),),
        }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    user = await client.connect(str(folder))
    try:
        for round_number in range(ROUNDS):
            for index, (name, more) in enumerate(ways.items()):
                names = [f"{round_number}-{index}-{number}" for number in range(tasks)]
                rates[name].append(await real_rate(user, [spec(folder, one, ("/bin/true",), **more) for one in names]))
        figures = await measure_thousand(user, folder)
    finally:
        await user.stop(0.0)
    return rates, figures


async def measure_thousand(user: client.SupervisorClient, folder: pathlib.Path) -> dict[str, float]:
    """Memory with 1,000 sleeping tasks, a new supervisor over them, a new agent."""
    figures = {f"idle, {name} MB": value for name, value in memory(user).items()}
    specs = [spec(folder, f"sleeper-{number}", ("/bin/sleep", "100")) for number in range(1000)]
    await asyncio.gather(*map(user.launch, specs))
    figures |= {f"1,000 tasks, {name} MB": value for name, value in memory(user).items()}
    began, before = time.perf_counter(), user.pid
    os.kill(user.pid, 9)
    while user.pid == before:  # noqa: ASYNC110 - the next supervisor says hello when it is there
        await asyncio.sleep(0.001)
    figures["1,000 tasks, new supervisor after kill -9, ms"] = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    async with await client.connect(str(folder)) as second:
        assert len(await second.inventory()) >= 1000
    figures["1,000 tasks, new agent attached with inventory, ms"] = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    await asyncio.gather(*(user.destroy(one.container_id) for one in specs))
    figures["1,000 tasks, all destroyed, ms"] = (time.perf_counter() - began) * 1000
    await asyncio.gather(*(user.forget(one.container_id) for one in specs))
    return figures


def memory(user: client.SupervisorClient) -> dict[str, float]:
    """Resident and proportional set of both processes."""
    values: dict[str, float] = {}
    for name, pid in (("supervisor", user.pid), ("keeper", user.keeper_pid)):
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        values[f"{name} RSS"] = sizes["Rss"] / 1024
        values[f"{name} PSS"] = sizes["Pss"] / 1024
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=400, help="tasks per round and way (default 400)")
    parser.add_argument("--output", help="write the figures here as JSON")
    parser.add_argument("--candidates", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidates:
        print(json.dumps(measure_candidates(options.tasks)))
        return
    rates: dict[str, list[float]] = {}
    found = cgroups.find()
    if os.geteuid() == 0 and {"cpu", "memory"} <= found.keys() and found["cpu"].version == 1:
        # In a process of its own: fork is judged by the size of whoever forks.
        own = [sys.executable, __file__, "--candidates", "--tasks", str(options.tasks)]
        rates |= json.loads(subprocess.run(own, check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-") as folder:
        real, figures = asyncio.run(measure_real(pathlib.Path(folder), options.tasks))
    rates |= real
    for name, values in rates.items():
        print(f"{name:45} {statistics.median(values):7.0f}/s   best {max(values):6.0f}   worst {min(values):6.0f}")
    for name, value in figures.items():
        print(f"{name:55} {value:8.1f}")
    if options.output:
        machine = {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()}
        result = {"machine": machine, "python": platform.python_version(), "tasks_per_s": rates, "figures": figures}
        pathlib.Path(options.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
