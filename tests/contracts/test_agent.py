"""The promises of an agent on the link, kept by the real one, a process with tasks, and by the twin without any."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
import pytest

from altiplano.engine import http
from altiplano.link import messages, transport
from altiplano.link.session import Arrival
from altiplano.testing import emulated
from altiplano.wire import json
from altiplano.wire.messages import mesos

WAIT_S = 20.0
QUIET_S = 0.3
"""So long nothing may be said that must not be."""

MASTER = mesos.MasterInfo(id="m", ip=0, port=5050)
M = TypeVar("M", bound=messages.Message)


class Master:
    """The other end of the link, played by a test."""

    def __init__(self) -> None:
        self.epoch = 7
        self.greetings: asyncio.Queue[messages.Hello] = asyncio.Queue()
        self.updates: asyncio.Queue[messages.StatusUpdate] = asyncio.Queue()
        self.others: asyncio.Queue[messages.Message] = asyncio.Queue()
        self.connection: transport.Connection | None = None
        self.endpoint = transport.LinkEndpoint(
            epoch=lambda: self.epoch, opened=self._opened, heard=self._heard, closed=lambda connection, reason: None
        )

    def _opened(self, connection: transport.Connection) -> None:
        self.connection = connection

    def _heard(self, connection: transport.Connection, arrival: Arrival) -> None:
        match arrival:
            case messages.Hello():
                self.greetings.put_nowait(arrival)
            case messages.StatusUpdate():
                self.updates.put_nowait(arrival)
            case _:
                assert isinstance(arrival, messages.Message)
                self.others.put_nowait(arrival)

    def say(self, message: messages.FromMaster) -> None:
        assert self.connection is not None
        self.connection.send(message)

    async def admit(self, *, agent_id: str = "a-1", epoch: int | None = None) -> messages.Hello:
        """Wait for the agent's greeting and welcome it."""
        hello = await asyncio.wait_for(self.greetings.get(), WAIT_S)
        self.say(
            messages.Welcome(
                version=1,
                epoch=self.epoch if epoch is None else epoch,
                agent_id=agent_id,
                silence_s=75.0,
                master=MASTER,
                cause="welcome",
            )
        )
        return hello

    def run(self, task_id: str, command: str = "sleep 1000", *, checkpoint: bool = True) -> None:
        framework = mesos.FrameworkInfo(
            user="root", name="f", id=mesos.FrameworkID(value="f-1"), checkpoint=checkpoint, failover_timeout=60.0
        )
        scalars = (("cpus", 0.1), ("mem", 32.0))
        task = mesos.TaskInfo(
            name=task_id,
            task_id=mesos.TaskID(value=task_id),
            agent_id=mesos.AgentID(value="a-1"),
            command=mesos.CommandInfo(value=command),
            resources=tuple(
                mesos.Resource(name=name, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))
                for name, value in scalars
            ),
        )
        self.say(messages.RunTask(framework=framework, task=msgspec.Raw(json.encode(task)), cause="launch"))

    def kill(self, task_id: str) -> None:
        self.say(messages.KillTask(framework_id="f-1", task_id=task_id, cause="kill"))

    async def update(self, state: str, task_id: str = "t-1") -> messages.StatusUpdate:
        told = await asyncio.wait_for(self.updates.get(), WAIT_S)
        assert (told.status.task_id.value, told.status.state.value) == (task_id, state)
        return told

    def acknowledge(self, told: messages.StatusUpdate) -> None:
        uuid, task_id = told.status.uuid, told.status.task_id.value
        assert uuid is not None
        self.say(messages.Acknowledge(framework_id="f-1", task_id=task_id, uuid=uuid, cause="acknowledge"))

    async def acknowledged(self, *states: str, task_id: str = "t-1") -> None:
        for state in states:
            self.acknowledge(await self.update(state, task_id))
        await self.obeyed()

    async def obeyed(self) -> None:
        """Return when the agent has done all it was asked for."""
        self.say(messages.Ping(cause="ping"))
        assert (await self.heard(messages.Pong)).cause == "ping"

    async def quiet(self) -> None:
        """Nothing about tasks is said."""
        await asyncio.sleep(QUIET_S)
        assert self.updates.empty(), self.updates.get_nowait()

    async def heard(self, kind: type[M]) -> M:
        told = await asyncio.wait_for(self.others.get(), WAIT_S)
        assert isinstance(told, kind)
        return told

    def hang_up(self) -> None:
        assert self.connection is not None
        self.connection.close("the test breaks the link")


