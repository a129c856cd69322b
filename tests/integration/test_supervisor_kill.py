"""kill -9 of supervisor or keeper, at every named point and at random: no task lost, none started twice.

Each task appends its own line to a file when it starts and ends with a code
that follows from its name, so that lost, repeated and mistaken ones all show.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import client, keeper, processes, records, server
from altiplano.ports import launcher

TASKS = 40
WAIT_S = 30.0
PROBED = cgroups.Cgroups("probe")
HAVE_CGROUPS = PROBED.trouble is None
PROBED.remove_base()
LIMITS = launcher.CgroupLimits(cpu_shares=256, memory_hard_bytes=64 * 1024 * 1024) if HAVE_CGROUPS else None

SUPERVISOR_POINTS = [f"supervisor.{name}" for name in server.POINTS if name != "after_cgroup" or LIMITS]
KEEPER_POINTS = [f"keeper.{name}" for name in keeper.POINTS]
WITH_A_DEATH_BEFORE = {
    # A keeper looks and reaps only what it inherited: its death there is the second of the two.
    "keeper.supervisor_reaped",
    "keeper.before_look",
    "keeper.before_reap",
    "keeper.after_reap",
}


def spec(folder: pathlib.Path, number: int, seconds: float, limited: bool = True) -> launcher.LaunchSpec:
    name = f"task-{number}"
    sandbox = folder / "sandboxes" / name
    sandbox.mkdir(parents=True, exist_ok=True)
    script = f"echo {name} >> {folder}/starts; sleep {seconds:.3f}; exit {code(number)}"
    return launcher.LaunchSpec(
        container_id=name,
        executable="/bin/sh",
        argv=("/bin/sh", "-c", script),
        environment=(("PATH", "/usr/bin:/bin"),),
        directory=str(sandbox),
        stdout=str(sandbox / "stdout"),
        stderr=str(sandbox / "stderr"),
        cgroup=LIMITS if limited and number % 2 else None,
    )


def code(number: int) -> int:
    return 1 + number % 250


def started_lines(folder: pathlib.Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "starts").read_text().split()
    return []


async def collect(user: client.SupervisorClient, names: set[str]) -> dict[str, launcher.Exited]:
    found: dict[str, launcher.Exited] = {}
    async for event in user.events():
        if isinstance(event, launcher.Exited) and event.container_id in names:
            found[event.container_id] = event
            if len(found) == len(names):
                break
    return found


async def run_tasks(user: client.SupervisorClient, folder: pathlib.Path, seconds: float) -> dict[str, launcher.Exited]:
    """Launch all tasks in four waves, forget one half, return all ends."""
    names = {f"task-{number}" for number in range(TASKS)}
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        collecting = group.create_task(collect(user, names))
        for wave in range(4):
            specs = [spec(folder, number, seconds) for number in range(wave, TASKS, 4)]
            answers = await asyncio.gather(*map(user.launch, specs))
            assert all(isinstance(answer, launcher.Started) for answer in answers), answers
            await asyncio.sleep(0.01)
        found = await collecting
    await asyncio.gather(*(user.forget(f"task-{number}") for number in range(0, TASKS, 2)))
    return found


def check(folder: pathlib.Path, found: dict[str, launcher.Exited], may_be_unseen: bool = False) -> None:
    """Every status right, nothing started twice."""
    wrong = {
        name: exited.wait_status
        for name, exited in found.items()
        if exited.wait_status != code(int(name[5:])) << 8 and not (may_be_unseen and exited.wait_status is None)
    }
    assert not wrong
    lines = started_lines(folder)
    assert sorted(lines) == sorted(found), "each task ran once"


def left_over(folder: pathlib.Path, agent_key: str) -> list[str]:
    """Processes and cgroups that still tell of this directory."""
    left = []
    for pid in processes.everybody():
        seen = processes.stat(pid)
        if seen is None or seen.state in (b"Z", b"X"):
            continue
        shown = (processes.environment(pid) or b"") + b"\0" + _command(pid)
        if str(folder).encode() in shown:
            left.append(_command(pid).decode(errors="replace"))
    if HAVE_CGROUPS:
        for found in cgroups.find().values():
            path = f"{found.mount}/{cgroups.ROOT_NAME}/{agent_key}"
            if os.path.isdir(path):
                left.append(path)
    return left


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.asynccontextmanager
async def supervisor(folder: pathlib.Path, *points: str) -> AsyncIterator[client.SupervisorClient]:
    """A supervisor armed to die at these points; stopped at the end, leaving nothing."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    environment = {"ALTIPLANO_CRASH_POINT": ",".join(points), "ALTIPLANO_CRASH_DIR": str(marks)}
    async with asyncio.timeout(60):
        user = await client.connect(str(folder), environment=environment if points else {})
        try:
            yield user
        finally:
            await user.close()
            last = await client.connect(str(folder))
            await last.stop(0.0)
    assert left_over(folder, user.agent_key) == []
    assert not (folder / "supervisor" / "socket").exists()
    # An exception of ours would be survived like a kill, and must not hide behind that.
    assert (folder / "supervisor" / "messages").read_text() == ""


