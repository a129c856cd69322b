"""Flows that are treated roughly: left at once, killed in mid-transfer, robbed of their port, with no disk left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pools import ALTIPLANO, Pool, pool, processes_of, wait_until

FLOW_S_MAX = 60.0
BIG_BYTES = 200 * 1024 * 1024


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with pool() as made:
        yield made


def begin(one: Pool, directory: Path, *words: str, text: str | None = None) -> subprocess.Popen[str]:
    if text is not None:
        (directory / "Makeflow").write_text(text.replace("GATE", gate(directory).replace("$", "\\$")))
    return subprocess.Popen(
        [*ALTIPLANO, "flow", "run", *words, "Makeflow"],
        cwd=directory,
        env=one.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(running: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = running.communicate(timeout=FLOW_S_MAX)
    finally:
        running.kill()
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def gate(directory: Path) -> str:
    return f"for i in $(seq 300); do [ -e {directory}/go ] && break; sleep 0.1; done"


def tasks(one: Pool, name: str) -> list[str]:
    """States of all tasks of a name."""
    listed = json.loads(one.run("task", "list", "--all", "--json").stdout)
    return [task["state"] for task in listed if task["name"] == name]


def port_of(directory: Path) -> int:
    """The port that a flow's log knows."""
    lines = (directory / "Makeflow.altiplanolog").read_bytes().replace(b"\t", b"\n").splitlines()
    (known,) = [line for line in lines if b'"EndpointKnown"' in line][-1:]
    port = json.loads(known[known.index(b"{") :])["port"]
    assert isinstance(port, int)
    return port


def test_the_second_ctrl_c_leaves_at_once_and_the_task_is_taken_up_again(one: Pool, tmp_path: Path) -> None:
    text = "left:\n\ttrap '' TERM; GATE; echo x > left\n"
    running = begin(one, tmp_path, text=text)
    wait_until(lambda: "RUNNING" in tasks(one, "left"), "the rule runs", FLOW_S_MAX)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    for line in running.stderr:
        if "Press Ctrl-C again" in line:
            break
    running.send_signal(signal.SIGINT)
    done = end(running)
    assert done.returncode == 130
    assert "left at once: tasks on agents may go on; run it again to take them up" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "go").touch()
    again = end(begin(one, tmp_path))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "left").read_text() == "x\n"


def test_tasks_that_send_to_a_port_somebody_else_has_are_begun_again(one: Pool, tmp_path: Path) -> None:
    running = begin(
        one, tmp_path, text="robbed:\n\techo + >> DIR/marks; GATE; echo x > robbed\n".replace("DIR", str(tmp_path))
    )
    wait_until(lambda: (tmp_path / "marks").exists(), "the rule runs", FLOW_S_MAX)
    port = port_of(tmp_path)
    running.kill()
    running.communicate(timeout=FLOW_S_MAX)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        again = begin(one, tmp_path, "--retries", "0")
        wait_until(lambda: (tmp_path / "marks").read_text() == "+\n+\n", "it has begun again", FLOW_S_MAX)
        (tmp_path / "go").touch()
        done = end(again)
    assert done.returncode == 0, done.stderr
    assert "the port of the last run is in use by another process: 1 tasks" in done.stderr
    assert port_of(tmp_path) != port
    assert sorted(tasks(one, "robbed")) == ["FINISHED", "KILLED"]


def test_a_flow_killed_while_its_inputs_are_fetched_loses_no_try(one: Pool, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as stream:
        stream.truncate(BIG_BYTES)
    running = begin(one, tmp_path, text="size: big\n\twc -c < big > size\n")
    log = tmp_path / "Makeflow.altiplanolog"
    wait_until(lambda: log.exists() and b"RuleLaunched" in log.read_bytes(), "the task is launched", FLOW_S_MAX)
    running.kill()
    running.communicate(timeout=FLOW_S_MAX)
    done = end(begin(one, tmp_path, "--retries", "0"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "size").read_text().strip() == str(BIG_BYTES)


def test_a_flow_killed_while_an_output_arrives_takes_the_rest_of_it(one: Pool, tmp_path: Path) -> None:
    command = f"echo + >> {tmp_path}/marks; head -c {BIG_BYTES} /dev/urandom > big; sha256sum < big > {tmp_path}/sum"
    text = f"big:\n\t{command}\n"
    running = begin(one, tmp_path, text=text)
    wait_until(lambda: any(tmp_path.glob("big.*.part")), "the output arrives", FLOW_S_MAX)
    running.kill()
    running.communicate(timeout=FLOW_S_MAX)
    done = end(begin(one, tmp_path, "--retries", "0"))
    assert done.returncode == 0, done.stderr
    made = subprocess.run(
        ["sha256sum"], stdin=(tmp_path / "big").open("rb"), capture_output=True, text=True, check=True
    )
    assert made.stdout == (tmp_path / "sum").read_text()
    assert (tmp_path / "marks").read_text() == "+\n", "the command ran once"
    assert not list(tmp_path.glob("*.part"))


def test_a_master_that_is_away_for_a_while_costs_nothing(one: Pool, tmp_path: Path) -> None:
    running = begin(one, tmp_path, "--retries", "0", text="a:\n\tGATE; echo x > a\nb: a\n\tcp a b\n")
    wait_until(lambda: "RUNNING" in tasks(one, "a"), "the rule runs", FLOW_S_MAX)
    (master,) = [pid for pid in processes_of(one.directory) if _is(pid, b"master")]
    os.kill(master, signal.SIGSTOP)
    (tmp_path / "go").touch()
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(3)
    os.kill(master, signal.SIGKILL)
    done = end(running)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "b").read_text() == "x\n"


def _is(pid: int, name: bytes) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"altiplano.cli.child" in words and name in words
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_said_and_the_flow_goes_on_when_there_is_room(one: Pool, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(tmp_path)], check=True)
    (tmp_path / "ballast").write_bytes(bytes(2 * 1024 * 1024))
    running = begin(one, tmp_path, "--retries", "0", text="big:\n\thead -c 3000000 /dev/zero > big\n")
    try:
        assert running.stderr is not None
        said = next(line for line in running.stderr if "waits on its machine" in line)
        assert "it has 3000000 bytes" in said
        assert "make room" in said
        (tmp_path / "ballast").unlink()
        done = end(running)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "big").stat().st_size == 3_000_000
    finally:
        running.kill()
        running.wait(FLOW_S_MAX)
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
