"""The allocator by itself: random pools, random wishes, and what must hold of every run."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from altiplano.master.allocator.allocator import Allocator
from altiplano.master.allocator.sorter import Shares, dominant_share, roles_in_order
from altiplano.model.resources import EMPTY, Resources, parse

MINIMUMS = ({"cpus": 10}, {"mem": 32_000})
AGENTS = [f"agent{number}" for number in range(5)]
FRAMEWORKS = [f"framework{number}" for number in range(4)]
ROLES = ("*", "a", "a/b", "a/c", "d")
TOTALS = [parse(text) for text in ("cpus:8;mem:8000;ports:[1-9]", "cpus:2;mem:500", "cpus:1.5;mem:9000;gpus:1")]


Offered = list[tuple[str, str, str, Resources]]


def run(allocator: Allocator, offers: Offered, expired_s: float | None = None, pairs_max: int = 3) -> None:
    """One whole run, in slices as small as may be, applied as the master does; what it offers is appended."""
    allocator.begin(expired_s)
    while True:
        plan = allocator.plan(pairs_max)
        allocator.visited(plan.visited)
        for pick in plan.picks:
            if pick.waits:
                allocator.keep_turn(pick.agent_id, pick.framework_id, pick.role, pick.resources)
            else:
                allocator.offer(pick.agent_id, pick.framework_id, pick.role, pick.resources)
                offers.append((pick.agent_id, pick.framework_id, pick.role, pick.resources))
        if not allocator.queue:
            break
    allocator.end()


class Machine(RuleBasedStateMachine):
    """Every rule is something that happens to a master; the fair order is recomputed from nothing each time."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(interval_s=1.0, minimums=MINIMUMS)
        self.offers: Offered = []
        self.now_s = 0.0

    @rule(agent=st.sampled_from(AGENTS), total=st.sampled_from(TOTALS))
    def agent_joins(self, agent: str, total: Resources) -> None:
        if agent not in self.allocator.members:
            self.allocator.add_agent(agent, total)
            self.allocator.activate_agent(agent, True)

    @rule(agent=st.sampled_from(AGENTS), active=st.booleans())
    def agent_is_switched(self, agent: str, active: bool) -> None:
        if agent in self.allocator.members:
            self.allocator.activate_agent(agent, active)

    @rule(agent=st.sampled_from(AGENTS))
    def agent_leaves(self, agent: str) -> None:
        if agent in self.allocator.members:
            for offer in [offer for offer in self.offers if offer[0] == agent]:
                self.give_back(offer)
            self.allocator.remove_agent(agent)

    @rule(
        framework=st.sampled_from(FRAMEWORKS),
        roles=st.lists(st.sampled_from(ROLES), min_size=1, max_size=3, unique=True),
        gpus=st.booleans(),
    )
    def framework_joins_or_changes(self, framework: str, roles: list[str], gpus: bool) -> None:
        for offer in [offer for offer in self.offers if offer[1] == framework and offer[2] not in roles]:
            self.give_back(offer)
        self.allocator.add_framework(framework, tuple(roles), (), active=True, gpus=gpus)

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def framework_leaves(self, framework: str) -> None:
        if framework in self.allocator.clients:
            for offer in [offer for offer in self.offers if offer[1] == framework]:
                self.give_back(offer)
            self.allocator.remove_framework(framework)

    @rule(framework=st.sampled_from(FRAMEWORKS), role=st.sampled_from(ROLES), wants=st.booleans())
    def framework_suppresses_or_revives(self, framework: str, role: str, wants: bool) -> None:
        client = self.allocator.clients.get(framework)
        if client is not None and client.active and role in client.roles:
            (self.allocator.revive if wants else self.allocator.suppress)(framework, (role,))

    @rule(number=st.integers(0, 9), seconds=st.sampled_from((0.0, 0.5, 3.0, 1000.0)))
    def framework_declines(self, number: int, seconds: float) -> None:
        if self.offers:
            agent, framework, role, resources = offer = self.offers[number % len(self.offers)]
            self.give_back(offer)
            self.allocator.refuse(
                agent, framework, role, resources, until_s=self.now_s + max(seconds, 1.0), short=seconds < 1.0
            )

    @rule(role=st.sampled_from(ROLES), weight=st.sampled_from((0.5, 1.0, 3.0)))
    def weight_is_set(self, role: str, weight: float) -> None:
        self.allocator.shares.set_weight(role, weight)

    @rule()
    def run_comes(self) -> None:
        run(self.allocator, self.offers)

    @rule(seconds=st.sampled_from((1.0, 2.0, 50.0)))
    def beat_comes(self, seconds: float) -> None:
        self.now_s += seconds
        run(self.allocator, self.offers, expired_s=self.now_s)

    def give_back(self, offer: tuple[str, str, str, Resources]) -> None:
        self.offers.remove(offer)
        agent, framework, role, resources = offer
        self.allocator.recover(agent, framework, role, resources)
        self.allocator.offer_ended(framework)

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        self.allocator.check()
        for agent, member in self.allocator.members.items():
            sold = sum((resources for of, _, _, resources in self.offers if of == agent), EMPTY)
            turn = self.allocator.turns.get(agent)
            kept = turn.resources if turn is not None else EMPTY
            assert sold + kept + member.free == member.total

    @invariant()
    def the_kept_orders_are_those_computed_from_nothing(self) -> None:
        shares = self.allocator.shares
        shares.refresh()
        fresh = Shares()
        fresh.totals = dict(shares.totals)
        for role in ROLES:
            members = shares.members(role)
            if members is None:
                continue
            for framework, held in members.held.items():
                fresh.change(role, framework, held, 1)
            for framework, count in members.counts.items():
                fresh.change(role, framework, {}, 1, count)
            for framework in members.places:
                fresh.enter(role, framework)
        for role in ROLES:
            kept, made = shares.members(role), fresh.members(role)
            assert (list(kept) if kept else []) == (list(made) if made else [])
        assert set(roles_in_order(shares)) == set(roles_in_order(fresh))


