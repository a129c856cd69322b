"""The allocator by itself: full runs over a large pool, their longest slices, quotas, refusals, and one event.

Times are CPU times of this process; nothing is sent.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence

from altiplano.master.allocator.allocator import Allocator
from altiplano.master.allocator.pool import Pick
from altiplano.master.allocator.quota import Quota
from altiplano.model.resources import parse
from benchmarks.measure import Measurement

AGENTS = 10_000
EVENTS = 2000
ROUNDS = 3
MINIMUMS = ({"cpus": 10}, {"mem": 32_000})
MACHINE = "cpus:8;mem:16000;disk:100000;ports:[31000-32000]"

QUOTA_AGENTS = 3_000
SMALL, LARGE = 2_500, 500
"""Roles with a quota of half an agent and of two, and a framework each: the shape by which Mesos is measured."""

DECLINE_AGENTS, DECLINE_FRAMEWORKS = 1_000, 100


def pool(frameworks: int, roles: int = 1, agents: int = AGENTS, machine: str = MACHINE) -> Allocator:
    """Roles are on two levels, `r3/r13` and so on, if there are several."""
    made = Allocator(interval_s=1.0, minimums=MINIMUMS)
    for number in range(frameworks):
        role = f"r{number % roles % 10}/r{number % roles}" if roles > 1 else "*"
        made.add_framework(f"f{number}", (role,), (), active=True)
    total = parse(machine)
    for number in range(agents):
        made.add_agent(f"a{number}", total)
        made.activate_agent(f"a{number}", True)
    return made


def quota_pool() -> Allocator:
    made = Allocator(interval_s=1.0, minimums=MINIMUMS)
    for number in range(SMALL + LARGE):
        size = 1 if number < SMALL else 4
        amounts = {"cpus": size * 1000, "mem": size * 1024_000, "disk": size * 1024_000}
        made.set_quota(f"r{number}", Quota(guarantees=amounts, limits=amounts))
        made.add_framework(f"f{number}", (f"r{number}",), (), active=True)
    total = parse("cpus:2;mem:2048;disk:2048")
    for number in range(QUOTA_AGENTS):
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
        allocator.visited(plan.visited, plan.withheld)
        for pick in plan.picks:
            allocator.offer(pick.agent_id, pick.framework_id, pick.role, pick.resources, part=pick.part)
            offers.append(pick)
        if not allocator.queue:
            allocator.end()
        slices.append(time.process_time() - began)
    return offers, sum(slices), max(slices)


def decline(allocator: Allocator, pick: Pick) -> None:
    allocator.recover(pick.agent_id, pick.framework_id, pick.role, pick.resources)
    allocator.offer_ended(pick.framework_id)
    allocator.refuse(pick.agent_id, pick.framework_id, pick.role, pick.resources, until_s=1e9, short=False)


def event(allocator: Allocator, offers: Sequence[Pick]) -> float:
    """CPU time of one declined offer and the run that offers it to somebody else."""
    began = time.process_time()
    for pick in offers[:EVENTS]:
        decline(allocator, pick)
        full_run(allocator)
    return (time.process_time() - began) / EVENTS


def best(make: Callable[[], Allocator]) -> tuple[Allocator, list[Pick], float, float]:
    """The least CPU time of several runs, each over a new pool, and the least of their longest slices."""
    runs = []
    for _ in range(ROUNDS):
        allocator = make()
        gc.collect()
        # As a master does once it has recovered.
        gc.freeze()
        offers, whole, longest = full_run(allocator)
        gc.unfreeze()
        runs.append((whole, longest))
    return allocator, offers, min(whole for whole, _ in runs), min(longest for _, longest in runs)


def run() -> Iterable[Measurement]:
    for label, frameworks, roles, goal_ms in (
        ("allocation_1", 1, 1, 100.0),
        ("allocation_1000", 1000, 1, 150.0),
        ("allocation_roles", 1000, 100, 150.0),
    ):
        allocator, offers, whole, longest = best(lambda: pool(frameworks, roles))  # noqa: B023 (called at once)
        note = f"{AGENTS:,} agents, {frameworks:,} frameworks, {roles} roles, best of {ROUNDS}"
        yield _cpu(f"{label}_run", whole * 1e3, "ms CPU", goal_ms, note)
        yield _cpu(f"{label}_slice", longest * 1e3, "ms CPU", 10.0, "longest")
        yield _cpu(f"{label}_event", event(allocator, offers) * 1e6, "µs CPU", 50.0, "a decline, and who is next")
    yield from _quotas()
    yield from _declines()


def _quotas() -> Iterable[Measurement]:
    allocator, offers, whole, longest = best(quota_pool)
    agents = f"{QUOTA_AGENTS:,} agents, roles with quota and frameworks"
    yield _cpu("allocation_quota_busy", whole * 1e3, "ms CPU", 300.0, f"{agents}, {len(offers):,} offers")
    yield _cpu("allocation_quota_slice", longest * 1e3, "ms CPU", 10.0, "longest")
    yield _cpu("allocation_quota_idle", full_run(allocator)[1] * 1e3, "ms CPU", 1.0, "the round after that")


def _declines() -> Iterable[Measurement]:
    """Everything is declined for ever, round after round, so that there are more refusals each time."""
    allocator = pool(DECLINE_FRAMEWORKS, agents=DECLINE_AGENTS)
    offers, first, _ = full_run(allocator)
    last = first
    for _ in range(DECLINE_FRAMEWORKS // 2):
        for pick in offers:
            decline(allocator, pick)
        offers, last, longest = full_run(allocator)
    note = f"{len(allocator.filters):,} refusals; the first round took {first * 1e3:.1f} ms"
    yield _cpu("allocation_decline_run", last * 1e3, "ms CPU", None, note)
    yield _cpu("allocation_decline_slice", longest * 1e3, "ms CPU", 10.0, "longest")


def _cpu(name: str, value: float, unit: str, goal: float | None, note: str) -> Measurement:
    return Measurement(name=name, value=value, unit=unit, better="lower", goal=goal, note=note)
