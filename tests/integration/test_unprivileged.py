"""A whole pool as a user who is nobody: it works, and says in one line what it lacks."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pools import START_S_MAX, STOP_S_MAX, free_ports, processes_of, wait_until

ROOT = Path(__file__).parents[2]
NOBODY = pwd.getpwnam("nobody")
BECOME_NOBODY = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
COMMAND_S_MAX = 120.0
FLOW = """
words: text
	cat text > words
count: words
	wc -w < words > count
"""


def interpreter() -> str | None:
    """Ours, or another of the same version where ours lies in a closed home directory."""
    ours = sys.version_info[:2]
    question = f"import os, sys; sys.exit(sys.version_info[:2] != {ours} or not os.access(sys.executable, os.X_OK))"
    for candidate in (sys.executable, f"/usr/bin/python{ours[0]}.{ours[1]}"):
        with contextlib.suppress(OSError):
            words = [*BECOME_NOBODY, candidate, "-c", question]
            if subprocess.run(words, timeout=20, capture_output=True, cwd="/").returncode == 0:
                return candidate
    return None


class NobodysPool:
    """`altiplano up` of nobody, in a home of its own."""

    def __init__(self, home: Path, python: str) -> None:
        self.home = home
        self.words = (*BECOME_NOBODY, python, "-m", "altiplano.cli.main")
        packages = Path(pytest.__file__).parents[1]
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": f"{ROOT}:{packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.output = home / "out"
        self.output.touch()
        with self.output.open("w") as output:
            self.parent = subprocess.Popen(
                [*self.words, "up", "--port", str(free_ports())],
                env=self.environment,
                cwd=home,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: "the pool works" in self.said or self.parent.poll() is not None, "a pool", START_S_MAX)
        assert self.parent.poll() is None, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    def run(self, *words: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words],
            env=self.environment,
            cwd=directory or self.home,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )

    def stop(self) -> int:
        self.parent.send_signal(signal.SIGINT)
        return self.parent.wait(STOP_S_MAX)


@pytest.fixture(scope="module")
def one() -> Iterator[NobodysPool]:
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    python = interpreter()
    if python is None:
        pytest.skip("no interpreter of this version that the user nobody may execute")
    home = Path(tempfile.mkdtemp(prefix="nobody-", dir="/tmp"))
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    try:
        made = NobodysPool(home, python)
        yield made
        assert made.stop() == 0, made.said
        assert processes_of(home) == []
    finally:
        for pid in processes_of(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def test_one_line_says_what_is_missing(one: NobodysPool) -> None:
    (line,) = [line for line in one.said.splitlines() if "not root" in line]
    assert line == "not root: tasks run as you, and nothing limits their processors and memory"


def test_a_command_runs_as_its_user(one: NobodysPool) -> None:
    done = one.run("run", "--", "id", "-un")
    assert (done.returncode, done.stdout) == (0, "nobody\n"), done.stderr


def test_exit_codes_arrive(one: NobodysPool) -> None:
    assert one.run("run", "exit 5").returncode == 5


def test_a_task_as_somebody_else_is_not_pretended(one: NobodysPool) -> None:
    """All tasks are nobody's, whatever user is asked for: without root nobody else can be become."""
    done = one.run("run", "--", "sh", "-c", "id -u; id -G")
    assert done.stdout.split() == [str(NOBODY.pw_uid), str(NOBODY.pw_gid)], done.stderr


def test_a_small_flow(one: NobodysPool) -> None:
    directory = one.home / "flow"
    directory.mkdir()
    (directory / "text").write_text("one two three\n")
    (directory / "Makeflow").write_text(FLOW)
    for path in (directory, *directory.iterdir()):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    done = one.run("flow", "run", "Makeflow", directory=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (directory / "count").read_text().split() == ["3"]


def test_state_lies_below_home_and_is_closed_to_others(one: NobodysPool) -> None:
    state = one.home / ".local" / "state" / "altiplano"
    assert state.stat().st_uid == NOBODY.pw_uid
    assert state.stat().st_mode & 0o077 == 0
    assert (state / "token").stat().st_mode & 0o777 == 0o600
