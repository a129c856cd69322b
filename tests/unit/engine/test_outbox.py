"""The outbox: in order, in slices, never early."""

from __future__ import annotations

from counting import Say

from altiplano.engine.core import Effect
from altiplano.engine.outbox import EFFECTS_PER_SLICE, Outbox


def says(*texts: str) -> tuple[Say, ...]:
    return tuple(Say(text=text) for text in texts)


def outbox() -> tuple[Outbox, list[str]]:
    said: list[str] = []

    def perform(effect: Effect) -> None:
        assert isinstance(effect, Say)
        said.append(effect.text)

    return Outbox(perform), said


def test_a_batch_waits_for_its_position() -> None:
    box, said = outbox()
    box.put(says("a"), after=5)
    assert not box.flush(4)
    assert said == []
    assert not box.flush(5)
    assert said == ["a"]


def test_a_batch_that_rests_on_nothing_waits_behind_one_that_does() -> None:
    box, said = outbox()
    box.put(says("later"), after=5)
    box.put(says("rests on nothing"), after=0)
    box.flush(4)
    assert said == []
    box.flush(5)
    assert said == ["later", "rests on nothing"]


def test_a_large_batch_leaves_in_slices_and_keeps_its_order() -> None:
    box, said = outbox()
    texts = [str(number) for number in range(EFFECTS_PER_SLICE * 2 + 10)]
    box.put(says(*texts), after=1)
    box.put(says("last"), after=1)
    assert box.flush(1)
    assert len(said) == EFFECTS_PER_SLICE
    assert len(box) == 2
    while box.flush(1):
        pass
    assert said == [*texts, "last"]
    assert len(box) == 0


def test_what_is_put_by_an_effect_leaves_behind_it() -> None:
    said: list[str] = []

    def perform(effect: Effect) -> None:
        assert isinstance(effect, Say)
        said.append(effect.text)
        if effect.text == "first":
            box.put(says("from within"), after=1)

    box = Outbox(perform)
    box.put(says("first", "second"), after=1)
    box.flush(1)
    assert said == ["first", "second", "from within"]


def test_an_empty_batch_is_nothing() -> None:
    box, _ = outbox()
    box.put((), after=99)
    assert not box
    assert not box.flush(0)
