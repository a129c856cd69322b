"""The checks of the tasks that run here: known to this process only, learned again by the next."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator

from altiplano.agent import facts
from altiplano.agent.timers import Timer, Timers
from altiplano.executors import checks
from altiplano.executors.checks import Phase, Purpose, Slot, Watch

Key = tuple[str, str, Purpose]
"""Framework id, task id, which of its checks."""

UNDER_WAY = frozenset({Phase.RUNNING, Phase.STOPPING})


def timer(key: Key) -> Timer:
    """When the check is due, or the time of its run is over."""
    return "check", key[0], key[1], key[2].value


def turn(slot: Slot) -> Timer:
    """When those that wait for a run to end are looked at."""
    return "checks", slot.value


class Checks:
    """Every check of every running task, and who waits for whom."""

    def __init__(self) -> None:
        self.watches: dict[Key, Watch] = {}
        self.by_run: dict[str, Key] = {}
        self.waiting: dict[Slot, OrderedDict[Key, None]] = {slot: OrderedDict() for slot in Slot}
        self._under_way: Counter[Slot] = Counter()

    def of(self, framework_id: str, task_id: str) -> Iterator[tuple[Key, Watch]]:
        """The checks of one task."""
        for purpose in Purpose:
            key = (framework_id, task_id, purpose)
            if (watch := self.watches.get(key)) is not None:
                yield key, watch

    def free(self, slot: Slot) -> int:
        """Runs that may begin now."""
        return checks.AT_ONCE_MAX[slot] - self._under_way[slot]

    def apply(self, fact: facts.CheckSet | facts.CheckDropped, timers: Timers) -> None:
        key = (fact.framework_id, fact.task_id, Purpose(fact.purpose))
        if (before := self.watches.pop(key, None)) is not None:
            self._leave(key, before)
        if isinstance(fact, facts.CheckDropped):
            timers.clear(timer(key))
            return
        self.watches[key] = fact.watch
        if fact.watch.phase is Phase.WAITING:
            self.waiting[fact.watch.slot][key] = None
        if fact.watch.phase in UNDER_WAY:
            self._under_way[fact.watch.slot] += 1
            self.by_run[fact.watch.run] = key

    def _leave(self, key: Key, watch: Watch) -> None:
        if watch.phase is Phase.WAITING:
            del self.waiting[watch.slot][key]
        if watch.phase in UNDER_WAY:
            self._under_way[watch.slot] -= 1
            del self.by_run[watch.run]

    def check(self) -> None:
        """Assert every invariant that needs no task."""
        under_way = Counter(watch.slot for watch in self.watches.values() if watch.phase in UNDER_WAY)
        assert under_way == +self._under_way, "the runs of checks are miscounted"
        for slot in Slot:
            assert self.free(slot) >= 0, f"more checks of kind {slot.value} run than may"
        for run, key in self.by_run.items():
            assert self.watches[key].run == run
