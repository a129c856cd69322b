"""What happened, kept for a while, found by subject or by cause."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import msgspec

ENTRIES_MAX = 50_000
"""Entries a process keeps; the oldest go first."""

ENTRIES_PER_SUBJECT_MAX = 200
"""Entries kept for one subject: enough for a story, and one noisy subject cannot push out the others."""

SUBJECTS_MAX = 20_000
"""Subjects with a story; the one that nothing was told of for the longest time goes first."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a story."""

    wall_s: float
    process: str
    subjects: tuple[str, ...]
    sentence: str
    cause: str


class Journal:
    """A bounded memory of notes.

    The index by subject is bounded for itself, so the total may be a multiple of ENTRIES_MAX only
    in references, never in entries.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        # Lists, since most stories are short and there are many: an empty deque takes more room than they do.
        self._by_subject: OrderedDict[str, list[Entry]] = OrderedDict()

    def note(self, subjects: tuple[str, ...], sentence: str, *, cause: str, wall_s: float) -> Entry:
        entry = Entry(wall_s=wall_s, process=self.process, subjects=subjects, sentence=sentence, cause=cause)
        self._entries.append(entry)
        stories = self._by_subject
        for subject in dict.fromkeys((*subjects, cause)):
            story = stories.get(subject)
            if story is None:
                stories[subject] = [entry]
                if len(stories) > SUBJECTS_MAX:
                    stories.popitem(last=False)
                continue
            stories.move_to_end(subject)
            story.append(entry)
            if len(story) > ENTRIES_PER_SUBJECT_MAX:
                del story[0]
        return entry

    def story(self, subject: str) -> list[Entry]:
        """Everything kept about a task, agent, framework or cause, oldest first."""
        return list(self._by_subject.get(subject, ()))

    def latest(self, count: int) -> list[Entry]:
        """The newest entries, oldest first."""
        return list(self._entries)[-count:] if count > 0 else []


def merge(stories: Iterable[Iterable[Entry]]) -> list[Entry]:
    """Stories of several processes as one, in the order of their clocks, without doubles."""
    seen = {(e.wall_s, e.process, e.sentence): e for story in stories for e in story}
    return sorted(seen.values(), key=lambda entry: (entry.wall_s, entry.process))
