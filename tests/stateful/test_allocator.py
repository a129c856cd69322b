"""The allocator by itself: random pools, random wishes, and what must hold of every run.

`fair_order.Facts` is the second opinion: after any events, what the allocator keeps, and what it
offers when it looks at what was marked, is what follows from the facts when one looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from altiplano.master.allocator.allocator import Allocator
from altiplano.master.allocator.pool import Pick
from altiplano.model.resources import EMPTY, Resources, parse
from tests.stateful.fair_order import LEAST, Agent, Facts, Framework, Held, Refusal

AGENTS = [f"agent{number}" for number in range(5)]
FRAMEWORKS = [f"framework{number}" for number in range(4)]
ROLES = ("*", "a", "a/b", "a/c", "d", "e/f")
TOTALS = [
    parse(text)
    for text in (
        "cpus:8;mem:8000;ports:[1-9]",
        "cpus:2;mem:500",
        "cpus:1.5;mem:9000;gpus:1",
        "cpus:4;mem:1000;cpus(a):2;mem(a):256",
        "cpus:3;mem:1000;disk:100",
    )
]
INTERVAL_S = 1.0


def finish(allocator: Allocator, pairs_max: int) -> list[Pick]:
    """A run that has begun, in slices, applied as the master does; what it came to."""
    picks: list[Pick] = []
    while True:
        plan = allocator.plan(pairs_max)
        allocator.visited(plan.visited)
        for pick in plan.picks:
            apply(allocator, pick)
        picks += plan.picks
        if not allocator.queue:
            break
    allocator.end()
    return picks


def apply(allocator: Allocator, pick: Pick) -> None:
    if pick.waits:
        allocator.keep_turn(pick.agent_id, pick.framework_id, pick.role, pick.resources)
    else:
        allocator.offer(pick.agent_id, pick.framework_id, pick.role, pick.resources, part=pick.part)


def run(allocator: Allocator, expired_s: float | None = None, pairs_max: int = 3) -> list[Pick]:
    allocator.begin(expired_s)
    return finish(allocator, pairs_max)


def from_scratch(facts: Facts) -> Allocator:
    """An allocator that is told how things are, not how they came to be."""
    made = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    for role, weight in facts.weights.items():
        made.set_weight(role, weight)
    for name, agent in facts.agents.items():
        made.add_agent(name, agent.total)
        made.activate_agent(name, agent.active)
    for name, one in facts.frameworks.items():
        made.add_framework(name, one.roles, one.suppressed, active=one.active, gpus=one.gpus, minimums=one.least)
        made.clients[name].parts_declined = one.parts_declined
        for role, count in one.made.items():
            made.shares.change(role, name, made.vector(EMPTY), 1, count)
    for held in facts.held:
        if held.kind == "turn":
            made.keep_turn(held.agent, held.framework, held.role, held.resources)
        elif held.kind == "offer":
            made.keep_offer(held.agent, held.framework, held.role, held.resources)
        else:
            made.allocate(held.agent, held.framework, held.role, held.resources)
    for name, one in facts.frameworks.items():
        made.clients[name].parts_declined = one.parts_declined
    for name, agent in facts.agents.items():
        made.members[name].waited_for, made.members[name].waits = agent.waited_for, agent.waits
    for refusal in facts.refusals:
        made.refuse(
            refusal.agent,
            refusal.framework,
            refusal.role,
            refusal.resources,
            until_s=refusal.until_s,
            short=refusal.short,
        )
    made.marked = {
        name: None
        for name, agent in facts.agents.items()
        if agent.active
        and (facts.turn(name) is None or name in facts.disturbed)
        and (facts.turn(name) is not None or facts.free(name))
    }
    return made


class Machine(RuleBasedStateMachine):
    """Every rule is something that happens to a master, told to the allocator and written down as a fact."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
        self.facts = Facts()
        self.now_s = 0.0

    @initialize(
        totals=st.lists(st.sampled_from(TOTALS), min_size=1, max_size=5),
        roles=st.lists(st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True), min_size=1, max_size=4),
    )
    def pool_begins(self, totals: list[Resources], roles: list[list[str]]) -> None:
        for agent, total in zip(AGENTS, totals, strict=False):
            self.agent_joins(agent, total)
        for framework, wanted in zip(FRAMEWORKS, roles, strict=False):
            self.framework_subscribes(framework, wanted, suppressed=False, gpus=framework > FRAMEWORKS[1], picky=False)
        self.run(None, 3)

    # -- agents

    @rule(agent=st.sampled_from(AGENTS), total=st.sampled_from(TOTALS))
    def agent_joins(self, agent: str, total: Resources) -> None:
        if agent not in self.facts.agents:
            self.facts.agents[agent] = Agent(total)
            self.allocator.add_agent(agent, total)
            self.allocator.activate_agent(agent, True)

    @rule(agent=st.sampled_from(AGENTS), active=st.booleans())
    def agent_is_switched(self, agent: str, active: bool) -> None:
        if agent in self.facts.agents:
            self.facts.agents[agent].active = active
            self.allocator.activate_agent(agent, active)
            if active:
                self.facts.disturbed.add(agent)
            else:
                self.end_turns(lambda turn: turn.agent == agent)

    @rule(agent=st.sampled_from(AGENTS))
    def agent_leaves(self, agent: str) -> None:
        if agent in self.facts.agents:
            self.end_turns(lambda turn: turn.agent == agent)
            for held in [held for held in self.facts.held if held.agent == agent]:
                self.give_back(held)
            self.allocator.remove_agent(agent)
            del self.facts.agents[agent]
            self.forget_refusals(lambda refusal: refusal.agent == agent)

    @rule(agent=st.sampled_from(AGENTS), total=st.sampled_from(TOTALS))
    def agent_comes_back_with_other_resources(self, agent: str, total: Resources) -> None:
        """As the master does it: what is on offer is withdrawn first, and only an agent whose tasks fit comes back."""
        known = self.facts.agents.get(agent)
        if known is None or total == known.total:
            return
        self.end_turns(lambda turn: turn.agent == agent)
        for held in [held for held in self.facts.held if held.agent == agent and held.kind == "offer"]:
            self.give_back(held)
        used = sum((held.resources for held in self.facts.held if held.agent == agent), EMPTY)
        if total.contains(used):
            self.allocator.change_total(agent, total)
            known.total = total
            self.forget_refusals(lambda refusal: refusal.agent == agent)

    # -- frameworks

    @rule(
        framework=st.sampled_from(FRAMEWORKS),
        roles=st.lists(st.sampled_from(ROLES), min_size=1, max_size=3, unique=True),
        suppressed=st.booleans(),
        gpus=st.booleans(),
        picky=st.booleans(),
    )
    def framework_subscribes(self, framework: str, roles: list[str], suppressed: bool, gpus: bool, picky: bool) -> None:
        old = self.facts.frameworks.get(framework)
        for held in [held for held in self.facts.held if held.framework == framework and held.role not in roles]:
            if held.kind == "offer":
                self.give_back(held)
        new = Framework(tuple(roles), {roles[0]} if suppressed else set(), gpus=gpus)
        if picky:
            new.least = {roles[-1]: ({"cpus": 1500},)}
        if old is not None:
            self.end_turns(lambda turn: turn.framework == framework and turn.role in old.roles)
            new.made = {role: count for role, count in old.made.items() if role in roles}
            new.parts_declined = old.parts_declined
            dropped = (old.suppressed - new.suppressed) | (set(old.roles) - set(roles))
            self.forget_refusals(lambda refusal: refusal.framework == framework and refusal.role in dropped)
        self.facts.frameworks[framework] = new
        if new.wanted:
            self.facts.disturbed |= set(self.facts.agents)
        self.allocator.add_framework(framework, new.roles, new.suppressed, active=True, gpus=gpus, minimums=new.least)

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def framework_disconnects(self, framework: str) -> None:
        if framework in self.facts.frameworks:
            self.disconnect(framework)

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def framework_leaves(self, framework: str) -> None:
        if framework in self.facts.frameworks:
            self.disconnect(framework)
            for held in [held for held in self.facts.held if held.framework == framework]:
                self.give_back(held)
            self.allocator.remove_framework(framework)
            del self.facts.frameworks[framework]

    @rule(framework=st.sampled_from(FRAMEWORKS), role=st.sampled_from(ROLES), wants=st.booleans())
    def framework_suppresses_or_revives(self, framework: str, role: str, wants: bool) -> None:
        client = self.facts.frameworks.get(framework)
        if client is None or not client.active or role not in client.roles:
            return
        self.end_turns(lambda turn: (turn.framework, turn.role) == (framework, role))
        if wants:
            client.suppressed.discard(role)
            self.forget_refusals(lambda refusal: (refusal.framework, refusal.role) == (framework, role))
            self.facts.disturbed |= set(self.facts.agents)
            self.allocator.revive(framework, (role,))
        else:
            client.suppressed.add(role)
            self.allocator.suppress(framework, (role,))

    @rule(role=st.sampled_from((*ROLES, "e")), weight=st.sampled_from((0.1, 0.5, 1.0, 3.0)))
    def weight_is_set(self, role: str, weight: float) -> None:
        self.facts.weights[role] = weight
        self.allocator.set_weight(role, weight)

    # -- offers and tasks

    @rule(number=st.integers(0, 9), seconds=st.sampled_from((0.0, 0.5, 3.0, 1000.0)))
    def framework_declines(self, number: int, seconds: float) -> None:
        offer = self.offer(number)
        if offer is not None:
            self.give_back(offer)
            if offer.part:
                self.facts.frameworks[offer.framework].parts_declined += 1
            self.refuse(offer, offer.resources, seconds, part=offer.part)

    @rule(number=st.integers(0, 9), cpus=st.sampled_from(("0.5", "1", "2")), seconds=st.sampled_from((0.0, 3.0)))
    def framework_launches(self, number: int, cpus: str, seconds: float) -> None:
        """ACCEPT: the offer ends, its task is there, and what is left is refused."""
        offer = self.offer(number)
        wants = parse(f"cpus:{cpus}")
        if offer is None or not offer.resources.contains(wants):
            return
        self.give_back(offer)
        self.allocator.allocate(offer.agent, offer.framework, offer.role, wants)
        self.facts.held.append(Held(offer.agent, offer.framework, offer.role, wants, "task"))
        self.facts.frameworks[offer.framework].parts_declined = 0
        self.facts.agents[offer.agent].waited_for = None
        self.refuse(offer, offer.resources - wants, seconds)

    @rule(number=st.integers(0, 9))
    def offer_times_out(self, number: int) -> None:
        offer = self.offer(number)
        if offer is not None:
            self.give_back(offer)
            self.refuse(offer, offer.resources, INTERVAL_S)

    @rule(number=st.integers(0, 9))
    def task_ends(self, number: int) -> None:
        tasks = [held for held in self.facts.held if held.kind == "task"]
        if tasks:
            self.give_back(tasks[number % len(tasks)])

    # -- runs

    @rule(pairs_max=st.sampled_from((1, 3, 1000)))
    def run_comes(self, pairs_max: int) -> None:
        self.run(None, pairs_max)

    @rule(seconds=st.sampled_from((1.0, 2.0, 50.0)), pairs_max=st.sampled_from((1, 3, 1000)))
    def beat_comes(self, seconds: float, pairs_max: int) -> None:
        self.now_s += seconds
        self.run(self.now_s, pairs_max)

    def run(self, expired_s: float | None, pairs_max: int) -> None:
        """The allocator, one made from nothing, and the reference come to the same, however the run is sliced."""
        again = from_scratch(self.facts)
        again_picks = run(again, expired_s, pairs_max=1000)
        wanted = self.facts.run(expired_s)
        picks = run(self.allocator, expired_s, pairs_max)
        note(f"picks {picks}")
        assert picks == wanted
        assert picks == again_picks
        # Nobody wants what is left, so looking at everything once more offers nothing.
        left = from_scratch(self.facts)
        assert run(left) == []

    @rule(
        beats=st.integers(1, 5),
        seconds=st.sampled_from((0.0, 3.0)),
        keen=st.sampled_from((None, *FRAMEWORKS)),
        news=st.booleans(),
    )
    def all_but_one_decline_beat_after_beat(self, beats: int, seconds: float, keen: str | None, news: bool) -> None:
        for _ in range(beats):
            for offer in [held for held in self.facts.held if held.kind == "offer" and held.framework != keen]:
                self.give_back(offer)
                if offer.part:
                    self.facts.frameworks[offer.framework].parts_declined += 1
                self.refuse(offer, offer.resources, seconds, part=offer.part)
            if news:
                self.run(None, 3)
            self.now_s += INTERVAL_S
            self.run(self.now_s, 3)

    # -- what several rules do

    def offer(self, number: int) -> Held | None:
        offers = [held for held in self.facts.held if held.kind == "offer"]
        return offers[number % len(offers)] if offers else None

    def give_back(self, held: Held) -> None:
        self.facts.held.remove(held)
        self.facts.disturbed.add(held.agent)
        self.allocator.recover(held.agent, held.framework, held.role, held.resources)
        if held.kind == "offer":
            self.allocator.offer_ended(held.framework)

    def refuse(self, offer: Held, resources: Resources, seconds: float, *, part: bool = False) -> None:
        until_s, short = self.now_s + max(seconds, INTERVAL_S), seconds < INTERVAL_S
        self.allocator.refuse(
            offer.agent, offer.framework, offer.role, resources, until_s=until_s, short=short, part=part
        )
        if resources:
            self.facts.refusals.append(Refusal(offer.agent, offer.framework, offer.role, resources, until_s, short))

    def disconnect(self, framework: str) -> None:
        for held in [held for held in self.facts.held if held.framework == framework and held.kind == "offer"]:
            self.give_back(held)
        self.end_turns(lambda turn: turn.framework == framework)
        client = self.facts.frameworks[framework]
        client.active = False
        client.parts_declined = 0
        self.forget_refusals(lambda refusal: refusal.framework == framework)
        self.allocator.deactivate_framework(framework)

    def end_turns(self, which: Callable[[Held], bool]) -> None:
        for held in [held for held in self.facts.held if held.kind == "turn" and which(held)]:
            self.facts.held.remove(held)

    def forget_refusals(self, which: Callable[[Refusal], bool]) -> None:
        self.facts.refusals = [refusal for refusal in self.facts.refusals if not which(refusal)]

    # -- what always holds

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        self.allocator.check()
        for name, agent in self.facts.agents.items():
            sold = sum((held.resources for held in self.facts.held if held.agent == name), EMPTY)
            assert sold + self.allocator.members[name].free == agent.total

    @invariant()
    def shares_are_the_exact_fractions(self) -> None:
        shares = self.allocator.shares
        for name, one in self.facts.frameworks.items():
            for role in one.roles:
                assert shares.framework_share(role, name) == float(self.facts.share(name, role))
        for path in ("*", "a", "a/b", "a/c", "d", "e", "e/f"):
            assert shares.role_share(path) == float(self.facts.role_share(path))

    @invariant()
    def the_kept_order_is_the_one_worked_out_from_nothing(self) -> None:
        kept = [(order.path, name) for order in self.allocator.shares.in_order() for name in order]
        assert kept == self.facts.order()

    @invariant()
    def what_is_kept_is_what_is_made_from_scratch(self) -> None:
        made = from_scratch(self.facts)
        assert self.same_members(made)
        assert self.allocator.clients == made.clients
        assert self.allocator.turns == made.turns
        assert self.allocator.wanting.keys() == made.wanting.keys()
        assert self.allocator.without.keys() == made.without.keys()
        assert self.allocator.marked.keys() <= made.marked.keys()
        assert dict(self.allocator.shares.totals) == dict(made.shares.totals)
        assert self.allocator.shares.roles() == made.shares.roles()

    def same_members(self, made: Allocator) -> bool:
        """Members are the same but for how many had joined before, and vectors that nobody has asked for."""
        return all(
            (mine.total, mine.free, mine.active, mine.gpus, mine.reserved, mine.waited_for)
            == (other.total, other.free, other.active, other.gpus, other.reserved, other.waited_for)
            and (mine.waited_for is None or mine.waits == other.waits)
            for mine, other in zip(self.allocator.members.values(), made.members.values(), strict=True)
        )


