"""One slice of a run: the next agents of the queue, and who is offered them.

* What is free on an agent goes to the first framework of the fair order that may have it; what that
  one may not have (reservations of others) goes to the next.
* An agent is cut into parts only when fewer agents that anybody would take are left in the run than
  frameworks wait: those that want offers, have none, and hold less than an equal share.  It is not cut
  for a framework that declined parts twice, which is offered all of the next agent that it is its turn for.
* A refusal of less than one allocation interval does not change whose turn it is: what the fair
  order gives to the decliner waits for it, counted as its own, until the beat; but not for ever.

How a run is cut into slices does not change what it offers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from altiplano.master.allocator import split
from altiplano.master.allocator.filters import Refused
from altiplano.master.allocator.pool import Member, Pick, Plan, allocatable
from altiplano.master.allocator.quota import Room, cut_down
from altiplano.master.allocator.sorter import Draft, Order, Vector, below
from altiplano.model.resources import EMPTY, Resources

if TYPE_CHECKING:
    from altiplano.master.allocator.allocator import Allocator

PAIRS_PER_SLICE = 250
"""Pairs of agent and framework looked at in one slice: some milliseconds."""

WAITS_MAX = 3
"""Beats in a row for which an agent is kept for a framework that declines it again and again; then its turn is over."""

LOOKAHEAD_PAIRS_MAX = 2_000
"""Pairs looked at to see whether enough agents are left for those who wait; if that is not enough, they are."""


class Slice:
    """Plans on a draft of the shares; the allocator is left as it was."""

    def __init__(self, allocator: Allocator, pairs_max: int) -> None:
        self._allocator = allocator
        self._pairs_max = pairs_max
        # Where no role has a quota, nothing of them is asked for.
        self._room = Room(allocator.quotas, allocator.shares) if allocator.quotas.of else None
        self._draft = Draft(allocator.shares, counts_all=self._room is not None)
        self._withheld: list[str] = []
        self._was_cut = False
        """Whether quotas kept somebody from some of the agent that is visited."""
        self._picks: list[Pick] = []
        self._pairs = 0
        self._turns_ended: dict[str, int] = {}
        self._given_whole: set[str] = set()
        self._went_on = False
        """Whether the agent that is visited went to others than those it was kept for."""
        self._divided = False
        """Whether somebody got a part of the agent that is visited."""
        # A framework begins to wait within a slice only where an agent is not kept for it any more.
        enough = len(allocator.without) + len(allocator.turns) + pairs_max
        self._left = self._agents_left(enough)
        # With enough agents for all it does not matter who waits, and to ask each for its share takes long.
        self._waiting = self._who_waits() if self._left < enough else set()

    def plan(self) -> Plan:
        visited: list[str] = []
        try:
            for agent_id, candidates in self._allocator.queue.items():
                if self._pairs >= self._pairs_max:
                    break
                visited.append(agent_id)
                self._pairs += 1
                self._visit(agent_id, candidates)
        finally:
            self._draft.undo()
        return Plan(visited=tuple(visited), picks=tuple(self._picks), pairs=self._pairs, withheld=tuple(self._withheld))

    # -- one agent

    def _visit(self, agent_id: str, candidates: tuple[str, ...] | None) -> None:
        allocator = self._allocator
        member = allocator.members[agent_id]
        free = member.free
        turn = allocator.turns.get(agent_id) if allocator.turns else None
        if turn is not None:
            free = free + turn.resources
            self._change(turn.role, turn.framework_id, turn.resources, allocator.vector(turn.resources), -1, 0)
            self._end_turn(turn.framework_id)
        if not member.active:
            return
        cuts = self._cuts(agent_id, member, free) if len(self._waiting) > self._left else 1
        before = len(self._picks)
        self._went_on = self._divided = self._was_cut = False
        while free:
            piece = split.part(free, cuts) if cuts > 1 else free
            pick = self._choose(agent_id, member, piece, free, candidates)
            if pick is not None:
                self._take(member, pick)
                # Whatever is left waits as well where an agent is kept for somebody: it is kept for one only.
                if pick.waits or pick.resources is free:
                    free = EMPTY
                    break
                free = free - pick.resources
                cuts = max(1, cuts - 1)
            elif cuts > 1:
                cuts = 1
            else:
                break
        self._left -= len(self._picks) > before
        if self._was_cut and free:
            self._withheld.append(agent_id)

    def _is_tired_of_parts(self, framework_id: str) -> bool:
        declined = self._allocator.clients[framework_id].parts_declined
        return declined >= split.DECLINES_MAX and framework_id not in self._given_whole

    def _take(self, member: Member, pick: Pick) -> None:
        allocator = self._allocator
        self._picks.append(pick)
        self._divided = pick.part
        if not pick.waits:
            self._went_on = self._went_on or member.waited_for != (pick.framework_id, pick.role)
            if not pick.part:
                self._given_whole.add(pick.framework_id)
        self._waiting.discard(pick.framework_id)
        whole = pick.resources is member.free
        vector = allocator.vector_free(member) if whole else allocator.vector(pick.resources)
        self._change(pick.role, pick.framework_id, pick.resources, vector, 1, int(not pick.waits))

    def _change(
        self, role: str, framework_id: str, resources: Resources, vector: Vector, sign: int, count: int
    ) -> None:
        if self._room is None:
            self._draft.change(role, framework_id, vector, sign, count)
            return
        before = self._allocator.shares.first_key(role)
        self._draft.change(role, framework_id, vector, sign, count)
        self._room.take(role, resources, sign)
        self._room.place(role.split("/", 1)[0], before)

    def _choose(
        self, agent_id: str, member: Member, piece: Resources, free: Resources, candidates: tuple[str, ...] | None
    ) -> Pick | None:
        """Who is offered the piece: the first framework in the fair order that may have it."""
        if candidates is not None:
            return self._choose_among(agent_id, member, piece, free, candidates)
        shares, room = self._allocator.shares, self._room
        if room is None:
            return self._first_of(shares.in_order(), agent_id, member, piece, free)
        # What is guaranteed comes before what is only fair; who is at its limit is not even asked.
        self._was_cut = self._was_cut or room.any_full
        pick = self._first_of(below(room.first), agent_id, member, piece, free)
        return pick or self._first_of(below(room.others), agent_id, member, piece, free)

    def _first_of(
        self, orders: Iterator[Order], agent_id: str, member: Member, piece: Resources, free: Resources
    ) -> Pick | None:
        allocator = self._allocator
        alike = self._room is None and not member.reserved
        enough = allocatable(piece, allocator.minimums)
        for order in orders:
            mine, all_mine = (piece, free) if alike else self._of_role(member, order.path, piece, free)
            if not alike:
                enough = allocatable(mine, allocator.minimums)
                self._pairs += 1
            for key in order.keys:
                pick = self._ask(agent_id, member, key[2], order.path, mine, all_mine, enough)
                if pick is not None:
                    return pick
        return None

    def _choose_among(
        self, agent_id: str, member: Member, piece: Resources, free: Resources, candidates: tuple[str, ...]
    ) -> Pick | None:
        """The same where all but a few frameworks have been asked before, and nothing has changed for them."""
        clients, shares = self._allocator.clients, self._allocator.shares
        asked = [(one, role) for one in candidates if one in clients for role in clients[one].wanted]
        if len(asked) > 1:
            asked.sort(key=lambda place: shares.rank(place[1], place[0]))
        for framework_id, role in asked:
            mine, all_mine = self._of_role(member, role, piece, free)
            enough = allocatable(mine, self._allocator.minimums)
            pick = self._ask(agent_id, member, framework_id, role, mine, all_mine, enough)
            if pick is not None:
                return pick
        return None

    def _ask(
        self,
        agent_id: str,
        member: Member,
        framework_id: str,
        role: str,
        mine: Resources,
        all_mine: Resources,
        enough: bool,
    ) -> Pick | None:
        allocator = self._allocator
        self._pairs += 1
        part = mine is not all_mine
        if part and self._is_tired_of_parts(framework_id):
            mine, part, enough = all_mine, False, allocatable(all_mine, allocator.minimums)
        refused = allocator.refused(agent_id, member, framework_id, role, mine, enough=enough)
        if refused is Refused.LONG:
            return None
        if refused is Refused.SHORTLY and not self._went_on and _is_over(member, framework_id, role):
            return None
        return Pick(
            agent_id=agent_id,
            framework_id=framework_id,
            role=role,
            resources=mine,
            waits=refused is Refused.SHORTLY,
            part=part or self._divided,
        )

    # -- who waits, and for how many agents

    def _who_waits(self) -> set[str]:
        """Frameworks that want offers, have none, and hold less than an equal share of the pool.

        One that runs more than its share does not wait: what becomes free goes whole to the others first.
        """
        return {framework_id for framework_id in self._allocator.without if self._holds_little(framework_id)}

    def _holds_little(self, framework_id: str) -> bool:
        return self._allocator.share(framework_id) * len(self._allocator.wanting) < 1

    def _end_turn(self, framework_id: str) -> None:
        """A framework for which an agent was kept may be waiting for others again."""
        ended = self._turns_ended[framework_id] = self._turns_ended.get(framework_id, 0) + 1
        client = self._allocator.clients[framework_id]
        if not client.offers and client.turns == ended and self._holds_little(framework_id):
            self._waiting.add(framework_id)

    def _agents_left(self, enough: int) -> int:
        """How many agents of the queue somebody would take; `enough` if there are as many or it is hard to say."""
        allocator = self._allocator
        found = pairs = 0
        if not allocator.without and not allocator.turns:
            return enough
        # What quotas leave takes some time to tell, so less of that is looked at.
        pairs_max = LOOKAHEAD_PAIRS_MAX if self._room is None else self._pairs_max
        anybody = self._room is None and self._takes_anything()
        for agent_id, candidates in allocator.queue.items():
            if found >= enough or pairs >= pairs_max:
                return enough
            pairs += 1
            if anybody and candidates is None and self._is_plain(agent_id):
                found += 1
                continue
            taken, asked = self._is_wanted(agent_id, candidates)
            found += taken
            pairs += asked
        return found

    def _takes_anything(self) -> bool:
        """Whether there is a framework that takes any agent of which it has not refused something."""
        clients = self._allocator.clients
        return any(not clients[framework_id].minimums for framework_id in self._allocator.wanting)

    def _is_plain(self, agent_id: str) -> bool:
        """Whether nobody has refused anything of an agent, and everybody may have it."""
        allocator = self._allocator
        member = allocator.members[agent_id]
        return (
            member.active
            and not member.gpus
            and not member.reserved
            and not allocator.filters.has_any(agent_id)
            and allocatable(member.free, allocator.minimums)
        )

    def _is_wanted(self, agent_id: str, candidates: tuple[str, ...] | None) -> tuple[bool, int]:
        """Whether anybody would take something of an agent, and how many were asked."""
        allocator = self._allocator
        member = allocator.members[agent_id]
        turn = allocator.turns.get(agent_id)
        free = member.free if turn is None else member.free + turn.resources
        if not member.active or not free:
            return False, 0
        for asked, framework_id in enumerate(allocator.wanting if candidates is None else candidates):
            if self._would_take(agent_id, member, framework_id, free):
                return True, asked
        return False, len(allocator.wanting)

    def _cuts(self, agent_id: str, member: Member, free: Resources) -> int:
        """Into how many parts an agent is cut while more frameworks wait than agents are left."""
        takers = sum(
            1
            for framework_id in self._waiting
            if not self._is_tired_of_parts(framework_id) and self._would_take(agent_id, member, framework_id, free)
        )
        return max(1, min(math.ceil(takers / max(1, self._left)), split.parts_max(free)))

    def _would_take(self, agent_id: str, member: Member, framework_id: str, free: Resources) -> bool:
        allocator = self._allocator
        client = allocator.clients.get(framework_id)
        if client is None or not client.active:
            return False
        for role in client.roles:
            if role not in client.suppressed:
                mine, _ = self._of_role(member, role, free, free)
                enough = allocatable(mine, allocator.minimums)
                refused = allocator.refused(agent_id, member, framework_id, role, mine, enough=enough)
                if refused is Refused.NO or (refused is Refused.SHORTLY and not _is_over(member, framework_id, role)):
                    return True
        return False

    def _of_role(self, member: Member, role: str, piece: Resources, free: Resources) -> tuple[Resources, Resources]:
        """What may go to a role of a piece, and of all that is free."""
        if not member.reserved and self._room is None:
            return piece, free
        all_mine = free.allocatable_to(role) if member.reserved else free
        mine = all_mine if piece is free else piece.allocatable_to(role) if member.reserved else piece
        if self._room is None:
            return mine, all_mine
        most = self._room.most(role)
        if not most:
            return mine, all_mine
        was, all_mine = all_mine, cut_down(all_mine, most)
        self._was_cut = self._was_cut or all_mine is not was
        return (all_mine if mine is was else cut_down(mine, most)), all_mine


def _is_over(member: Member, framework_id: str, role: str) -> bool:
    """Whether an agent was kept for a framework for so long that it is not kept any more."""
    return member.waits >= WAITS_MAX and member.waited_for == (framework_id, role)
