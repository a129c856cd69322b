"""What containers use, measured when somebody asks."""

from __future__ import annotations

import asyncio

from altiplano.agent import runners
from altiplano.agent.runners import Runner
from altiplano.agent.shell import Agent
from altiplano.agent.state import LAUNCHED, Task
from altiplano.ports import launcher


async def measure(agent: Agent, task: Task) -> launcher.Usage | None:
    """The usage of a task's container; None when it has none of its own, or it does not run."""
    return await _usage(agent, task.container_id) if task.stage in LAUNCHED else None


async def measure_all(agent: Agent) -> list[tuple[Runner, launcher.Usage | None]]:
    """All that have a container, with its usage."""
    running = list(runners.containers(agent.core.state))
    usages = await asyncio.gather(*(_usage(agent, runner.container_id) for runner in running))
    return list(zip(running, usages, strict=True))


async def _usage(agent: Agent, container_id: str) -> launcher.Usage | None:
    try:
        return await agent.outside.launcher.usage(container_id)
    except launcher.LauncherError:
        return None