TestAllocator = Machine.TestCase
TestAllocator.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def pool(agents: int, frameworks: int, total: str = "cpus:1.5;mem:100") -> tuple[Allocator, list[str]]:
    allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    names = [f"f{number}" for number in range(frameworks)]
    for name in names:
        allocator.add_framework(name, ("*",), (), active=True)
    for number in range(agents):
        allocator.add_agent(f"a{number}", parse(total))
        allocator.activate_agent(f"a{number}", True)
    return allocator, names


def decline(allocator: Allocator, offer: Pick, until_s: float, *, short: bool) -> None:
    agent, framework, role, resources = offer.agent_id, offer.framework_id, offer.role, offer.resources
    allocator.recover(agent, framework, role, resources)
    allocator.offer_ended(framework)
    allocator.refuse(agent, framework, role, resources, until_s=until_s, short=short, part=offer.part)


def real(offers: list[Pick]) -> list[Pick]:
    """Those that are offers, not turns that are kept."""
    return [offer for offer in offers if not offer.waits]


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
    allocator, names = pool(agents, frameworks)
    offers = real(run(allocator))
    for number in declines:
        if offers:
            decline(allocator, offers.pop(number % len(offers)), 1.0, short=True)
            offers += real(run(allocator))
    offers += real(run(allocator, expired_s=2.0))
    counts = [sum(1 for offer in offers if offer.framework_id == name) for name in names]
    assert sum(counts) == agents
    assert max(counts) - min(counts) <= 1


