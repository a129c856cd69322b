"""The journal: stories by subject and by cause, all bounded."""

from __future__ import annotations

from altiplano.engine import journal as journals
from altiplano.engine.journal import Journal, merge


def note(journal: Journal, subject: str, sentence: str, *, cause: str = "c", wall_s: float = 1.0) -> None:
    journal.note((subject,), sentence, cause=cause, wall_s=wall_s)


def test_a_story_is_found_by_subject_and_by_cause() -> None:
    journal = Journal("master")
    note(journal, "task-1", "was launched", cause="c-1")
    note(journal, "task-2", "was launched", cause="c-2")
    note(journal, "task-1", "runs", cause="c-3")
    assert [entry.sentence for entry in journal.story("task-1")] == ["was launched", "runs"]
    assert [entry.subjects for entry in journal.story("c-2")] == [("task-2",)]
    assert journal.story("nobody") == []


def test_a_noisy_subject_keeps_its_newest_entries_and_spares_the_others() -> None:
    journal = Journal("master")
    note(journal, "quiet", "once")
    for number in range(journals.ENTRIES_PER_SUBJECT_MAX + 50):
        note(journal, "noisy", str(number), cause=f"c-{number}")
    story = journal.story("noisy")
    assert len(story) == journals.ENTRIES_PER_SUBJECT_MAX
    assert story[-1].sentence == str(journals.ENTRIES_PER_SUBJECT_MAX + 49)
    assert len(journal.story("quiet")) == 1


def test_the_oldest_subjects_go_first() -> None:
    journal = Journal("master")
    for number in range(journals.SUBJECTS_MAX + 10):
        note(journal, f"s-{number}", "x", cause="one cause")
    assert journal.story("s-0") == []
    assert len(journal.story(f"s-{journals.SUBJECTS_MAX + 9}")) == 1


def test_a_subject_that_is_still_told_of_outlives_those_that_are_not() -> None:
    journal = Journal("master")
    note(journal, "old but busy", "first")
    for number in range(journals.SUBJECTS_MAX - 5):
        note(journal, f"s-{number}", "x")
    note(journal, "old but busy", "second")
    for number in range(100):
        note(journal, f"t-{number}", "x")
    assert [entry.sentence for entry in journal.story("old but busy")] == ["first", "second"]


def test_the_latest_come_oldest_first() -> None:
    journal = Journal("master")
    for number in range(10):
        note(journal, "s", str(number))
    assert [entry.sentence for entry in journal.latest(3)] == ["7", "8", "9"]
    assert journal.latest(0) == []


def test_stories_of_several_processes_merge_by_time_without_doubles() -> None:
    master, agent = Journal("master"), Journal("agent")
    note(master, "t", "accepted", wall_s=1)
    note(agent, "t", "started", wall_s=2)
    note(master, "t", "runs", wall_s=3)
    merged = merge([master.story("t"), agent.story("t"), master.story("t")])
    assert [entry.sentence for entry in merged] == ["accepted", "started", "runs"]
