"""A master and an agent, each a process that can be killed and started again, for clients that nobody here wrote."""

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

STOP_S_MAX = 20.0
START_S_MAX = 30.0
KILLED_IN_TURN = ("agent", "master", "agent")
PAUSE_S = (0.3, 1.5)
"""Between two kills."""
KILL_ROUNDS_MAX = 100


class Pool:
    """Its `directory` holds what its processes say, and in `ran` one file for each task that was run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ran = directory / "ran"
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
        self.processes[name] = self.run(name, sys.executable, "-m", "altiplano.cli.main", *words)

    def run(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a program.  A surviving supervisor would hold a pipe open for ever, so the output goes to a file."""
        with (self.directory / f"{name}.out").open("ab") as output:
            return subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def kill_in_turn(self, dice: random.Random) -> None:
        """kill -9 agent, master and agent again at random moments; each is started at once."""
        for name in KILLED_IN_TURN:
            time.sleep(dice.uniform(*PAUSE_S))
            self.kill(name)
            self.start(name)
            wait_for_port(self.ports[name])

    def ends(self) -> dict[str, set[str]]:
        """The ends that the scheduler heard of, by task."""
        found: dict[str, set[str]] = collections.defaultdict(set)
        for line in (self.directory / "scheduler.out").read_text().splitlines():
            if line.startswith("task-"):
                name, state = line.split()[:2]
                found[name].add(state)
        return found

    def runs(self) -> dict[str, int]:
        """How often each task was run."""
        return {path.name: len(path.read_text().splitlines()) for path in self.ran.iterdir()}

    def stop(self) -> None:
        if "agent" in self.processes and self.processes["agent"].poll() is None:
            # For good: its tasks, supervisor and keeper end as well.
            self.processes["agent"].send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes["agent"].wait(STOP_S_MAX)
        for process in self.processes.values():
            process.kill()
            process.wait()
        # Again and again: of a pair of which one was killed, the other has started a new one meanwhile.
        for _ in range(KILL_ROUNDS_MAX):
            left = self.left_over()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.02)

    def left_over(self) -> list[int]:
        """What an agent that had to be killed leaves: its supervisor, its keeper, and tasks of theirs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words, place = (entry / "cmdline").read_bytes(), os.readlink(entry / "cwd")
                    if f"{self.directory}/".encode() in words or place.startswith(f"{self.directory}/"):
                        found.append(int(entry.name))
        return found

    def story(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in self.directory.glob("*.out"))


@contextlib.contextmanager
def running() -> Iterator[Pool]:
    """A pool below a short path, since its sockets have little room for names."""
    directory = Path(tempfile.mkdtemp(prefix="compat-", dir="/tmp"))
    one = Pool(directory)
    one.ran.mkdir()
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
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def assert_all_finished_once(pool: Pool, tasks: int) -> None:
    """On a quiet pool nothing is lost and nothing is done twice."""
    assert pool.ends() == {f"task-{number}": {"TASK_FINISHED"} for number in range(tasks)}
    assert set(pool.runs().values()) == {1}


def assert_each_finished_once_in_the_end(pool: Pool, tasks: int, told: str) -> None:
    """What ended had one end; what was lost on its way was never run; all that ran, ran once."""
    ends, runs = pool.ends(), pool.runs()
    assert all(len(states) == 1 for states in ends.values()), f"{told}: {ends}"
    assert set(runs.values()) == {1}, f"{told}: {runs}"
    finished = {name for name, states in ends.items() if states == {"TASK_FINISHED"}}
    assert finished == set(runs), f"{told}: finished {sorted(finished ^ set(runs))} without having run, or ran without"
    assert {name.split("-again")[0] for name in finished} == {f"task-{n}" for n in range(tasks)}, f"{told}: {ends}"
