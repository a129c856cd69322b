"""A core small enough to know by heart: it counts, forgets its noise at a restart, fails on demand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, assert_never

from altiplano.engine.core import Decision, Effect, Event, Fact, Note, Wake
from altiplano.engine.records import FactCodec
from altiplano.model.time import Instant


class Add(Event, frozen=True, kw_only=True):
    amount: int


class Whisper(Event, frozen=True, kw_only=True):
    """Changes only what a restart forgets."""


class Fail(Event, frozen=True, kw_only=True):
    pass


class Ask(Event, frozen=True, kw_only=True):
    pass


class Alarm(Event, frozen=True, kw_only=True):
    """Asks to be woken at `mono_s`."""

    mono_s: float


class Added(Fact, frozen=True, kw_only=True):
    amount: int


class Heard(Fact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class AlarmSet(Fact, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False
    mono_s: float | None


class Say(Effect, frozen=True, kw_only=True):
    text: str


Events = Add | Whisper | Fail | Ask | Alarm | Wake


class CountingCore:
    def __init__(self) -> None:
        self.total = 0
        self.heard = 0
        self.alarm: float | None = None
        self.checks = 0

    def decide(self, event: Events, now: Instant) -> Decision:
        match event:
            case Add():
                note = Note(subjects=("total",), sentence=f"{event.amount} were added", cause=event.cause)
                said = Say(text=f"total {self.total + event.amount}")
                return Decision((Added(amount=event.amount),), (said, note))
            case Whisper():
                return Decision((Heard(),), (Say(text=f"heard {self.heard + 1}"),))
            case Fail():
                raise ZeroDivisionError("asked to fail")
            case Ask():
                return Decision((), (Say(text=f"is {self.total}"),))
            case Alarm():
                return Decision((AlarmSet(mono_s=event.mono_s),))
            case Wake():
                return Decision((AlarmSet(mono_s=None),), (Say(text=f"awake at {now.mono_s:g}"),))
            case _:
                assert_never(event)

    def apply(self, fact: Fact) -> None:
        match fact:
            case Added():
                self.total += fact.amount
            case Heard():
                self.heard += 1
            case AlarmSet():
                self.alarm = fact.mono_s

    def wake_at(self) -> float | None:
        return self.alarm

    def summary(self) -> Iterable[Fact]:
        yield Added(amount=self.total)

    def check(self) -> None:
        self.checks += 1
        assert self.total >= 0, f"the total {self.total} is below zero"


def codec() -> FactCodec[Added]:
    return FactCodec((Added,), version=2)
