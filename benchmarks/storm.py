"""A framework that launches many tasks as fast as offers come, and counts."""

from __future__ import annotations

import time

from altiplano import sdk
from altiplano.kit import eventloop
from altiplano.sdk import credentials


class Storm(sdk.Framework):
    """Runs `count` tasks of one command; `seconds` from subscription to the last end.

    With `keep` it leaves them running: `seconds` is then the time until all run.
    """

    name = "storm"

    def __init__(
        self, command: tuple[str, ...], count: int, *, cpus: float = 0.1, mem: float = 32.0, keep: bool = False
    ) -> None:
        self.command, self.count, self.cpus_each, self.mem_each, self.keep = command, count, cpus, mem, keep
        self.launched = self.running = self.ended = 0
        self.bad: list[str] = []
        self.seconds = 0.0
        self._start = 0.0

    def subscribed(self, again: bool) -> None:
        self._start = self._start or time.perf_counter()

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            tasks = []
            room = int(min(offer.cpus / self.cpus_each + 1e-6, offer.mem / self.mem_each + 1e-6))
            while self.launched < self.count and len(tasks) < room:
                number = self.launched
                self.launched += 1
                name = f"storm-{number}"
                tasks.append(sdk.Task(command=self.command, id=name, cpus=self.cpus_each, mem=self.mem_each))
            if tasks:
                offer.launch(*tasks)
            offer.decline(0.0)
        if self.launched == self.count:
            self.suppress()

    def update(self, status: sdk.Status) -> None:
        if status.state is sdk.State.RUNNING:
            self.running += 1
            if self.keep and self.running == self.count:
                self.seconds = time.perf_counter() - self._start
                self.leave()
        elif status.state.ended:
            self.ended += 1
            if status.state is not sdk.State.FINISHED:
                self.bad.append(f"{status.task_id}: {status.state.value} {status.sentence}")
            if self.ended == self.count:
                self.seconds = time.perf_counter() - self._start
                self.stop()


def run(storm: Storm, address: str) -> Storm:
    """Run a storm against a master to its end.  SystemExit when a task did not end as it should."""
    eventloop.run(sdk.serve(storm, credentials.find(address)))
    if storm.bad:
        raise SystemExit(f"{len(storm.bad)} tasks ended badly, the first: {storm.bad[0]}")
    return storm