@given(weights=st.lists(st.sampled_from((0.5, 1.0, 2.0, 3.0, 5.0)), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_shares_of_roles_converge_to_their_weights_within_five_percent(weights: list[float]) -> None:
    allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    for number, weight in enumerate(weights):
        allocator.set_weight(f"r{number}", weight)
        allocator.add_framework(f"f{number}", (f"r{number}",), (), active=True)
    for number in range(400):
        allocator.add_agent(f"a{number}", parse("cpus:1;mem:100"))
        allocator.activate_agent(f"a{number}", True)
    run(allocator, pairs_max=1000)
    for number, weight in enumerate(weights):
        assert allocator.shares.role_share(f"r{number}") == pytest.approx(weight / sum(weights), abs=0.05)


HABITS = ("declines at once", "declines for long", "hoards", "works")


@given(
    agents=st.integers(1, 4),
    habits=st.lists(st.sampled_from(HABITS), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from((1.0, 100.0)), min_size=5, max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_nobody_starves_whatever_the_others_do(agents: int, habits: list[str], weights: list[float]) -> None:
    """A framework that takes what it is offered gets something, whatever habits the others have.

    Offers that are not used time out after three beats here, and tasks run for two; others may count a hundred
    times as much.  Then everybody has had its turn after a number of beats that depends on how many there are.
    """
    allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    for number, habit in enumerate(habits):
        allocator.set_weight(f"r{number}", weights[number])
        allocator.add_framework(f"{habit} {number}", (f"r{number}",), (), active=True)
    for number in range(agents):
        allocator.add_agent(f"a{number}", parse("cpus:1;mem:100"))
        allocator.activate_agent(f"a{number}", True)
    offers = run(allocator)
    allocator.add_framework("the one", ("*",), (), active=True)
    held = [(0, offer) for offer in real(offers)]
    beats_max = 8 * (len(habits) + 1)
    for beat in range(1, beats_max):
        left: list[tuple[int, Pick]] = []
        for since, offer in held:
            habit = offer.framework_id.rsplit(" ", 1)[0]
            if habit.startswith("declines"):
                seconds = 0.0 if habit == "declines at once" else 5.0
                decline(allocator, offer, beat + max(seconds, INTERVAL_S), short=seconds < INTERVAL_S)
            elif habit == "hoards" and beat - since >= 3:
                decline(allocator, offer, beat + INTERVAL_S, short=False)
            elif habit == "works" and beat - since >= 2:
                allocator.recover(offer.agent_id, offer.framework_id, offer.role, offer.resources)
                allocator.offer_ended(offer.framework_id)
            else:
                left.append((since, offer))
        offers = [*run(allocator), *run(allocator, expired_s=float(beat))]
        held = [*left, *((beat, offer) for offer in real(offers))]
        if any(offer.framework_id == "the one" for _, offer in held):
            return
    raise AssertionError(f"nothing was offered in {beats_max} beats")


@st.composite
def commuting(draw: st.DrawFn) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Events about different things, in two orders."""
    events = [
        *(("declines", number) for number in draw(st.sets(st.integers(0, 11)))),
        *(("declines shortly", number) for number in draw(st.sets(st.integers(12, 19)))),
        *(("revives", number) for number in draw(st.sets(st.integers(0, 3)))),
        *(("weight", number) for number in draw(st.sets(st.integers(0, 2)))),
        *(("agent is back", number) for number in draw(st.sets(st.integers(20, 22)))),
    ]
    return draw(st.permutations(events)), draw(st.permutations(events))


@given(orders=commuting())
@settings(max_examples=150, deadline=None)
def test_events_that_come_together_may_come_in_any_order(
    orders: tuple[list[tuple[str, int]], list[tuple[str, int]]],
) -> None:
    """Who declines, revives, comes back or counts more before a run: the run offers the same."""
    first, second = (_after(order) for order in orders)
    assert first == second


def _after(events: list[tuple[str, int]]) -> tuple[list[Pick], list[Pick]]:
    allocator = Allocator(interval_s=INTERVAL_S, minimums=LEAST)
    for number in range(6):
        allocator.add_framework(f"f{number}", (f"r/{number % 3}",), (), active=True)
    for number in range(23):
        allocator.add_agent(f"a{number}", TOTALS[number % 2])
        allocator.activate_agent(f"a{number}", number < 20)
    offers = real(run(allocator, pairs_max=1000))
    for what, number in events:
        if what.startswith("declines"):
            short = what == "declines shortly"
            decline(allocator, offers[number], 1.0 if short else 100.0, short=short)
        elif what == "revives":
            # Those that have declined nothing here: to decline and then to revive is not the same as the reverse.
            allocator.add_framework(f"late{number}", ("r/late",), (), active=True)
        elif what == "weight":
            allocator.set_weight(f"r/{number}", 2.0 + number)
        else:
            allocator.activate_agent(f"a{number}", True)
    return run(allocator), run(allocator, expired_s=1.0)


def test_an_event_is_looked_at_by_those_whom_it_concerns():
    """Ten times the agents, frameworks and refusals: an event costs the same visits and pairs."""
    work = {size: _work_of_events(size) for size in (10, 100)}
    assert work[10]["a task ends"] == work[100]["a task ends"] == (1, 2)
    assert work[10]["idle"] == work[100]["idle"] == (0, 0)
    visits, pairs = work[100]["revive"]
    assert pairs <= 2 * visits <= 2 * 100, "those who declined are not asked again because one revives"


def _work_of_events(size: int) -> dict[str, tuple[int, int]]:
    allocator, names = pool(size, size, "cpus:8;mem:16000")
    offers = real(run(allocator, pairs_max=10**6))
    for one in offers[1:]:
        decline(allocator, one, 1e9, short=False)
    run(allocator, pairs_max=10**6)
    return {
        "a task ends": _work(allocator, lambda: _give_back(allocator, offers[0])),
        "revive": _work(allocator, lambda: allocator.revive(names[-1], ("*",))),
        "idle": _work(allocator, lambda: None),
    }


def _give_back(allocator: Allocator, offer: Pick) -> None:
    allocator.recover(offer.agent_id, offer.framework_id, offer.role, offer.resources)
    allocator.offer_ended(offer.framework_id)


def _work(allocator: Allocator, event: Callable[[], None]) -> tuple[int, int]:
    """Agents visited, and pairs of agent and framework looked at, because of an event."""
    event()
    allocator.begin(None)
    plan = allocator.plan(10**6)
    allocator.visited(plan.visited)
    for pick in plan.picks:
        apply(allocator, pick)
    allocator.end()
    return len(plan.visited), plan.pairs
