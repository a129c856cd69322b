"""What the allocator knows of agents and frameworks, and what it decides about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from altiplano.master.allocator.sorter import Vector
from altiplano.model.resources import Resources

Minimums = Sequence[Mapping[str, int]]
"""An offer holds at least one of these sets of amounts, in thousandths."""


class Member(msgspec.Struct, kw_only=True):
    """An agent."""

    number: int
    """How many had joined when it had: agents are looked at in this order."""
    total: Resources
    free: Resources
    active: bool = True
    gpus: bool = False
    reserved: bool = False
    """Whether anything of it is reserved for somebody."""
    vector: Vector | None = None
    """What is free as a vector, once somebody has asked for it."""
    waited_for: tuple[str, str] | None = None
    """The framework and role for which it was last kept until the beat."""
    waits: int = 0
    """How often in a row it was kept for them."""


class Client(msgspec.Struct, kw_only=True):
    """A framework."""

    roles: tuple[str, ...]
    suppressed: frozenset[str]
    active: bool = True
    gpus: bool = False
    minimums: Mapping[str, Minimums] = msgspec.field(default_factory=dict)
    offers: int = 0
    turns: int = 0
    parts_declined: int = 0
    """Parts of agents it declined since it last was offered a whole one or used something."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Roles in which it wants offers."""
        return tuple(role for role in self.roles if role not in self.suppressed) if self.active else ()


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is free on an agent waits for the framework whose turn it is."""

    framework_id: str
    role: str
    resources: Resources


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """An agent goes to a framework: as an offer, or to wait for it until the beat.

    `part`: it is a part of an agent that was divided among several.
    """

    agent_id: str
    framework_id: str
    role: str
    resources: Resources
    waits: bool
    part: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice of a run comes to."""

    visited: tuple[str, ...]
    picks: tuple[Pick, ...]
    pairs: int
    """Pairs of agent and framework that were looked at: the work it took."""
    withheld: tuple[str, ...] = ()
    """Agents of which somebody would have been offered more but for quotas."""


def is_reserved(resources: Resources) -> bool:
    """Whether some of this is for certain roles only."""
    return any(kind.reservations for kind, _ in resources)


def allocatable(resources: Resources, minimums: Minimums) -> bool:
    """Whether this is enough for an offer."""
    scalars = resources.scalars
    for minimum in minimums:
        for name, least in minimum.items():
            if scalars.get(name, 0) < least:
                break
        else:
            return bool(resources)
    return False