def hit(folder: pathlib.Path) -> set[str]:
    return {mark.name for mark in (folder / "marks").iterdir()}


async def one_point(folder: pathlib.Path, *points: str, seconds: float = 0.05, unseen: bool = False) -> set[str]:
    folder.mkdir()
    async with supervisor(folder, *points) as user:
        check(folder, await run_tasks(user, folder, seconds), may_be_unseen=unseen)
        left = {box.container_id for box in await user.inventory()}
        assert left == {f"task-{number}" for number in range(1, TASKS, 2)}
    return hit(folder)


async def test_the_supervisor_may_die_at_every_point(tmp_path: pathlib.Path) -> None:
    missed = []
    for point in SUPERVISOR_POINTS:
        # Points on the way of a task are passed some times before the death; those of a start come once.
        once = point.split(".")[1] in ("started", "recovered", "compaction_written", "compaction_renamed")
        fired = await one_point(tmp_path / point, point if once else f"{point}:7")
        if point not in fired:
            missed.append(point)
    print("supervisor points hit:", *sorted(set(SUPERVISOR_POINTS) - set(missed)), sep="\n  ")
    assert not missed


async def test_the_supervisor_may_die_again_while_it_recovers(tmp_path: pathlib.Path) -> None:
    for first in ("supervisor.after_spawn", "supervisor.exit_written"):
        for second in ("supervisor.started:2", "supervisor.recovered:2", "supervisor.compaction_renamed:2"):
            fired = await one_point(tmp_path / f"{first}-{second}", f"{first}:5", second)
            assert first in fired


async def test_the_keeper_may_die_at_every_point(tmp_path: pathlib.Path) -> None:
    missed = []
    for point in KEEPER_POINTS:
        double = point in WITH_A_DEATH_BEFORE
        points = ("supervisor.after_start_record:25", point) if double else (point,)
        # A task that ends between two deaths is seen by nobody; that must be said, never guessed.
        fired = await one_point(tmp_path / point, *points, seconds=0.3, unseen=double)
        if point not in fired:
            missed.append(point)
    print("keeper points hit:", *sorted(set(KEEPER_POINTS) - set(missed)), sep="\n  ")
    assert not missed


async def test_an_upgrade_in_place_is_noticed_by_no_task(tmp_path: pathlib.Path) -> None:
    names = {f"task-{number}" for number in range(TASKS)}
    async with supervisor(tmp_path) as user:
        pids = (user.pid, user.keeper_pid)
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            collecting = group.create_task(collect(user, names))
            for number in range(TASKS):
                await user.launch(spec(tmp_path, number, 0.2))
                if number % 10 == 5:
                    user.upgrade()
            found = await collecting
        check(tmp_path, found)
        assert user.connections > 1
        assert (user.pid, user.keeper_pid) == pids
        assert user.degraded == ()


