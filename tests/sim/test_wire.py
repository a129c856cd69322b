"""Seeds on the wire: production's shells, servers and clients keep the promises, and a seed repeats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from altiplano.sim import wire
from altiplano.sim.run import Report

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("ALTIPLANO_WIRE_SEEDS", "2"))
"""How many seeds a run of this test takes."""


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return [wire.run_seed(seed) for seed in range(1, SEEDS + 1)]


def test_every_promise_holds_on_the_wire(reports: list[Report]) -> None:
    broken = [report for report in reports if report.violation is not None]
    for report in broken:
        print(*report.story[-60:], report.details, report.violation, f"see it again: {report.replay}", sep="\n")
    assert not broken, f"{len(broken)} of {SEEDS} seeds break a promise; the first: {broken[0].replay}"


def test_processes_on_the_wire_really_die_and_come_back(reports: list[Report]) -> None:
    """A simulation in which nothing happens breaks no promise either."""
    assert sum(report.restarts for report in reports) > 5 * SEEDS
    assert all(report.lines > 1000 for report in reports)


def test_the_command_shows_the_same_trace_in_another_process(reports: list[Report]) -> None:
    """There with another hash seed, and as the first run of its process."""
    done = subprocess.run(
        [sys.executable, "-m", "altiplano.sim", "--wire", "--seed", "1", "--digest"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"seed 1: {reports[0].digest} after {reports[0].lines} events" in done.stdout
