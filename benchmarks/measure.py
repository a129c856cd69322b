"""What every benchmark needs: a measurement, the machine, a pool of processes that ends with the benchmark."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ALTIPLANO = str(ROOT / ".venv" / "bin" / "altiplano")
START_SECONDS_MAX = 60
FIRST_VARIABLE = "ALTIPLANO_BENCH_FIRST"
FIRST_NICE = -14


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure.  `peer` names what it stands beside, measured in the same run."""

    name: str
    value: float
    unit: str
    better: str
    goal: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    note: str = ""
    spread: tuple[float, float] | None = None
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))
    """Of the last minute at the end of the measurement: our own part and that of others."""
    machine: str = field(default_factory=lambda: machine())
    commit: str = field(default_factory=lambda: commit())

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def machine() -> str:
    """This machine in one line."""
    model = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {kernel}, Python {platform.python_version()}"


def commit() -> str:
    """The commit of the checkout; with a + when it has changes."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def median(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median, and the smallest and largest value."""
    return statistics.median(values), (min(values), max(values))


def wall(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@dataclass(slots=True)
class Pool:
    """A master and an agent, each a process of its own, started as an operator would."""

    directory: Path
    port: int
    agent_port: int
    master: subprocess.Popen[bytes]
    agent: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def call(self, body: dict[str, Any]) -> dict[str, Any]:
        """One call of the operator API."""
        request = urllib.request.Request(
            f"http://{self.address}/api/v1",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            result: dict[str, Any] = json.load(answer)
            return result

    def agents(self) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = self.call({"type": "GET_AGENTS"}).get("get_agents", {}).get("agents", [])
        except (OSError, urllib.error.URLError):
            return []
        return [row for row in rows if row.get("active")]

    def start_agent(self) -> None:
        """Start (again) the agent's process."""
        self.agent = _start_agent(self.directory, self.port, self.agent_port, self.resources, self.isolation)
        self.wait_for_agent()

    def wait_for_agent(self) -> None:
        until(lambda: len(self.agents()) == 1, "an agent that has joined")

    resources: str = "cpus:64;mem:65536;disk:65536"
    isolation: str = "posix"


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS_MAX, step_s: float = 0.01) -> None:
    """Wait until something holds; SystemExit with a sentence when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {seconds:g} s")
        time.sleep(step_s)


def environment() -> dict[str, str]:
    """Ours, but for what keeps Python from keeping its compiled modules: nobody starts a pool like that."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def go_first(pid: int) -> None:
    """Let a process go before other work of this machine, if `bench.py --first` asked for it.

    Linux gives each session an equal share, so what counts is the weight of the session.
    """
    if os.environ.get(FIRST_VARIABLE):
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write(str(FIRST_NICE))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start_agent(
    directory: Path, port: int, agent_port: int, resources: str, isolation: str
) -> subprocess.Popen[bytes]:
    words = [ALTIPLANO, "agent", "--master", f"127.0.0.1:{port}", "--ip", "127.0.0.1", "--port", str(agent_port)]
    words += ["--work-dir", str(directory / "agent"), "--resources", resources]
    words += ["--isolation", isolation]
    log = open(directory / "agent.log", "ab")  # noqa: SIM115  # it belongs to the process from here on
    process = subprocess.Popen(words, stdout=log, stderr=log, env=environment(), start_new_session=True)
    go_first(process.pid)
    return process


@contextmanager
def master_only() -> Iterator[Pool]:
    """A master without an agent: the benchmark brings its own."""
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-") as name:
        directory, port = Path(name), free_port()
        master = _start_master(directory, port)
        running = Pool(directory, port, 0, master, master)
        try:
            until(lambda: _serves(port), "the master")
            go_first(master.pid)
            yield running
        finally:
            _end(running)


def _serves(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def _start_master(directory: Path, port: int, *more: str) -> subprocess.Popen[bytes]:
    (directory / "master").mkdir()
    words = [ALTIPLANO, "master", "--ip", "127.0.0.1", "--port", str(port)]
    words += ["--work-dir", str(directory / "master"), *more]
    with open(directory / "master.log", "ab") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env=environment(), start_new_session=True)


KILL_ROUNDS_MAX = 100


@contextmanager
def pool(resources: str = "cpus:64;mem:65536;disk:65536", *more: str, isolation: str = "posix") -> Iterator[Pool]:
    """Start a pool and end it with all that it started."""
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-") as name:
        directory = Path(name)
        port, agent_port = free_port(), free_port()
        (directory / "agent").mkdir()
        master = _start_master(directory, port, *more)
        agent = _start_agent(directory, port, agent_port, resources, isolation)
        running = Pool(directory, port, agent_port, master, agent, resources, isolation)
        try:
            running.wait_for_agent()
            for pid in {master.pid, agent.pid, *mentioning(str(directory))}:
                go_first(pid)
            yield running
        finally:
            _end(running)


def _end(running: Pool) -> None:
    for process in (running.agent, running.master):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in (running.agent, running.master):
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # Again and again: of a pair of which one was killed, the other has started a new one meanwhile.
    for _ in range(KILL_ROUNDS_MAX):
        left = mentioning(str(running.directory))
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.02)


def mentioning(text: str) -> list[int]:
    """Processes that have a text in their command line or environment: what a pool left."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{entry}/{name}", "rb") as file:
                    if text.encode() in file.read():
                        found.append(int(entry))
                        break
            except OSError:
                break
    return found


def log(sentence: str) -> None:
    """Progress, apart from the results."""
    print(f"   {sentence}", file=sys.stderr, flush=True)
