"""pymesos, as it is on PyPI: its scheduler and its executor, in JSON, through all that may be killed."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "compat" / "pymesos"
TASKS = 100
SETUP_S_MAX = 600.0
RUN_S_MAX = 120.0


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of an environment with pymesos."""
    made = subprocess.run(
        ["sh", str(HERE / "setup_pymesos.sh"), str(CACHE), sys.executable],
        capture_output=True,
        text=True,
        timeout=SETUP_S_MAX,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"an environment with pymesos cannot be made here: {made.stderr[-500:]}")
    return str(CACHE / "bin" / "python")


class Pool:
    """A master and an agent, each a process that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {"master": free_port(), "agent": free_port()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def master(self) -> str:
        return f"127.0.0.1:{self.ports['master']}"

    def start(self, name: str) -> None:
        words = ["master"]
        if name == "agent":
            words = ["agent", "start", "--master", self.master, "--resources", "cpus:4;mem:1024"]
            words += ["--executor-reregistration-timeout", "15secs"]
        words += ["--ip", "127.0.0.1", "--port", str(self.ports[name]), "--work-dir", str(self.directory / name)]
        # A surviving supervisor would hold a pipe open for ever, so the output goes to a file.
        with (self.directory / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "altiplano.cli.main", *words],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self) -> None:
        if "agent" in self.processes and self.processes["agent"].poll() is None:
            # For good: its tasks, supervisor and keeper end as well.
            self.processes["agent"].send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes["agent"].wait(20)
        for process in self.processes.values():
            process.kill()
            process.wait()
        for pid in self.left_over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left_over(self) -> list[int]:
        """What an agent that had to be killed leaves: its supervisor, its keeper, and tasks of theirs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if f"{self.directory}/".encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def story(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in self.directory.glob("*.out"))


@pytest.fixture
def pool() -> Iterator[Pool]:
    directory = Path(tempfile.mkdtemp(prefix="pym-", dir="/tmp"))
    one = Pool(directory)
    try:
        one.start("master")
        wait_for_port(one.ports["master"])
        one.start("agent")
        yield one
    finally:
        one.stop()
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def begin(python: str, pool: Pool) -> subprocess.Popen[bytes]:
    ran = pool.directory / "ran"
    ran.mkdir()
    words = [pool.master, str(TASKS), str(HERE / "pymesos_executor.py"), str(ran)]
    with (pool.directory / "scheduler.out").open("wb") as output:
        return subprocess.Popen(
            [python, str(HERE / "pymesos_scheduler.py"), *words], stdout=output, stderr=subprocess.STDOUT
        )


def ends(pool: Pool) -> dict[str, set[str]]:
    """The ends that the scheduler heard of, by task."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for line in (pool.directory / "scheduler.out").read_text().splitlines():
        if line.startswith("task-"):
            name, state = line.split()[:2]
            found[name].add(state)
    return found


def runs(pool: Pool) -> dict[str, int]:
    """How often each task was run."""
    return {path.name: len(path.read_text().splitlines()) for path in (pool.directory / "ran").iterdir()}


def test_a_hundred_tasks_run_to_their_end(python: str, pool: Pool) -> None:
    assert begin(python, pool).wait(RUN_S_MAX) == 0, pool.story()
    assert ends(pool) == {f"task-{number}": {"TASK_FINISHED"} for number in range(TASKS)}
    assert set(runs(pool).values()) == {1}


def test_a_hundred_tasks_run_to_their_end_although_master_and_agent_are_killed(python: str, pool: Pool) -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    scheduler = begin(python, pool)
    for name in ("agent", "master", "agent"):
        time.sleep(dice.uniform(0.3, 1.5))
        pool.kill(name)
        pool.start(name)
        wait_for_port(pool.ports[name])
    assert scheduler.wait(RUN_S_MAX) == 0, f"seed {seed}: {pool.story()}"
    # What ended had one end; what was lost on its way was never run; all that ran, ran once.
    found, ran = ends(pool), runs(pool)
    assert all(len(states) == 1 for states in found.values()), f"seed {seed}: {found}"
    assert set(ran.values()) == {1}, f"seed {seed}: {ran}"
    finished = {name for name, states in found.items() if states == {"TASK_FINISHED"}}
    assert {name.removesuffix("-again").split("-again")[0] for name in finished} == {
        f"task-{number}" for number in range(TASKS)
    }
