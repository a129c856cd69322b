"""What a core is.

A core decides and keeps state; it reads no clock, opens no file and knows no event loop.
`decide` looks at one event and says what holds from now on (facts) and what shall be done
(effects), without changing anything.  `apply` alone changes the state, one fact at a time, and it
is the same call when a process recovers from its log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

import msgspec

from altiplano.model.time import Instant


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="event"):
    """Something that happened outside of the core.  `cause` names its first reason.

    Events are plain data, so that the flight recorder can write them down and play them again.
    """

    cause: str


class Wake(Event, frozen=True, kw_only=True):
    """The moment the core asked to be woken at (`Core.wake_at`) has come."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="fact"):
    """An outcome: something that holds from now on.

    `durable` facts are written to the log before anything that rests on them is said; the others
    are known only to this process and are learned again after a restart.
    """

    durable: ClassVar[bool] = True


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Something for the shell to do."""


class Note(Effect, frozen=True, kw_only=True):
    """A line for the journal: what happened to `subjects` (ids), in one plain sentence."""

    subjects: tuple[str, ...]
    sentence: str
    cause: str


class Decision(msgspec.Struct, frozen=True):
    """The outcome of one event.

    Facts are applied in order, then effects carried out in order, after the facts are durable.
    """

    facts: tuple[Fact, ...] = ()
    effects: tuple[Effect, ...] = ()


E_contra = TypeVar("E_contra", bound=Event, contravariant=True)


class Core(Protocol[E_contra]):
    """One brain of one process."""

    def decide(self, event: E_contra, now: Instant) -> Decision:
        """Facts and effects that follow from an event.  Changes nothing, so it may fail without harm."""
        ...

    def apply(self, fact: Fact) -> None:
        """Take a fact into the state.  Must not fail: a process whose state is in doubt stops."""
        ...

    def wake_at(self) -> float | None:
        """When (`mono_s`) the core wants a `Wake`; None for never.  Asked after every event."""
        ...

    def summary(self) -> Iterable[Fact]:
        """Durable facts that lead a new core to the durable part of this state: the log's snapshot."""
        ...

    def check(self) -> None:
        """Assert every invariant."""
        ...
