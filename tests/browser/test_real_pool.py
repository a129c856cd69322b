"""The pages of a pool that runs: one story, from the first command to its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

START_S_MAX = 60.0
STOP_S_MAX = 20.0
ALTIPLANO = [sys.executable, "-m", "altiplano.cli.main"]


@dataclass
class Up:
    """A pool of `altiplano up`."""

    url: str
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*ALTIPLANO, "run", *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="pages-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def up(short_path: Path) -> Iterator[Up]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = 20_000 + probe.getsockname()[1] % 10_000
    environment = dict(os.environ, HOME=str(short_path), ALTIPLANO_MASTER=f"127.0.0.1:{port}")
    environment.pop("XDG_STATE_HOME", None)
    work_dir = short_path / "pool"
    said = short_path / "up.log"
    command = [*ALTIPLANO, "up", "--port", str(port), "--work-dir", str(work_dir), "--resources", "cpus:4;mem:2048"]
    with said.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START_S_MAX
        while (found := re.search(r"http://\S+/login\?token=(\S+)", said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < until, said.read_text()
            time.sleep(0.1)
        yield Up(url=found[0], environment=environment | {"ALTIPLANO_TOKEN": found[1]})
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S_MAX)


def test_a_command_is_watched_from_its_start_to_its_end(up: Up, page: Page) -> None:
    page.goto(up.url)
    expect(page.locator("#lists")).to_contain_text("Nothing runs yet")
    expect(page.locator("#tile-cpus")).to_contain_text("of 4")
    script = "echo first; echo trouble >&2; sleep 600"
    running = up.run("--", "sh", "-c", script)
    try:
        row = page.locator("#lists section").nth(1).locator("a.name").first
        expect(row).to_be_visible()
        row.click()
        expect(page.locator("h1 + .pill")).to_have_text("running")
        expect(page.locator("pre.log")).to_contain_text("first")
        page.get_by_role("tab", name="stderr").click()
        expect(page.locator("pre.log")).to_contain_text("trouble")
        page.get_by_role("tab", name="stdout").click()
        expect(page.locator("pre.log")).to_have_text("first\n")
        expect(page.locator(".files")).to_contain_text("stdout")
        expect(page.locator(".story li").nth(1)).to_be_visible()
        page.get_by_role("button", name="Kill …").click()
        page.get_by_role("button", name="Kill it").click()
        expect(page.locator("h1 + .pill")).to_have_text("killed")
    finally:
        running.kill()
        running.wait(STOP_S_MAX)
