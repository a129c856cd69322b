"""The allocator by itself: full runs over a large pool, its longest slice, and one event.

Times are CPU times of this process; nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from altiplano.master.allocator.allocator import Allocator, Pick
from altiplano.model.resources import parse
from benchmarks.measure import Measurement

AGENTS = 10_000
EVENTS = 2000
ROUNDS = 3
MINIMUMS = ({"cpus": 10}, {"mem": 32_000})


def pool(frameworks: int) -> Allocator:
    made = Allocator(interval_s=1.0, minimums=MINIMUMS)
    for number in range(frameworks):
        made.add_framework(f"f{number}", ("*",), (), active=True)
    total = parse("cpus:8;mem:16000;disk:100000;ports:[31000-32000]")
    for number in range(AGENTS):
        made.add_agent(f"a{number}", total)
        made.activate_agent(f"a{number}", True)
    return made


def full_run(allocator: Allocator) -> tuple[list[Pick], float, float]:
    """A run as the master makes it; what it offered, its CPU time, and that of its longest slice."""
    offers: list[Pick] = []
    began = time.process_time()
    allocator.begin(None)
    slices = [time.process_time() - began]
    while allocator.running:
        began = time.process_time()
        plan = allocator.plan()
        allocator.visited(plan.visited)
        for pick in plan.picks:
            allocator.offer(pick.agent_id, pick.framework_id, pick.role, pick.resources)
            offers.append(pick)
        if not allocator.queue:
            allocator.end()
        slices.append(time.process_time() - began)
    return offers, sum(slices), max(slices)


def event(allocator: Allocator, offers: list[Pick]) -> float:
    """CPU time of one declined offer and the run that offers it to somebody else."""
    began = time.process_time()
    for pick in offers[:EVENTS]:
        allocator.recover(pick.agent_id, pick.framework_id, pick.role, pick.resources)
        allocator.offer_ended(pick.framework_id)
        allocator.refuse(pick.agent_id, pick.framework_id, pick.role, pick.resources, until_s=1e9, short=False)
        full_run(allocator)
    return (time.process_time() - began) / EVENTS


def run() -> Iterable[Measurement]:
    for frameworks, goal_ms in ((1, 100.0), (1000, 150.0)):
        runs = []
        for _ in range(ROUNDS):
            allocator = pool(frameworks)
            offers, whole, longest = full_run(allocator)
            runs.append((whole, longest))
        best_whole, best_longest = min(one for one, _ in runs), min(one for _, one in runs)
        label = f"allocation_{frameworks}"
        note = f"{AGENTS:,} agents, best of {ROUNDS}"
        yield Measurement(
            name=f"{label}_run", value=best_whole * 1e3, unit="ms CPU", better="lower", goal=goal_ms, note=note
        )
        yield Measurement(
            name=f"{label}_slice", value=best_longest * 1e3, unit="ms CPU", better="lower", goal=10.0, note="longest"
        )
        spent = event(allocator, offers) * 1e6
        yield Measurement(name=f"{label}_event", value=spent, unit="µs CPU", better="lower", goal=50.0)
