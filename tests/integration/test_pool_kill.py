"""kill -9 of each process of a pool, at every crash point and at random: every end told right, once.

`ALTIPLANO_SEED=…` repeats the choices of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from killable import HAVE_CGROUPS, KillablePool, killable_pool
from ledger import Ledger, number_of

from altiplano import sdk
from altiplano.adapters.supervisor import keeper, server
from altiplano.agent import daemon
from altiplano.master import server as master_server

JOBS = 200
DEATHS = 50
WAIT_S = 90.0

POINTS = {
    "master": master_server.POINTS,
    # Those of the executor API are passed with custom executors only: tests/compat/test_pymesos.py.
    "agent": tuple(point for point in daemon.POINTS if not point.startswith("executor_")),
    "supervisor": tuple(point for point in server.POINTS if point != "after_cgroup" or HAVE_CGROUPS),
    "keeper": ("started", "after_spawn"),
}
ALSO_IN_THE_SUPERVISORS_OWN_TEST = {
    # These come after the death of a supervisor, so a keeper that dies there is the second of a pair, and the
    # status of a task may then be unknown: test_supervisor_kill.py holds what is promised of that.
    f"keeper.{point}"
    for point in keeper.POINTS
    if point not in POINTS["keeper"]
}
PASSED_OFTEN = {
    "event_decided",
    "facts_applied",
    "all_said",
    "frame_heard",
    "frame_sent",
    "task_heard",
    "sandbox_made",
    "before_launch",
    "after_launch",
    "exit_heard",
    "update_said",
    "update_heard",
    "update_forwarded",
    "acknowledgement_heard",
    "acknowledgement_passed_on",
    "after_forget",
    "before_task_order",
    "after_task_order",
}


def armed(process: str) -> list[str]:
    """All points of a process; those that it passes for every task let some pass first."""
    return [
        f"{process}.{point}:{2 + 3 * index % 11}" if point in PASSED_OFTEN else f"{process}.{point}"
        for index, point in enumerate(POINTS[process])
    ]


@contextlib.asynccontextmanager
async def running(ledger: Ledger, pool: KillablePool, within_s: float = WAIT_S) -> AsyncIterator[Ledger]:
    """A ledger on a pool; at the end it is torn down and its books must be right."""
    async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
        group.create_task(sdk.serve(ledger, sdk.Place(masters=(pool.address,))))
        yield ledger
        ledger.stop()
    assert ledger.mistakes() == []


async def die_at_every_point(process: str) -> set[str]:
    """Run jobs, 200 at least, until the process has died at each of its points; those it has died at."""
    wanted = {f"{process}.{point}" for point in POINTS[process]}
    async with killable_pool(*armed(process)) as pool:
        async with running(Ledger(pool.folder), pool) as ledger:
            jobs = JOBS
            await ledger.finish(jobs)
            while pool.hit != wanted and jobs < 2 * JOBS:
                jobs += 20
                await ledger.finish(jobs)
        print(f"{process}: {len(pool.hit)} of {len(wanted)} points hit in {jobs} tasks,", end=" ")
        print(f"{ledger.subscriptions} subscriptions, deaths: {dict(pool.deaths)}")
        return pool.hit


@pytest.mark.parametrize("process", POINTS)
async def test_a_process_may_die_at_each_of_its_points(process: str) -> None:
    hit = await die_at_every_point(process)
    wanted = {f"{process}.{point}" for point in POINTS[process]}
    print(*sorted(hit), sep="\n  ")
    assert not wanted - hit, "never hit"


async def test_deaths_at_random_moments_lose_nothing() -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"ALTIPLANO_SEED={seed}")
    chance = random.Random(seed)
    async with killable_pool() as pool, running(Ledger(pool.folder), pool) as ledger:
        killed = 0
        async with asyncio.TaskGroup() as group:
            working = group.create_task(ledger.finish(JOBS))
            while killed < DEATHS:
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                killed += pool.kill_one(chance) is not None
                if working.done():
                    # The jobs are done before the deaths: more of them.
                    working = group.create_task(ledger.finish(ledger.wanted + 20))
    print(f"{killed} deaths under {ledger.wanted} tasks: {dict(pool.deaths)}; {ledger.subscriptions} subscriptions")


async def test_a_master_that_is_away_for_long_loses_nothing() -> None:
    """Away for longer than agents wait for a ping, while tasks end and none can tell."""
    flags = ("--agent-ping-timeout", "300ms", "--max-agent-ping-timeouts", "3")
    async with killable_pool(master_flags=flags) as pool, running(Ledger(pool.folder, seconds=1.5), pool) as ledger:
        working = asyncio.create_task(ledger.finish(60))
        while len(ledger.done) < 10:
            await asyncio.sleep(0.02)
        pool.awake["master"].clear()
        assert pool.kill("master")
        await asyncio.sleep(4.0)
        done = len(ledger.done)
        pool.awake["master"].set()
        await working
        assert ledger.subscriptions == 2
        assert done < 60
        assert set(ledger.attempts.values()) == {1}, "nothing was launched twice"


async def test_an_agent_that_dies_among_fifty_launches_starts_each_once() -> None:
    async with killable_pool() as pool, running(Ledger(pool.folder, at_once=50), pool) as ledger:
        working = asyncio.create_task(ledger.finish(50))
        while len(list((pool.folder / "lines").iterdir())) < 12:
            await asyncio.sleep(0.005)
        assert pool.kill("agent")
        await working
        assert pool.deaths["agent"] == 1


async def test_a_framework_that_is_killed_goes_on_with_its_id() -> None:
    command = (sys.executable, str(Path(__file__).parent / "ledger.py"))
    async with killable_pool() as pool:
        lives = 0
        async with asyncio.timeout(WAIT_S):
            while True:
                process = await asyncio.create_subprocess_exec(*command, pool.address, str(pool.folder), "120")
                lives += 1
                if lives <= 4:
                    await told_more(pool.folder, 60)
                    process.kill()
                status = await process.wait()
                if status == 0:
                    break
                assert status == -signal.SIGKILL
        books = Ledger(pool.folder)
        books.wanted = 120
        assert books.mistakes() == []
        assert lives == 5
        async with running(books, pool):
            await asyncio.sleep(0.1)


async def told_more(folder: Path, updates: int) -> None:
    """Return when the books have grown by so many updates."""

    def count() -> int:
        return (folder / "books").read_text().count('"told"') if (folder / "books").exists() else 0

    before = count()
    while count() < before + updates:
        await asyncio.sleep(0.01)


async def test_tasks_of_a_framework_without_checkpoints_do_not_outlive_the_agent() -> None:
    """As frameworks written for Mesos expect: lost when the link breaks, killed when the agent is back."""
    async with killable_pool() as pool:
        ledger = Ledger(pool.folder, seconds=1000, checkpoint=False)
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(sdk.serve(ledger, sdk.Place(masters=(pool.address,))))
            ledger.wanted = 5
            await until(lambda: running_tasks(ledger) == 5)
            ledger.wanted = ledger.at_once = 0
            pool.awake["agent"].clear()
            assert pool.kill("agent")
            await until(lambda: not ledger.live)
            assert {told[-1][0] for told in ledger.told.values()} == {sdk.State.LOST}
            assert len(sleepers(pool)) == 5, "nobody has ended the tasks yet"
            pool.awake["agent"].set()
            await until(lambda: not sleepers(pool))
            await asyncio.sleep(0.5)
            ends = {task: [entry for entry in told if entry[0].ended] for task, told in ledger.told.items()}
            assert all(len(entries) == 1 for entries in ends.values()), ends
            ledger.stop()
        assert {number_of(task) for task in ledger.told} == set(range(5))


def running_tasks(ledger: Ledger) -> int:
    return sum(told[-1][0] is sdk.State.RUNNING for told in ledger.told.values())


def sleepers(pool: KillablePool) -> Sequence[int]:
    return [pid for pid in pool.left_processes() if b"ALTIPLANO_CONTAINER=" in environment(pid)]


def environment(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)
