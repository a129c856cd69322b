"""The state of a master at one moment, to be shown at leisure.

Taking it copies references and small records: some milliseconds with 100,000 tasks.  It stays as it is
because what is shown of a task, offer or executor is never changed in place: a task that changes is
replaced (`altiplano.master.tasks`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from altiplano.master.state import Agent, Executor, Framework, MasterState, Offer, Task


@dataclass(frozen=True, slots=True)
class FrameworkThen:
    """A framework with what it had.  The record's own dicts are those of now and are not to be read."""

    record: Framework
    tasks: tuple[Task, ...]
    unreachable: tuple[Task, ...]
    completed: tuple[Task, ...]
    offers: tuple[Offer, ...]
    executors: tuple[Executor, ...]

    @classmethod
    def of(cls, framework: Framework) -> FrameworkThen:
        return cls(
            copy.copy(framework),
            tuple(framework.tasks.values()),
            tuple(framework.unreachable.values()),
            tuple(framework.completed.values()),
            tuple(framework.offers.values()),
            tuple(framework.executors.values()),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Frameworks without a description are left out: they are known from the registry only."""

    agents: tuple[Agent, ...]
    awaited: tuple[Agent, ...]
    frameworks: tuple[FrameworkThen, ...]
    completed: tuple[FrameworkThen, ...]

    @property
    def every_framework(self) -> tuple[FrameworkThen, ...]:
        return self.frameworks + self.completed


def take(state: MasterState) -> Snapshot:
    return Snapshot(
        agents=tuple(copy.copy(agent) for agent in state.agents.values() if agent.id not in state.awaited),
        awaited=tuple(copy.copy(state.agents[agent_id]) for agent_id in sorted(state.awaited)),
        frameworks=tuple(FrameworkThen.of(one) for one in state.frameworks.values() if one.info is not None),
        completed=tuple(FrameworkThen.of(one) for one in state.completed.values() if one.info is not None),
    )
