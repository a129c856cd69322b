"""Many seeds on all processors, for as long as there is time; and the seeds that have found something."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator

import structlog

from altiplano.sim import run, wire
from altiplano.sim.run import Report

NIGHT = bool(os.environ.get("ALTIPLANO_TEST_NIGHT"))
WORKERS = 2
STORY_LINES = 60
"""Of a run that broke a promise, so much of the end of its story is shown."""

FOUND: dict[str, dict[int, str]] = {
    "message": {
        1: "an executor that a good-bye had silenced told of its tasks by the agent's next id",
        3: "an order that was under way when an agent said good-bye could not be decided",
        4: "a late SUBSCRIBE of an ended executor stopped the agent that prepared its successor",
        11: "the last words of an ended executor counted after its end was told and acknowledged",
        39: "a task that was given up and turned up stopped the agent",
        46: "an agent that returned told of tasks that their framework had been told to be lost",
        61: "whoever asked was told a newer state than the agent went on to tell",
        68: "the last words of an ended executor counted after its end was told",
        71: "an executor that ended between greeting and welcome was counted for ever",
        191: "who follows was not told that a task had ended whose framework was away",
        275: "the first seed that found a kill that got lost",
    },
    "wire": {14: "a kill got lost between a master and an agent that both restarted"},
}
"""Seeds that broke a promise, and what was mended since.  docs/simulation.md says more."""


def message_seed(seed: int) -> Report:
    return run.run_seed(seed)


def wire_seed(seed: int) -> Report:
    return wire.run_seed(seed)


def seeds_to_run(kind: str) -> Iterator[int]:
    """Those that have found something, then all from the first one on."""
    yield from FOUND[kind]
    seed = 0
    while True:
        seed += 1
        if seed not in FOUND[kind]:
            yield seed


def run_many(one: Callable[[int], Report], seeds: Iterator[int], *, seconds: float, most: int) -> list[Report]:
    """Reports of as many seeds as fit into the time, at most so many; in the night the time does not count."""
    reports, started_s = [], time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(
        WORKERS, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet
    ) as pool:
        running: set[concurrent.futures.Future[Report]] = set()
        begun = 0
        while True:
            while len(running) < WORKERS and begun < most and (NIGHT or time.monotonic() - started_s < seconds):
                running.add(pool.submit(_trimmed, one, next(seeds)))
                begun += 1
            if not running:
                return reports
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            reports += [future.result() for future in done]


def show(reports: list[Report]) -> list[Report]:
    """Print what was run and what broke; the runs that broke a promise."""
    broken = [report for report in reports if report.violation is not None]
    for report in broken:
        print(*report.story, report.details, report.violation, f"see it again: {report.replay}", sep="\n")
    hours, steps = sum(report.simulated_s for report in reports) / 3600, sum(report.lines for report in reports)
    print(f"{len(reports)} seeds, {steps:,} steps, {hours:.1f} simulated hours, {len(broken)} broken promises")
    return broken


def _trimmed(one: Callable[[int], Report], seed: int) -> Report:
    report = one(seed)
    return dataclasses.replace(report, story=report.story[-STORY_LINES:])


def _quiet() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