class Subject(abc.ABC):
    """One agent; `seconds` is how long its tasks run, where they are not killed."""

    @abc.abstractmethod
    def start(self, master: str, folder: pathlib.Path, seconds: float | None) -> None: ...

    @abc.abstractmethod
    def restart(self) -> None: ...

    @abc.abstractmethod
    async def end(self) -> None: ...


class RealAgent(Subject):
    def start(self, master: str, folder: pathlib.Path, seconds: float | None) -> None:
        self.folder = folder
        words = ("--master", master, "--ip", "127.0.0.1", "--port", "0", "--work-dir", str(folder / "w"))
        words += ("--resources", "cpus:4;mem:1024;disk:1000", "--registration-backoff-factor", "200ms")
        self.words = (sys.executable, "-m", "altiplano.cli.main", "agent", "start", *words)
        self._begin()

    def _begin(self) -> None:
        with (self.folder / "out").open("ab") as output:
            # Not asyncio's: that would watch for the end of a child and of all that holds its output.
            self.pid = os.posix_spawn(
                self.words[0],
                self.words,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)],
            )

    def restart(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._begin()

    async def end(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while self._runs():
                    await asyncio.sleep(0.02)
                return
        os.kill(self.pid, signal.SIGKILL)
        assert not self._runs(0)

    def _runs(self, options: int = os.WNOHANG) -> bool:
        return os.waitpid(self.pid, options) == (0, 0)


class TwinAgent(Subject):
    def start(self, master: str, folder: pathlib.Path, seconds: float | None) -> None:
        infos = emulated.machines(1, "cpus:4;mem:1024;disk:1000")
        self.swarm = emulated.Swarm(master, infos, emulated.running_for(seconds))
        self._over = asyncio.Event()
        self._work = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self.swarm.running():
            await self._over.wait()

    def restart(self) -> None:
        self.swarm.members[0].restart()

    async def end(self) -> None:
        self.swarm.members[0].twin.check()
        self._over.set()
        await self._work


@pytest.fixture(params=[TwinAgent, RealAgent])
def subject(request: pytest.FixtureRequest) -> Subject:
    kind: type[Subject] = request.param
    return kind()


@contextlib.asynccontextmanager
async def pool(subject: Subject, folder: pathlib.Path, seconds: float | None = None) -> AsyncIterator[Master]:
    master = Master()
    listener = http.listen("127.0.0.1", 0)
    server = http.HttpServer(master.endpoint, host="127.0.0.1", port=0, listener=listener)
    await server.start()
    subject.start(f"127.0.0.1:{listener.getsockname()[1]}", folder, seconds)
    try:
        yield master
    finally:
        await subject.end()
        await server.stop()


async def test_an_agent_introduces_itself_and_comes_back_by_the_id_it_was_given(
    subject: Subject, tmp_path: pathlib.Path
) -> None:
    async with pool(subject, tmp_path) as master:
        first = await master.admit()
        assert first.version == messages.VERSION
        assert first.agent.id is None
        assert {one.name for one in first.agent.resources} >= {"cpus", "mem", "disk"}
        await master.obeyed()
        master.hang_up()
        again = await master.admit()
        assert again.agent.id == mesos.AgentID(value="a-1")
        assert again.epoch == 7


async def test_a_task_is_told_state_by_state_each_after_the_acknowledgement_of_the_last(
    subject: Subject, tmp_path: pathlib.Path
) -> None:
    async with pool(subject, tmp_path, 0.2) as master:
        await master.admit()
        master.run("t-1", "sleep 0.2")
        starting = await master.update("TASK_STARTING")
        await master.quiet()
        await asyncio.sleep(0.5)
        master.acknowledge(starting)
        running = await master.update("TASK_RUNNING")
        assert running.latest_state == "TASK_FINISHED"
        master.acknowledge(running)
        finished = await master.update("TASK_FINISHED")
        assert finished.status.source is mesos.TaskStatusSource.SOURCE_EXECUTOR
        assert finished.status.message == "Command exited with status 0"
        assert len({starting.status.uuid, running.status.uuid, finished.status.uuid}) == 3
        master.acknowledge(finished)
        await master.quiet()
        master.hang_up()
        assert (await master.admit()).tasks == ()


async def test_a_killed_task_is_told_as_killed_and_an_unknown_one_as_lost(
    subject: Subject, tmp_path: pathlib.Path
) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        await master.acknowledged("TASK_STARTING", "TASK_RUNNING")
        master.kill("t-1")
        await master.acknowledged("TASK_KILLED")
        master.kill("t-2")
        lost = await master.update("TASK_LOST", "t-2")
        assert lost.status.reason is mesos.TaskStatusReason.REASON_EXECUTOR_TERMINATED
        master.acknowledge(lost)
        await master.quiet()


async def test_a_task_that_was_ordered_twice_runs_once(subject: Subject, tmp_path: pathlib.Path) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        master.run("t-1")
        await master.acknowledged("TASK_STARTING", "TASK_RUNNING")
        await master.quiet()


async def test_what_is_not_acknowledged_is_told_again_after_a_while(subject: Subject, tmp_path: pathlib.Path) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        first = await master.update("TASK_STARTING")
        again = await master.update("TASK_STARTING")
        assert again.status == first.status
        master.acknowledge(again)
        await master.acknowledged("TASK_RUNNING")


@pytest.mark.parametrize("killed", [False, True], ids=["link", "agent"])
async def test_an_agent_comes_back_with_its_tasks_and_tells_the_oldest_update_again(
    subject: Subject, tmp_path: pathlib.Path, killed: bool
) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        await master.acknowledged("TASK_STARTING")
        first = await master.update("TASK_RUNNING")
        subject.restart() if killed else master.hang_up()
        hello = await master.admit()
        (report,) = hello.tasks
        assert (report.framework_id, report.state, report.status_state) == ("f-1", "TASK_RUNNING", "TASK_RUNNING")
        assert json.decode(mesos.TaskInfo, bytes(report.task)).task_id.value == "t-1"
        assert [info.name for info in hello.frameworks] == ["f"]
        again = await master.update("TASK_RUNNING")
        assert again.status == first.status
        master.acknowledge(again)
        master.kill("t-1")
        await master.acknowledged("TASK_KILLED")


@pytest.mark.parametrize("killed", [False, True], ids=["link", "agent"])
async def test_a_task_of_a_framework_that_does_not_checkpoint_is_lost_with_link_or_agent(
    subject: Subject, tmp_path: pathlib.Path, killed: bool
) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1", checkpoint=False)
        await master.acknowledged("TASK_STARTING", "TASK_RUNNING")
        subject.restart() if killed else master.hang_up()
        await master.admit()
        lost = await master.update("TASK_LOST")
        assert lost.status.reason is mesos.TaskStatusReason.REASON_AGENT_DISCONNECTED


async def test_nothing_is_told_of_a_framework_that_is_gone(subject: Subject, tmp_path: pathlib.Path) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        await master.acknowledged("TASK_STARTING", "TASK_RUNNING")
        master.say(messages.ShutdownFramework(framework_id="f-1", cause="gone"))
        await master.quiet()
        master.hang_up()
        assert (await master.admit()).tasks == ()


async def test_a_master_of_an_older_leadership_is_not_obeyed(subject: Subject, tmp_path: pathlib.Path) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.hang_up()
        await master.admit(epoch=6)
        # It has hung up, and greets the next that it reaches.
        await master.admit()
        master.run("t-1")
        await master.acknowledged("TASK_STARTING")


async def test_whom_an_agent_is_by_another_id_has_none_of_its_tasks(subject: Subject, tmp_path: pathlib.Path) -> None:
    async with pool(subject, tmp_path) as master:
        await master.admit()
        master.run("t-1")
        await master.acknowledged("TASK_STARTING", "TASK_RUNNING")
        master.hang_up()
        await master.admit(agent_id="a-2")
        await master.quiet()
        master.hang_up()
        hello = await master.admit(agent_id="a-2")
        assert hello.agent.id == mesos.AgentID(value="a-2")
        assert hello.tasks == ()
