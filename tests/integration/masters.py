"""A master without agents, as a process: the test brings agents of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.pools import ALTIPLANO, free_ports, wait_until


class Master:
    """A master that can be killed and started again in its work directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_ports()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ("master", "--ip", "127.0.0.1", "--port", str(self.port), "--work-dir", str(self.directory / "m"))
        with (self.directory / "master.out").open("ab") as output:
            self.process = subprocess.Popen([*ALTIPLANO, *words], stdout=output, stderr=output)
        wait_until(self.answers, "the master answers")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.address}/health", timeout=2).close()
        except OSError:
            return False
        return True

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=20) as answer:
            return json.load(answer)


@contextlib.contextmanager
def started() -> Iterator[Master]:
    with tempfile.TemporaryDirectory(prefix="emulated-", dir="/tmp") as name:
        master = Master(Path(name))
        try:
            master.start()
            yield master
        finally:
            master.kill()
