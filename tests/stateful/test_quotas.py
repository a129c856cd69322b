"""Quotas in random pools: limits and guarantees hold after every run."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altiplano.master.allocator.allocator import Allocator
from altiplano.master.allocator.pool import Pick
from altiplano.master.allocator.quota import Quota, is_in
from altiplano.model.resources import parse
from tests.stateful.fair_order import LEAST
from tests.stateful.test_allocator import INTERVAL_S, decline, real, run

ROLES = ("a", "a/b", "c", "d")
TOTALS = [parse(text) for text in ("cpus:4;mem:4096;ports:[1-9]", "cpus:2;mem:1024", "cpus:3;mem:2048;cpus(c):1")]
QUOTAS = st.builds(
    lambda least, more: Quota(guarantees={"cpus": least}, limits={"cpus": least + more}),
    st.sampled_from((1000, 2500, 6000)),
    st.sampled_from((0, 1000, 4000)),
)
EVENTS = st.one_of(
    st.tuples(st.just("declines"), st.integers(0, 9)),
    st.tuples(st.just("gives back"), st.integers(0, 9)),
    st.tuples(st.just("agent"), st.integers(0, 2)),
    st.tuples(st.just("suppress"), st.integers(0, 3)),
    st.tuples(st.just("revive"), st.integers(0, 3)),
)


def pool(totals: list[int], quotas: dict[str, Quota]) -> Allocator:
    allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    for role, quota in quotas.items():
        allocator.set_quota(role, quota)
    for number, total in enumerate(totals):
        allocator.add_agent(f"a{number}", TOTALS[total])
        allocator.activate_agent(f"a{number}", True)
    for number, role in enumerate(ROLES):
        allocator.add_framework(f"f{number}", (role,), (), active=True)
    return allocator


@given(
    totals=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    quotas=st.dictionaries(st.sampled_from(("a", "c", "d")), QUOTAS, min_size=1),
    events=st.lists(EVENTS, max_size=25),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_limits_and_guarantees_hold_at_every_step(
    totals: list[int], quotas: dict[str, Quota], events: list[tuple[str, int]]
) -> None:
    allocator = pool(totals, quotas)
    offers: list[Pick] = []
    now_s = 0.0
    for what, number in [("start", 0), *events]:
        match what:
            case "declines" if offers:
                decline(allocator, offers.pop(number % len(offers)), now_s + 3.0, short=False)
            case "gives back" if offers:
                offer = offers.pop(number % len(offers))
                allocator.recover(offer.agent_id, offer.framework_id, offer.role, offer.resources)
                allocator.offer_ended(offer.framework_id)
            case "agent":
                name = f"a{len(allocator.members)}"
                allocator.add_agent(name, TOTALS[number])
                allocator.activate_agent(name, True)
            case "suppress":
                allocator.suppress(f"f{number}", (ROLES[number],))
            case "revive":
                allocator.revive(f"f{number}", (ROLES[number],))
        now_s += INTERVAL_S
        before = _consumed(allocator, offers)
        held_back = _held_back(allocator, quotas, offers)
        new = real(run(allocator, expired_s=now_s))
        offers += new
        allocator.check()
        for role, quota in quotas.items():
            consumed = _consumed(allocator, offers)[role]
            assert allocator.quotas.consumed(role)["cpus"] == consumed, "what is counted is what is held"
            assert consumed <= max(quota.limits["cpus"], before[role]), f"{role} is above its limit"
        if new:
            short = _held_back(allocator, quotas, offers)
            assert short <= max(0, held_back), "what is guaranteed is not given to others"


@given(totals=st.lists(st.integers(0, 2), min_size=4, max_size=8), others=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_role_gets_its_guarantee_whenever_it_comes(totals: list[int], others: int) -> None:
    allocator = pool(totals, {"d": Quota(guarantees={"cpus": 5000})})
    allocator.suppress("f3", ("d",))
    for number in range(others):
        allocator.suppress(f"f{number}", (ROLES[number],))
    run(allocator)
    allocator.revive("f3", ("d",))
    got = [pick for pick in real(run(allocator)) if pick.framework_id == "f3"]
    assert sum(pick.resources.scalar("cpus") for pick in got) >= 5000


def _consumed(allocator: Allocator, offers: list[Pick]) -> Counter[str]:
    """What roles consume, from nothing: unreserved resources they hold, and all that is reserved for them."""
    consumed: Counter[str] = Counter()
    for role in ("a", "c", "d"):
        for offer in offers:
            if is_in(offer.role, role):
                consumed[role] += offer.resources.unreserved().scalar("cpus")
        for member in allocator.members.values():
            consumed[role] += member.total.reserved(role).scalar("cpus")
    return consumed


def _held_back(allocator: Allocator, quotas: dict[str, Quota], offers: list[Pick]) -> int:
    """By how much the guarantees that are not met are more than what is free; above zero they cannot be met."""
    consumed = _consumed(allocator, offers)
    lack = sum(max(0, quota.guarantees["cpus"] - consumed[role]) for role, quota in quotas.items())
    free = sum(member.total.unreserved().scalar("cpus") for member in allocator.members.values())
    return lack - (free - sum(offer.resources.unreserved().scalar("cpus") for offer in offers))
