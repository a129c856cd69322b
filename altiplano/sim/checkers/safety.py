"""Promises about what really runs, that hold at every moment, whatever breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altiplano.engine.core import Effect
from altiplano.sim.history import Checker

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.machine import Run

ROUNDING = 1e-6


class SoldOnce(Checker):
    """What really runs on a machine never needs more than the machine has.

    What ends because its framework or its agent's membership is over is left out: the master gives
    its resources back at once, as Mesos does.
    """

    promise = "no resource is sold twice"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._shut: set[tuple[str, str]] = set()

    def shut(self, machine: str, framework_id: str) -> None:
        self._shut.add((machine, framework_id))

    def ran(self, run: Run) -> None:
        from altiplano.sim.cluster import AGENT_CPUS, AGENT_MEM_MB

        machine = self.cluster.machines[run.machine]
        running = [
            other
            for other in machine.running.values()
            if other.agent_id == run.agent_id
            and other.checkpoint
            and (run.machine, other.framework_id) not in self._shut
            and other.container_id not in machine.hidden
        ]
        needs = [self.cluster.workload.needs(other.task_id) for other in running]
        cpus, mem = sum(need[0] for need in needs), sum(need[1] for need in needs)
        if cpus > AGENT_CPUS + ROUNDING or mem > AGENT_MEM_MB + ROUNDING:
            tasks = ", ".join(other.task_id or other.executor_id for other in running)
            self.broken(f"{run.machine} has {AGENT_CPUS:g} cpus and runs {tasks}, which need {cpus:g} cpus, {mem:g} MB")


class RunOnce(Checker):
    """A task is started at most once, however often machines, links and processes fail."""

    promise = "no task runs twice"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._started: dict[tuple[str, str], Run] = {}

    def ran(self, run: Run) -> None:
        starts = self.cluster.machines[run.machine].starts[run.container_id]
        if starts != 1:
            self.broken(f"container {run.container_id} was started {starts} times")
        if not run.task_id:
            return
        before = self._started.setdefault((run.framework_id, run.task_id), run)
        if before is not run:
            self.broken(f"task {run.task_id} was started in {before.container_id} and again in {run.container_id}")


class OneExecutor(Checker):
    """Tasks with the same executor share one process; a second one of the same id never runs beside the first."""

    promise = "an executor runs once at a time"

    def ran(self, run: Run) -> None:
        if run.task_id:
            return
        machine = self.cluster.machines[run.machine]
        same = [
            other.container_id
            for other in machine.running.values()
            if not other.task_id
            and (other.framework_id, other.executor_id, other.agent_id)
            == (run.framework_id, run.executor_id, run.agent_id)
            and other.container_id not in machine.hidden
        ]
        if len(same) > 1:
            self.broken(f"executor {run.executor_id} runs on {run.machine} in {' and '.join(same)}")


class DurableFirst(Checker):
    """Nothing leaves a process before the disk really has what it rests on."""

    promise = "nothing is said that a crash can undo"

    def said(self, process: str, effect: Effect, after: int, kept: int) -> None:
        if after > kept:
            name = type(effect).__name__
            self.broken(f"{process} said {name}, which rests on record {after}, when its disk had {kept}")


class KeptBeforeAcknowledged(Checker):
    """An agent forgets an update only after the framework has it in its own store."""

    promise = "no update is acknowledged before it is kept"

    def acknowledged(self, framework_id: str, task_id: str, uuid: bytes) -> None:
        if not self.cluster.workload.has_kept(self.cluster, task_id, uuid):
            self.broken(f"the update {uuid.hex()} of task {task_id} is acknowledged; its framework has not stored it")


class OneInFlight(Checker):
    """Of each task an agent tells one update at a time, in order, and none again once the next one is told."""

    promise = "an acknowledged update stays acknowledged"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._heads: dict[tuple[str, str, str], bytes] = {}
        self._over: dict[tuple[str, str, str], set[bytes]] = {}
        self._acknowledged: set[bytes] = set()

    def acknowledged(self, framework_id: str, task_id: str, uuid: bytes) -> None:
        self._acknowledged.add(uuid)

    def updating(self, machine: str, framework_id: str, task_id: str, uuid: bytes) -> None:
        key = (machine, framework_id, task_id)
        head = self._heads.get(key)
        if uuid == head:
            return
        if uuid in self._over.get(key, set()):
            self.broken(f"{machine} tells update {uuid.hex()} of task {task_id} again, after a later one")
        if head is not None:
            if head not in self._acknowledged:
                self.broken(f"{machine} tells the next update of task {task_id} before {head.hex()} is acknowledged")
            self._over.setdefault(key, set()).add(head)
        self._heads[key] = uuid


class SaidOnce(Checker):
    """A message between framework and executor arrives at most once, and where it was sent."""

    promise = "a message arrives at most once"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._heard: set[bytes] = set()

    def message(self, receiver: str, data: bytes) -> None:
        if data in self._heard:
            self.broken(f"{receiver} hears {data.decode()!r} again")
        self._heard.add(data)
        words = data.decode().removeprefix("re:").split()
        if not data.startswith(b"re:") and words[0] != receiver:
            self.broken(f"executor {receiver} hears what was said to {words[0]}")
        if data.startswith(b"re:") and not words[0].startswith(f"{receiver}"):
            self.broken(f"{receiver} hears what was said to a framework of {words[0]}")


class EndsInTime(Checker):
    """A framework is removed because somebody asked for it, or because it was away for longer than it may be."""

    promise = "a framework keeps its place as long as it may"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._away_since_s: dict[str, float] = {}

    def subscribed(self, framework: str, framework_id: str) -> None:
        self._away_since_s.pop(framework, None)

    def unsubscribed(self, framework: str) -> None:
        self._away_since_s.setdefault(framework, self.cluster.now_s)

    def removed(self, framework: str, framework_id: str) -> None:
        if framework_id in self.cluster.asked.torn:
            return
        away_s = self.cluster.now_s - self._away_since_s.get(framework, self.cluster.now_s)
        may_s = self.cluster.workload.failover_s(framework)
        # A connection that was held up was broken for the master before its framework noticed.
        if away_s + NOTICED_S_MAX < may_s:
            self.broken(f"{framework} was away for {away_s:.1f} s, may be away for {may_s:g} s, and was removed")


NOTICED_S_MAX = 60.0
"""For so long a framework may take its session for alive when the master has given it up."""
