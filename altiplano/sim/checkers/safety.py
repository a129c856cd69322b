"""Promises that hold at every moment, whatever breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altiplano.engine.core import Effect
from altiplano.model.tasks import State
from altiplano.sim.history import Checker
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.machine import Run

ROUNDING = 1e-6

NEVER_RAN = frozenset({State.DROPPED, State.GONE})
"""Two words for the same end: which one is used depends on who was asked."""


class SoldOnce(Checker):
    """What really runs on a machine never needs more than the machine has."""

    promise = "no resource is sold twice"

    def ran(self, run: Run) -> None:
        from altiplano.sim.cluster import AGENT_CPUS, AGENT_MEM_MB

        running = self.cluster.machines[run.machine].running.values()
        needs = [self.cluster.workload.needs(other.task_id) for other in running]
        cpus, mem = sum(need[0] for need in needs), sum(need[1] for need in needs)
        if cpus > AGENT_CPUS + ROUNDING or mem > AGENT_MEM_MB + ROUNDING:
            tasks = ", ".join(other.task_id for other in running)
            self.broken(f"{run.machine} has {AGENT_CPUS:g} cpus and runs {tasks}, which need {cpus:g} cpus, {mem:g} MB")


class RunOnce(Checker):
    """A task is started at most once, however often machines, links and processes fail."""

    promise = "no task runs twice"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._started: dict[tuple[str, str], str] = {}

    def ran(self, run: Run) -> None:
        key = (run.framework_id, run.task_id)
        before = self._started.setdefault(key, run.container_id)
        starts = self.cluster.machines[run.machine].starts[run.container_id]
        if before != run.container_id or starts != 1:
            self.broken(f"task {run.task_id} was started in {before} and again in {run.container_id} ({starts} times)")


class DurableFirst(Checker):
    """Nothing leaves a process before the disk really has what it rests on."""

    promise = "nothing is said that a crash can undo"

    def said(self, process: str, effect: Effect, after: int, kept: int) -> None:
        if after > kept:
            name = type(effect).__name__
            self.broken(f"{process} said {name}, which rests on record {after}, when its disk had {kept}")


class TrueStatus(Checker):
    """What a framework is told about a task is true, and stays true."""

    promise = "what is told about a task is true"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._runs: dict[str, Run] = {}
        self._over: dict[str, State] = {}

    def ran(self, run: Run) -> None:
        self._runs[run.task_id] = run
        said = self._over.get(run.task_id)
        if said is not None:
            self.broken(f"task {run.task_id} starts after its framework was told {said.value}")

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        task_id, state = status.task_id.value, State(status.state.value)
        run = self._runs.get(task_id)
        lie = self._lie(framework, task_id, state, run)
        if lie is not None:
            self.broken(f"{framework} was told that task {task_id} is {state.value}, and {lie}: {status.message}")
        said = self._over.get(task_id)
        if said is not None and said is not state and state is not State.UNKNOWN and not {said, state} <= NEVER_RAN:
            self.broken(f"{framework} was told {state.value} of task {task_id} after it had been told {said.value}")
        if state.ended:
            self._over[task_id] = state

    def _lie(self, framework: str, task_id: str, state: State, run: Run | None) -> str | None:
        """Why a status cannot be true; None if it can."""
        ended = run is not None and run.ended_s is not None
        match state:
            case State.FINISHED:
                return None if run is not None and ended and run.wait_status == 0 else _really(run)
            case State.FAILED:
                return None if run is not None and ended and run.wait_status != 0 else _really(run)
            case State.KILLED:
                if not self.cluster.workload.was_killed(self.cluster, framework, task_id):
                    return "nobody asked for that"
                return None if run is None or ended else _really(run)
            case State.RUNNING:
                return None if run is not None else _really(run)
            case _ if state in NEVER_RAN:
                return None if run is None else _really(run)
            case State.LOST | State.ERROR | State.GONE_BY_OPERATOR:
                return "nothing in this workload leads to that"
            case _:
                return None


class KeptBeforeAcknowledged(Checker):
    """An agent forgets an update only after the framework has it in its own store."""

    promise = "no update is acknowledged before it is kept"

    def acknowledged(self, framework_id: str, task_id: str, uuid: bytes) -> None:
        if not self.cluster.workload.has_kept(self.cluster, task_id, uuid):
            self.broken(f"the update {uuid.hex()} of task {task_id} is acknowledged; its framework has not stored it")


def _really(run: Run | None) -> str:
    if run is None:
        return "it has never run"
    if run.ended_s is None:
        return f"it runs since {run.started_s:.3f} s"
    return f"it really ended at {run.ended_s:.3f} s with wait status {run.wait_status}"
