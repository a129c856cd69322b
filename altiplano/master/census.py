"""What a master's pool consists of at one moment, counted for monitors.

Counting looks at every agent and task, so it pauses now and then: with 100,000 tasks it takes some tens of
milliseconds, of which no piece holds the loop for long.  What changes meanwhile is counted before or after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from altiplano.master.shell import Shell
from altiplano.master.state import MasterState, Membership, Presence
from altiplano.model.tasks import State

AGENTS_PER_SLICE = 500
FRAMEWORKS_PER_SLICE = 100
TASKS_PER_SLICE = 20_000


@dataclass(slots=True)
class Census:
    """The shell for what it counts itself, and what was found in its state.  Amounts are in thousandths."""

    shell: Shell
    agents: Counter[Membership] = field(default_factory=Counter)
    frameworks: Counter[Presence] = field(default_factory=Counter)
    tasks: Counter[State] = field(default_factory=Counter)
    unreachable: int = 0
    total: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)

    @property
    def state(self) -> MasterState:
        return self.shell.core.state


async def take(shell: Shell) -> Census:
    census = Census(shell)
    await _count_agents(census)
    await _count_frameworks(census)
    return census


async def _count_agents(census: Census) -> None:
    for number, agent in enumerate(tuple(census.state.agents.values()), 1):
        census.agents[agent.membership] += 1
        if agent.membership is not Membership.AWAITED:
            for amounts, held in (
                (census.total, agent.total),
                (census.used, agent.used),
                (census.offered, agent.offered),
            ):
                for name, amount in held.scalars.items():
                    amounts[name] += amount
        if number % AGENTS_PER_SLICE == 0:
            await asyncio.sleep(0)


async def _count_frameworks(census: Census) -> None:
    for number, framework in enumerate(tuple(census.state.frameworks.values()), 1):
        census.frameworks[framework.presence] += 1
        census.unreachable += len(framework.unreachable)
        tasks = tuple(framework.tasks.values())
        for start in range(0, len(tasks), TASKS_PER_SLICE):
            census.tasks.update(task.state for task in tasks[start : start + TASKS_PER_SLICE])
            if len(tasks) > TASKS_PER_SLICE:
                await asyncio.sleep(0)
        if number % FRAMEWORKS_PER_SLICE == 0:
            await asyncio.sleep(0)
