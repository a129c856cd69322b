"""The promises of the launcher port, kept by the real supervisor and by the twin in memory."""

from __future__ import annotations

import abc
import asyncio
import os
import pathlib
import signal
from collections.abc import AsyncIterator

import pytest

from altiplano.adapters.supervisor import client
from altiplano.ports import launcher
from altiplano.testing import launcher as memory

WAIT_S = 20.0


class Bench(abc.ABC):
    """One machine that agents attach to and leave, and specs to run on it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.users: list[launcher.Launcher] = []

    async def connect(self) -> launcher.Launcher:
        user = await self._connect()
        self.users.append(user)
        return user

    @abc.abstractmethod
    async def _connect(self) -> launcher.Launcher: ...

    @abc.abstractmethod
    async def lose_supervisor(self) -> None: ...

    async def leave(self) -> None:
        for user in self.users:
            await user.close()
        last = await self._connect()
        await last.stop(0.0)

    def spec(self, name: str, script: str = "true", **changes: object) -> launcher.LaunchSpec:
        folder = self.folder / "sandboxes" / name[:50]
        folder.mkdir(parents=True, exist_ok=True)
        values: dict[str, object] = {
            "container_id": name,
            "executable": "/bin/sh",
            "argv": ("/bin/sh", "-c", script),
            "environment": (("PATH", "/usr/bin:/bin"),),
            "directory": str(folder),
            "stdout": str(folder / "stdout"),
            "stderr": str(folder / "stderr"),
        }
        return launcher.LaunchSpec(**{**values, **changes})  # type: ignore[arg-type]


class SupervisorBench(Bench):
    async def _connect(self) -> client.SupervisorClient:
        return await client.connect(str(self.folder))

    async def lose_supervisor(self) -> None:
        user = self.users[-1]
        assert isinstance(user, client.SupervisorClient)
        before = user.pid
        os.kill(before, signal.SIGKILL)
        while user.pid == before:
            await asyncio.sleep(0.01)

    async def leave(self) -> None:
        await super().leave()
        assert (self.folder / "supervisor" / "messages").read_text() == ""


class MemoryBench(Bench):
    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.machine = memory.MemoryMachine(directories=os.path.isdir)

    async def _connect(self) -> memory.MemoryLauncher:
        return self.machine.connect()

    async def lose_supervisor(self) -> None:
        self.machine.lose_supervisor(0.01)
        await asyncio.sleep(0.02)


@pytest.fixture(params=[MemoryBench, SupervisorBench], ids=["memory", "supervisor"])
async def bench(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[Bench]:
    async with asyncio.timeout(60):
        made: Bench = request.param(tmp_path)
        yield made
        await made.leave()


async def ends(user: launcher.Launcher, *names: str) -> dict[str, launcher.Exited]:
    """Wait for the ends of these containers."""
    found: dict[str, launcher.Exited] = {}
    async with asyncio.timeout(WAIT_S):
        async for event in user.events():
            if isinstance(event, launcher.Exited) and event.container_id in names:
                found[event.container_id] = event
                if len(found) == len(names):
                    break
    return found


async def status(user: launcher.Launcher, name: str) -> int | None:
    return (await ends(user, name))[name].wait_status


async def test_a_program_runs_and_its_end_is_told(bench: Bench) -> None:
    user = await bench.connect()
    started = await user.launch(bench.spec("one"))
    assert isinstance(started, launcher.Started)
    assert started.pid > 0
    exited = (await ends(user, "one"))["one"]
    assert exited.wait_status == 0
    assert exited.ended_wall_s >= exited.started_wall_s
    assert exited.started_wall_s == started.started_wall_s


async def test_exit_codes_and_signals_are_told_as_wait_statuses(bench: Bench) -> None:
    user = await bench.connect()
    await asyncio.gather(user.launch(bench.spec("code", "exit 42")), user.launch(bench.spec("signal", "kill -9 $$")))
    found = await ends(user, "code", "signal")
    assert os.waitstatus_to_exitcode(found["code"].wait_status or 0) == 42
    assert os.waitstatus_to_exitcode(found["signal"].wait_status or 0) == -9


async def test_one_id_starts_once_however_often_it_is_asked_for(bench: Bench) -> None:
    user = await bench.connect()
    spec = bench.spec("once", "echo ran; sleep 0.2; exit 5")
    first, second = await asyncio.gather(user.launch(spec), user.launch(spec))
    assert first == second
    assert await status(user, "once") == 5 << 8
    assert await user.launch(spec) == first
    if isinstance(bench, SupervisorBench):
        assert pathlib.Path(spec.stdout).read_text() == "ran\n"


async def test_a_missing_program_fails_that_launch_and_nothing_else(bench: Bench) -> None:
    user = await bench.connect()
    spec = bench.spec("missing", executable="/no/such/program", argv=("program",))
    failed = await user.launch(spec)
    assert isinstance(failed, launcher.LaunchFailed)
    assert "/no/such/program" in failed.sentence
    assert await user.launch(spec) == failed
    assert isinstance(await user.launch(bench.spec("next")), launcher.Started)
    assert await status(user, "next") == 0
    assert [type(box.outcome) for box in await user.inventory()] == [launcher.LaunchFailed, launcher.Exited]
    await user.forget("missing")
    assert [box.container_id for box in await user.inventory()] == ["next"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"directory": "/no/such/directory"}, "/no/such/directory"),
        ({"user": "nobody-of-that-name"}, "nobody-of-that-name"),
        ({"container_id": "a/b"}, "a/b"),
        ({"container_id": "x" * 300}, "255"),
        ({"environment": (("LONG", "x" * 140_000),)}, "131072"),
        ({"environment": (("A=B", "x"),)}, "A=B"),
        ({"stdout": "relative"}, "absolute"),
        ({"argv": ()}, "argv"),
    ],
)
async def test_a_spec_that_cannot_be_started_is_refused_with_a_sentence(
    bench: Bench, changes: dict[str, object], word: str
) -> None:
    user = await bench.connect()
    failed = await user.launch(bench.spec("refused", **changes))
    assert isinstance(failed, launcher.LaunchFailed)
    assert word in failed.sentence


async def test_a_signal_reaches_a_running_container_only(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("victim", "exec sleep 30"))
    await user.kill("victim", signal.SIGTERM)
    assert await status(user, "victim") == signal.SIGTERM
    for name in ("victim", "nobody"):
        with pytest.raises(launcher.UnknownContainer):
            await user.kill(name, signal.SIGTERM)


async def test_destroy_ends_what_ignores_signals(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("stubborn", "trap '' TERM; sleep 30; sleep 30"))
    await asyncio.sleep(0.1)
    await user.kill("stubborn", signal.SIGTERM, launcher.Scope.GROUP)
    await user.destroy("stubborn")
    assert isinstance((await user.inventory())[0].outcome, launcher.Exited)
    await user.destroy("stubborn")
    await user.destroy("never heard of")


async def test_inventory_keeps_outcomes_in_order_until_forgotten(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("short", "exit 1"))
    await user.launch(bench.spec("long", "exec sleep 30"))
    await ends(user, "short")
    short, long = await user.inventory()
    assert isinstance(short.outcome, launcher.Exited)
    assert isinstance(long.outcome, launcher.Started)
    with pytest.raises(launcher.LauncherError):
        await user.forget("long")
    await user.forget("short")
    await user.forget("short")
    assert [box.container_id for box in await user.inventory()] == ["long"]


async def test_containers_outlive_their_user(bench: Bench) -> None:
    first = await bench.connect()
    started = await first.launch(bench.spec("survivor", "sleep 0.5; exit 9"))
    await first.close()
    second = await bench.connect()
    (box,) = await second.inventory()
    assert box.outcome == started
    assert await status(second, "survivor") == 9 << 8


async def test_an_end_is_told_to_every_later_user_until_forgotten(bench: Bench) -> None:
    first = await bench.connect()
    await first.launch(bench.spec("told", "exit 2"))
    assert await status(first, "told") == 2 << 8
    await first.close()
    second = await bench.connect()
    assert await status(second, "told") == 2 << 8
    assert await status(second, "told") == 2 << 8
    await second.forget("told")
    await second.close()
    third = await bench.connect()
    await third.launch(bench.spec("other", "exit 3"))
    async for event in third.events():
        assert isinstance(event, launcher.Exited)
        assert event.container_id == "other"
        break


async def test_usage_is_measured_while_it_runs(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("measured", "exec sleep 30"))
    usage = await user.usage("measured")
    assert usage.processes == 1
    assert usage.memory_rss_bytes >= 0
    await user.destroy("measured")
    with pytest.raises(launcher.UnknownContainer):
        await user.usage("measured")


async def test_limits_need_a_cgroup(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("free", "exec sleep 30"))
    with pytest.raises(launcher.LauncherError):
        await user.update("free", launcher.CgroupLimits(cpu_shares=512))


async def test_many_launches_are_under_way_at_once(bench: Bench) -> None:
    user = await bench.connect()
    names = [f"many-{number}" for number in range(60)]
    scripts = [f"exit {number}" for number in range(60)]
    await asyncio.gather(*(user.launch(bench.spec(name, script)) for name, script in zip(names, scripts, strict=True)))
    found = await ends(user, *names)
    assert [found[name].wait_status for name in names] == [number << 8 for number in range(60)]


async def test_a_closed_launcher_refuses_and_its_events_end(bench: Bench) -> None:
    user = await bench.connect()

    async def read() -> list[launcher.LauncherEvent]:
        return [event async for event in user.events()]

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        await asyncio.sleep(0)
        await user.close()
    assert reading.result() == []
    with pytest.raises(launcher.LauncherClosed):
        await user.inventory()


async def test_stop_ends_everything_and_outcomes_stay(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("polite", "exec sleep 30"))
    await user.launch(bench.spec("stubborn", "trap '' TERM; sleep 30; sleep 30"))
    await asyncio.sleep(0.1)
    await user.stop(0.1)
    later = await bench.connect()
    found = {box.container_id: box.outcome for box in await later.inventory()}
    assert all(isinstance(outcome, launcher.Exited) for outcome in found.values())
    polite = found["polite"]
    assert isinstance(polite, launcher.Exited)
    assert polite.wait_status == signal.SIGTERM


async def test_a_lost_supervisor_costs_neither_status_nor_calls(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("before", "sleep 0.6; exit 11"))
    await user.launch(bench.spec("longer", "exec sleep 30"))
    await bench.lose_supervisor()
    assert any("only parent" in sentence for sentence in user.degraded)
    await user.launch(bench.spec("after", "exit 12"))
    found = await ends(user, "before", "after")
    assert found["before"].wait_status == 11 << 8
    assert found["after"].wait_status == 12 << 8
    await user.destroy("longer")
    async with asyncio.timeout(WAIT_S):
        while user.degraded:
            await asyncio.sleep(0.01)


async def test_a_container_inside_another_ends_with_it(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("host", "exec sleep 30"))
    await user.launch(bench.spec("short", "exit 3", inside="host"))
    assert await status(user, "short") == 3 << 8
    await user.launch(bench.spec("guest", "sleep 30", inside="host"))
    await user.destroy("host")
    found = await ends(user, "host", "guest")
    assert found["guest"].wait_status == signal.SIGKILL


async def test_nothing_is_started_inside_what_does_not_run(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("host"))
    await status(user, "host")
    for inside in ("host", "nobody"):
        with pytest.raises(launcher.UnknownContainer):
            await user.launch(bench.spec("guest", inside=inside))
    assert [box.container_id for box in await user.inventory()] == ["host"]


async def test_a_container_inside_another_ends_with_it_through_the_loss_of_a_supervisor(bench: Bench) -> None:
    user = await bench.connect()
    await user.launch(bench.spec("host", "exec sleep 30"))
    await user.launch(bench.spec("guest", "exec sleep 30", inside="host"))
    await bench.lose_supervisor()
    await user.destroy("host")
    assert (await ends(user, "host", "guest"))["guest"].wait_status == signal.SIGKILL


async def test_a_container_is_born_in_the_cgroups_of_the_one_it_is_inside(bench: Bench) -> None:
    if isinstance(bench, MemoryBench):
        pytest.skip("the twin has no cgroups")
    user = await bench.connect()
    limits = launcher.CgroupLimits(cpu_shares=512, memory_hard_bytes=64 * 1024 * 1024)
    if isinstance(await user.launch(bench.spec("host", "exec sleep 30", cgroup=limits)), launcher.LaunchFailed):
        pytest.skip("this machine has no cgroups")
    guest = bench.spec("guest", "cat /proc/self/cgroup", inside="host")
    assert isinstance(await user.launch(guest), launcher.Started)
    assert await status(user, "guest") == 0
    seen = pathlib.Path(guest.stdout).read_text()
    assert {line.rpartition("/")[2] for line in seen.splitlines() if "altiplano" in line} == {"host"}
    await user.launch(bench.spec("hog", "exec head -c 200m /dev/zero | tail", inside="host"))
    await user.launch(bench.spec("left", "trap '' TERM; (setsid sleep 30 &) ; exec sleep 30", inside="host"))
    await user.destroy("host")
    await ends(user, "host", "left", "hog")
