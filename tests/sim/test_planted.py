"""Each checker proves itself: planted faults are found, and the number of seeds it took is printed."""

from __future__ import annotations

import os

import planted
import planted_api
import pytest
from planted import Plant

from altiplano.sim.run import run_seed

SEEDS_MAX = 60
"""A plant that so many seeds do not find fails its test."""

FROM_ONE = "ALTIPLANO_SIM_FROM_ONE" in os.environ
"""Begin every search at seed 1: how hard is it really?  Takes minutes."""


PLANTS = (*planted.PLANTS, *planted_api.PLANTS)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name.replace(" ", "-"))
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    if plant.patch is not None:
        plant.patch(monkeypatch)
    first = 1 if FROM_ONE else plant.first_seed
    for seed in range(first, first + SEEDS_MAX):
        report = run_seed(seed, parts=plant.parts, check=False, without=plant.blind_to)
        if report.violation is not None:
            print(f"\n{plant.name}: found by seed {seed}, the {seed - first + 1}. tried: {report.violation[:200]}")
            assert report.violation.startswith(plant.promise), f"found, but by another promise: {report.violation}"
            return
    pytest.fail(f"{plant.name}: not found by seeds {first} to {first + SEEDS_MAX - 1}")
