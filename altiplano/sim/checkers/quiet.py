"""What every account must say once all is quiet, compared with what really runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altiplano.model.resources import EMPTY
from altiplano.model.tasks import State
from altiplano.sim.history import Checker
from altiplano.sim.machine import Run
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

GOING = frozenset({State.STAGING, State.STARTING, State.RUNNING, State.KILLING})


class NoOrphans(Checker):
    """No task or executor outlives its framework, or the membership of its agent."""

    promise = "nothing outlives its framework"

    def waits(self) -> list[str]:
        core = self.cluster.master_core
        if core is None:
            return ["the master has not recovered"]
        left = []
        for run in self.cluster.running():
            what = f"{'task ' + run.task_id if run.task_id else 'executor ' + run.executor_id} on {run.machine}"
            if run.framework_id not in core.state.frameworks:
                left.append(f"{what} still runs; its framework {run.framework_id} is no more")
            elif run.agent_id not in core.state.agents:
                left.append(f"{what} still runs; its agent {run.agent_id} is no member any more")
        return left

    def at_quiet(self) -> None:
        left = self.waits()
        if left:
            self.broken("; ".join(left[:5]))


class SumsUp(Checker):
    """Offered, used and free make the total of each agent, and used is what really runs there."""

    promise = "resources sum up"

    def at_quiet(self) -> None:
        core = self.cluster.master_core
        assert core is not None
        for agent in core.state.agents.values():
            member = core.state.allocator.members[agent.id]
            turn = core.state.allocator.turns.get(agent.id)
            free = member.free + (turn.resources if turn is not None else EMPTY)
            if agent.used + agent.offered + free != agent.total:
                self.broken(f"{agent.info.hostname}: used {agent.used}, offered {agent.offered}, free {free}")
            needs = [
                self.cluster.workload.needs(run.task_id) for run in self.cluster.running() if run.agent_id == agent.id
            ]
            cpus, mem = sum(need[0] for need in needs), sum(need[1] for need in needs)
            if (agent.used.scalar("cpus"), agent.used.scalar("mem")) != (round(cpus * 1000), round(mem * 1000)):
                self.broken(
                    f"{agent.info.hostname}: {agent.used} is used, and what runs needs {cpus:g} cpus, {mem:g} MB; "
                    f"it is counted for {[key[1] for key in (*agent.executors, *agent.tasks)]}"
                )


class Reconciled(Checker):
    """Once all is quiet, whoever asks about all tasks is told of each what really is."""

    promise = "reconciliation tells the truth"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._answers: dict[tuple[str, str], list[State]] = {}
        self._ended: set[str] = set()
        """Tasks that ended while the answers came."""

    def ended(self, run: Run) -> None:
        if self.cluster.workload.audit_s is not None:
            self._ended.add(run.task_id)

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        asked = status.reason is mesos.TaskStatusReason.REASON_RECONCILIATION
        if asked and self.cluster.workload.audit_s is not None:
            self._answers.setdefault((framework, status.task_id.value), []).append(State(status.state.value))

    def at_quiet(self) -> None:
        running = {run.task_id: run for run in self.cluster.running() if run.task_id}
        since_s = self.cluster.workload.audit_s or 0.0
        for task_id, run in running.items():
            if run.started_s >= since_s:
                continue
            framework = task_id.partition(".")[0]
            answers = self._answers.get((framework, task_id), [])
            # One answer for each way to ask.
            if len(answers) < 2 or set(answers) != {State.RUNNING}:
                self.broken(f"task {task_id} runs on {run.machine}; {framework} asks twice and is told {answers}")
        for (framework, task_id), answers in self._answers.items():
            if task_id not in running and task_id not in self._ended and GOING.intersection(answers):
                self.broken(f"task {task_id} runs nowhere; {framework} asks and is told {answers}")


def living(runs: list[Run]) -> set[str]:
    """Ids of the tasks among what runs."""
    return {run.task_id for run in runs if run.task_id}
