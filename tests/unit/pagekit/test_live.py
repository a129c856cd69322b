from __future__ import annotations

import pytest

from altiplano.pagekit import live
from altiplano.pagekit.live import Pulse


async def test_a_viewer_hears_the_present_state_at_once_and_then_changes_only() -> None:
    version = 7
    pulse = Pulse(lambda: version, interval_s=0.0, tick_s=1000.0)
    stream = pulse.stream()
    first = await anext(stream)
    assert first == f"event: changed\ndata: {pulse.mark(7)}\n\n".encode()
    version = 9
    assert await anext(stream) == f"event: changed\ndata: {pulse.mark(9)}\n\n".encode()
    await stream.aclose()


async def test_without_changes_there_are_ticks() -> None:
    stream = Pulse(lambda: 1, interval_s=0.0, tick_s=0.0).stream()
    await anext(stream)
    assert await anext(stream) == b"event: tick\ndata: .\n\n"
    await stream.aclose()


def test_marks_of_two_starts_differ() -> None:
    assert Pulse(lambda: 1).mark() != Pulse(lambda: 1).mark()


async def test_there_is_a_limit_of_viewers_and_leaving_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "VIEWERS_MAX", 1)
    pulse = Pulse(lambda: 1, interval_s=0.0)
    one, two = pulse.stream(), pulse.stream()
    await anext(one)
    with pytest.raises(live.TooManyViewers):
        await anext(two)
    await one.aclose()
    three = pulse.stream()
    await anext(three)
    await three.aclose()
