"""`altiplano up`: starting, surviving, ending – with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from pathlib import Path

from pools import STOP_S_MAX, Pool, pool, processes_of, wait_until


def record(one: Pool) -> dict[str, object]:
    found: dict[str, object] = json.loads((one.directory / "up.json").read_text())
    return found


def child(one: Pool, name: str) -> int:
    """The pid of a child of the parent: the one with its command in its command line."""
    assert one.parent is not None
    for pid in processes_of(one.directory):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"altiplano.cli.child" in words and words[words.index(b"altiplano.cli.child") + 2] == name.encode():
            return pid
    raise AssertionError(f"no {name} runs")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_pool_starts_is_guarded_and_leaves_nothing_behind() -> None:
    with pool() as one:
        text = one.output.read_text()
        token = (one.directory / "token").read_text().strip()
        assert f"http://127.0.0.1:{one.port}/login?token={token}" in text
        for name in ("token", "up.json"):
            assert stat.S_IMODE((one.directory / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(one.directory.stat().st_mode) == 0o700
        running = one.begin("run", "sleep 300")
        wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the task runs")
        assert one.stop() == 0
        wait_until(lambda: processes_of(one.directory) == [], "all is gone")
        running.kill()
        running.communicate()


def test_a_second_one_in_the_same_directory_says_where_the_first_is() -> None:
    with pool() as one:
        done = one.run("up", "--port", str(one.port + 3))
        assert done.returncode == 1
        assert f"http://127.0.0.1:{one.port}" in done.stderr
        assert "altiplano down" in done.stderr
        detached = one.run("up", "--detach", "--port", str(one.port + 3))
        assert (detached.returncode, detached.stderr) == (1, done.stderr)


def test_a_busy_port_is_a_sentence() -> None:
    with pool(started=False) as one, socket.socket() as taken:
        taken.bind(("127.0.0.1", one.port + 1))
        taken.listen()
        done = one.run("up", "--port", str(one.port))
        assert done.returncode == 1
        assert f"port {one.port + 1}, meant for the agent, cannot be used: Address already in use" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_open_door_to_the_world_is_refused() -> None:
    with pool(started=False) as one:
        done = one.run("up", "--ip", "0.0.0.0", "--no-auth")
        assert done.returncode == 2
        assert "would let everybody who reaches this machine run programs on it" in done.stderr


def test_a_killed_child_is_started_again_and_tasks_go_on() -> None:
    with pool() as one:
        running = one.begin("run", "--name", "steady", "echo begun; sleep 12; echo done")
        assert running.stdout is not None
        assert running.stdout.readline() == "begun\n"
        for name in ("agent", "master", "host"):
            pid = child(one, name)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not alive(pid), f"the {name} is gone")  # type: ignore[misc]
        wait_until(lambda: one.output.read_text().count("is started again in") >= 3, "all are started again")
        out, _ = running.communicate(timeout=60)
        assert (running.returncode, out) == (0, "done\n")


def test_a_killed_parent_takes_its_children_along_and_the_next_one_finds_the_tasks() -> None:
    with pool() as one:
        running = one.begin("run", "--name", "survivor", "sleep 300")
        wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the task runs")
        children = [child(one, name) for name in ("master", "agent", "host")]
        tasks = [pid for pid in processes_of(one.directory) if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(tasks) >= 1
        assert one.parent is not None
        one.parent.kill()
        one.parent.wait(STOP_S_MAX)
        wait_until(lambda: not any(alive(pid) for pid in children), "the children are gone")
        assert all(alive(pid) for pid in tasks)
        assert one.run("down").returncode == 3
        one.start()
        wait_until(lambda: "survivor" in one.run("task", "list").stdout, "the task is known again")
        assert all(alive(pid) for pid in tasks)
        running.send_signal(signal.SIGINT)
        assert running.wait(40) == 130
        wait_until(lambda: not any(alive(pid) for pid in tasks), "the task has ended")


def test_detached_it_runs_on_and_down_ends_it() -> None:
    with pool(started=False) as one:
        done = one.run("up", "--detach", "--port", str(one.port))
        assert done.returncode == 0, done.stderr
        assert "the pool works: http://127.0.0.1:" in done.stdout
        assert alive(int(str(record(one)["pid"])))
        assert one.run("run", "echo hello").stdout == "hello\n"
        assert one.run("down").returncode == 0
        assert processes_of(one.directory) == []
        again = one.run("down")
        assert again.returncode == 3
        assert "no pool runs in" in again.stderr


def test_a_second_interrupt_leaves_at_once_and_tasks_stay() -> None:
    with pool() as one:
        running = one.begin("run", "trap '' TERM; sleep 300")
        wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the task runs")
        assert one.parent is not None
        one.parent.send_signal(signal.SIGINT)
        wait_until(lambda: "ending:" in one.output.read_text(), "it is ending")
        one.parent.send_signal(signal.SIGINT)
        assert one.parent.wait(STOP_S_MAX) == 0
        assert "leaving at once" in one.output.read_text()
        running.kill()
        running.communicate()


def test_tasks_of_an_agent_that_has_just_died_end_with_the_pool() -> None:
    with pool() as one:
        running = one.begin("run", "sleep 300")
        wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the task runs")
        agent = child(one, "agent")
        os.kill(agent, signal.SIGKILL)
        wait_until(lambda: not alive(agent), "the agent is gone")
        assert one.stop() == 0
        wait_until(lambda: processes_of(one.directory) == [], "all is gone")
        running.kill()
        running.communicate()


def test_a_work_directory_removed_under_tasks_leaves_nothing_behind_either() -> None:
    with pool() as one:
        running = one.begin("run", "sleep 300")
        wait_until(lambda: "RUNNING" in one.run("task", "list").stdout, "the task runs")
        shutil.rmtree(one.directory)
        code = one.stop()
        assert "this should not have happened" not in one.output.read_text()
        assert code in (0, 1)
        wait_until(lambda: processes_of(one.directory) == [], "all is gone")
        running.kill()
        running.communicate()


def test_a_state_of_another_release_ends_the_pool_with_its_sentence() -> None:
    with pool(started=False) as one:
        (one.directory / "master").mkdir(parents=True)
        (one.directory / "master" / "registry.version").write_text("99\n")
        done = one.run("up", "--port", str(one.port))
        assert done.returncode == 1
        assert "has form 99, and this program reads form 1" in done.stderr
        assert processes_of(one.directory) == []
        detached = one.run("up", "--detach", "--port", str(one.port))
        assert detached.returncode == 1
        assert "has form 99, and this program reads form 1" in detached.stderr
        assert "goes on trying" not in detached.stderr
        assert processes_of(one.directory) == []
