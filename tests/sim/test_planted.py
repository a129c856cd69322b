"""Each checker proves itself: planted faults are found, and the number of seeds it took is printed."""

from __future__ import annotations

import pytest
from planted import PLANTS, Plant

from altiplano.sim.run import run_seed

SEEDS_MAX = 120
"""A plant that no seed up to here finds fails its test."""


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name.replace(" ", "-"))
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    if plant.patch is not None:
        plant.patch(monkeypatch)
    for seed in range(1, SEEDS_MAX + 1):
        report = run_seed(seed, parts=plant.parts, check=False, without=plant.blind_to)
        if report.violation is not None:
            print(f"\n{plant.name}: found by seed {seed} ({seed} needed): {report.violation[:200]}")
            assert report.violation.startswith(plant.promise), f"found, but by another promise: {report.violation}"
            return
    pytest.fail(f"{plant.name}: not found by {SEEDS_MAX} seeds")
