"""The calls of ALICE's experiment control on 500 machines, over the real API and the real agent link.

Every REVIVE is answered by one OFFERS event that holds every machine, and deployments complete at the first try.
Latencies are printed and not asserted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from altiplano.testing import emulated
from tests.integration.aliecs import Control, Deployment
from tests.integration.masters import Master, started

NIGHT = bool(os.environ.get("ALTIPLANO_TEST_NIGHT"))
AGENTS = 500
DEPLOYMENTS = 100
MACHINES = 100
TASKS_EACH = 3 if NIGHT else 1
WAIT_S = 20.0
UNSUPPRESSED = 40 if NIGHT else 10
BETWEEN_S = 0.5
"""Between deployments without SUPPRESS: what the kills freed has been offered and declined by then."""


@contextlib.asynccontextmanager
async def pool(agents: int) -> AsyncIterator[tuple[Master, emulated.Swarm]]:
    infos = emulated.machines(agents, "cpus:8;mem:16384;ports:[9000-65535]", "machine_type:flp")
    with started() as master:
        swarm = emulated.Swarm(master.address, infos)
        async with swarm.running():
            await swarm.joined()
            yield master, swarm


def machines(deployment: int) -> list[str]:
    """A hundred machines, others each time, which overlap with those before."""
    return [f"emulated-{(deployment * 37 + index) % AGENTS + 1}" for index in range(MACHINES)]


def print_latencies(title: str, done: Sequence[Deployment]) -> None:
    print(f"\n{len(done)} deployments of {MACHINES * TASKS_EACH} tasks on {MACHINES} of {AGENTS} machines, {title}:")
    for what in ("offers", "running", "answered", "killed"):
        times = sorted(one.seconds[what] * 1000 for one in done)
        print(f"   {what:<9} median {statistics.median(times):6.0f} ms, worst {times[-1]:6.0f} ms")


async def run(control: Control, swarm: emulated.Swarm, number: int) -> Deployment:
    before = {member.twin.info.hostname: {key[1] for key in member.twin.executors} for member in swarm.members}
    one = await control.deploy(machines(number), TASKS_EACH)
    assert len(one.offered) == AGENTS, f"{len(one.offered)} of {AGENTS} machines were offered"
    offered = {offer.hostname: {executor.value for executor in offer.executor_ids} for offer in one.offered}
    assert offered == before, "an offer names the executors that run on its machine, or another would be started"
    assert len(one.tasks) == MACHINES * TASKS_EACH
    await control.command(one)
    await control.destroy(one)
    assert swarm.tasks == 0
    return one


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.05)


async def assert_done(control: Control, swarm: emulated.Swarm, master: Master, deployments: int) -> None:
    """Each task ended once, each update was acknowledged once, and after the framework's end nothing is left."""
    launched = deployments * MACHINES * TASKS_EACH
    assert swarm.launched == launched == len(control.ends)
    assert set(control.ends.values()) == {1}
    assert len(control.acknowledged) == 2 * launched
    # The last acknowledgements may be under way from the master to the machines.
    await until(lambda: swarm.acknowledged == 2 * launched)
    assert control.failures == []
    assert all(len(member.twin.executors) <= 1 for member in swarm.members)
    await control.teardown()
    await until(lambda: not any(member.twin.executors or member.twin.tasks for member in swarm.members))
    assert swarm.acknowledged == 2 * launched
    for member in swarm.members:
        member.twin.check()
    told = await asyncio.to_thread(master.ask, "/state")
    assert told["frameworks"] == []
    used = [agent["used_resources"] for agent in told["slaves"]]
    assert [(one["cpus"], one["mem"]) for one in used] == [(0, 0)] * AGENTS


@pytest.mark.timeout(1200 if NIGHT else 180)
async def test_a_hundred_deployments_in_a_row_each_from_one_event_with_every_machine() -> None:
    async with pool(AGENTS) as (master, swarm), Control(master.address, suppresses=True) as control:
        done = [await run(control, swarm, number) for number in range(DEPLOYMENTS)]
        await assert_done(control, swarm, master, DEPLOYMENTS)
    print_latencies(f"suppressed between them; {control.unasked} events came unasked", done)


@pytest.mark.timeout(600 if NIGHT else 180)
async def test_deployments_by_a_control_that_declines_what_comes_between() -> None:
    """Offers come every second, and the event that answers a REVIVE is complete all the same."""
    async with pool(AGENTS) as (master, swarm), Control(master.address, suppresses=False) as control:
        done = []
        for number in range(UNSUPPRESSED):
            await asyncio.sleep(BETWEEN_S)
            done.append(await run(control, swarm, number))
        assert control.unasked > 0
        await assert_done(control, swarm, master, UNSUPPRESSED)
    print_latencies(f"declining what comes between, {control.unasked} events", done)