async def test_the_keeper_may_die_over_running_tasks(tmp_path: pathlib.Path) -> None:
    async with supervisor(tmp_path) as user:
        first = user.pid
        names = {f"task-{number}" for number in range(TASKS)}
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            collecting = group.create_task(collect(user, names))
            await asyncio.gather(*(user.launch(spec(tmp_path, number, 0.3)) for number in range(TASKS // 2)))
            os.kill(user.keeper_pid, signal.SIGKILL)
            await asyncio.gather(*(user.launch(spec(tmp_path, number, 0.3)) for number in range(TASKS // 2, TASKS)))
            assert user.keeper_pid == first, "the supervisor has become the keeper"
            assert any("only parent" in sentence for sentence in user.degraded)
            found = await collecting
        check(tmp_path, found)


async def test_deaths_at_random_moments_lose_nothing(tmp_path: pathlib.Path) -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"ALTIPLANO_SEED={seed}")
    chance = random.Random(seed)
    count = 100
    async with supervisor(tmp_path) as user:
        names = {f"task-{number}" for number in range(count)}
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            collecting = group.create_task(collect(user, names))

            async def launch() -> None:
                for number in range(count):
                    await user.launch(spec(tmp_path, number, chance.uniform(0.0, 0.3)))

            launching = group.create_task(launch())
            deaths = 0
            while not launching.done() and deaths < 12:
                await asyncio.sleep(chance.uniform(0.02, 0.15))
                deaths += await kill_one(user, chance)
            found = await collecting
        check(tmp_path, found)
        print(f"{deaths} deaths, {user.connections} supervisors")
        assert deaths >= 2


async def kill_one(user: client.SupervisorClient, chance: random.Random) -> bool:
    """Kill a supervisor, or a keeper whose death is a single one: with no task that only it is parent of."""
    await user.inventory()
    orphans = [pid for pid in processes.children(user.keeper_pid) if pid != user.pid]
    victim = user.keeper_pid if chance.random() < 0.4 and not orphans else user.pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
        return True
    return False


async def test_a_task_keeps_its_status_when_both_die_before_it(tmp_path: pathlib.Path) -> None:
    async with supervisor(tmp_path) as user:
        if not any("somebody else reaped" in fact for fact in user.facts):
            pytest.skip("this kernel tells no exit status of a process that somebody else reaped (Linux 6.15 does)")
        await user.launch(spec(tmp_path, 7, 2.0))
        before = user.pid
        for pid in (user.keeper_pid, user.pid):
            os.kill(pid, signal.SIGKILL)
        while user.pid == before:
            await asyncio.sleep(0.01)
        assert any("orphans" in sentence for sentence in user.degraded)
        check(tmp_path, await collect(user, {"task-7"}))


async def test_an_agent_comes_and_goes(tmp_path: pathlib.Path) -> None:
    names = {f"task-{number}" for number in range(TASKS)}
    async with supervisor(tmp_path) as first:
        await asyncio.gather(*(first.launch(spec(tmp_path, number, 0.2)) for number in range(TASKS)))
        await first.close()
        async with await client.connect(str(tmp_path)) as second:
            assert second.pid == first.pid
            check(tmp_path, await collect(second, names))
    async with supervisor(tmp_path) as third:
        assert {box.container_id for box in await third.inventory()} == names


@pytest.mark.skipif(not HAVE_CGROUPS, reason="no cgroups can be made here")
async def test_memory_over_the_limit_is_told(tmp_path: pathlib.Path) -> None:
    hog = (sys.executable, "-I", "-S", "-c", "x = b'x' * (200 << 20)")
    async with supervisor(tmp_path) as user:
        base = spec(tmp_path, 1, 0.0)
        await user.launch(launcher_copy(base, executable=hog[0], argv=hog))
        exited = (await collect(user, {"task-1"}))["task-1"]
    assert exited.oom_killed
    assert exited.wait_status == signal.SIGKILL
    assert exited.memory_limit_bytes == 64 * 1024 * 1024
    assert exited.memory_peak_bytes is not None
    assert exited.memory_peak_bytes > 60 * 1024 * 1024
    assert "64 MiB" in (exited.limitation or "")


@pytest.mark.skipif(not HAVE_CGROUPS, reason="no cgroups can be made here")
async def test_limits_hold_and_can_be_changed(tmp_path: pathlib.Path) -> None:
    limits = launcher.CgroupLimits(cpu_quota_us=10_000, memory_hard_bytes=64 << 20, pids_max=20)
    async with supervisor(tmp_path) as user:
        busy = launcher_copy(spec(tmp_path, 1, 0.0), argv=("/bin/sh", "-c", "while :; do :; done"), cgroup=limits)
        await user.launch(busy)
        await asyncio.sleep(0.5)
        usage = await user.usage("task-1")
        assert usage.cpu_throttled_periods is not None
        assert usage.cpu_throttled_periods > 0
        await user.update("task-1", launcher.CgroupLimits(memory_hard_bytes=128 << 20))
        assert (await user.usage("task-1")).memory_limit_bytes == 128 << 20
        await user.destroy("task-1")


@pytest.mark.parametrize("limited", [True, False], ids=["cgroup", "posix"])
async def test_no_process_is_left_behind(tmp_path: pathlib.Path, limited: bool) -> None:
    if limited and not HAVE_CGROUPS:
        pytest.skip("no cgroups can be made here")
    escapes = [
        "sleep 987 & true",
        "setsid sleep 987 & sleep 0.05; exit 0",
        "(setsid sh -c 'setsid sleep 987 & exit 0' &) ; sleep 0.05",
        "cd /; (setsid env -i sleep 987 &) ; sleep 0.05; exit 0" if limited else "(env -i sleep 987 &); sleep 0.05",
        "(setsid env -i sleep 987 &); sleep 30",
    ]
    async with supervisor(tmp_path) as user:
        for number, script in enumerate(escapes):
            base = spec(tmp_path, number, 0.0)
            limits = LIMITS if limited else None
            await user.launch(launcher_copy(base, argv=("/bin/sh", "-c", script), cgroup=limits))
        await collect(user, {f"task-{number}" for number in range(4)})
        await asyncio.sleep(0.2)
        usage = await user.usage("task-4")
        assert usage.processes == 3, "the shell, its sleep, and the one that hides"
        for number in range(len(escapes)):
            await user.destroy(f"task-{number}")
        assert processes.descendants(user.pid) == []


async def test_outputs_stay_within_their_bound(tmp_path: pathlib.Path) -> None:
    bound = 256 * 1024
    script = "i=0; while [ $i -lt 60000 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done; exit 4"
    async with supervisor(tmp_path) as user:
        noisy = launcher_copy(spec(tmp_path, 3, 0.0), argv=("/bin/sh", "-c", script), output_max_bytes=bound)
        await user.launch(noisy)
        exited = (await collect(user, {"task-3"}))["task-3"]
    assert exited.wait_status == 4 << 8
    seen = os.stat(noisy.stdout)
    assert seen.st_size > 2_000_000
    assert seen.st_blocks * 512 <= bound + 8192
    with open(noisy.stdout, "rb") as file:
        file.seek(-bound // 2 + 8192, os.SEEK_END)
        lines = file.read().split(b"\n")[1:-1]
    numbers = [int(line.split(b"-")[1]) for line in lines]
    assert numbers == list(range(60_000 - len(numbers), 60_000)), "no line of the end is missing"


async def test_user_and_resource_limits_are_set_before_the_program_runs(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    async with supervisor(tmp_path) as user:
        base = spec(tmp_path, 2, 0.0)
        script = "id -un; ulimit -n; ulimit -c"
        limits = (
            launcher.Rlimit(name="RLIMIT_NOFILE", soft=100, hard=200),
            launcher.Rlimit(name="RLIMIT_CORE", soft=0, hard=0),
        )
        await user.launch(launcher_copy(base, argv=("/bin/sh", "-c", script), user="nobody", rlimits=limits))
        exited = (await collect(user, {"task-2"}))["task-2"]
        wrong = launcher_copy(
            spec(tmp_path, 4, 0.0), rlimits=(launcher.Rlimit(name="RLIMIT_NONSENSE", soft=1, hard=1),)
        )
        failed = await user.launch(wrong)
    assert exited.wait_status == 0
    assert pathlib.Path(base.stdout).read_text().split() == ["nobody", "100", "0"]
    assert isinstance(failed, launcher.LaunchFailed)
    assert "RLIMIT_NONSENSE" in failed.sentence


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_a_full_disk_refuses_starts_and_loses_no_end(small_disk: pathlib.Path) -> None:
    async with supervisor(small_disk) as user:
        await asyncio.gather(*(user.launch(spec(small_disk, number, 1.0)) for number in range(10)))
        with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(512))
        base = launcher_copy(spec(small_disk, 10, 0.0), argv=("/bin/sh", "-c", "exit 3"))
        extra = [launcher_copy(base, container_id=f"extra-{number}") for number in range(500)]
        answers = await asyncio.gather(*map(user.launch, extra), return_exceptions=True)
        refused = {str(answer) for answer in answers if isinstance(answer, launcher.LaunchRefused)}
        assert any("No space left" in sentence for sentence in refused)
        ran = {answer.container_id for answer in answers if isinstance(answer, launcher.Started)}
        assert all(exited.wait_status == 3 << 8 for exited in (await collect(user, ran)).values())
        found = await collect(user, {f"task-{number}" for number in range(10)})
        os.unlink(small_disk / "filler")
        assert isinstance(await user.launch(spec(small_disk, 11, 0.0)), launcher.Started)
        found |= await collect(user, {"task-11"})
        check(small_disk, found)


async def test_two_agents_of_one_directory_share_one_supervisor(tmp_path: pathlib.Path) -> None:
    async with supervisor(tmp_path) as first:
        others = await asyncio.gather(*(client.connect(str(tmp_path)) for _ in range(4)))
        assert {other.pid for other in others} == {first.pid}
        for other in others:
            await other.close()


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def interpreter_for_nobody() -> str | None:
    """Ours, or another of the same version where ours lies below a closed home directory."""
    ours = sys.version_info[:2]
    question = f"import os, sys; sys.exit(sys.version_info[:2] != {ours} or not os.access(sys.executable, os.X_OK))"
    for candidate in (sys.executable, f"/usr/bin/python{ours[0]}.{ours[1]}"):
        with contextlib.suppress(OSError):
            if subprocess.run([*NOBODY, candidate, "-c", question], timeout=10, capture_output=True).returncode == 0:
                return candidate
    return None


def test_it_works_without_root() -> None:
    """The same kills as `nobody`, in a process of its own."""
    if os.geteuid() != 0:
        pytest.skip("already without root")
    python = interpreter_for_nobody()
    if python is None:
        pytest.skip("no interpreter of this version that the user nobody may execute")
    folder = pathlib.Path(f"/tmp/altiplano-nobody-{os.getpid()}-{time.monotonic_ns()}")
    names = "(supervisor_may_die_at_every or left_behind or comes_and_goes or both_die) and not again"
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder}", "-k", names]
    places = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(pytest.__file__).parents[1])]
    done = subprocess.run(
        [*NOBODY, python, "-m", "pytest", *options, __file__],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(places), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def launcher_copy(base: launcher.LaunchSpec, **changes: object) -> launcher.LaunchSpec:
    values = {name: getattr(base, name) for name in base.__struct_fields__}
    return launcher.LaunchSpec(**{**values, **changes})


async def test_a_keeper_whose_directory_is_gone_leaves_when_nothing_runs_below_it(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    async with asyncio.timeout(60):
        user = await client.connect(str(folder))
        keeper_pid, supervisor_pid, state = user.keeper_pid, user.pid, user.state_dir
        await user.close()
        shutil.rmtree(state)
        os.kill(supervisor_pid, signal.SIGKILL)
        while (now := processes.stat(keeper_pid)) is not None and now.state != b"Z":
            await asyncio.sleep(0.02)


async def gone(*pids: int) -> None:
    async with asyncio.timeout(20):
        while any((now := processes.stat(pid)) is not None and now.state != b"Z" for pid in pids):
            await asyncio.sleep(0.02)


async def test_a_pair_whose_directory_is_gone_leaves_although_its_agent_is_there(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    user = await client.connect(str(folder))
    async with asyncio.timeout(40):
        assert isinstance(await user.launch(spec(folder, 1, 1.0)), launcher.Started)
        shutil.rmtree(folder)
        assert (await collect(user, {"task-1"}))["task-1"].wait_status == code(1) << 8
        with pytest.raises(client.SupervisorUnreachable, match="The agent needs its work directory"):
            await collect(user, {"no more ends"})
    await gone(user.pid, user.keeper_pid)
    assert left_over(folder, user.agent_key) == []
    await user.close()


async def test_tasks_of_a_directory_that_is_gone_hold_the_keeper_no_longer_than_they_run(
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    user = await client.connect(str(folder))
    assert isinstance(await user.launch(spec(folder, 1, 1.0, limited=False)), launcher.Started)
    await user.close()
    shutil.rmtree(folder)
    os.kill(user.pid, signal.SIGKILL)
    await gone(user.keeper_pid)
    assert left_over(folder, user.agent_key) == []


async def test_two_pairs_of_one_path_do_not_touch_each_other_when_the_directory_was_replaced(
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    first = await client.connect(str(folder))
    await first.launch(spec(folder, 1, 1.0, limited=False))
    await first.close()
    shutil.rmtree(folder)
    folder.mkdir()
    async with supervisor(folder) as second:
        assert second.pid != first.pid
        await gone(first.pid, first.keeper_pid)
        assert isinstance(await second.launch(spec(folder, 3, 0.0)), launcher.Started)
        assert (await collect(second, {"task-3"}))["task-3"].wait_status == code(3) << 8
        assert (folder / "supervisor" / "socket").exists()


async def test_a_disk_that_is_full_at_the_end_keeps_nobody(small_disk: pathlib.Path) -> None:
    user = await client.connect(str(small_disk))
    with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    async with asyncio.timeout(10):
        await user.stop(0.0)
    assert left_over(small_disk, user.agent_key) == []


async def test_a_paused_keeper_does_not_hold_up_the_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LEAVE_S_MAX", 0.5)
    user = await client.connect(str(tmp_path))
    os.kill(user.keeper_pid, signal.SIGSTOP)
    async with asyncio.timeout(10):
        await user.stop(0.0)
    assert left_over(tmp_path, user.agent_key) == []


async def test_a_supervisor_that_never_begins_is_told_and_not_waited_for(
    small_disk: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "supervisor").mkdir()
    with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    monkeypatch.setattr(client, "START_S_MAX", 0.5)
    async with asyncio.timeout(20):
        with pytest.raises(client.SupervisorUnreachable, match="the disk is full"):
            await client.connect(str(small_disk))
        while left_over(small_disk, "of nobody"):
            await asyncio.sleep(0.05)


async def test_a_keeper_without_tasks_does_not_start_broken_supervisors_for_ever(tmp_path: pathlib.Path) -> None:
    user = await client.connect(str(tmp_path))
    await user.close()
    file = pathlib.Path(user.state_dir) / "records"
    file.write_bytes(records.encode({"version": 99, "boot": "another release"}))
    os.kill(user.pid, signal.SIGKILL)
    await gone(user.keeper_pid)
    assert left_over(tmp_path, user.agent_key) == []
    assert "has version 99 and this supervisor reads 1" in (pathlib.Path(user.state_dir) / "messages").read_text()
