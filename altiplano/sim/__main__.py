"""`python -m altiplano.sim`: run seeds, print what was found and how to see it again."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter

import click
import structlog

from altiplano.sim import run, wire
from altiplano.sim.run import Report

HASH_SEED = "0"
"""Sets of texts are walked in an order that follows this seed, so a run fixes it."""


@click.command()
@click.option("--seed", default=1, show_default=True, help="The first seed.")
@click.option("--seeds", default=1, show_default=True, help="How many seeds to run.")
@click.option("--faults/--no-faults", default=True, show_default=True, help="Let things go wrong.")
@click.option("--wire", "on_wire", is_flag=True, help="With the shells, servers and clients of production (slower).")
@click.option("--check/--no-check", default=True, show_default=True, help="All invariants after every event.")
@click.option("--story", default=60, show_default=True, help="Lines of the story to print after a violation.")
@click.option("--digest", is_flag=True, help="Print the fingerprint of each run.")
def main(seed: int, seeds: int, faults: bool, on_wire: bool, check: bool, story: int, digest: bool) -> None:
    """Simulate a pool under faults.

    Example: python -m altiplano.sim --seed 1 --seeds 50.
    Exit code 0: every promise held; 1: a promise was broken.
    """
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "altiplano.sim", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": HASH_SEED},
        )
    logging.disable(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    started, simulated_s, broken = time.perf_counter(), 0.0, Counter[str]()
    run_seed = wire.run_seed if on_wire else run.run_seed
    for number in range(seed, seed + seeds):
        report = run_seed(number, faults=faults, check=check)
        simulated_s += report.simulated_s
        if digest:
            click.echo(f"seed {number}: {report.digest} after {report.lines} events")
        if report.violation is not None:
            broken[report.violation.partition(":")[0]] += 1
            _show(report, story)
    took_s = time.perf_counter() - started
    click.echo(
        f"{seeds} seeds, {simulated_s / 3600:.1f} simulated hours in {took_s:.1f} s; {broken.total()} broken promises"
    )
    for promise, count in broken.most_common():
        click.echo(f"  {count} times: {promise}")
    sys.exit(1 if broken else 0)


def _show(report: Report, lines: int) -> None:
    for line in report.story[-lines:] if lines else ():
        click.echo(f"  {line}")
    if report.details:
        click.echo(report.details)
    click.echo(f"seed {report.seed}: {report.violation}")
    click.echo(f"  see it again: {report.replay}")


if __name__ == "__main__":
    main()
