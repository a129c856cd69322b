"""Seeds on the wire: production's shells, servers and clients keep the promises, and a seed repeats."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from altiplano.agent.shell import Agent
from altiplano.engine.outbox import Outbox
from altiplano.sim import wire
from altiplano.sim.run import Report

ROOT = Path(__file__).parents[2]
PLANTED_SEEDS_MAX = 6
"""A plant that so many seeds do not find fails its test."""

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


def hasty_outbox(patch: pytest.MonkeyPatch) -> None:
    """What rests on records leaves before they are durable."""
    flush, forever = Outbox.flush, 10**18
    patch.setattr(Outbox, "flush", lambda self, durable: flush(self, forever))


def patient_agent(patch: pytest.MonkeyPatch) -> None:
    """An agent's shell waits for ever for a master that fell silent."""

    async def watch(self: Agent, link: object, connection: object) -> None:
        await asyncio.get_running_loop().create_future()

    patch.setattr(Agent, "_watch_silence", watch)


@pytest.mark.parametrize(
    ("plant", "promises", "first_seed"),
    [
        # An agent that said what it then forgot may also start again what it had started.
        (hasty_outbox, ("what is told about a task is true", "no task runs twice"), 5),
        (patient_agent, ("everything comes to its end",), 1),
    ],
)
def test_a_fault_planted_into_production_is_found_by_what_comes_of_it(
    plant: Callable[[pytest.MonkeyPatch], None],
    promises: tuple[str, ...],
    first_seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody looks into the shells here.  The search begins at a seed that is known to find it."""
    plant(monkeypatch)
    for seed in range(first_seed, first_seed + PLANTED_SEEDS_MAX):
        violation = wire.run_seed(seed, check=False).violation
        if violation is not None:
            print(f"found by seed {seed}: {violation}")
            assert violation.startswith(promises), f"found, but by another promise: {violation}"
            return
    pytest.fail(f"not found by seeds {first_seed} to {first_seed + PLANTED_SEEDS_MAX - 1}")
