"""A real agent process with its real supervisor, and a small master made of the link alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

import altiplano
from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import client as supervisor
from altiplano.adapters.supervisor import processes
from altiplano.engine import http
from altiplano.link import messages
from altiplano.link.session import Arrival
from altiplano.link.transport import Connection, LinkEndpoint
from altiplano.wire import json
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import FRAMEWORK, MASTER, framework, task

WAIT_S_MAX = 30.0


class Master:
    """Welcomes one agent and acknowledges all that it says."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.listener = http.listen("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]
        endpoint = LinkEndpoint(
            epoch=lambda: 1, opened=lambda _: None, heard=self.heard, closed=lambda *_: self.joined.clear()
        )
        self.server = http.HttpServer(endpoint, host="127.0.0.1", port=self.port, listener=self.listener)
        self.joined = asyncio.Event()
        self.connection: Connection | None = None
        self.statuses: dict[str, list[mesos.TaskStatus]] = {}
        self.changed = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.address = ""

    def heard(self, connection: Connection, message: Arrival) -> None:
        if isinstance(message, messages.Hello):
            self.connection = connection
            self.address = f"127.0.0.1:{message.agent.port}"
            connection.send(messages.Welcome(version=1, epoch=1, agent_id="agent-1", silence_s=60, master=MASTER))
            self.joined.set()
        elif isinstance(message, messages.StatusUpdate):
            status = message.status
            seen = self.statuses.setdefault(status.task_id.value, [])
            if status.uuid not in [other.uuid for other in seen]:
                seen.append(status)
            connection.send(
                messages.Acknowledge(
                    framework_id=message.framework_id, task_id=status.task_id.value, uuid=status.uuid or b""
                )
            )
            self.changed.set()

    async def start_agent(self, *options: str) -> None:
        await self.begin_agent(*options)
        async with asyncio.timeout(WAIT_S_MAX):
            await self.joined.wait()

    async def begin_agent(self, *options: str) -> None:
        self.joined.clear()
        with open(self.work_dir / "agent.log", "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from altiplano.cli.main import main; main()"),
                *("agent", "--master", f"127.0.0.1:{self.port}"),
                *("--ip", "127.0.0.1", "--port", "0", "--work-dir", str(self.work_dir / "agent"), "--check", *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def end_agent(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(WAIT_S_MAX):
            return await self.process.wait()

    def run(self, info: mesos.TaskInfo, by: mesos.FrameworkInfo | None = None) -> None:
        assert self.connection is not None
        raw = msgspec.Raw(json.encode(info))
        self.connection.send(messages.RunTask(framework=by or framework(), task=raw, cause="test"))

    async def until(self, task_id: str, state: str) -> mesos.TaskStatus:
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                for status in self.statuses.get(task_id, ()):
                    if status.state.value == f"TASK_{state}":
                        return status
                self.changed.clear()
                await self.changed.wait()

    def states(self, task_id: str) -> list[str]:
        return [status.state.value.removeprefix("TASK_") for status in self.statuses.get(task_id, ())]

    async def call(self, **call: object) -> object:
        """The answer to a call of the agent API; None where there is nothing but a 200."""
        url = f"http://{self.address}/api/v1"
        async with aiohttp.ClientSession() as client, client.post(url, json=call) as response:
            assert response.status == 200, await response.text()
            body = await response.read()
            return msgspec.json.decode(body) if body else None

    async def get(self, path: str) -> object:
        async with aiohttp.ClientSession() as client, client.get(f"http://{self.address}{path}") as response:
            assert response.status == 200, await response.text()
            return msgspec.json.decode(await response.read())


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[Master]:
    made = Master(tmp_path)
    await made.server.start()
    yield made
    if made.process is not None and made.process.returncode is None:
        await made.end_agent(signal.SIGKILL)
    await (await supervisor.connect(str(tmp_path / "agent"))).stop(0.0)
    await made.server.stop()


async def test_after_kill_9_of_the_agent_each_task_ends_once_with_its_true_status(master):
    await master.start_agent()
    master.run(task("ends-meanwhile", "sleep 0.5; exit 5"))
    master.run(task("goes-on", "sleep 1000"))
    await master.until("ends-meanwhile", "RUNNING")
    await master.until("goes-on", "RUNNING")
    await master.end_agent(signal.SIGKILL)
    await asyncio.sleep(1.0)
    await master.start_agent()
    status = await master.until("ends-meanwhile", "FAILED")
    assert status.message == "Command exited with status 5"
    assert master.states("goes-on") == ["STARTING", "RUNNING"]
    master.connection.send(messages.KillTask(framework_id=FRAMEWORK, task_id="goes-on"))
    await master.until("goes-on", "KILLED")
    assert master.states("ends-meanwhile") == ["STARTING", "RUNNING", "FAILED"]


@pytest.mark.parametrize("victim", ["supervisor", "keeper"])
async def test_after_kill_9_of_supervisor_or_keeper_no_status_is_lost(master, victim):
    await master.start_agent()
    master.run(task("t1", "sleep 1; exit 3"))
    await master.until("t1", "RUNNING")
    helper = await supervisor.connect(str(master.work_dir / "agent"))
    pid = helper.pid if victim == "supervisor" else helper.keeper_pid
    await helper.close()
    os.kill(pid, signal.SIGKILL)
    status = await master.until("t1", "FAILED")
    assert status.message == "Command exited with status 3"
    master.run(task("t2", "true"))
    await master.until("t2", "FINISHED")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for what the supervisor records."""
    place = tmp_path / "agent" / "supervisor"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_of_the_records_costs_the_task_and_not_the_agent(small_disk, master):
    await master.start_agent()
    with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    master.run(task("t1", "true"))
    status = await master.until("t1", "FAILED")
    assert "cannot be recorded and was not started: No space left on device" in status.message
    (small_disk / "filler").unlink()
    master.run(task("t2", "true"))
    await master.until("t2", "FINISHED")
    assert await master.end_agent(signal.SIGTERM) == 0


async def test_without_checkpoint_a_task_does_not_outlive_the_agent(master):
    await master.start_agent()
    master.run(task("t1", "sleep 1000"), framework(checkpoint=False))
    await master.until("t1", "RUNNING")
    await master.end_agent(signal.SIGKILL)
    await master.start_agent()
    await master.until("t1", "LOST")


async def test_tasks_end_with_an_agent_that_is_told_to_take_them_along(master):
    await master.start_agent("--stop-tasks-on-exit")
    master.run(task("t1", "trap 'exit 0' TERM; while :; do sleep 0.1; done"))
    await master.until("t1", "RUNNING")
    assert await master.end_agent(signal.SIGTERM) == 0
    assert master.states("t1") == ["STARTING", "RUNNING", "KILLED"]


async def test_a_good_bye_in_the_first_moment_of_a_process_leaves_no_supervisor_of_the_one_before(master):
    await master.start_agent()
    master.run(task("t1", "sleep 1000"))
    await master.until("t1", "RUNNING")
    await master.end_agent(signal.SIGKILL)
    helper = await supervisor.connect(str(master.work_dir / "agent"))
    pair = (helper.pid, helper.keeper_pid)
    await helper.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await master.begin_agent("--port", str(port))
    async with asyncio.timeout(WAIT_S_MAX):
        while not listens(port):
            await asyncio.sleep(0.001)
    assert await master.end_agent(signal.SIGUSR1) == 0
    assert not any(map(lives, pair))


async def test_a_good_bye_is_not_undone_by_an_order_to_stop(master):
    await master.start_agent()
    master.run(task("t1", "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"))
    await master.until("t1", "RUNNING")
    helper = await supervisor.connect(str(master.work_dir / "agent"))
    pair = (helper.pid, helper.keeper_pid)
    await helper.close()
    master.process.send_signal(signal.SIGUSR1)
    await asyncio.sleep(0.3)
    assert await master.end_agent(signal.SIGTERM) == 0
    assert not any(map(lives, pair))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def lives(pid: int) -> bool:
    seen = processes.stat(pid)
    return seen is not None and seen.state not in (b"Z", b"X")


async def test_the_agent_tells_the_level_of_mesos_and_how_much_it_logs(master):
    await master.start_agent()
    for shown in (await master.get("/version"), await master.get("/state")):
        assert shown["version"] == "1.11.0"
        assert shown["altiplano_version"] == altiplano.__version__
    version = (await master.call(type="GET_VERSION"))["get_version"]["version_info"]
    assert (version["version"], version["altiplano_version"]) == ("1.11.0", altiplano.__version__)
    wanted = {"level": 1, "duration": {"nanoseconds": 60 * 10**9}}
    assert await master.call(type="SET_LOGGING_LEVEL", set_logging_level=wanted) is None
    assert (await master.call(type="GET_LOGGING_LEVEL"))["get_logging_level"] == {"level": 1}
    assert await master.get("/logging/toggle") == 1
    assert (await master.call(type="GET_OPERATIONS"))["type"] == "GET_OPERATIONS"


async def test_usage_story_and_files_of_a_task_are_shown(master):
    await master.start_agent()
    master.run(task("t1", "echo hello; sleep 1000"))
    await master.until("t1", "RUNNING")
    (row,) = await master.get("/monitor/statistics")
    assert row["statistics"]["mem_rss_bytes"] > 0
    shown = await master.get("/slave(1)/tasks/t1")
    assert shown["stage"] == "running"
    assert shown["processes"] >= 1
    read = await master.get(f"/files/read?offset=0&path={shown['directory']}/stdout")
    assert read == {"data": "hello\n", "offset": 0}
    story = await master.get("/journal?subject=t1")
    assert any("started with pid" in entry["sentence"] for entry in story["entries"])


@pytest.mark.skipif(
    os.geteuid() != 0 or "memory" not in cgroups.find(), reason="needs root and a memory controller of cgroups"
)
async def test_the_memory_limit_ends_a_task_with_reason_and_numbers(master):
    await master.start_agent("--isolation", "cgroups")
    program = "import time; data = bytearray(200 * 1024 * 1024); time.sleep(60)"
    master.run(task("t1", f"exec {sys.executable} -c '{program}'"))
    status = await master.until("t1", "FAILED")
    assert status.reason is mesos.TaskStatusReason.REASON_CONTAINER_LIMITATION_MEMORY
    assert status.message is not None
    assert status.message.startswith("Memory limit exceeded: Requested: 64MB Maximum Used: ")
    assert status.limitation is not None


async def test_a_link_out_of_the_sandbox_is_not_followed(master):
    await master.start_agent()
    master.run(task("t1", "ln -s /etc/passwd out; ln -s stdout in; echo x"))
    await master.until("t1", "FINISHED")
    directory = (await master.get("/tasks/t1"))["directory"]
    assert (await master.get(f"/files/read?offset=0&path={directory}/in"))["data"] == "x\n"
    with pytest.raises(AssertionError, match="leads out"):
        await master.get(f"/files/read?offset=0&path={directory}/out")
