"""One simulated machine: the launcher's twin, and the truth about what ran on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from altiplano.ports import launcher
from altiplano.sim.history import History
from altiplano.testing.launcher import MemoryMachine, Program, script

EXECUTOR = "executor "
"""A command that begins with this word is a custom executor; what follows is how it behaves."""


@dataclass(slots=True, eq=False)
class Run:
    """What really happened to one task, or to one custom executor (`task_id` is empty then)."""

    machine: str
    agent_id: str
    container_id: str
    framework_id: str
    executor_id: str
    task_id: str
    started_s: float
    checkpoint: bool = True
    hosted: bool = False
    """It is a task within the container of a custom executor."""
    ended_s: float | None = None
    wait_status: int | None = None
    """How it ended; of a hosted task what its executor would have told."""
    cut_off: bool = False
    """A hosted task that ended with its executor: whatever it wanted to tell."""


class Guest(Protocol):
    """A program that runs in a container and talks."""

    def begin(self) -> None: ...

    def die(self) -> None:
        """Its process is gone."""
        ...


def programs(spec: launcher.LaunchSpec) -> Program:
    """Scripts as every twin knows them, and custom executors, which run until they end themselves."""
    if is_executor(spec):
        return Program(duration_s=float("inf"))
    return script(spec)


def is_executor(spec: launcher.LaunchSpec) -> bool:
    return spec.argv[-1].startswith(EXECUTOR)


@dataclass(slots=True, eq=False)
class Machine(MemoryMachine):
    """Outlives the agents on it.  Tells the history of every real start and end."""

    name: str = ""
    boot: int = 1
    history: History = field(default_factory=History)
    running: dict[tuple[str, str], Run] = field(default_factory=dict)
    """By container and task."""
    hatch: Callable[[Machine, launcher.LaunchSpec], Guest] | None = None
    """Starts the program of a custom executor."""
    guests: dict[str, Guest] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Containers of a work directory that is not used any more: no agent is told of them."""

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    def launch(self, spec: launcher.LaunchSpec) -> launcher.Started | launcher.LaunchFailed:
        before = self.starts.get(spec.container_id, 0)
        outcome = MemoryMachine.launch(self, spec)
        if self.starts.get(spec.container_id, 0) > before:
            variables = dict(spec.environment)
            run = Run(
                machine=self.name,
                agent_id=variables["MESOS_SLAVE_ID"],
                container_id=spec.container_id,
                framework_id=variables["MESOS_FRAMEWORK_ID"],
                executor_id=variables["MESOS_EXECUTOR_ID"],
                task_id=variables.get("MESOS_TASK_ID", ""),
                started_s=asyncio.get_running_loop().time(),
                checkpoint=variables["MESOS_CHECKPOINT"] == "1",
            )
            self._begin(run)
            if is_executor(spec):
                assert self.hatch is not None, "nobody plays custom executors here"
                guest = self.guests[spec.container_id] = self.hatch(self, spec)
                guest.begin()
        return outcome

    def inventory(self) -> tuple[launcher.Container, ...]:
        return tuple(one for one in MemoryMachine.inventory(self) if one.container_id not in self.hidden)

    def begin_hosted(self, container_id: str, task_id: str) -> Run:
        """A custom executor begins a task."""
        host = self.running[container_id, ""]
        run = Run(
            machine=self.name,
            agent_id=host.agent_id,
            container_id=container_id,
            framework_id=host.framework_id,
            executor_id=host.executor_id,
            task_id=task_id,
            started_s=asyncio.get_running_loop().time(),
            checkpoint=host.checkpoint,
            hosted=True,
        )
        self._begin(run)
        return run

    def end_hosted(self, run: Run, status: int) -> None:
        """A custom executor ends a task: a wait status, as a command would have it."""
        if run.ended_s is None:
            self._over(run, status)

    def exit(self, container_id: str, status: int) -> None:
        """The program of a custom executor ends by itself."""
        if (container_id, "") in self.running:
            self._end(container_id, status)

    def reboot(self) -> None:
        """The machine goes down and comes up: nothing runs any more, nobody saw how it ended."""
        self.boot += 1
        self.lose_machine()

    def abandon(self) -> None:
        """The agent's work directory is replaced: the next agent knows nothing of what is here."""
        self.hidden.update(self.boxes)

    def _begin(self, run: Run) -> None:
        self.running[run.container_id, run.task_id] = run
        self.history.ran(run)

    def _end(self, name: str, status: int | None, oom: int | None = None) -> None:
        MemoryMachine._end(self, name, status, oom)
        guest = self.guests.pop(name, None)
        if guest is not None:
            guest.die()
        for run in [run for key, run in self.running.items() if key[0] == name]:
            run.cut_off = run.hosted
            self._over(run, status)

    def _over(self, run: Run, status: int | None) -> None:
        del self.running[run.container_id, run.task_id]
        run.ended_s = asyncio.get_running_loop().time()
        run.wait_status = status
        self.history.ended(run)