TestAllocator = Machine.TestCase
TestAllocator.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(
    agents=st.integers(1, 40),
    frameworks=st.integers(1, 6),
    declines=st.lists(st.integers(0, 1000), max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_shares_of_frameworks_that_all_want_everything_converge(
    agents: int, frameworks: int, declines: list[int]
) -> None:
    """Whatever was declined for a moment, after a beat nobody is ahead by more than one agent."""
    allocator = Allocator(interval_s=1.0, minimums=MINIMUMS)
    names = [f"f{number}" for number in range(frameworks)]
    for name in names:
        allocator.add_framework(name, ("*",), (), active=True)
    for number in range(agents):
        allocator.add_agent(f"a{number}", parse("cpus:1.5;mem:100"))
        allocator.activate_agent(f"a{number}", True)
    offers: Offered = []
    run(allocator, offers)
    for number in declines:
        if offers:
            agent, framework, role, resources = offers.pop(number % len(offers))
            allocator.recover(agent, framework, role, resources)
            allocator.offer_ended(framework)
            allocator.refuse(agent, framework, role, resources, until_s=1.0, short=True)
            run(allocator, offers)
    run(allocator, offers, expired_s=2.0)
    counts = [sum(1 for _, of, _, _ in offers if of == name) for name in names]
    assert sum(counts) == agents
    assert max(counts) - min(counts) <= 1


@given(
    held=st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6)),
    totals=st.dictionaries(st.sampled_from("abc"), st.integers(1, 10**6)),
)
def test_a_dominant_share_is_the_largest_fraction(held: dict[str, int], totals: dict[str, int]) -> None:
    fractions = [amount / totals[name] for name, amount in held.items() if name in totals]
    assert dominant_share(held, totals) == max(fractions, default=0.0)
