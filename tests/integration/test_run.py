"""`altiplano run` and the commands around it, on a pool of one machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pools import Pool, pool, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with pool() as made:
        yield made


def test_it_shows_what_the_command_writes_and_ends_as_it_ends(one: Pool) -> None:
    done = one.run("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("kill -SEGV $$", 139), ("kill -9 $$", 137), ("no-such-thing", 127)]
)
def test_exit_codes_are_those_of_the_command(one: Pool, command: str, code: int) -> None:
    assert one.run("run", command).returncode == code


def test_a_program_that_is_not_there_is_127_with_the_place_that_was_searched(one: Pool) -> None:
    done = one.run("run", "--", "no-such-program", "x")
    assert done.returncode == 127
    assert "no-such-program is in no directory of PATH" in done.stderr


def test_much_output_arrives_whole_and_in_order(one: Pool) -> None:
    done = one.run("run", "seq 1 60000")
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 60_001))


def test_output_comes_while_the_command_runs(one: Pool) -> None:
    running = one.begin("run", "echo first; sleep 60")
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "first\n"
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    tasks = json.loads(one.run("task", "list", "--json").stdout)
    assert tasks == [], "the task did not outlive the Ctrl-C"


def test_environment_name_and_resources_reach_the_task(one: Pool) -> None:
    done = one.run("run", "--env", "COLOUR=blue", "--name", "painter", "--cpus", "2", "echo $COLOUR")
    assert done.stdout == "blue\n"
    (task,) = [t for t in json.loads(one.run("task", "list", "--all", "--json").stdout) if t["name"] == "painter"]
    assert task["resources"]["cpus"] == 2


def test_json_says_how_it_ended(one: Pool) -> None:
    done = one.run("run", "--json", "echo out; exit 3")
    record = json.loads(done.stdout)
    assert (record["exit_code"], record["state"], done.returncode) == (3, "FAILED", 3)
    assert "out" in done.stderr


def test_waiting_is_explained_with_numbers(one: Pool) -> None:
    waiting = one.begin("run", "--cpus", "64", "true")
    try:
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
    finally:
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == 130
    assert "waiting: no machine of 1 machine is large enough" in line
    assert "has 4 cpus" in line
    assert "needs 64 cpus" in line


def test_a_second_framework_waits_for_the_first_and_is_told_who_holds_what(one: Pool) -> None:
    holder = one.begin("run", "--cpus", "4", "--name", "holder", "sleep 60")
    wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the holder runs")
    waiting = one.begin("run", "--cpus", "1", "echo mine")
    assert waiting.stderr is not None
    assert "run holder holds 4 cpus" in waiting.stderr.readline()
    holder.send_signal(signal.SIGINT)
    assert holder.wait(30) == 130
    out, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (0, "mine\n")


def test_tasks_can_be_listed_read_explained_and_killed(one: Pool) -> None:
    running = one.begin("run", "--name", "sleeper", "echo begun; sleep 60")
    wait_until(lambda: "sleeper" in one.run("task", "list").stdout, "the task is listed")
    wait_until(lambda: one.run("task", "logs", "sleeper").stdout == "begun\n", "its output can be read")
    shown = one.run("task", "show", "sleeper").stdout
    assert "RUNNING" in shown
    assert "memory now" in shown
    story = one.run("task", "why", "sleeper").stdout
    assert "master" in story
    assert "agent" in story
    assert "started with pid" in story
    assert "is asked to end" in one.run("task", "kill", "sleeper").stdout
    assert running.wait(30) == 143
    assert one.run("task", "kill", "sleeper").returncode == 1


def test_an_ended_task_shows_what_it_used(one: Pool) -> None:
    busy = (
        "import time; b = bytearray(64 << 20); end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    )
    assert one.run("run", "--name", "busy", "--", sys.executable, "-c", busy).returncode == 0
    shown = json.loads(one.run("task", "show", "busy", "--json").stdout)
    assert shown["state"] == "FINISHED"
    assert shown["hostname"]
    assert shown["usage"]["wait_status"] == 0
    assert shown["usage"]["cpu_s"] >= 0.2
    assert shown["usage"]["memory_peak_bytes"] >= 64 << 20
    words = one.run("task", "show", "busy").stdout
    assert "cpu time" in words
    assert "peak memory" in words


def test_frameworks_and_machines_are_listed(one: Pool) -> None:
    one.run("run", "--name", "seen", "true")
    names = [f["name"] for f in json.loads(one.run("framework", "list", "--all", "--json").stdout)]
    assert "run seen" in names
    (agent,) = json.loads(one.run("agent", "list", "--json").stdout)
    assert agent["total"]["cpus"] == 4
    assert one.run("agent", "show", agent["id"][:12]).returncode == 0


def test_what_does_not_exist_is_exit_code_3(one: Pool) -> None:
    for words in (("task", "show", "nope"), ("agent", "show", "nope"), ("framework", "show", "nope"), ("why", "nope")):
        done = one.run(*words)
        assert done.returncode == 3, words
        assert "nope" in done.stderr


def test_without_the_token_nothing_is_told(one: Pool) -> None:
    done = one.run("task", "list", "--master", f"127.0.0.1:{one.port}", environment={"ALTIPLANO_TOKEN": "wrong"})
    assert done.returncode == 4
    assert "does not accept our credentials" in done.stderr


def test_the_first_example_runs(one: Pool) -> None:

    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "01-hello" / "hello.py"), "2"],
        env=one.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hello-0 is TASK_FINISHED" in done.stdout
    assert "hello-1 is TASK_FINISHED" in done.stdout


def test_a_short_command_loads_little() -> None:
    """What `altiplano run` imports decides how fast it starts, so the heavy ones stay out."""

    heavy = "aiohttp", "structlog", "starlette", "uvicorn", "rich", "jinja2", "altiplano.master", "altiplano.agent"
    code = (
        "import sys; from altiplano.cli import main; main.run(['run', '--master', '127.0.0.1:1', 'true']);"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
