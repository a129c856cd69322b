"""Slices of a run: what one of them remembers from agent to agent, as if all were one."""

from __future__ import annotations

import pytest

from altiplano.master.allocator.allocator import Allocator
from altiplano.master.allocator.pool import Pick
from altiplano.model.resources import parse

MINIMUMS = ({"cpus": 10}, {"mem": 32_000})


def pool(*frameworks: str) -> Allocator:
    made = Allocator(interval_s=1.0, minimums=MINIMUMS)
    for name in frameworks:
        made.add_framework(name, ("*",), (), active=True)
    return made


def add_agent(allocator: Allocator, name: str, total: str = "cpus:4;mem:1024") -> None:
    allocator.add_agent(name, parse(total))
    allocator.activate_agent(name, True)


def run(allocator: Allocator, pairs_max: int, expired_s: float | None = None) -> list[Pick]:
    picks: list[Pick] = []
    allocator.begin(expired_s)
    while allocator.running:
        plan = allocator.plan(pairs_max)
        allocator.visited(plan.visited, plan.withheld)
        for pick in plan.picks:
            if pick.waits:
                allocator.keep_turn(pick.agent_id, pick.framework_id, pick.role, pick.resources)
            else:
                allocator.offer(pick.agent_id, pick.framework_id, pick.role, pick.resources, part=pick.part)
        picks += plan.picks
        if not allocator.queue:
            allocator.end()
    return picks


@pytest.mark.parametrize("pairs_max", [1, 10_000])
def test_a_framework_gets_one_whole_agent_for_the_parts_it_declined(pairs_max: int):
    """Tired of parts, `a` gets all of the first agent; of the next, which it is its turn for as well, a part."""
    allocator = pool("b", "c", "d")
    allocator.set_weight("heavy", 1000.0)
    allocator.add_framework("a", ("heavy",), (), active=True)
    allocator.clients["a"].parts_declined = 2
    add_agent(allocator, "used", "cpus:3;mem:30")
    for name in ("b", "c", "d"):
        allocator.allocate("used", name, "*", parse("cpus:1;mem:10"))
    for name in ("m", "n"):
        add_agent(allocator, name)
    picks = [(pick.agent_id, pick.framework_id, pick.part) for pick in run(allocator, pairs_max)]
    assert picks[:2] == [("m", "a", False), ("n", "a", True)]


@pytest.mark.parametrize("pairs_max", [1, 10_000])
def test_who_loses_an_agent_that_was_kept_for_it_waits_like_others(pairs_max: int):
    """Both agents kept for `a` go to others now; so `a` waits as well, and the second is divided for it and `d`."""
    allocator = pool("a")
    add_agent(allocator, "m")
    add_agent(allocator, "n")
    first, second = run(allocator, pairs_max)
    for pick in (first, second):
        allocator.recover(pick.agent_id, "a", "*", pick.resources)
        allocator.offer_ended("a")
        allocator.refuse(pick.agent_id, "a", "*", pick.resources, until_s=9.0, short=True)
    run(allocator, pairs_max)
    assert set(allocator.turns) == {"m", "n"}
    for name in ("b", "c", "d"):
        allocator.add_framework(name, ("*",), (), active=True)
    picks = [(pick.agent_id, pick.framework_id, pick.waits) for pick in run(allocator, pairs_max)]
    assert picks == [("m", "b", False), ("m", "c", False), ("n", "d", False), ("n", "a", True)]
