"""What the containers of tasks use, measured when somebody asks."""

from __future__ import annotations

import asyncio

from altiplano.agent.shell import Agent
from altiplano.agent.state import LAUNCHED, Task
from altiplano.ports import launcher


async def measure(agent: Agent, task: Task) -> launcher.Usage | None:
    """The usage of a task's container; None when it does not run."""
    if task.stage not in LAUNCHED:
        return None
    try:
        return await agent.outside.launcher.usage(task.container_id)
    except launcher.LauncherError:
        return None


async def measure_all(agent: Agent) -> list[tuple[Task, launcher.Usage | None]]:
    """All tasks that have a container, with its usage."""
    tasks = [task for task in agent.core.state.tasks.values() if task.stage in LAUNCHED]
    usages = await asyncio.gather(*(measure(agent, task) for task in tasks))
    return list(zip(tasks, usages, strict=True))
