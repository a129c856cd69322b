"""How far the drain of an agent is, and what taking it out of use would mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from altiplano.cli.failures import FAILED, Failure
from altiplano.cli.listing import AgentRow, agent_row, chosen
from altiplano.sdk.operator import Operator
from altiplano.wire.messages import master, mesos

POLL_S = 0.5
"""Time between two questions about a drain."""

GONE = "gone"
"""The agent is no member any more."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that operators take out of use, as `--json` prints it."""

    agent_id: str
    hostname: str
    state: str
    tasks: tuple[str, ...]
    """Tasks that have not ended, or whose end is not acknowledged yet."""
    dry_run: bool = False


async def find(operator: Operator, text: str) -> AgentRow:
    """The agent that is meant by an id, the beginning of it, or a host name."""
    rows = [agent_row(agent) for agent in await operator.agents()]
    return chosen("agent", text, rows, [(row.id, row.hostname) for row in rows])


async def progress(operator: Operator, agent: AgentRow, *, dry_run: bool = False) -> Progress:
    """Where the agent stands now."""
    states = {row.id: row.state for row in map(agent_row, await operator.agents())}
    found = await operator.tasks()
    left = tuple(task.task_id.value for task in found.tasks if task.agent_id.value == agent.id)
    return Progress(
        agent_id=agent.id,
        hostname=agent.hostname,
        state=states.get(agent.id, GONE),
        tasks=left,
        dry_run=dry_run,
    )


async def drain(operator: Operator, agent: AgentRow, *, grace_s: float | None, mark_gone: bool) -> None:
    """Order the drain of an agent."""
    grace = None
    if grace_s is not None:
        nanoseconds = round(grace_s * 1e9)
        grace = mesos.Duration(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)
    call = master.CallDrainAgent(agent_id=mesos.AgentID(value=agent.id), max_grace_period=grace, mark_gone=mark_gone)
    await operator.call(master.Call(type=master.CallType.DRAIN_AGENT, drain_agent=call))


async def deactivate(operator: Operator, agent: AgentRow) -> None:
    call = master.CallDeactivateAgent(agent_id=mesos.AgentID(value=agent.id))
    await operator.call(master.Call(type=master.CallType.DEACTIVATE_AGENT, deactivate_agent=call))


async def reactivate(operator: Operator, agent: AgentRow) -> None:
    call = master.CallReactivateAgent(agent_id=mesos.AgentID(value=agent.id))
    await operator.call(master.Call(type=master.CallType.REACTIVATE_AGENT, reactivate_agent=call))


async def follow(operator: Operator, agent: AgentRow, told: Callable[[Progress], None]) -> Progress:
    """Wait until an agent is drained or gone; `told` hears of every change.  Fails if somebody calls the drain off."""
    last = None
    while True:
        now = await progress(operator, agent)
        if now != last:
            told(now)
            last = now
        if now.state in ("drained", GONE):
            return now
        if now.state != "draining":
            raise Failure(f"agent {agent.hostname} is {now.state}: somebody else has changed what was ordered", FAILED)
        await asyncio.sleep(POLL_S)


def sentence(at: Progress) -> str:
    """Where a drain stands, for people."""
    if at.dry_run:
        return f"{at.hostname} ({at.agent_id}) is {at.state}; a drain would end {_tasks(at)}"
    if at.state == "draining" and not at.tasks:
        return f"{at.hostname} is draining: no task is left to end"
    if at.state == "draining":
        return f"{at.hostname} is draining: {_tasks(at)} left"
    return f"{at.hostname} is {at.state}"


def _tasks(at: Progress) -> str:
    return "1 task" if len(at.tasks) == 1 else f"{len(at.tasks)} tasks"
