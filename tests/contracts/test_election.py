"""What an election promises (`altiplano.ports.election.Election`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from altiplano.adapters.election import SingleMachineElection
from altiplano.ports.election import Election, Leader
from altiplano.testing.election import Ballot, MemoryElection

ALICE = Leader(hostname="alice", ip="127.0.0.1", port=5050, id="a")
BOB = Leader(hostname="bob", ip="127.0.0.1", port=5051, id="b")
every = pytest.mark.parametrize("make", [SingleMachineElection, MemoryElection])


@every
async def test_who_stands_alone_leads_and_is_seen(make: Callable[[], Election]) -> None:
    election = make()
    leaders = election.leaders()
    assert await anext(leaders) is None
    await election.contend(ALICE)
    assert await anext(leaders) == ALICE
    await election.close()


@every
async def test_a_leadership_is_not_lost_without_a_reason(make: Callable[[], Election]) -> None:
    election = make()
    await election.contend(ALICE)
    lost = asyncio.ensure_future(election.lost())
    await asyncio.sleep(0)
    assert not lost.done()
    lost.cancel()
    await election.close()


@every
async def test_watching_ends_when_the_election_is_closed(make: Callable[[], Election]) -> None:
    election = make()
    seen: list[Leader | None] = []

    async def watch() -> None:
        async for leader in election.leaders():
            seen.append(leader)

    watching = asyncio.ensure_future(watch())
    await election.contend(ALICE)
    await asyncio.sleep(0)
    await election.close()
    async with asyncio.timeout(5):
        await watching
    assert ALICE in seen


async def test_the_next_in_the_queue_leads_when_the_first_goes() -> None:
    ballot = Ballot()
    alice, bob, watcher = MemoryElection(ballot), MemoryElection(ballot), MemoryElection(ballot)
    await alice.contend(ALICE)
    leaders = watcher.leaders()
    assert await anext(leaders) == ALICE
    standing = asyncio.ensure_future(bob.contend(BOB))
    await asyncio.sleep(0)
    assert not standing.done()
    alice.expire()
    await alice.lost()
    await standing
    assert await anext(leaders) == BOB
    await bob.close()
    assert await anext(leaders) is None
