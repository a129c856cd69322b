"""What comes true once faults have stopped."""

from __future__ import annotations

from altiplano.agent.core import Core as AgentCore
from altiplano.sdk.core import Phase, Scheduler
from altiplano.sim.history import Checker


class EndsWell(Checker):
    """Every job comes to its end, and nothing is left behind: no container, no record, nothing sold."""

    promise = "everything comes to its end"

    def waits(self) -> list[str]:
        """Everything but what stays."""
        stays = set(self.cluster.workload.staying(self.cluster))
        left = self.cluster.workload.missing(self.cluster)
        executors = {run.container_id for run in self.cluster.running() if run.task_id in stays}
        for run in self.cluster.running():
            if run.task_id not in stays and run.container_id not in executors:
                left.append(f"{run.task_id or run.executor_id} still runs on {run.machine}")
        return left + self._processes(stays)

    def at_the_end(self) -> None:
        left = self.left()
        if left:
            self.broken("; ".join(left[:10]))

    def left(self) -> list[str]:
        """What has not come to its end, one sentence each."""
        left = self.cluster.workload.missing(self.cluster)
        for machine in self.cluster.machines.values():
            left += [f"container {name} is left on {machine.name}" for name in machine.boxes.keys() - machine.hidden]
        left += self._processes(set())
        core = self.cluster.master_core
        if core is None:
            return [*left, "the master has not recovered"]
        for agent in core.state.agents.values():
            if agent.used:
                left.append(f"the master thinks that {agent.info.hostname} uses {agent.used}")
            left += [f"the master thinks that task {key[1]} is on {agent.info.hostname}" for key in agent.tasks]
        return left

    def _processes(self, stays: set[str]) -> list[str]:
        """Processes that do not run or do not know each other, and tasks they have not done with."""
        left = []
        for process in self.cluster.processes.values():
            core = process.core
            if not process.alive:
                if not self.cluster.is_absent(process.name):
                    left.append(f"{process.name} does not run")
            elif isinstance(core, Scheduler) and core.phase is not Phase.SUBSCRIBED:
                left.append(f"{process.name} has no session")
            elif isinstance(core, AgentCore):
                left += [
                    f"{process.name} still answers for task {key[1]}" for key in core.state.tasks if key[1] not in stays
                ]
                left += [f"{process.name} has updates of task {key[1]} left" for key in core.state.streams]
        core = self.cluster.master_core
        if core is None:
            return [*left, "the master has not recovered"]
        members = {agent.info.hostname for agent in core.state.agents.values() if agent.connected}
        left += [f"the master has lost {machine}" for machine in self.cluster.machines if machine not in members]
        return left
