"""One command task: ACCEPT → RUNNING → FINISHED as its framework sees it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from altiplano import sdk
from altiplano.kit import eventloop
from altiplano.sdk import credentials
from benchmarks.measure import Measurement, pool

ROUNDS = 200


class OneByOne(sdk.Framework):
    """Launches a task, waits for its end, then the next."""

    name = "one-by-one"

    def __init__(self) -> None:
        self.started = 0.0
        self.to_running: list[float] = []
        self.to_finished: list[float] = []

    def offers(self, offers: list[sdk.Offer]) -> None:
        if not self.started and offers:
            self.started = time.perf_counter()
            offers[0].launch(sdk.Task(command=("true",), cpus=0.1, mem=32))
        for offer in offers:
            offer.decline(0.0)

    def update(self, status: sdk.Status) -> None:
        seconds = time.perf_counter() - self.started
        if status.state is sdk.State.RUNNING:
            self.to_running.append(seconds)
        elif status.state.ended:
            self.to_finished.append(seconds)
            self.started = 0.0
            if len(self.to_finished) == ROUNDS:
                self.stop()
            else:
                self.revive()


def run() -> Iterable[Measurement]:
    framework = OneByOne()
    with pool() as running:
        eventloop.run(sdk.serve(framework, credentials.find(running.address)))
    for name, values, goal in (
        ("one_task/running", framework.to_running, None),
        ("one_task/finished", framework.to_finished, 20.0),
    ):
        ordered = sorted(values)
        yield Measurement(
            name=name,
            value=statistics.median(ordered) * 1e3,
            unit="ms, p50",
            better="lower",
            goal=goal,
            note=f"p99 {ordered[int(len(ordered) * 0.99) - 1] * 1e3:.1f} ms of {ROUNDS}",
            spread=(ordered[0] * 1e3, ordered[-1] * 1e3),
        )
