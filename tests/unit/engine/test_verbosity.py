"""The level of the log."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from altiplano.engine.verbosity import LEVEL_MAX, SECONDS_MAX, Verbosity


def passes(verbosity: Verbosity, method: str) -> bool:
    try:
        verbosity.filter(None, method, {})
    except structlog.DropEvent:
        return False
    return True


async def test_debug_events_pass_while_the_level_is_raised_and_no_longer():
    verbosity = Verbosity()
    assert (passes(verbosity, "info"), passes(verbosity, "debug")) == (True, False)
    assert verbosity.set(1, 60.0) is None
    assert passes(verbosity, "debug")
    assert verbosity.set(1, 0.0) is None
    async with asyncio.timeout(10):
        while verbosity.level:
            await asyncio.sleep(0)
    assert not passes(verbosity, "debug")


@pytest.mark.parametrize(("level", "seconds"), [(-1, 1.0), (LEVEL_MAX + 1, 1.0), (1, -1.0), (1, SECONDS_MAX + 1)])
async def test_a_level_that_is_none_changes_nothing(level: int, seconds: float):
    verbosity = Verbosity()
    assert "logging level" in (verbosity.set(level, seconds) or "")
    assert verbosity.level == 0
