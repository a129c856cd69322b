"""What an allocator must offer, worked out from plain facts with exact fractions and by looking at everything.

The same rules as the allocator's, written a second time: no orders are kept, nothing is marked, no
slices are cut.  It is slow and short, and the allocator is held to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from altiplano.master.allocator.pool import Pick
from altiplano.master.allocator.split import DECLINES_MAX, part, parts_max
from altiplano.model.resources import EMPTY, Resources

WAITS_MAX = 3
LEAST = ({"cpus": 10}, {"mem": 32_000})


@dataclass
class Agent:
    total: Resources
    active: bool = True
    waited_for: tuple[str, str] | None = None
    waits: int = 0


@dataclass
class Framework:
    roles: tuple[str, ...]
    suppressed: set[str]
    active: bool = True
    gpus: bool = False
    least: dict[str, tuple[dict[str, int], ...]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    """Offers made in each role."""
    parts_declined: int = 0

    @property
    def wanted(self) -> list[str]:
        return [role for role in self.roles if role not in self.suppressed] if self.active else []


@dataclass(frozen=True)
class Held:
    agent: str
    framework: str
    role: str
    resources: Resources
    kind: str
    """`offer`, `task` or `turn`."""
    part: bool = False


@dataclass(frozen=True)
class Refusal:
    agent: str
    framework: str
    role: str
    resources: Resources
    until_s: float
    short: bool


class Facts:
    """All that is so, and what follows from it."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        self.held: list[Held] = []
        self.refusals: list[Refusal] = []
        self.weights: dict[str, float] = {}
        self.disturbed: set[str] = set()
        """Agents that are kept for somebody, and that something has happened to since."""

    # -- shares

    def total(self) -> dict[str, int]:
        return _added(agent.total for agent in self.agents.values())

    def share(self, framework: str, role: str) -> Fraction:
        return self._share(one for one in self.held if one.framework == framework and one.role == role)

    def role_share(self, path: str) -> Fraction:
        return self._share(one for one in self.held if _is_in(one.role, path))

    def _share(self, held: Iterable[Held]) -> Fraction:
        amounts, total = _added(one.resources for one in held), self.total()
        return max(
            (Fraction(amount, total[name]) for name, amount in amounts.items() if name in total), default=Fraction(0)
        )

    def order(self) -> list[tuple[str, str]]:
        """Roles with their frameworks that want offers, fairest first."""
        return [(role, framework) for role in self._roles("") for framework in self._frameworks(role)]

    def _frameworks(self, role: str) -> list[str]:
        found = [name for name, one in self.frameworks.items() if role in one.wanted]
        return sorted(found, key=lambda name: (self.share(name, role), self.frameworks[name].made.get(role, 0), name))

    def _roles(self, path: str) -> list[str]:
        """Roles at and below a node of the tree, fairest first."""
        known = {role for one in self.frameworks.values() for role in (*one.roles, *one.made)}
        known |= {one.role for one in self.held}
        below = {role for role in known if role.startswith(path + "/") or not path}
        if path and not below:
            return [path]
        names = {role.removeprefix(path + "/" if path else "").split("/")[0] for role in below}
        places = [(self._key(f"{path}/{name}" if path else name, name), name) for name in names]
        if path in known:
            places.append((self._own_key(path), "."))
        found: list[str] = []
        for _, name in sorted(places):
            found += [path] if name == "." else self._roles(f"{path}/{name}" if path else name)
        return found

    def _key(self, path: str, name: str) -> tuple[Fraction, int, str]:
        made = sum(count for one in self.frameworks.values() for role, count in one.made.items() if _is_in(role, path))
        return (self.role_share(path) / Fraction(self.weights.get(path, 1.0)), made, name)

    def _own_key(self, path: str) -> tuple[Fraction, int, str]:
        made = sum(one.made.get(path, 0) for one in self.frameworks.values())
        return (self._share(one for one in self.held if one.role == path), made, ".")

    # -- who may have what

    def free(self, agent: str) -> Resources:
        left = self.agents[agent].total
        for one in self.held:
            if one.agent == agent:
                left = left - one.resources
        return left

    def turn(self, agent: str) -> Held | None:
        return next((one for one in self.held if one.agent == agent and one.kind == "turn"), None)

    def answer(self, agent: str, framework: str, role: str, resources: Resources) -> str:
        """`yes`, `later` (its turn is kept) or `no`."""
        client, member = self.frameworks[framework], self.agents[agent]
        if member.total.scalar("gpus") and not client.gpus:
            return "no"
        least = client.least.get(role, LEAST)
        scalars = resources.scalars
        if not any(all(scalars.get(name, 0) >= amount for name, amount in one.items()) for one in least):
            return "no"
        mine = [
            one
            for one in self.refusals
            if (one.agent, one.framework, one.role) == (agent, framework, role) and one.resources.contains(resources)
        ]
        if any(not one.short for one in mine):
            return "no"
        tired = member.waits >= WAITS_MAX and member.waited_for == (framework, role)
        return "yes" if not mine else "no" if tired else "later"

    def would_take(self, agent: str, framework: str, free: Resources) -> bool:
        wanted = self.frameworks[framework].wanted
        return any(self.answer(agent, framework, role, free.allocatable_to(role)) != "no" for role in wanted)

    def waits(self, framework: str) -> bool:
        """Whether a framework wants offers, has none, and holds less than an equal share."""
        client = self.frameworks[framework]
        if not client.wanted or any(one.framework == framework and one.kind != "task" for one in self.held):
            return False
        wanting = sum(1 for one in self.frameworks.values() if one.wanted)
        return max(self.share(framework, role) for role in client.roles) * wanting < 1

    # -- a run

    def run(self, expired_s: float | None) -> list[Pick]:
        """What a run over everything offers; the facts are changed by it."""
        if expired_s is not None:
            ended = [one for one in self.refusals if one.until_s <= expired_s]
            self.refusals = [one for one in self.refusals if one.until_s > expired_s]
            # Their turn is over at once, before anybody is offered anything.
            self.held = [
                one for one in self.held if one.kind != "turn" or not any(end.agent == one.agent for end in ended)
            ]
        queue = [
            name
            for name, agent in self.agents.items()
            if agent.active and (self.turn(name) is None or name in self.disturbed)
        ]
        self.disturbed.clear()
        picks: list[Pick] = []
        for number, agent in enumerate(queue):
            left = sum(1 for other in queue[number:] if self._is_wanted(other))
            turn = self.turn(agent)
            if turn is not None:
                self.held.remove(turn)
            picks += self._divide(agent, max(1, left))
        return picks

    def _is_wanted(self, agent: str) -> bool:
        turn = self.turn(agent)
        free = self.free(agent) if turn is None else self.free(agent) + turn.resources
        return any(self.would_take(agent, framework, free) for framework in self.frameworks)

    def _divide(self, agent: str, left: int) -> list[Pick]:
        free = self.free(agent)
        waiting = [framework for framework in self.frameworks if self.waits(framework)]
        cuts = 1
        if len(waiting) > left:
            takers = sum(
                1
                for framework in waiting
                if self.frameworks[framework].parts_declined < DECLINES_MAX and self.would_take(agent, framework, free)
            )
            cuts = max(1, min(math.ceil(takers / left), parts_max(free)))
        picks: list[Pick] = []
        while free:
            pick = self._first(agent, part(free, cuts), free, divided=any(one.part for one in picks))
            if pick is None and cuts == 1:
                break
            if pick is None:
                cuts = 1
                continue
            picks.append(pick)
            self.take(pick)
            if pick.waits:
                break
            free = free - pick.resources
            cuts = max(1, cuts - 1)
        return picks

    def _first(self, agent: str, piece: Resources, free: Resources, *, divided: bool) -> Pick | None:
        for role, framework in self.order():
            whole = free.allocatable_to(role)
            mine = piece.allocatable_to(role)
            if piece is not free and self.frameworks[framework].parts_declined >= DECLINES_MAX:
                mine = whole
            answer = self.answer(agent, framework, role, mine)
            if answer != "no":
                return Pick(
                    agent_id=agent,
                    framework_id=framework,
                    role=role,
                    resources=mine,
                    waits=answer == "later",
                    part=divided or (piece is not free and mine is not whole),
                )
        return None

    def take(self, pick: Pick) -> None:
        """A pick becomes an offer, or a turn that is kept."""
        agent, client = self.agents[pick.agent_id], self.frameworks[pick.framework_id]
        offering = (pick.framework_id, pick.role)
        if pick.waits:
            agent.waits = agent.waits + 1 if agent.waited_for == offering else 1
            agent.waited_for = offering
        else:
            agent.waited_for = offering if agent.waited_for == offering else None
            client.made[pick.role] = client.made.get(pick.role, 0) + 1
            client.parts_declined = client.parts_declined if pick.part else 0
        kind = "turn" if pick.waits else "offer"
        self.held.append(Held(pick.agent_id, pick.framework_id, pick.role, pick.resources, kind, pick.part))


def _is_in(role: str, path: str) -> bool:
    return role == path or role.startswith(path + "/")


def _added(parts: Iterable[Resources]) -> dict[str, int]:
    return dict(sum(parts, EMPTY).scalars)
