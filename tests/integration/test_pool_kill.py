"""kill -9 of each process of a pool, at every crash point and at random: every end told right, once.

`ALTIPLANO_SEED=…` repeats the choices of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from killable import HAVE_CGROUPS, KillablePool, killable_pool
from ledger import HostedLedger, Ledger, number_of
from nursery import Nursery, open_nursery

from altiplano import sdk
from altiplano.adapters.supervisor import processes, server
from altiplano.agent import daemon
from altiplano.master import server as master_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(0)]

JOBS = 200
DEATHS = 50
WAIT_S = float(os.environ.get("ALTIPLANO_TEST_PATIENCE_S", "100"))
"""Longest time of one test: ten times what it takes on an idle machine."""

WITH_EXECUTORS = tuple(point for point in daemon.POINTS if point.startswith("executor_"))
"""Points that an agent comes to only where a custom executor runs."""

WITH_CHECKS = ("check_begun",)
"""Only where tasks have checks: `test_checks.py` dies there."""

POINTS = {
    "master": master_server.POINTS,
    "agent": tuple(point for point in daemon.POINTS if point not in (*WITH_EXECUTORS, *WITH_CHECKS)),
    "supervisor": tuple(point for point in server.POINTS if point != "after_cgroup" or HAVE_CGROUPS),
    # The others come after the death of a supervisor, so a keeper that dies there is the second of a pair, and the
    # status of a task may then be unknown: test_supervisor_kill.py holds what is promised of that.
    "keeper": ("started", "after_spawn"),
}
AT_WORK = {
    "accept_answered",
    "accept_heard",
    "acknowledgement_heard",
    "acknowledgement_passed_on",
    "after_forget",
    "after_launch",
    "after_task_order",
    "after_terminate",
    "before_launch",
    "before_task_order",
    "before_terminate",
    "exit_heard",
    "kill_heard",
    "kill_passed_on",
    "sandbox_made",
    "task_heard",
    "update_forwarded",
    "update_heard",
    "update_said",
}
"""Points that a process comes to only when tasks run."""
RARE = {"accept_answered", "accept_heard", "after_terminate", "before_terminate", "kill_heard", "kill_passed_on"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nursery() -> AsyncIterator[Nursery]:
    async with open_nursery() as made:
        yield made


def armed(process: str) -> list[str]:
    """All points of a process, those at its start and those at work in turn: between deaths it gets on."""
    early = [f"{process}.{point}" for point in POINTS[process] if point not in AT_WORK]
    late = [
        f"{process}.{point}" if point in RARE else f"{process}.{point}:{1 + 5 * index % 12}"
        for index, point in enumerate(POINTS[process])
        if point in AT_WORK
    ]
    return [point for pair in itertools.zip_longest(late, early) for point in pair if point is not None]


@contextlib.asynccontextmanager
async def running(ledger: Ledger, pool: KillablePool) -> AsyncIterator[Ledger]:
    """A ledger on a pool; at the end it is torn down and its books must be right."""
    try:
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(sdk.serve(ledger, sdk.Place(masters=(f"http://{pool.address}",))))
            yield ledger
            ledger.stop()
        assert ledger.mistakes() == []
    except BaseException:
        print(ledger.story(), dict(pool.deaths), sorted(pool.hit))
        print("the master's log:", pool.last_words("master"), "the agent's log:", pool.last_words("agent"), sep="\n")
        raise


async def die_at_every_point(
    nursery: Nursery, process: str, points: list[str], jobs: int, keep: type[Ledger] = Ledger
) -> set[str]:
    """Run jobs, more than asked for if need be, until the process has died at each of the points; those it died at."""
    wanted = {point.partition(":")[0] for point in points}
    # An executor may need its time to find the agent that comes next.
    patience = ("--executor-reregistration-timeout", "15secs")
    async with killable_pool(nursery, *points, agent_flags=patience) as pool:
        async with running(keep(pool.folder), pool) as ledger:
            most = 2 * jobs
            await ledger.finish(jobs)
            while pool.hit != wanted and jobs < most:
                jobs += 20
                await ledger.finish(jobs)
        print(f"{process}: {len(pool.hit)} of {len(wanted)} points hit in {jobs} tasks,", end=" ")
        print(f"{ledger.subscriptions} subscriptions, deaths of daemons: {dict(pool.deaths)}")
        return pool.hit


@pytest.mark.parametrize("process", POINTS)
async def test_a_process_may_die_at_each_of_its_crash_points(nursery: Nursery, process: str) -> None:
    wanted = {f"{process}.{point}" for point in POINTS[process]}
    points = armed(process)
    # A keeper pauses longer and longer over a supervisor that dies again and again: several pools share the deaths.
    shares = 3 if process == "supervisor" else 1
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(die_at_every_point(nursery, process, points[share::shares], -(-JOBS // shares)))
            for share in range(shares)
        ]
    hit = set().union(*(task.result() for task in tasks))
    print(f"{len(hit)} of {len(wanted)} points hit:", *sorted(hit), sep="\n  ")
    assert not wanted - hit, "never hit"


@pytest.mark.parametrize("passes", [1, 4])
async def test_an_agent_may_die_at_each_point_of_the_talk_with_an_executor(nursery: Nursery, passes: int) -> None:
    wanted = {f"agent.{point}" for point in WITH_EXECUTORS}
    # It subscribes once in the life of an agent, and the first updates come before the first acknowledgements.
    points = [f"{point}:{1 if point.endswith('subscribed') else passes}" for point in sorted(wanted)]
    hit = await die_at_every_point(nursery, "agent", points, JOBS // 4, keep=HostedLedger)
    assert not wanted - hit, "never hit"


async def test_deaths_at_random_moments_lose_nothing(nursery: Nursery) -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"ALTIPLANO_SEED={seed}")
    chance = random.Random(seed)
    async with killable_pool(nursery) as pool, running(Ledger(pool.folder), pool) as ledger:
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


async def test_a_master_that_is_away_for_long_loses_nothing(nursery: Nursery) -> None:
    """Away for longer than agents wait for a ping, while tasks end and none can tell."""
    flags = ("--agent-ping-timeout", "300ms", "--max-agent-ping-timeouts", "3")
    async with (
        killable_pool(nursery, master_flags=flags) as pool,
        running(Ledger(pool.folder, seconds=1.5), pool) as ledger,
    ):
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


async def test_an_agent_that_dies_among_fifty_launches_starts_each_once(nursery: Nursery) -> None:
    async with killable_pool(nursery) as pool, running(Ledger(pool.folder, at_once=50), pool) as ledger:
        working = asyncio.create_task(ledger.finish(50))
        while len(list((pool.folder / "lines").iterdir())) < 12:
            await asyncio.sleep(0.005)
        assert pool.kill("agent")
        await working
        assert pool.deaths["agent"] == 1


async def test_a_framework_that_is_killed_goes_on_with_its_id(nursery: Nursery) -> None:
    command = (sys.executable, str(Path(__file__).parent / "ledger.py"))
    async with killable_pool(nursery) as pool:
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


async def test_tasks_of_a_framework_without_checkpoints_do_not_outlive_the_agent(nursery: Nursery) -> None:
    """As frameworks written for Mesos expect: lost when the link breaks, killed when the agent is back."""
    async with killable_pool(nursery) as pool:
        ledger = Ledger(pool.folder, seconds=1000, checkpoint=False)
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(sdk.serve(ledger, sdk.Place(masters=(f"http://{pool.address}",))))
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
            # The agent that is back may say so again, with its own words; it must not say anything else.
            ends = {state for told in ledger.told.values() for state, _, _ in told if state.ended}
            assert ends == {sdk.State.LOST}
            ledger.stop()
        assert {number_of(task) for task in ledger.told} == set(range(5))


def running_tasks(ledger: Ledger) -> int:
    return sum(told[-1][0] is sdk.State.RUNNING for told in ledger.told.values())


def sleepers(pool: KillablePool) -> set[str]:
    """Containers with a living process."""
    return {name for pid in pool.left_processes() if (name := processes.container_of(pid)) is not None}


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)
