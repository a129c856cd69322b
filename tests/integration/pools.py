"""A pool of one machine for tests: `altiplano up` as a user starts it, ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

START_S_MAX = 40.0
STOP_S_MAX = 60.0
COMMAND_S_MAX = 40.0
PORTS_FROM, PORTS_TO = 20_000, 32_000
ALTIPLANO = (sys.executable, "-m", "altiplano.cli.main")


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def free_ports() -> int:
    """The first of three free ports in a row."""
    for port in range(PORTS_FROM + os.getpid() % 4000 * 3, PORTS_TO, 3):
        with contextlib.ExitStack() as stack:
            try:
                for offset in range(3):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise AssertionError("no three free ports in a row")


def processes_of(directory: Path) -> list[int]:
    """Processes whose command line or working directory names a directory: children, supervisors, tasks."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                if str(directory) in words or str(directory) in os.readlink(entry / "cwd"):
                    found.append(int(entry.name))
    return found


class Pool:
    """One work directory, and the pool that runs in it."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory = directory
        self.port = free_ports()
        self.flags = flags
        self.parent: subprocess.Popen[str] | None = None
        self.output = directory.parent / f"{directory.name}.out"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ALTIPLANO_")}
        return kept | {"ALTIPLANO_WORK_DIR": str(self.directory), "HOME": str(self.directory.parent)}

    def start(self) -> None:
        """Return when the pool works and its machine takes tasks."""
        with self.output.open("a") as output:
            self.parent = subprocess.Popen(
                [*ALTIPLANO, "up", "--port", str(self.port), "--resources", "cpus:4;mem:2048;disk:1000", *self.flags],
                env=self.environment,
                stdout=output,
                stderr=output,
                text=True,
                cwd=self.directory.parent,
            )
        said = len(self.output.read_text())
        wait_until(lambda: "the pool works" in self.output.read_text()[said:], self._story(), START_S_MAX)
        wait_until(lambda: '"active"' in self.run("agent", "list", "--json").stdout, self._story(), START_S_MAX)

    def run(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `altiplano` as a user of this pool."""
        return subprocess.run(
            [*ALTIPLANO, *words],
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            cwd=self.directory.parent,
            check=False,
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start `altiplano` and do not wait for it."""
        return subprocess.Popen(
            [*ALTIPLANO, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory.parent,
        )

    def stop(self) -> int:
        """End it as Ctrl-C does; the exit code of the parent."""
        assert self.parent is not None
        if self.parent.poll() is None:
            self.parent.send_signal(signal.SIGINT)
        return self.parent.wait(STOP_S_MAX)

    def clear(self) -> None:
        """End whatever is left."""
        if self.parent is not None and self.parent.poll() is None:
            self.parent.kill()
            self.parent.wait(STOP_S_MAX)
        for _ in range(50):
            left = processes_of(self.directory)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.1)

    def _story(self) -> str:
        logs = [self.output, *sorted((self.directory / "log").glob("*.log"))]
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs if log.exists())


@contextlib.contextmanager
def pool(*flags: str, started: bool = True) -> Iterator[Pool]:
    """A pool below a short path, since its sockets have little room for names."""
    base = Path(tempfile.mkdtemp(prefix="pool-", dir="/tmp"))
    one = Pool(base / "p", *flags)
    try:
        if started:
            one.start()
        yield one
    finally:
        one.clear()
        shutil.rmtree(base, ignore_errors=True)
