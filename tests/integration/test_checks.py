"""Checks on a real agent with its real supervisor: kill -9 in the middle, a stopped agent, nothing left over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from test_agent import WAIT_S_MAX, Master

from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import client as supervisor
from altiplano.link import messages
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import FRAMEWORK, task

LOOK_AGAIN_S = 0.05


def health(command: str, **changes: object) -> mesos.HealthCheck:
    fields: dict[str, object] = {
        "type": mesos.HealthCheckType.COMMAND,
        "command": mesos.CommandInfo(value=command),
        "delay_seconds": 0.0,
        "interval_seconds": 0.1,
        "timeout_seconds": 20.0,
        "grace_period_seconds": 0.0,
        "consecutive_failures": 2,
    }
    return mesos.HealthCheck(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Master]:
    made = Master(tmp_path)
    await made.server.start()
    yield made
    if made.process is not None and made.process.returncode is None:
        await made.end_agent(signal.SIGKILL)
    await (await supervisor.connect(str(tmp_path / "agent"))).stop(0.0)
    await made.server.stop()


async def until(true: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not true():
            await asyncio.sleep(LOOK_AGAIN_S)
    assert true(), what


def sandbox_of(one: Master, task_id: str) -> Path:
    (found,) = (one.work_dir / "agent").glob(f"slaves/agent-1/frameworks/*/executors/{task_id}/runs/[0-9a-f]*")
    return found


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def processes_of(sandbox: Path) -> list[int]:
    """Processes of a task and of its checks; the supervisor stands in a sandbox now and then, and is none."""
    mark, found = f"MESOS_SANDBOX={sandbox}\0".encode(), []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def told(one: Master, task_id: str) -> list[bool | None]:
    return [status.healthy for status in one.statuses.get(task_id, ())]


@pytest.mark.parametrize("isolation", ["posix", "cgroups"])
async def test_checks_go_on_after_kill_9_of_the_agent(pool: Master, isolation: str) -> None:
    if isolation == "cgroups" and "memory" not in cgroups.find():
        pytest.skip("this machine has no cgroups")
    await pool.start_agent("--isolation", isolation)
    pool.run(task("t1", "exec sleep 1000", health_check=health("echo beat; echo x >> beats; sleep 0.1; test ! -e bad")))
    await until(lambda: told(pool, "t1")[-1:] == [True], "the task is healthy")
    sandbox = sandbox_of(pool, "t1")
    await pool.end_agent(signal.SIGKILL)
    await pool.start_agent("--isolation", isolation)
    before = lines(sandbox / "beats")
    await until(lambda: lines(sandbox / "beats") > before + 2, "it is checked by the new process")
    assert told(pool, "t1") == [None, None, True], "health that is known is not told again"
    assert "beat" in (sandbox / "health-check.log").read_text()
    (sandbox / "bad").touch()
    killed = await pool.until("t1", "KILLED")
    assert killed.healthy is False
    assert killed.message is not None
    assert "its health check failed 2 times in a row, the last time because its command exited with status 1" in (
        killed.message
    )
    assert told(pool, "t1")[3:] == [False, False, False]
    await until(lambda: not processes_of(sandbox), "no process is left")


async def test_a_run_that_the_dead_agent_began_is_ended_and_the_next_takes_its_place(pool: Master) -> None:
    await pool.start_agent()
    slow = health("echo x >> runs; exec sleep 999", consecutive_failures=1, timeout_seconds=60.0)
    pool.run(task("t1", "exec sleep 1000", health_check=slow))
    await pool.until("t1", "RUNNING")
    sandbox = sandbox_of(pool, "t1")
    await until(lambda: lines(sandbox / "runs") == 1, "the first run")
    await pool.end_agent(signal.SIGKILL)
    assert len(processes_of(sandbox)) == 2
    await pool.start_agent()
    await until(lambda: lines(sandbox / "runs") == 2, "the second run")
    await until(lambda: len(processes_of(sandbox)) == 2, "the first run has ended")
    assert pool.connection is not None
    pool.connection.send(messages.KillTask(framework_id=FRAMEWORK, task_id="t1"))
    assert (await pool.until("t1", "KILLED")).healthy is None
    await until(lambda: not processes_of(sandbox), "no process is left")


async def test_an_agent_that_dies_before_it_knows_of_a_run_leaves_none(
    pool: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTIPLANO_CRASH_POINT", "agent.check_begun:2")
    monkeypatch.setenv("ALTIPLANO_CRASH_DIR", str(pool.work_dir))
    await pool.start_agent()
    often = health("echo x >> runs; test -e slow && exec sleep 999; touch slow", timeout_seconds=60.0)
    pool.run(task("t1", "exec sleep 1000", health_check=often))
    assert pool.process is not None
    async with asyncio.timeout(WAIT_S_MAX):
        await pool.process.wait()
    sandbox = sandbox_of(pool, "t1")
    await until(lambda: lines(sandbox / "runs") == 2, "the run that the agent never knew of")
    (sandbox / "slow").unlink()
    await pool.start_agent()
    await until(lambda: lines(sandbox / "runs") == 4, "its checks go on")
    await until(lambda: len(processes_of(sandbox)) == 2, "the run has ended that nobody knew of")
    assert pool.states("t1").count("RUNNING") == 2
    assert told(pool, "t1") == [None, None, True]


async def test_a_check_does_not_outlive_its_task_while_no_agent_is_there(pool: Master) -> None:
    await pool.start_agent()
    pool.run(task("t1", "while ! test -e end; do sleep 0.05; done", health_check=health("echo x > run; sleep 999")))
    await pool.until("t1", "RUNNING")
    sandbox = sandbox_of(pool, "t1")
    await until((sandbox / "run").exists, "a check runs")
    await pool.end_agent(signal.SIGKILL)
    (sandbox / "end").touch()
    await until(lambda: not processes_of(sandbox), "the supervisor ended the check with its task")
    await pool.start_agent()
    await pool.until("t1", "FINISHED")


async def test_an_agent_that_is_stopped_for_a_while_counts_no_failure(pool: Master) -> None:
    page = mesos.HealthCheck(
        type=mesos.HealthCheckType.HTTP,
        http=mesos.HealthCheckHTTPCheckInfo(port=free_port()),
        delay_seconds=0.0,
        interval_seconds=0.1,
        timeout_seconds=1.0,
        grace_period_seconds=20.0,
        consecutive_failures=1,
    )
    assert page.http is not None
    serve = f"exec {sys.executable} -m http.server --bind 127.0.0.1 {page.http.port}"
    await pool.start_agent()
    pool.run(task("by-page", serve, health_check=page))
    slow = health("echo x >> runs; sleep 1.5", timeout_seconds=1.0, consecutive_failures=1)
    await until(lambda: told(pool, "by-page")[-1:] == [True], "the page is served")
    assert pool.process is not None
    pool.run(task("by-command", "exec sleep 1000", health_check=slow))
    await pool.until("by-command", "RUNNING")
    await until(lambda: lines(sandbox_of(pool, "by-command") / "runs") == 1, "a check runs")
    os.kill(pool.process.pid, signal.SIGSTOP)
    await asyncio.sleep(3.0)
    os.kill(pool.process.pid, signal.SIGCONT)
    await until(lambda: told(pool, "by-command")[-1:] == [True], "its check has ended by itself, and well")
    assert set(pool.states("by-page")) == {"STARTING", "RUNNING"}
    assert False not in told(pool, "by-page")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
