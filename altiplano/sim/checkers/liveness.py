"""What comes true once faults have stopped."""

from __future__ import annotations

from altiplano.agent.core import Core as AgentCore
from altiplano.master.core import Core as MasterCore
from altiplano.sim.history import Checker
from altiplano.sim.master import MASTER


class EndsWell(Checker):
    """Every job comes to its end, and nothing is left behind: no container, no record, nothing sold."""

    promise = "everything comes to its end"

    def at_the_end(self) -> None:
        left = self.left()
        if left:
            self.broken("; ".join(left[:10]))

    def left(self) -> list[str]:
        """What has not come to its end, one sentence each."""
        left = self.cluster.workload.missing(self.cluster)
        for machine in self.cluster.machines.values():
            left += [f"container {name} is left on {machine.name}" for name in machine.boxes]
        for process in self.cluster.processes.values():
            core = process.core
            if not process.alive:
                left.append(f"{process.name} does not run")
            elif isinstance(core, AgentCore):
                left += [f"{process.name} still answers for task {key[1]}" for key in core.state.tasks]
                left += [f"{process.name} has updates of task {key[1]} left" for key in core.state.streams]
        master = self.cluster.processes[MASTER].core
        if not isinstance(master, MasterCore):
            return [*left, "the master has not recovered"]
        for agent in master.state.agents.values():
            if not agent.connected:
                left.append(f"the master has lost {agent.info.hostname}")
            if agent.used:
                left.append(f"the master thinks that {agent.info.hostname} uses {agent.used}")
            left += [f"the master thinks that task {key[1]} is on {agent.info.hostname}" for key in agent.tasks]
        return left
