"""What a registry promises beyond a log: each opening is a new, higher leadership."""

from __future__ import annotations

import pytest

from altiplano.ports.log import LogInUse

from .conftest import Place


async def test_each_opening_is_a_higher_epoch(place: Place) -> None:
    for expected in (1, 2, 3):
        registry = place.open_registry()
        await registry.recover()
        assert registry.epoch == expected
        await registry.close()


async def test_the_epoch_is_kept_even_if_nothing_is_ever_written(place: Place) -> None:
    """A leader that dies at once has still used its number: agents may have heard it."""
    first = place.open_registry()
    await first.recover()
    await first.close()
    second = place.open_registry()
    assert await second.recover() == (None, [])
    assert second.epoch == first.epoch + 1
    await second.close()


async def test_facts_and_epoch_go_on_together(place: Place) -> None:
    registry = place.open_registry()
    await registry.recover()
    registry.append([b"agent admitted"])
    registry.compact(b"snapshot", 1)
    registry.append([b"quota set"])
    await registry.close()
    registry = place.open_registry()
    assert await registry.recover() == (b"snapshot", [b"quota set"])
    assert registry.epoch == 2
    await registry.close()


async def test_a_refused_opener_does_not_use_up_an_epoch(place: Place) -> None:
    registry = place.open_registry()
    await registry.recover()
    with pytest.raises(LogInUse):
        await place.open_registry().recover()
    await registry.close()
    registry = place.open_registry()
    await registry.recover()
    assert registry.epoch == 2
    await registry.close()
