"""One simulated machine: the launcher's twin, and the truth about what ran on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from altiplano.ports import launcher
from altiplano.sim.history import History
from altiplano.testing.launcher import MemoryMachine


@dataclass(slots=True, eq=False)
class Run:
    """What really happened to one container."""

    machine: str
    container_id: str
    framework_id: str
    task_id: str
    started_s: float
    ended_s: float | None = None
    wait_status: int | None = None


@dataclass(slots=True, eq=False)
class Machine(MemoryMachine):
    """Outlives the agents on it.  Tells the history of every real start and end."""

    name: str = ""
    boot_id: str = "boot-1"
    history: History = field(default_factory=History)
    running: dict[str, Run] = field(default_factory=dict)

    def launch(self, spec: launcher.LaunchSpec) -> launcher.Started | launcher.LaunchFailed:
        before = self.starts.get(spec.container_id, 0)
        outcome = MemoryMachine.launch(self, spec)
        if self.starts.get(spec.container_id, 0) > before:
            variables = dict(spec.environment)
            run = Run(
                machine=self.name,
                container_id=spec.container_id,
                framework_id=variables["MESOS_FRAMEWORK_ID"],
                task_id=variables["MESOS_TASK_ID"],
                started_s=asyncio.get_running_loop().time(),
            )
            self.running[spec.container_id] = run
            self.history.ran(run)
        return outcome

    def _end(self, name: str, status: int | None, oom: int | None = None) -> None:
        MemoryMachine._end(self, name, status, oom)
        run = self.running.pop(name)
        run.ended_s = asyncio.get_running_loop().time()
        run.wait_status = status
        self.history.ended(run)
