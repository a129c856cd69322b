"""The parent of `altiplano up`: what it does when children answer, die, hang, and when it is to end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from altiplano.cli.up_core import (
    END_S_MAX,
    ORDER,
    START_S_MAX,
    STEADY_S,
    Act,
    Announce,
    End,
    EndTasks,
    Kill,
    Leave,
    Parent,
    Phase,
    Say,
    Start,
)


def running() -> Parent:
    parent = Parent()
    parent.start(0)
    for name in ORDER:
        parent.ready(name, 1)
    return parent


def without_words(acts: list[Act]) -> list[Act]:
    return [act for act in acts if not isinstance(act, Say)]


def test_each_child_starts_when_the_one_before_it_answers() -> None:
    parent = Parent()
    assert parent.start(0) == [Start("master")]
    assert parent.ready("master", 1) == [Start("agent")]
    assert parent.ready("agent", 2) == [Start("host")]
    assert parent.ready("host", 3) == [Announce()]


def test_a_child_that_dies_is_started_again_after_a_pause() -> None:
    parent = running()
    (said,) = parent.exited("agent", -9, 10, 0.0)
    assert said == Say("the agent was ended by signal 9; it is started again in 0.2 s")
    wake_at = parent.wake_at()
    assert wake_at == 10.25
    assert parent.wake(wake_at) == [Start("agent")]
    assert parent.ready("agent", 12) == [], "the others run already, and nobody announces twice"


def test_one_that_keeps_dying_is_started_ever_more_slowly() -> None:
    parent, now, pauses = running(), 10.0, []
    for _ in range(5):
        parent.exited("master", 1, now, 0.5)
        wake_at = parent.wake_at()
        assert wake_at is not None
        pauses.append(wake_at - now)
        now = wake_at
        parent.wake(now)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 5 * pauses[0]


def test_one_that_worked_for_long_is_started_quickly_again() -> None:
    parent = running()
    parent.exited("master", 1, 10, 0.5)
    now = parent.wake_at()
    assert now is not None
    parent.wake(now)
    parent.ready("master", now)
    parent.exited("master", 1, now + STEADY_S, 0.0)
    assert parent.wake_at() == now + STEADY_S + 0.25


def test_one_that_does_not_answer_is_killed_and_started_again() -> None:
    parent = Parent()
    parent.start(0)
    assert without_words(parent.wake(START_S_MAX)) == [Kill("master")]
    parent.exited("master", -9, START_S_MAX, 0.0)
    wake_at = parent.wake_at()
    assert wake_at is not None
    assert parent.wake(wake_at) == [Start("master")]


def test_one_that_was_started_wrongly_ends_the_pool() -> None:
    parent = Parent()
    parent.start(0)
    acts = parent.exited("master", 2, 1, 0.5)
    assert without_words(acts) == [Leave(1)]


def test_it_ends_from_frameworks_to_master_one_after_the_other() -> None:
    parent = running()
    assert parent.stop(10) == [End("host")]
    assert parent.exited("host", 0, 11, 0.5) == [End("agent")]
    assert parent.exited("agent", 0, 12, 0.5) == [End("master")]
    assert parent.exited("master", 0, 13, 0.5) == [EndTasks()]
    assert parent.tasks_ended() == [Leave(0)]
    assert parent.tasks_ended() == []


def test_who_asks_twice_does_not_wait_for_tasks() -> None:
    parent = running()
    parent.stop(10)
    for name in reversed(ORDER):
        acts = parent.exited(name, 0, 11, 0.5)
    assert acts == [EndTasks()]
    assert without_words(parent.stop(12)) == [Leave(0)]
    assert parent.tasks_ended() == []


def test_tasks_of_an_agent_that_had_just_died_end_as_well() -> None:
    parent = running()
    parent.exited("agent", -9, 10, 0.5)
    parent.stop(10)
    parent.exited("host", 0, 11, 0.5)
    assert parent.exited("master", 0, 12, 0.5) == [EndTasks()]


def test_tasks_stay_when_nobody_asked_for_the_end() -> None:
    parent = running()
    assert without_words(parent.exited("agent", 78, 10, 0.5)) == [End("host")]
    parent.exited("host", 0, 11, 0.5)
    assert parent.exited("master", 0, 12, 0.5) == [Leave(1)]


def test_a_child_that_does_not_end_is_killed() -> None:
    parent = running()
    parent.stop(10)
    assert without_words(parent.wake(10 + END_S_MAX["host"])) == [Kill("host")]
    assert parent.exited("host", -9, 20, 0.5) == [End("agent")]


def test_a_second_request_to_end_leaves_at_once() -> None:
    parent = running()
    parent.stop(10)
    assert without_words(parent.stop(11)) == [Kill("master"), Kill("agent"), Kill("host")]
    for name in ("master", "agent"):
        assert not any(isinstance(act, Leave) for act in parent.exited(name, -9, 12, 0.5))
    assert parent.exited("host", -9, 12, 0.5) == [Leave(0)]


def test_what_waits_for_its_restart_is_not_started_any_more() -> None:
    parent = running()
    parent.exited("agent", 1, 10, 0.5)
    assert parent.stop(10) == [End("host")]
    assert parent.children["agent"].phase is Phase.GONE
    assert parent.wake(100) != [Start("agent")]


@given(st.lists(st.tuples(st.sampled_from(["ready", "exit", "wake", "stop"]), st.sampled_from(ORDER)), max_size=40))
def test_it_never_runs_a_child_twice_and_always_comes_to_an_end(story: list[tuple[str, str]]) -> None:
    parent, now = Parent(), 0.0
    alive: set[str] = set()
    left: list[Act] = []

    def take(acts: list[Act]) -> None:
        for act in acts:
            if isinstance(act, Start):
                assert act.name not in alive
                alive.add(act.name)
            if isinstance(act, EndTasks):
                assert not alive
            if isinstance(act, Leave):
                assert not alive
                left.append(act)
        parent.check()

    take(parent.start(now))
    for what, name in story:
        now += 7
        if what == "ready" and name in alive:
            take(parent.ready(name, now))
        elif what == "exit" and name in alive:
            alive.discard(name)
            take(parent.exited(name, 1, now, 0.5))
        elif what == "wake":
            take(parent.wake(now))
        elif what == "stop":
            take(parent.stop(now))
    if not parent.stopping:
        take(parent.stop(now))
    for name in reversed(ORDER):
        if name in alive:
            alive.discard(name)
            take(parent.exited(name, 0, now, 0.5))
    take(parent.tasks_ended())
    assert len(left) == 1
