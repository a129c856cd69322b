"""The pool that a foreign client is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import foreign


@pytest.fixture
def pool() -> Iterator[foreign.Pool]:
    with foreign.running() as one:
        yield one
