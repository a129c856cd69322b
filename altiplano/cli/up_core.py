"""The parent of `altiplano up` without its processes: which child to start, when to start it again, how to end.

    ABSENT ──► STARTING ──► READY ──► WAITING ──► STARTING …
                   │          │          │
                   └──────────┴──────────┴──► ENDING ──► GONE

Children start in the order of `ORDER`, each when the one before it answers, and end in the reverse
order: frameworks first, so that nobody starts again what the agent ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from altiplano.kit.backoff import BackOff

ORDER = ("master", "agent", "host")
WORDS = {"master": "master", "agent": "agent", "host": "host of frameworks"}

START_S_MAX = 30.0
"""A child that does not answer by then is ended and started again."""

STEADY_S = 60.0
"""A child that was ready for so long has earned a quick restart."""

END_S_MAX: Mapping[str, float] = {"host": 10.0, "agent": 40.0, "master": 10.0}
"""After so long a child that was asked to end is killed.  The agent ends its tasks first."""

RESTART = BackOff(base_s=0.5, cap_s=30.0)

LOST = 78
"""The exit code of a child whose place in the work directory cannot be used."""

CANNOT = frozenset({2, LOST})
"""Exit codes of a child that was started wrongly (usage, configuration): starting it again changes nothing."""


class Phase(Enum):
    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    ENDING = "ending"
    GONE = "gone"


STEPS: Mapping[Phase, frozenset[Phase]] = {
    Phase.ABSENT: frozenset({Phase.STARTING, Phase.GONE}),
    Phase.STARTING: frozenset({Phase.READY, Phase.WAITING, Phase.ENDING, Phase.GONE}),
    Phase.READY: frozenset({Phase.WAITING, Phase.ENDING, Phase.GONE}),
    Phase.WAITING: frozenset({Phase.STARTING, Phase.GONE}),
    Phase.ENDING: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Start:
    """Start a child and tell when it answers (`ready`) and when it ends (`exited`)."""

    name: str


@dataclass(frozen=True, slots=True)
class End:
    """Ask a child to end."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a child now."""

    name: str


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the user."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Announce:
    """All children answer for the first time: the pool can be used."""


@dataclass(frozen=True, slots=True)
class EndTasks:
    """End what an agent that is gone may have left, and tell (`tasks_ended`)."""


@dataclass(frozen=True, slots=True)
class Leave:
    """All children are gone."""

    code: int


Act = Start | End | Kill | Say | Announce | EndTasks | Leave


@dataclass(slots=True)
class Child:
    """What is known of one child."""

    name: str
    phase: Phase = Phase.ABSENT
    since_s: float = 0.0
    deadline_s: float | None = None
    back_off: BackOff = field(default=RESTART)

    def step(self, phase: Phase, now_s: float, deadline_s: float | None = None) -> None:
        assert phase in STEPS[self.phase], f"{self.name}: {self.phase} -> {phase}"
        self.phase = phase
        self.since_s = now_s
        self.deadline_s = deadline_s


