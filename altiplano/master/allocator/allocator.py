"""Which framework is offered which agent.

The allocator works on changes.  Whatever makes something offerable marks agents; a run looks at
the marked agents only, in slices.  What a slice would offer is worked out by `plan` on a draft,
without changing anything; the facts that come of it are applied by the other methods, which are all
that changes the state.

Rules, beside the fair order (`sorter`) and refusals (`filters`):

* The whole of an agent goes to one framework.  It is cut into parts only when fewer agents are left in
  the run than frameworks wait (want offers, have none, and hold less than an equal share).
* A refusal of less than one allocation interval does not change whose turn it is: what the fair
  order gives to the decliner waits for it, counted as its own, until the beat.
* A framework that revived or subscribed is told its offers once all agents were looked at for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from altiplano.master.allocator import split
from altiplano.master.allocator.filters import Filters, Refusal, Refused
from altiplano.master.allocator.sorter import Draft, Shares, Vector, dominant_share, roles_in_order
from altiplano.model.resources import EMPTY, Resources

PAIRS_PER_SLICE = 250
"""Pairs of agent and framework looked at in one slice: some milliseconds."""

POSTPONED_RUNS_MAX = 20
"""Runs after which a framework that revives all the time is told what there is for it."""

ROUNDING = 1e-6
"""Part of an interval by which two computations of one beat may differ."""

Minimums = Sequence[Vector]


class Member(msgspec.Struct, kw_only=True):
    """An agent, as the allocator sees it."""

    total: Resources
    free: Resources
    active: bool = True
    gpus: bool = False


class Client(msgspec.Struct, kw_only=True):
    """A framework, as the allocator sees it."""

    roles: tuple[str, ...]
    suppressed: frozenset[str]
    active: bool = True
    gpus: bool = False
    minimums: Mapping[str, Minimums] = msgspec.field(default_factory=dict)
    offers: int = 0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is free on an agent waits for the framework whose turn it is."""

    framework_id: str
    role: str
    resources: Resources


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """An agent goes to a framework: as an offer, or to wait for it until the beat."""

    agent_id: str
    framework_id: str
    role: str
    resources: Resources
    waits: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice of a run comes to."""

    visited: tuple[str, ...]
    picks: tuple[Pick, ...]
    pairs: int


class Allocator:
    def __init__(
        self, *, interval_s: float, minimums: Minimums, excluded: frozenset[str] = frozenset(), gpus_apart: bool = True
    ) -> None:
        """`minimums`: an offer holds at least one of these sets.  `excluded` resources do not count in shares."""
        self.interval_s = interval_s
        self.shares = Shares()
        self.filters = Filters()
        self.members: dict[str, Member] = {}
        self.clients: dict[str, Client] = {}
        self.turns: dict[str, Turn] = {}
        self.marked: dict[str, None] = {}
        self.queue: dict[str, None] = {}
        self.running = False
        self.due_s: float | None = None
        self.owed: set[str] = set()
        self.postponed: dict[str, int] = {}
        self.runs = 0
        self.visits = 0
        self._offerable: dict[str, None] = {}
        self._review: list[str] = []
        self._without: dict[str, None] = {}
        self._minimums = minimums
        self._excluded = excluded
        self._gpus_apart = gpus_apart

    # -- agents

    def add_agent(self, agent_id: str, total: Resources) -> None:
        self.members[agent_id] = Member(total=total, free=total, gpus=total.scalar("gpus") > 0, active=False)
        self.shares.add_total(self._counted(total), 1)

    def activate_agent(self, agent_id: str, active: bool) -> None:
        """Offer an agent, or stop doing so."""
        member = self.members[agent_id]
        member.active = active
        if not active:
            self._end_turn(agent_id)
        self._freed(agent_id, member)

    def remove_agent(self, agent_id: str) -> None:
        """An agent is gone; nothing of it is held by anybody."""
        self._end_turn(agent_id)
        member = self.members.pop(agent_id)
        self.shares.add_total(self._counted(member.total), -1)
        self.filters.drop_agent(agent_id)
        for agents in (self.marked, self.queue, self._offerable):
            agents.pop(agent_id, None)

    def change_total(self, agent_id: str, total: Resources) -> None:
        """An agent came back with other resources; what is in use fits into them."""
        member = self.members[agent_id]
        if total == member.total:
            return
        self._end_turn(agent_id)
        used = member.total - member.free
        self.shares.add_total(self._counted(member.total), -1)
        self.shares.add_total(self._counted(total), 1)
        member.free = total - used if total.contains(used) else EMPTY
        member.total = total
        member.gpus = total.scalar("gpus") > 0
        self.filters.drop_agent(agent_id)
        self._freed(agent_id, member)

    # -- frameworks

    def add_framework(
        self,
        framework_id: str,
        roles: tuple[str, ...],
        suppressed: Iterable[str],
        *,
        active: bool,
        gpus: bool = False,
        minimums: Mapping[str, Minimums] | None = None,
    ) -> None:
        """Add a framework or describe it anew; an active one is owed one answer with all it may have."""
        old = self.clients.get(framework_id)
        if old is not None:
            self._withdraw(framework_id, old)
            self._end_turns_of(framework_id, old.roles)
            for role in old.suppressed - frozenset(suppressed):
                self.filters.drop((framework_id, role))
        client = self.clients[framework_id] = Client(
            roles=roles,
            suppressed=frozenset(suppressed),
            active=active,
            gpus=gpus,
            minimums=dict(minimums or {}),
            offers=old.offers if old else 0,
        )
        self._enter(framework_id, client)
        if active and set(roles) - client.suppressed:
            self._owe(framework_id)

    def deactivate_framework(self, framework_id: str) -> None:
        """A framework is disconnected: it gets nothing, and what it declined is forgotten."""
        client = self.clients[framework_id]
        self._withdraw(framework_id, client)
        client.active = False
        self._changed(framework_id, client)
        for role in client.roles:
            self.filters.drop((framework_id, role))
        self.owed.discard(framework_id)
        self._end_turns_of(framework_id, client.roles)

    def remove_framework(self, framework_id: str) -> None:
        """A framework is gone; it holds nothing."""
        self.deactivate_framework(framework_id)
        client = self.clients.pop(framework_id)
        for role in client.roles:
            self.shares.forget(role, framework_id)

    def suppress(self, framework_id: str, roles: Iterable[str]) -> None:
        client = self.clients[framework_id]
        roles = tuple(roles)
        client.suppressed |= frozenset(roles)
        self._changed(framework_id, client)
        for role in roles:
            self.shares.leave(role, framework_id)
        self._end_turns_of(framework_id, roles)

    def revive(self, framework_id: str, roles: Iterable[str]) -> None:
        client = self.clients[framework_id]
        roles = tuple(roles)
        client.suppressed -= frozenset(roles)
        for role in roles:
            self.filters.drop((framework_id, role))
        self._enter(framework_id, client)
        self._end_turns_of(framework_id, roles)
        self._owe(framework_id)

    # -- resources

    def allocate(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """Resources of an agent go to a framework: offered, or in use by its tasks."""
        self._take(agent_id, framework_id, role, resources, count=0)

    def offer(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """Resources of an agent are offered; the offer is counted."""
        self._count_offer(framework_id, 1)
        self._take(agent_id, framework_id, role, resources, count=1)

    def keep_offer(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """What is left of an offer stays offered; it is not counted as one more."""
        self._count_offer(framework_id, 1)
        self._take(agent_id, framework_id, role, resources, count=0)

    def _count_offer(self, framework_id: str, change: int) -> None:
        client = self.clients[framework_id]
        client.offers += change
        self._changed(framework_id, client)

    def _take(self, agent_id: str, framework_id: str, role: str, resources: Resources, *, count: int) -> None:
        member = self.members[agent_id]
        # Most offers are of all that is free.
        member.free = EMPTY if resources is member.free else member.free - resources
        self.shares.change(role, framework_id, self._counted(resources), 1, count)
        self._freed(agent_id, member, mark=False)

    def recover(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """Resources of an agent come back; the agent is looked at again."""
        if not resources:
            return
        member = self.members[agent_id]
        member.free = member.free + resources
        self.shares.change(role, framework_id, self._counted(resources), -1)
        self._freed(agent_id, member)

    def offer_ended(self, framework_id: str) -> None:
        if framework_id in self.clients:
            self._count_offer(framework_id, -1)

    def refuse(
        self, agent_id: str, framework_id: str, role: str, resources: Resources, *, until_s: float, short: bool
    ) -> None:
        if agent_id in self.members and resources:
            self.filters.refuse(
                agent_id, (framework_id, role), Refusal(resources=resources, until_s=until_s, short=short)
            )

    def keep_turn(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        self.turns[agent_id] = Turn(framework_id=framework_id, role=role, resources=resources)
        self._take(agent_id, framework_id, role, resources, count=0)

    # -- runs

    @property
    def beat_s(self) -> float | None:
        """The next beat on which refusals end: a multiple of the allocation interval."""
        end = self.filters.next_end_s()
        return None if end is None else math.ceil(end / self.interval_s - ROUNDING) * self.interval_s

    @property
    def wants_run(self) -> bool:
        return bool(self.marked) and not self.running

    def review(self, count: int) -> None:
        """Mark up to `count` agents that have something free, in turn, so that each is looked at now and then."""
        if not self._review:
            self._review = list(self._offerable)
        for agent_id in self._review[:count]:
            if agent_id in self._offerable:
                self.marked[agent_id] = None
        del self._review[:count]

    def begin(self, expired_s: float | None) -> None:
        """Begin a run over all that is marked; first drop the refusals that ended by `expired_s`."""
        if expired_s is not None:
            for agent_id in sorted(self.filters.expire(expired_s + ROUNDING * self.interval_s)):
                if agent_id in self.members:
                    self._end_turn(agent_id)
                    self.marked[agent_id] = None
        self.shares.refresh()
        self.due_s = None
        self.running = True
        self.runs += 1
        self.queue = {agent_id: None for agent_id in self.marked if agent_id in self.members}
        self.marked = {}
        self.owed = set()

    def visited(self, agent_ids: Iterable[str]) -> None:
        """These agents were looked at; turns kept on them are over, unless they are kept again."""
        for agent_id in agent_ids:
            self.visits += 1
            self._end_turn(agent_id, mark=False)
            self.queue.pop(agent_id, None)

    def end(self) -> None:
        """The run is over; who may be told has been told."""
        self.running = False
        self.postponed = {
            framework_id: self.postponed.get(framework_id, 0) + 1
            for framework_id in self.owed
            if not self.may_be_told(framework_id)
        }

    def may_be_told(self, framework_id: str) -> bool:
        """Whether a framework may get the offers of the run that ends: not if it is owed all of the next."""
        return framework_id not in self.owed or self.postponed.get(framework_id, 0) >= POSTPONED_RUNS_MAX

    def plan(self, pairs_max: int = PAIRS_PER_SLICE) -> Plan:
        """What the next slice of the run offers, about `pairs_max` pairs long.  Changes nothing."""
        draft = Draft(self.shares)
        visited: list[str] = []
        picks: list[Pick] = []
        pairs = 0
        left = len(self.queue)
        waiting = self._waiting() if left <= len(self.clients) else set()
        try:
            for agent_id in self.queue:
                if pairs >= pairs_max:
                    break
                visited.append(agent_id)
                pairs += 1 + self._visit(agent_id, draft, picks, waiting, left)
                left -= 1
        finally:
            draft.undo()
        return Plan(visited=tuple(visited), picks=tuple(picks), pairs=pairs)

    def _visit(self, agent_id: str, draft: Draft, picks: list[Pick], waiting: set[str], agents_left: int) -> int:
        member = self.members[agent_id]
        turn = self.turns.get(agent_id)
        free = member.free
        if turn is not None:
            free = free + turn.resources
            draft.change(turn.role, turn.framework_id, self._counted(turn.resources), -1)
        if not member.active or not self._allocatable(free, self._minimums):
            return 0
        cuts = self._cuts(agent_id, free, waiting, agents_left)
        pairs = 0
        while free and cuts > 0:
            piece = split.part(free, cuts)
            choice, looked = self._choose(agent_id, member, piece)
            pairs += looked
            if choice is None:
                break
            picks.append(choice)
            waiting.discard(choice.framework_id)
            draft.change(choice.role, choice.framework_id, self._counted(choice.resources), 1, int(not choice.waits))
            free = EMPTY if choice.resources is free else free - choice.resources
            cuts -= 1
        return pairs

    def _choose(self, agent_id: str, member: Member, piece: Resources) -> tuple[Pick | None, int]:
        """The first framework in the fair order that may have the piece."""
        looked = 0
        reserved = any(kind.reservations for kind, _ in piece)
        for role in roles_in_order(self.shares):
            mine = piece.allocatable_to(role) if reserved else piece
            members = self.shares.members(role)
            if not mine or members is None:
                continue
            for framework_id in members:
                looked += 1
                refused = self._refused(agent_id, member, framework_id, role, mine)
                if refused is not Refused.LONG:
                    waits = refused is Refused.SHORTLY
                    pick = Pick(agent_id=agent_id, framework_id=framework_id, role=role, resources=mine, waits=waits)
                    return pick, looked
        return None, looked

    def _refused(self, agent_id: str, member: Member, framework_id: str, role: str, resources: Resources) -> Refused:
        """Whether a framework may be offered these resources in a role; what it can never use is refused for long."""
        client = self.clients[framework_id]
        if member.gpus and self._gpus_apart and not client.gpus:
            return Refused.LONG
        if not self._allocatable(resources, client.minimums.get(role, self._minimums)):
            return Refused.LONG
        return self.filters.refused(agent_id, (framework_id, role), resources)

    def _cuts(self, agent_id: str, free: Resources, waiting: set[str], agents_left: int) -> int:
        """Into how many parts an agent is cut: one, unless more frameworks wait for it than agents are left."""
        if len(waiting) <= agents_left:
            return 1
        takers = sum(1 for framework_id in waiting if self._would_take(agent_id, framework_id, free))
        return max(1, min(math.ceil(takers / agents_left), split.parts_max(free)))

    def _would_take(self, agent_id: str, framework_id: str, free: Resources) -> bool:
        member, client = self.members[agent_id], self.clients[framework_id]
        return any(
            self._refused(agent_id, member, framework_id, role, free.allocatable_to(role)) is Refused.NO
            for role in client.roles
            if role not in client.suppressed
        )

    def _waiting(self) -> set[str]:
        """Frameworks that want offers, have none, and hold less than an equal share of the pool.

        One that runs more than its share does not wait: what becomes free goes whole to the others first.
        """
        count = len(self._without)
        return {
            framework_id
            for framework_id in self._without
            if self._share(framework_id, self.clients[framework_id]) * count < 1
        }

    def _changed(self, framework_id: str, client: Client) -> None:
        """Note whether a framework wants offers and has none: to ask all of them at each event would take long."""
        if client.active and client.offers <= 0 and not client.suppressed.issuperset(client.roles):
            self._without[framework_id] = None
        else:
            self._without.pop(framework_id, None)

    def _share(self, framework_id: str, client: Client) -> float:
        """The largest share that a framework holds in any of its roles."""
        shares = self.shares
        return max(
            (dominant_share(shares.held(role, framework_id), shares.totals) for role in client.roles), default=0.0
        )

    def _allocatable(self, resources: Resources, minimums: Minimums) -> bool:
        scalars = resources.scalars
        for minimum in minimums:
            for name, least in minimum.items():
                if scalars.get(name, 0) < least:
                    break
            else:
                return bool(resources)
        return False

    # -- what the methods above have in common

    def _counted(self, resources: Resources) -> Vector:
        scalars = resources.scalars
        if self._excluded:
            return {name: amount for name, amount in scalars.items() if name not in self._excluded}
        return scalars

    def _freed(self, agent_id: str, member: Member, *, mark: bool = True) -> None:
        if member.active and (member.free or agent_id in self.turns):
            self._offerable[agent_id] = None
            if mark:
                self.marked[agent_id] = None
        else:
            self._offerable.pop(agent_id, None)

    def _enter(self, framework_id: str, client: Client) -> None:
        self._changed(framework_id, client)
        if client.active:
            for role in client.roles:
                if role not in client.suppressed:
                    self.shares.enter(role, framework_id)

    def _withdraw(self, framework_id: str, client: Client) -> None:
        for role in client.roles:
            self.shares.leave(role, framework_id)

    def _owe(self, framework_id: str) -> None:
        """A framework is to be told everything it may have, at once: all agents are looked at for it."""
        self.marked.update(self._offerable)
        if self.running:
            self.owed.add(framework_id)

    def _end_turn(self, agent_id: str, *, mark: bool = True) -> None:
        turn = self.turns.pop(agent_id, None)
        if turn is not None:
            member = self.members[agent_id]
            member.free = member.free + turn.resources
            self.shares.change(turn.role, turn.framework_id, self._counted(turn.resources), -1)
            self._freed(agent_id, member, mark=mark)

    def _end_turns_of(self, framework_id: str, roles: Iterable[str]) -> None:
        roles = frozenset(roles)
        for agent_id, turn in list(self.turns.items()):
            if turn.framework_id == framework_id and turn.role in roles:
                self._end_turn(agent_id)

    def check(self) -> None:
        """Assert what holds at any moment."""
        for agent_id, member in self.members.items():
            assert member.total.contains(member.free) or not member.free, f"{agent_id} has more free than it has"
        for agent_id, turn in self.turns.items():
            assert self.members[agent_id].active, f"{agent_id} is not offered but waits for {turn.framework_id}"
            client = self.clients[turn.framework_id]
            assert client.active, f"{agent_id} waits for {turn.framework_id}, which is away"
            assert turn.role not in client.suppressed, f"{agent_id} waits for {turn.framework_id}, which wants nothing"
        for framework_id, client in self.clients.items():
            assert client.offers >= 0, f"{framework_id} has {client.offers} offers"
            wants = client.active and not client.offers and bool(set(client.roles) - client.suppressed)
            assert (framework_id in self._without) is wants, f"whether {framework_id} waits is out of date"
        assert self._without.keys() <= self.clients.keys(), "a framework waits that is gone"
