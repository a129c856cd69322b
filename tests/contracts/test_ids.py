"""What ids promise (`altiplano.ports.ids.Ids`)."""

from __future__ import annotations

import re
import uuid

import pytest

from altiplano.adapters.system import SystemIds
from altiplano.ports.ids import Ids
from altiplano.testing.ids import SeededIds

both = pytest.mark.parametrize("ids", [SystemIds(), SeededIds(1)], ids=["system", "seeded"])


@both
def test_uuids_are_random_ones_and_differ(ids: Ids) -> None:
    texts = {ids.uuid() for _ in range(100)}
    assert len(texts) == 100
    assert {uuid.UUID(text).version for text in texts} == {4}
    assert uuid.UUID(bytes=ids.uuid_bytes()).version == 4


@both
def test_tokens_are_safe_in_urls_and_hard_to_guess(ids: Ids) -> None:
    token = ids.token()
    assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", token)
    assert token != ids.token()


@both
def test_fractions_lie_in_their_range(ids: Ids) -> None:
    assert all(0 <= ids.fraction() < 1 for _ in range(1000))


def test_a_seed_repeats() -> None:
    first, second, other = SeededIds(7), SeededIds(7), SeededIds(8)
    names = [first.uuid(), first.token()]
    assert names == [second.uuid(), second.token()]
    assert names != [other.uuid(), other.token()]
