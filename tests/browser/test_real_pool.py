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


MAKEFLOW = """
CATEGORY=simulate
one.dat:
\techo 1 > one.dat
two.dat:
\techo 2 > two.dat
CATEGORY=collect
sum.txt: one.dat two.dat
\tcat one.dat two.dat > sum.txt
report.txt: sum.txt
\techo the reference is not there >&2; exit 3
page.html: report.txt
\tcp report.txt page.html
"""


def run_flow(up: Up, directory: Path, text: str) -> int:
    """Run a workflow to its end; the exit code."""
    directory.mkdir()
    (directory / "Makeflow").write_text(text)
    command = [*ALTIPLANO, "flow", "run", "--retries", "0", "Makeflow"]
    environment = up.environment | {"ALTIPLANO_WORK_DIR": up.environment["HOME"] + "/pool"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, timeout=60, check=False
    ).returncode


def test_a_flow_that_has_ended_is_found_in_the_menu(up: Up, page: Page, short_path: Path) -> None:
    page.goto(up.url)
    assert run_flow(up, short_path / "release", MAKEFLOW) == 1
    assert run_flow(up, short_path / "quick", "a:\n\techo x > a\n") == 0
    page.get_by_role("link", name="Flows").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("quick")
    expect(rows.nth(0).locator(".pill")).to_have_text("done")
    expect(rows.nth(1).locator(".pill")).to_have_text("failed")
    expect(rows.nth(1)).to_contain_text("3 / 5")
    rows.nth(1).get_by_role("link", name="Makeflow").click()
    expect(page.locator("svg.dag [data-node]")).to_have_count(5)
    expect(page.locator("#live")).to_contain_text("its command ended with status 3")
    page.locator("[data-node='report.txt']").click()
    expect(page.locator("#rule .output").last).to_contain_text("the reference is not there")
    page.get_by_role("link", name="Pool").click()
    expect(page.locator("h1, h2").first).to_be_visible()
    expect(page.get_by_role("link", name="Flows")).to_be_visible()
