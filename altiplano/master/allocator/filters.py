"""What frameworks do not want to be offered, and until when.

A refusal names what was declined on one agent by one framework in one role.  An offer of the same
or less is held back until the refusal ends; an offer of more passes.  Refusals end on a beat, all
that are due together, so that what they held back is offered in one event.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from heapq import heappop, heappush

import msgspec

from altiplano.model.resources import Resources

REFUSE_SECONDS_DEFAULT = 5.0
REFUSE_SECONDS_MAX = 365 * 86400.0
"""Longer refusals are cut to this: one year."""

REFUSALS_PER_OFFERING_MAX = 64
"""Refusals kept for one framework, role and agent; the oldest goes, so at worst something is offered too early."""


def refuse_seconds(asked: float | None) -> float:
    """How long a decline refuses: what was asked for, where that makes sense.

    >>> refuse_seconds(None), refuse_seconds(-3.0), refuse_seconds(1.5)
    (5.0, 5.0, 1.5)
    """
    if asked is None or math.isnan(asked) or asked < 0:
        return REFUSE_SECONDS_DEFAULT
    return min(asked, REFUSE_SECONDS_MAX)


class Refused(Enum):
    """Whether something may be offered."""

    NO = "no"
    SHORTLY = "shortly"
    """Refused for less than one allocation interval: the framework keeps its turn."""
    LONG = "long"


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    resources: Resources
    until_s: float
    short: bool


Offering = tuple[str, str]
"""A framework and one of its roles."""


class Filters:
    """All refusals in force."""

    def __init__(self) -> None:
        self._of_agent: dict[str, dict[Offering, tuple[Refusal, ...]]] = {}
        self._agents_of: dict[Offering, set[str]] = {}
        self._ends: list[tuple[float, str, Offering]] = []

    def __len__(self) -> int:
        return sum(len(agents) for agents in self._agents_of.values())

    def count_of_role(self, role: str) -> int:
        """Pairs of framework and agent that are filtered in a role."""
        return sum(len(agents) for (_, of), agents in self._agents_of.items() if of == role)

    def refuse(self, agent_id: str, offering: Offering, refusal: Refusal) -> None:
        mine = self._of_agent.setdefault(agent_id, {})
        # A refusal of no more that ends no later says nothing new, and frameworks that decline in a loop make many.
        others = tuple(
            one
            for one in mine.get(offering, ())
            if one.until_s > refusal.until_s
            or one.short < refusal.short
            or not refusal.resources.contains(one.resources)
        )
        mine[offering] = (*others[1 - REFUSALS_PER_OFFERING_MAX :], refusal)
        self._agents_of.setdefault(offering, set()).add(agent_id)
        heappush(self._ends, (refusal.until_s, agent_id, offering))

    def refused(self, agent_id: str, offering: Offering, resources: Resources) -> Refused:
        """Whether an offer of these resources would be of the same or less than was declined."""
        mine = self._of_agent.get(agent_id)
        if not mine:
            return Refused.NO
        answer = Refused.NO
        for refusal in mine.get(offering, ()):
            # Most often it is just what was declined.
            if refusal.resources is resources or refusal.resources.contains(resources):
                if not refusal.short:
                    return Refused.LONG
                answer = Refused.SHORTLY
        return answer

    def has_any(self, agent_id: str) -> bool:
        """Whether anybody refuses anything of an agent."""
        return agent_id in self._of_agent

    def next_end_s(self) -> float | None:
        """When the next refusal ends; None if there is none."""
        return self._ends[0][0] if self._ends else None

    def expire(self, now_s: float) -> set[tuple[str, Offering]]:
        """Drop refusals that have ended; whose they were, and of which agents."""
        ended = set()
        while self._ends and self._ends[0][0] <= now_s:
            _, agent_id, offering = heappop(self._ends)
            mine = self._of_agent.get(agent_id, {})
            if offering not in mine:
                continue
            left = tuple(refusal for refusal in mine[offering] if refusal.until_s > now_s)
            if len(left) < len(mine[offering]):
                ended.add((agent_id, offering))
            if left:
                mine[offering] = left
            else:
                self._forget(agent_id, offering)
        return ended

    def drop(self, offering: Offering) -> set[str]:
        """Drop all refusals of a framework in a role; the agents they were about."""
        agents = set(self._agents_of.get(offering, ()))
        for agent_id in agents:
            self._forget(agent_id, offering)
        self._sweep()
        return agents

    def drop_agent(self, agent_id: str) -> None:
        for offering in list(self._of_agent.get(agent_id, {})):
            self._forget(agent_id, offering)
        self._sweep()

    def _forget(self, agent_id: str, offering: Offering) -> None:
        mine = self._of_agent.get(agent_id)
        if mine is not None and mine.pop(offering, None) is not None and not mine:
            del self._of_agent[agent_id]
        agents = self._agents_of.get(offering)
        if agents is not None:
            agents.discard(agent_id)
            if not agents:
                del self._agents_of[offering]

    def _sweep(self) -> None:
        """Rid the heap of ends whose refusals were dropped, once they are the larger part of it."""
        if len(self._ends) > 64 and len(self._ends) > 4 * len(self):
            self._ends = sorted(set(self._living()))
        elif not self._agents_of:
            self._ends.clear()

    def _living(self) -> Iterator[tuple[float, str, Offering]]:
        for agent_id, mine in self._of_agent.items():
            for offering, refusals in mine.items():
                for refusal in refusals:
                    yield refusal.until_s, agent_id, offering