class Parent:
    """Decides for all children; time and random numbers come with what happens."""

    def __init__(self) -> None:
        self.children = {name: Child(name) for name in ORDER}
        self.stopping = False
        self._announced = False
        self._code = 0
        self._left = False
        self._tasks_go = False
        """The tasks are to end with the pool: somebody has asked for its end, and did not ask twice."""
        self._ending_tasks = False

    def wake_at(self) -> float | None:
        """When `wake` shall be called; None for never."""
        times = [child.deadline_s for child in self.children.values() if child.deadline_s is not None]
        return min(times) if times else None

    def start(self, now_s: float) -> list[Act]:
        """Begin."""
        return self._start(self.children[ORDER[0]], now_s)

    def ready(self, name: str, now_s: float) -> list[Act]:
        """A child answers."""
        child = self.children[name]
        if child.phase is not Phase.STARTING or self.stopping:
            return []
        child.step(Phase.READY, now_s)
        acts: list[Act] = []
        for other in self.children.values():
            if other.phase is Phase.ABSENT:
                acts += self._start(other, now_s)
                break
        if not self._announced and all(child.phase is Phase.READY for child in self.children.values()):
            self._announced = True
            acts.append(Announce())
        return acts

    def exited(self, name: str, code: int, now_s: float, fraction: float) -> list[Act]:
        """A child has ended; a negative code is a signal."""
        child = self.children[name]
        if child.phase in (Phase.GONE, Phase.ABSENT):
            return []
        if self.stopping:
            child.step(Phase.GONE, now_s)
            return self._end_next(now_s)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code in CANNOT:
            child.step(Phase.GONE, now_s)
            return [Say(f"the {WORDS[name]} {how}: it cannot work like this"), *self._stop(now_s, 1)]
        if child.phase is Phase.READY and now_s - child.since_s >= STEADY_S:
            child.back_off = child.back_off.reset()
        delay_s, child.back_off = child.back_off.next(fraction)
        child.step(Phase.WAITING, now_s, now_s + delay_s)
        return [Say(f"the {WORDS[name]} {how}; it is started again in {delay_s:.1f} s")]

    def wake(self, now_s: float) -> list[Act]:
        """Do what is due."""
        acts: list[Act] = []
        for child in self.children.values():
            if child.deadline_s is None or child.deadline_s > now_s:
                continue
            child.deadline_s = None
            if child.phase is Phase.WAITING:
                acts += self._start(child, now_s)
            elif child.phase is Phase.STARTING:
                acts += [Say(f"the {WORDS[child.name]} does not answer after {START_S_MAX:g} s"), Kill(child.name)]
            elif child.phase is Phase.ENDING:
                acts += [Say(f"the {WORDS[child.name]} does not end and is killed"), Kill(child.name)]
        return acts

    def stop(self, now_s: float) -> list[Act]:
        """End everything, tasks included; asked a second time: at once, and tasks stay."""
        if not self.stopping:
            self._tasks_go = True
            return self._stop(now_s, 0)
        self._tasks_go = False
        living = [
            child for child in self.children.values() if child.phase in (Phase.STARTING, Phase.READY, Phase.ENDING)
        ]
        said: list[Act] = [Say("leaving at once; tasks that still run stay, and the next 'altiplano up' finds them")]
        return said + [Kill(child.name) for child in living] + self.tasks_ended()

    def tasks_ended(self) -> list[Act]:
        """What `EndTasks` asked for is done, or given up."""
        if not self._ending_tasks or self._left:
            return []
        self._left = True
        return [Leave(self._code)]

    def check(self) -> None:
        """Assert every invariant."""
        for child in self.children.values():
            assert child.phase is not Phase.WAITING or child.deadline_s is not None or self.stopping
        assert not self._left or all(child.phase is Phase.GONE for child in self.children.values())

    def _start(self, child: Child, now_s: float) -> list[Act]:
        child.step(Phase.STARTING, now_s, now_s + START_S_MAX)
        return [Start(child.name)]

    def _stop(self, now_s: float, code: int) -> list[Act]:
        self.stopping = True
        self._code = code
        for child in self.children.values():
            if child.phase in (Phase.ABSENT, Phase.WAITING):
                child.step(Phase.GONE, now_s)
        return self._end_next(now_s)

    def _end_next(self, now_s: float) -> list[Act]:
        """End the last child that is left, or leave."""
        if any(child.phase is Phase.ENDING for child in self.children.values()):
            return []
        for name in reversed(ORDER):
            child = self.children[name]
            if child.phase in (Phase.STARTING, Phase.READY):
                child.step(Phase.ENDING, now_s, now_s + END_S_MAX[name])
                return [End(name)]
        if self._left or self._ending_tasks:
            return []
        self._ending_tasks = True
        return [EndTasks()] if self._tasks_go else self.tasks_ended()
