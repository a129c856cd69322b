"""One fetch for all viewers, and rest for the master."""

from __future__ import annotations

import asyncio

from altiplano.master.pages.snapshot import AGE_S_MAX, REST_S_MIN, Snapshots
from altiplano.pagekit import api as apis
from altiplano.testing.clock import ManualClock
from altiplano.testing.showcase import Showcase


class Counting:
    """An API that counts how often the state was asked for, and takes some time of the clock."""

    def __init__(self, clock: ManualClock, cost_s: float = 0.0) -> None:
        self.asked = 0
        self._inner = apis.InProcess(Showcase(now=0.0, agents=2, tasks=3))
        self._clock = clock
        self._cost_s = cost_s

    async def request(self, method: str, path: str, *, body: bytes = b"") -> apis.Answer:
        if b"GET_STATE" in body:
            self.asked += 1
            self._clock.advance(self._cost_s)
        await asyncio.sleep(0)
        return await self._inner.request(method, path, body=body)


async def test_viewers_at_the_same_time_share_one_fetch() -> None:
    clock = ManualClock()
    api = Counting(clock)
    snapshots = Snapshots(api, lambda: 1, clock)
    found = await asyncio.gather(*(snapshots.get() for _ in range(20)))
    assert api.asked == 1
    assert all(one is found[0] for one in found)


async def test_a_change_leads_to_another_fetch_after_the_rest() -> None:
    clock, version = ManualClock(), 1
    api = Counting(clock)
    snapshots = Snapshots(api, lambda: version, clock)
    await snapshots.get()
    version = 2
    assert (await snapshots.get()).version == 1, "the master rests, and the snapshot says that it is older"
    clock.advance(REST_S_MIN)
    assert (await snapshots.get()).version == 2


async def test_a_slow_master_rests_longer() -> None:
    clock, version = ManualClock(), 1
    api = Counting(clock, cost_s=1.0)
    snapshots = Snapshots(api, lambda: version, clock)
    await snapshots.get()
    version = 2
    clock.advance(8.0)
    await snapshots.get()
    assert api.asked == 1
    clock.advance(1.5)
    await snapshots.get()
    assert api.asked == 2


async def test_nothing_is_shown_for_too_long() -> None:
    clock = ManualClock()
    api = Counting(clock)
    snapshots = Snapshots(api, lambda: 1, clock)
    await snapshots.get()
    clock.advance(AGE_S_MAX)
    await snapshots.get()
    assert api.asked == 2


async def test_who_did_not_find_something_waits_for_the_rest_to_end_if_there_is_anything_new() -> None:
    clock, version = ManualClock(), 1
    api = Counting(clock)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    snapshots = Snapshots(api, lambda: version, clock, sleep=sleep)
    shown = await snapshots.get()
    assert (await snapshots.newer(shown.version)) is shown, "nothing is newer, so nobody waits"
    version = 2
    assert (await snapshots.newer(shown.version)).version == 2
    assert len(slept) == 1
    assert 0 < slept[0] <= REST_S_MIN + 1e-9
