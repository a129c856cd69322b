"""The virtual loop: time jumps, nothing real happens, nothing depends on anything but the inputs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from altiplano.sim import loop as virtual
from altiplano.sim.loop import Deadlock, Livelock, NotSimulated, VirtualClock


def test_an_hour_costs_nothing_and_timers_fire_in_their_order() -> None:
    async def main() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        async def tick(name: str, period_s: float) -> None:
            while loop.time() < virtual.START_MONO_S + 3600:
                await asyncio.sleep(period_s)
                fired.append((name, loop.time()))

        async with asyncio.TaskGroup() as group:
            group.create_task(tick("a", 15))
            group.create_task(tick("b", 40))
        return fired

    fired = virtual.run(main())
    assert len(fired) == 240 + 90
    assert [at for _, at in fired] == sorted(at for _, at in fired)
    assert fired == virtual.run(main())


def test_the_clock_follows_the_loop_and_may_be_wrong_about_the_wall() -> None:
    async def main() -> None:
        right, wrong = (VirtualClock(asyncio.get_running_loop(), wall_offset_s=offset) for offset in (0, 30))
        before = right.now()
        await asyncio.sleep(100)
        assert right.now().mono_s - before.mono_s == 100
        assert wrong.now().wall_s - right.now().wall_s == 30

    virtual.run(main())


def test_a_wait_that_nothing_can_end_is_reported() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="will never come"):
        virtual.run(main())


def test_what_spins_without_letting_time_pass_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "TURNS_PER_INSTANT_MAX", 1000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="spins"):
        virtual.run(main())


def test_threads_are_refused_by_name() -> None:
    async def main() -> None:
        with pytest.raises(NotSimulated, match="perf_counter was to run on a thread"):
            await asyncio.to_thread(time.perf_counter)
        with pytest.raises(NotSimulated):
            await asyncio.get_running_loop().run_in_executor(None, print)

    virtual.run(main())


def test_a_call_from_another_thread_is_refused() -> None:
    problems: list[Exception] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except NotSimulated as problem:
                problems.append(problem)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    virtual.run(main())
    assert len(problems) == 1


def test_without_a_network_nobody_connects() -> None:
    async def main() -> None:
        with pytest.raises(NotSimulated, match="no network"):
            await asyncio.open_connection("somewhere", 80)

    virtual.run(main())
