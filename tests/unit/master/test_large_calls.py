"""Large calls take turns, and leave the loop most of the time."""

from __future__ import annotations

import asyncio

from altiplano.master.api import endpoint
from altiplano.sim import loop as virtual


def begun_at(reads: int, each_s: float) -> list[float]:
    """When each of so many large calls, asked for at once, begins to be read, on a virtual clock."""

    async def main() -> list[float]:
        room, begun = endpoint.Room(), list[float]()
        loop = asyncio.get_running_loop()
        first_s = loop.time()

        async def read() -> None:
            async with room.reading():
                begun.append(round(loop.time() - first_s, 6))
                await asyncio.sleep(each_s)

        await asyncio.gather(*(read() for _ in range(reads)))
        return begun

    return virtual.run(main())


def test_after_a_large_call_none_is_read_for_a_multiple_of_its_time() -> None:
    period_s = 0.01 * (1 + endpoint.REST_FACTOR)
    assert begun_at(3, 0.01) == [0.0, round(period_s, 6), round(2 * period_s, 6)]


def test_the_rest_has_an_end_however_long_a_call_took() -> None:
    assert begun_at(2, 10.0) == [0.0, 10.0 + endpoint.REST_S_MAX]


def test_a_call_alone_does_not_wait() -> None:
    assert begun_at(1, 0.01) == [0.0]
