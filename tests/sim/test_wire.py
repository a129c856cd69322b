"""Seeds on the wire: production's shells, servers and clients keep the promises, and a seed repeats."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import many
import pytest

from altiplano.agent.shell import Agent
from altiplano.engine.outbox import Outbox
from altiplano.link.session import Session
from altiplano.sim import net, wire
from altiplano.sim.run import Report

ROOT = Path(__file__).parents[2]
PLANTED_SEEDS_MAX = 6
"""A plant that so many seeds do not find fails its test."""

SECONDS = float(os.environ.get("ALTIPLANO_WIRE_SECONDS", "35"))
"""How long seeds are run, on two processors."""

SEEDS_MAX = int(os.environ.get("ALTIPLANO_WIRE_SEEDS", "200"))
"""How many seeds the night runs."""


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return many.run_many(many.wire_seed, many.seeds_to_run("wire"), seconds=SECONDS, most=SEEDS_MAX)


def test_every_promise_holds_on_the_wire(reports: list[Report]) -> None:
    broken = many.show(reports)
    assert not broken, f"{len(broken)} of {len(reports)} seeds break a promise; the first: {broken[0].replay}"


def test_processes_on_the_wire_really_die_and_come_back(reports: list[Report]) -> None:
    """A simulation in which nothing happens breaks no promise either."""
    assert sum(report.restarts for report in reports) > 5 * len(reports)
    assert all(report.lines > 1000 for report in reports)


def test_the_command_shows_the_same_trace_in_another_process(reports: list[Report]) -> None:
    """There with another hash seed, and as the first run of its process."""
    done = subprocess.run(
        [sys.executable, "-m", "altiplano.sim", "--wire", "--seed", "14", "--digest"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = next(report for report in reports if report.seed == 14)
    assert f"seed 14: {first.digest} after {first.lines} events" in done.stdout


def hasty_outbox(patch: pytest.MonkeyPatch) -> None:
    """What rests on records leaves before they are durable."""
    flush, forever = Outbox.flush, 10**18
    patch.setattr(Outbox, "flush", lambda self, durable: flush(self, forever))


def patient_agent(patch: pytest.MonkeyPatch) -> None:
    """An agent's shell waits for ever for a master that fell silent, and its system does not help."""
    patch.setattr(net, "GIVEN_UP_S", 1e9)

    async def watch(self: Agent, link: object, connection: object) -> None:
        await asyncio.get_running_loop().create_future()

    patch.setattr(Agent, "_watch_silence", watch)


def _spoils_frames(patch: pytest.MonkeyPatch, copies: int) -> None:
    """Every twentieth frame that a link sends is lost or doubled, and nobody looks at their numbers."""
    counts = {"frames": 0}
    outgoing, accept = Session.outgoing, Session._accept

    def spoilt(self: Session) -> list[str | bytes]:
        frames: list[str | bytes] = []
        for frame in outgoing(self):
            counts["frames"] += 1
            frames += [frame] * (copies if counts["frames"] % 20 == 0 else 1)
        return frames

    def blind(self: Session, seq: int, ack: int, epoch: int, size: int) -> None:
        if seq:
            self._received = seq - 1
        accept(self, seq, max(self._acknowledged, min(ack, self._sent)), epoch, size)

    patch.setattr(Session, "outgoing", spoilt)
    patch.setattr(Session, "_accept", blind)


def drops_frames(patch: pytest.MonkeyPatch) -> None:
    _spoils_frames(patch, 0)


def repeats_frames(patch: pytest.MonkeyPatch) -> None:
    _spoils_frames(patch, 2)


def forgetful_executor_api(patch: pytest.MonkeyPatch) -> None:
    """The agent's API takes every fifth update of an executor and does not pass it on."""
    original, counts = Agent.executor_updated, {"updates": 0}

    def updated(self: Agent, call: Any, status: Any) -> None:
        counts["updates"] += 1
        if counts["updates"] % 5:
            original(self, call, status)

    patch.setattr(Agent, "executor_updated", updated)


@pytest.mark.parametrize(
    ("plant", "promises", "first_seed"),
    [
        (drops_frames, ("",), 1),
        (repeats_frames, ("",), 1),
        (forgetful_executor_api, ("everything comes to its end",), 1),
        # An agent that said what it then forgot may also start again what it had started.
        (hasty_outbox, ("what is told about a task is true", "no task runs twice", "an acknowledged update stays"), 5),
        (patient_agent, ("everything comes to its end",), 7),
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
