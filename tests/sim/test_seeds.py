"""Seeds of the real thing: every promise holds, faults really happen, and a seed repeats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import many
import pytest

from altiplano.sim.run import Report, run_seed

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("ALTIPLANO_SIM_SECONDS", "65"))
"""How long seeds are run, on two processors."""

SEEDS_MAX = int(os.environ.get("ALTIPLANO_SIM_SEEDS", "1000"))
"""How many seeds the night runs."""

SEEDS_MIN = 20
"""Fewer would say little, however slow the machine is."""


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return many.run_many(many.message_seed, many.seeds_to_run("message"), seconds=SECONDS, most=SEEDS_MAX)


def test_every_promise_holds(reports: list[Report]) -> None:
    broken = many.show(reports)
    assert not broken, f"{len(broken)} of {len(reports)} seeds break a promise; the first: {broken[0].replay}"


def test_processes_really_die_and_work_is_really_done(reports: list[Report]) -> None:
    """A simulation in which nothing happens breaks no promise either."""
    assert len(reports) >= min(SEEDS_MIN, SEEDS_MAX)
    assert sum(report.restarts for report in reports) > 5 * len(reports)
    assert all(report.lines > 1000 for report in reports)
    assert len({report.digest for report in reports}) == len(reports)


def test_without_faults_no_process_restarts() -> None:
    report = run_seed(3, faults=False)
    assert (report.violation, report.restarts) == (None, 0)


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    """Also with another hash seed: nothing walks a set of texts, or of objects by address."""
    script = "from altiplano.sim.run import run_seed; print(*(run_seed(seed).digest for seed in (7,)))"
    traces = set()
    for hash_seed in ("0", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1, "the same seed took different ways"


def test_the_command_says_what_was_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "altiplano.sim", "--seed", "8", "--seeds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 seeds" in done.stdout
    assert "0 broken promises" in done.stdout
