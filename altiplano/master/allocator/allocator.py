"""Which framework is offered which agent.

The allocator works on changes.  Whatever makes something offerable marks agents; a run looks at
the marked agents only, in slices.  What a slice would offer is worked out by `plan` on a draft,
without changing anything; the facts that come of it are applied by the other methods, which are all
that changes the state.

What keeps a run short: an agent that was looked at and not taken is wanted by nobody, and stays so
until something happens.  What happens to the agent marks it for everybody.  What happens to a
framework (it revives, a refusal of its ends) marks agents for that framework alone, since all others
have been asked.  So an event costs what it concerns, however many agents, frameworks and refusals
there are; and a run over the marked agents offers what a run over all agents would.

The rules, beside the fair order (`sorter`) and refusals (`filters`), are in `slices`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

from altiplano.master.allocator.filters import Filters, Refusal, Refused
from altiplano.master.allocator.pool import Client, Member, Minimums, Pick, Plan, Turn, allocatable, is_reserved
from altiplano.master.allocator.quota import Quota, Quotas
from altiplano.master.allocator.slices import PAIRS_PER_SLICE, Slice
from altiplano.master.allocator.sorter import Shares, Vector
from altiplano.model.resources import EMPTY, Resources

POSTPONED_RUNS_MAX = 20
"""Runs after which a framework that revives all the time is told what there is for it."""

WITHHELD_PER_RUN = 16
"""Agents held back by quotas that are looked at again in one run."""

MARKED_FOR_MAX = 4
"""An agent that is marked for more frameworks than these is marked for all."""

SCAN_FROM = 8
"""With more than one marked agent in so many, all are gone through instead of sorting the marked ones."""

ROUNDING = 1e-6
"""Part of an interval by which two computations of one beat may differ."""

Marks = dict[str, tuple[str, ...] | None]
"""Agents to be looked at, and the frameworks for which; None means all."""


class Allocator:
    def __init__(
        self, *, interval_s: float, minimums: Minimums, excluded: frozenset[str] = frozenset(), gpus_apart: bool = True
    ) -> None:
        """`minimums`: an offer holds at least one of these sets.  `excluded` resources do not count in shares."""
        self.interval_s = interval_s
        self.minimums = minimums
        self.shares = Shares()
        self.quotas = Quotas(self.shares, minimums)
        self.filters = Filters()
        self.members: dict[str, Member] = {}
        self.clients: dict[str, Client] = {}
        self.turns: dict[str, Turn] = {}
        self.marked: Marks = {}
        self.queue: Marks = {}
        self.wanting: dict[str, None] = {}
        """Frameworks that want offers in some role."""
        self.without: dict[str, None] = {}
        """Those of them that have none, and for which no agent is kept."""
        self.running = False
        self.due_s: float | None = None
        self.owed: set[str] = set()
        self.postponed: dict[str, int] = {}
        self.runs = 0
        self.visits = 0
        self._offerable: dict[str, None] = {}
        self._review: list[str] = []
        self._joined = 0
        self._withheld: dict[str, None] = {}
        self._again: set[str] = set()
        self._room_grew = False
        self._excluded = excluded
        self._gpus_apart = gpus_apart

    # -- agents

    def add_agent(self, agent_id: str, total: Resources) -> None:
        self._joined += 1
        self.members[agent_id] = Member(
            number=self._joined,
            total=total,
            free=total,
            gpus=total.scalar("gpus") > 0,
            reserved=is_reserved(total),
            active=False,
        )
        self._add_total(self.members[agent_id], 1)

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
        self._add_total(member, -1)
        self.filters.drop_agent(agent_id)
        self._offerable.pop(agent_id, None)
        self._withheld.pop(agent_id, None)
        self.marked.pop(agent_id, None)
        self.queue.pop(agent_id, None)

    def change_total(self, agent_id: str, total: Resources) -> None:
        """An agent came back with other resources; what is in use fits into them."""
        member = self.members[agent_id]
        if total == member.total:
            return
        self._end_turn(agent_id)
        used = member.total - member.free
        self._add_total(member, -1)
        self._set_free(member, total - used if total.contains(used) else EMPTY)
        member.total = total
        member.gpus, member.reserved = total.scalar("gpus") > 0, is_reserved(total)
        self._add_total(member, 1)
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
        client = Client(
            roles=roles, suppressed=frozenset(suppressed), active=active, gpus=gpus, minimums=dict(minimums or {})
        )
        if old is not None:
            self._end_turns_of(framework_id, old.roles)
            for role in old.roles:
                self.shares.leave(role, framework_id)
                if role not in roles:
                    self.shares.forget(role, framework_id)
                    self.filters.drop((framework_id, role))
            for role in old.suppressed - client.suppressed:
                self.filters.drop((framework_id, role))
            client.offers = old.offers
            client.parts_declined = old.parts_declined
        self.clients[framework_id] = client
        self._enter(framework_id, client)
        if client.wanted:
            self._owe(framework_id)

    def deactivate_framework(self, framework_id: str) -> None:
        """A framework is disconnected: it gets nothing, and what it declined is forgotten."""
        client = self.clients[framework_id]
        self._end_turns_of(framework_id, client.roles)
        client.active = False
        client.parts_declined = 0
        self._changed(framework_id, client)
        for role in client.roles:
            self.shares.leave(role, framework_id)
            self.filters.drop((framework_id, role))
        self.owed.discard(framework_id)

    def remove_framework(self, framework_id: str) -> None:
        """A framework is gone; it holds nothing."""
        self.deactivate_framework(framework_id)
        client = self.clients.pop(framework_id)
        for role in client.roles:
            self.shares.forget(role, framework_id)

    def suppress(self, framework_id: str, roles: Iterable[str]) -> None:
        client = self.clients[framework_id]
        roles = tuple(roles)
        self._end_turns_of(framework_id, roles)
        client.suppressed |= frozenset(roles)
        self._changed(framework_id, client)
        for role in roles:
            self.shares.leave(role, framework_id)

    def revive(self, framework_id: str, roles: Iterable[str]) -> None:
        client = self.clients[framework_id]
        roles = tuple(roles)
        self._end_turns_of(framework_id, roles)
        client.suppressed -= frozenset(roles)
        for role in roles:
            self.filters.drop((framework_id, role))
        self._enter(framework_id, client)
        self._owe(framework_id)

    def set_weight(self, role: str, weight: float) -> None:
        self.shares.set_weight(role, weight)

    def set_quota(self, role: str, quota: Quota) -> None:
        """Give a role guarantees and limits, or none; what it held back is looked at again."""
        self.quotas.set(role, quota)
        self.quotas.settle()
        for agent_id in self._offerable:
            if agent_id not in self.turns:
                self.mark(agent_id)

    # -- resources

    def allocate(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """Resources of an agent go to a framework, in use by its tasks."""
        client = self.clients.get(framework_id)
        if client is not None:
            client.parts_declined = 0
        self._take(agent_id, framework_id, role, resources, count=0)
        self.members[agent_id].waited_for = None

    def offer(self, agent_id: str, framework_id: str, role: str, resources: Resources, *, part: bool = False) -> None:
        """Resources of an agent are offered; the offer is counted."""
        client = self.clients[framework_id]
        if not part:
            client.parts_declined = 0
        member = self.members[agent_id]
        if member.waited_for != (framework_id, role):
            member.waited_for = None
        if agent_id in self._again:
            # Room was found where there was none before: there may be more of it.
            self._room_grew = True
        self._count_offer(framework_id, 1)
        self._take(agent_id, framework_id, role, resources, count=1)

    def keep_offer(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """What is left of an offer stays offered; it is not counted as one more."""
        self._count_offer(framework_id, 1)
        self._take(agent_id, framework_id, role, resources, count=0)

    def recover(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """Resources of an agent come back; the agent is looked at again."""
        if not resources:
            return
        member = self.members[agent_id]
        self._set_free(member, member.free + resources)
        self.shares.change(role, framework_id, self.vector(resources), -1)
        self._count(member, role, resources, -1)
        self._freed(agent_id, member)

    def offer_ended(self, framework_id: str) -> None:
        if framework_id in self.clients:
            self._count_offer(framework_id, -1)

    def refuse(
        self,
        agent_id: str,
        framework_id: str,
        role: str,
        resources: Resources,
        *,
        until_s: float,
        short: bool,
        part: bool = False,
    ) -> None:
        """A framework does not want these or less of an agent for a while; `part`: it was offered a part of it."""
        client = self.clients.get(framework_id)
        if client is not None and part:
            client.parts_declined += 1
        if agent_id in self.members and resources:
            self.filters.refuse(
                agent_id, (framework_id, role), Refusal(resources=resources, until_s=until_s, short=short)
            )

    def keep_turn(self, agent_id: str, framework_id: str, role: str, resources: Resources) -> None:
        """What is free on an agent waits until the beat for a framework that declined it a moment ago."""
        self.turns[agent_id] = Turn(framework_id=framework_id, role=role, resources=resources)
        client, member = self.clients[framework_id], self.members[agent_id]
        client.turns += 1
        self._changed(framework_id, client)
        member.waits = member.waits + 1 if member.waited_for == (framework_id, role) else 1
        member.waited_for = (framework_id, role)
        self._take(agent_id, framework_id, role, resources, count=0)

    # -- runs

    @property
    def beat_s(self) -> float | None:
        """The next beat on which refusals end: a multiple of the allocation interval."""
        end = self.filters.next_end_s()
        return None if end is None else math.ceil(end / self.interval_s - ROUNDING) * self.interval_s

    @property
    def wants_run(self) -> bool:
        # Offers that were kept back for a framework are told at the end of a run only, also where nothing is marked.
        return bool(self.marked or self.postponed) and not self.running

    def mark(self, agent_id: str, framework_id: str | None = None) -> None:
        """Have an agent looked at in the next run: for one framework, or for all."""
        marked = self.marked
        if framework_id is None:
            marked[agent_id] = None
        elif agent_id not in marked:
            marked[agent_id] = (framework_id,)
        else:
            before = marked[agent_id]
            if before is not None and framework_id not in before:
                marked[agent_id] = (*before, framework_id) if len(before) < MARKED_FOR_MAX else None

    def review(self, count: int) -> None:
        """Mark up to `count` agents that have something free, in turn, so that each is looked at now and then."""
        if not self._review:
            self._review = list(self._offerable)
        for agent_id in self._review[:count]:
            if agent_id in self._offerable and agent_id not in self.turns:
                self.mark(agent_id)
        del self._review[:count]

    def begin(self, expired_s: float | None) -> None:
        """Begin a run over all that is marked; first drop the refusals that ended by `expired_s`."""
        if expired_s is not None:
            for agent_id, (framework_id, _) in self.filters.expire(expired_s + ROUNDING * self.interval_s):
                if agent_id in self.turns:
                    self._end_turn(agent_id)
                elif agent_id in self._offerable:
                    self.mark(agent_id, framework_id)
        if self._room_grew:
            self._mark_withheld()
        self.due_s = None
        self.running = True
        self.runs += 1
        self.queue = {agent_id: self.marked[agent_id] for agent_id in self._marked_in_order()}
        self.marked = {}
        self.owed = set()

    def plan(self, pairs_max: int = PAIRS_PER_SLICE) -> Plan:
        """What the next slice of the run offers, about `pairs_max` pairs long.  Changes nothing."""
        return Slice(self, pairs_max).plan()

    def visited(self, agent_ids: Iterable[str], withheld: Iterable[str] = ()) -> None:
        """These agents were looked at; turns kept on them are over, unless they are kept again.

        Of those that are `withheld` somebody would have been offered more but for quotas.
        """
        for agent_id in agent_ids:
            self.visits += 1
            self.queue.pop(agent_id, None)
            self._withheld.pop(agent_id, None)
            if agent_id in self.turns:
                self._end_turn(agent_id, mark=False)
        self._withheld.update(dict.fromkeys(withheld))

    def end(self) -> None:
        """The run is over; who may be told has been told."""
        self.running = False
        self._again.clear()
        if self._room_grew:
            self._mark_withheld()
        self.postponed = {
            framework_id: self.postponed.get(framework_id, 0) + 1
            for framework_id in self.owed
            if not self.may_be_told(framework_id)
        }

    def may_be_told(self, framework_id: str) -> bool:
        """Whether a framework may get the offers of the run that ends: not if it is owed all of the next."""
        return framework_id not in self.owed or self.postponed.get(framework_id, 0) >= POSTPONED_RUNS_MAX

    # -- what runs ask

    def vector(self, resources: Resources) -> Vector:
        """What counts in shares."""
        scalars = resources.scalars
        if self._excluded:
            scalars = {name: amount for name, amount in scalars.items() if name not in self._excluded}
        return self.shares.vector(scalars)

    def vector_free(self, member: Member) -> Vector:
        """What is free on an agent, as a vector; most offers are of just that."""
        if member.vector is None or len(member.vector) != len(self.shares.axes.names):
            member.vector = self.vector(member.free)
        return member.vector

    def refused(
        self, agent_id: str, member: Member, framework_id: str, role: str, resources: Resources, *, enough: bool
    ) -> Refused:
        """Whether a framework may be offered these resources in a role; what it can never use is refused for long.

        `enough`: whether they are, by the minimums of this pool; a framework may have others.
        """
        client = self.clients[framework_id]
        if client.minimums and role in client.minimums:
            enough = allocatable(resources, client.minimums[role])
        if not enough or (member.gpus and self._gpus_apart and not client.gpus):
            return Refused.LONG
        return self.filters.refused(agent_id, (framework_id, role), resources)

    def share(self, framework_id: str) -> float:
        """The largest share that a framework holds in any of its roles."""
        roles = self.clients[framework_id].roles
        return max((self.shares.framework_share(role, framework_id) for role in roles), default=0.0)

    # -- what the methods above have in common

    def _marked_in_order(self) -> list[str]:
        """In the order in which agents joined, so that events which come together may come in any order."""
        if len(self.marked) * SCAN_FROM > len(self.members):
            return [agent_id for agent_id in self.members if agent_id in self.marked]
        return sorted(self.marked, key=lambda agent_id: self.members[agent_id].number)

    def _add_total(self, member: Member, sign: int) -> None:
        self.shares.add_total(self.vector(member.total), sign)
        if member.reserved:
            self.quotas.add_agent(member.total, sign)
        self._room_grew = self._room_grew or bool(self.quotas.of)

    def _count(self, member: Member, role: str, resources: Resources, sign: int) -> None:
        """Count what a role holds towards its quota."""
        if member.reserved or self.quotas.of:
            self.quotas.change(role, resources, sign, reserved=member.reserved)
            self._room_grew = self._room_grew or sign < 0

    def _mark_withheld(self) -> None:
        """Where quotas leave more room than before, some of the agents that were held back are looked at again.

        Mostly what was freed is where it was freed; to look at all would cost as much as there are agents, for
        every event.  As long as something comes of it, or room grows, the next ones follow.
        """
        self._room_grew = False
        for agent_id in list(itertools.islice(self._withheld, WITHHELD_PER_RUN)):
            del self._withheld[agent_id]
            if agent_id in self._offerable and agent_id not in self.turns:
                self._again.add(agent_id)
                self.mark(agent_id)

    def _set_free(self, member: Member, free: Resources) -> None:
        member.free = free
        member.vector = None

    def _take(self, agent_id: str, framework_id: str, role: str, resources: Resources, *, count: int) -> None:
        member = self.members[agent_id]
        whole = resources is member.free
        vector = self.vector_free(member) if whole else self.vector(resources)
        self._set_free(member, EMPTY if whole else member.free - resources)
        self.shares.change(role, framework_id, vector, 1, count)
        self._count(member, role, resources, 1)
        self._freed(agent_id, member, mark=False)

    def _count_offer(self, framework_id: str, change: int) -> None:
        client = self.clients[framework_id]
        client.offers += change
        self._changed(framework_id, client)

    def _changed(self, framework_id: str, client: Client) -> None:
        """Note whether a framework wants offers and has none: to ask all of them at each event would take long."""
        if client.active and not client.suppressed.issuperset(client.roles):
            self.wanting[framework_id] = None
            if client.offers <= 0 and not client.turns:
                self.without[framework_id] = None
                return
        else:
            self.wanting.pop(framework_id, None)
        self.without.pop(framework_id, None)

    def _freed(self, agent_id: str, member: Member, *, mark: bool = True) -> None:
        if member.active and (member.free or agent_id in self.turns):
            self._offerable[agent_id] = None
            if mark:
                self.marked[agent_id] = None
        else:
            self._offerable.pop(agent_id, None)
            self.marked.pop(agent_id, None)

    def _enter(self, framework_id: str, client: Client) -> None:
        self._changed(framework_id, client)
        for role in client.wanted:
            self.shares.enter(role, framework_id)

    def _owe(self, framework_id: str) -> None:
        """A framework is to be told everything it may have, at once: all agents are looked at for it."""
        for agent_id in self._offerable:
            self.mark(agent_id, framework_id if agent_id not in self.turns else None)
        if self.running:
            self.owed.add(framework_id)

    def _end_turn(self, agent_id: str, *, mark: bool = True) -> None:
        turn = self.turns.pop(agent_id, None)
        if turn is not None:
            client, member = self.clients[turn.framework_id], self.members[agent_id]
            client.turns -= 1
            self._changed(turn.framework_id, client)
            self._set_free(member, member.free + turn.resources)
            self.shares.change(turn.role, turn.framework_id, self.vector(turn.resources), -1)
            self._count(member, turn.role, turn.resources, -1)
            self._freed(agent_id, member, mark=mark)

    def _end_turns_of(self, framework_id: str, roles: Iterable[str]) -> None:
        if not self.clients[framework_id].turns:
            return
        roles = frozenset(roles)
        for agent_id, turn in list(self.turns.items()):
            if turn.framework_id == framework_id and turn.role in roles:
                self._end_turn(agent_id)

    def check(self) -> None:
        """Assert what holds at any moment."""
        turns = dict.fromkeys(self.clients, 0)
        for agent_id, member in self.members.items():
            assert member.total.contains(member.free) or not member.free, f"{agent_id} has more free than it has"
            offerable = member.active and bool(member.free or agent_id in self.turns)
            assert (agent_id in self._offerable) is offerable, f"whether {agent_id} can be offered is out of date"
        for agent_id, turn in self.turns.items():
            assert self.members[agent_id].active, f"{agent_id} is not offered but waits for {turn.framework_id}"
            wanted = self.clients[turn.framework_id].wanted
            assert turn.role in wanted, f"{agent_id} waits for {turn.framework_id}, which wants nothing as {turn.role}"
            turns[turn.framework_id] += 1
        for framework_id, client in self.clients.items():
            assert client.offers >= 0, f"{framework_id} has {client.offers} offers"
            assert client.turns == turns[framework_id], f"{framework_id} has {client.turns} turns, not {turns}"
            wants = bool(client.wanted)
            assert (framework_id in self.wanting) is wants, f"whether {framework_id} wants something is out of date"
            waits = wants and not client.offers and not client.turns
            assert (framework_id in self.without) is waits, f"whether {framework_id} waits is out of date"
        assert self.wanting.keys() <= self.clients.keys(), "a framework wants something that is gone"
        assert self.marked.keys() <= self._offerable.keys(), "an agent is marked that cannot be offered"


__all__ = ["ROUNDING", "Allocator", "Minimums", "Pick", "Plan"]
