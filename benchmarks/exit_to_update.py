"""From the exit of a process to the update about it, as its framework sees it.

The task sleeps; the benchmark ends its process with SIGKILL, which a sleeping process obeys at once, so the moment of
the exit is known to some ten microseconds without a program of ours in the task.  What follows is the supervisor's
pidfd, its record on disk, the agent's log, the link, the master and the framework's stream.  The time until the agent
has decided is the update's own timestamp; it leaves the agent when the log is on disk, which lies between both, so
only the later moment can prove the goal.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

from altiplano import sdk
from altiplano.kit import eventloop
from altiplano.sdk import credentials
from benchmarks.measure import Measurement, pool

ROUNDS = 100


class EndOneByOne(sdk.Framework):
    """Starts a task, ends its process, notes when the agent and when we knew; then the next."""

    name = "end-one-by-one"

    def __init__(self) -> None:
        self.busy = False
        self.ended_wall_s = 0.0
        self.to_decided: list[float] = []
        self.to_told: list[float] = []

    def offers(self, offers: list[sdk.Offer]) -> None:
        if not self.busy and offers:
            self.busy = True
            offers[0].launch(sdk.Task(command=("sleep", "600"), cpus=0.1, mem=32))
        for offer in offers:
            offer.decline(0.0)

    def update(self, status: sdk.Status) -> None:
        if status.state is sdk.State.RUNNING:
            container = status.message.container_status
            assert container is not None
            assert container.executor_pid is not None
            self.ended_wall_s = time.time()
            os.kill(container.executor_pid, signal.SIGKILL)
        elif status.state.ended:
            self.to_told.append(time.time() - self.ended_wall_s)
            self.to_decided.append((status.wall_s or 0.0) - self.ended_wall_s)
            self.busy = False
            if len(self.to_told) == ROUNDS:
                self.stop()
            else:
                self.revive()


def run() -> Iterable[Measurement]:
    framework = EndOneByOne()
    with pool() as running:
        eventloop.run(sdk.serve(framework, credentials.find(running.address)))
    for name, values, goal in (
        ("exit_to_update/agent", framework.to_decided, None),
        ("exit_to_update/framework", framework.to_told, 5.0),
    ):
        ordered = sorted(values)
        yield Measurement(
            name=name,
            value=ordered[len(ordered) // 2] * 1e3,
            unit="ms, p50",
            better="lower",
            goal=goal,
            note=f"p99 {ordered[int(len(ordered) * 0.99) - 1] * 1e3:.1f} ms of {ROUNDS}",
            spread=(ordered[0] * 1e3, ordered[-1] * 1e3),
        )
