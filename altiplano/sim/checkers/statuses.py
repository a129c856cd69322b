"""What a framework is told about its tasks: allowed words in an allowed order, and true.

`CAUSES` and `FOLLOWS` are tables of our own, written from the rules of the Mesos v1 API and not from the
product's: an error in one of the two shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from altiplano.model.tasks import State
from altiplano.sim.history import Checker
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.machine import Run

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource
S = State

MASTER, AGENT, EXECUTOR = Source.SOURCE_MASTER, Source.SOURCE_AGENT, Source.SOURCE_EXECUTOR
GOING = frozenset({S.STAGING, S.STARTING, S.RUNNING, S.KILLING})
OWN = frozenset({S.FINISHED, S.FAILED, S.KILLED})
FINAL = OWN | {S.ERROR, S.DROPPED, S.GONE}
"""Ends after which a task does not come back."""

AWAY = frozenset({S.UNREACHABLE, S.LOST, S.GONE_BY_OPERATOR, S.UNKNOWN})
AWARE_ONLY = frozenset({S.UNREACHABLE, S.DROPPED, S.GONE, S.GONE_BY_OPERATOR, S.UNKNOWN})
"""Words that a framework without PARTITION_AWARE never hears."""

NEVER_RAN = frozenset({S.DROPPED, S.GONE})
"""Two words for the same end: which one is used depends on who was asked."""

_Cause = tuple[frozenset[Source], frozenset[State], frozenset[State]]


def _cause(source: Source, old: set[State], aware: set[State]) -> _Cause:
    return frozenset({source}), frozenset(old), frozenset(aware)


CAUSES: Mapping[Reason, _Cause] = {
    Reason.REASON_INVALID_OFFERS: _cause(MASTER, {S.LOST}, {S.DROPPED}),
    Reason.REASON_AGENT_REMOVED: _cause(MASTER, {S.LOST}, {S.UNREACHABLE, S.LOST}),
    Reason.REASON_AGENT_REMOVED_BY_OPERATOR: _cause(MASTER, set(), {S.GONE_BY_OPERATOR}),
    Reason.REASON_AGENT_DISCONNECTED: (frozenset({MASTER, AGENT}), frozenset({S.LOST}), frozenset({S.LOST, S.DROPPED})),
    Reason.REASON_AGENT_REREGISTERED: _cause(MASTER, {*GOING, *OWN, S.LOST}, {*GOING, *FINAL, S.LOST}),
    Reason.REASON_RECONCILIATION: _cause(MASTER, {*GOING, *OWN, S.LOST}, {*GOING, *FINAL, *AWAY}),
    Reason.REASON_TASK_KILLED_DURING_LAUNCH: _cause(AGENT, {S.KILLED}, {S.KILLED}),
    Reason.REASON_EXECUTOR_TERMINATED: _cause(AGENT, {S.FAILED, S.LOST, S.KILLED}, {S.FAILED, S.DROPPED, S.KILLED}),
    Reason.REASON_CONTAINER_LAUNCH_FAILED: _cause(AGENT, {S.FAILED}, {S.FAILED}),
    Reason.REASON_EXECUTOR_REGISTRATION_TIMEOUT: _cause(AGENT, {S.FAILED}, {S.FAILED}),
    Reason.REASON_EXECUTOR_REREGISTRATION_TIMEOUT: _cause(AGENT, {S.LOST}, {S.GONE}),
    Reason.REASON_AGENT_RESTARTED: _cause(AGENT, {S.LOST}, {S.DROPPED, S.LOST}),
}
"""For each reason who gives it, and the states it may come with: for old frameworks, for those that know partitions."""

BY_ITSELF: _Cause = (frozenset({EXECUTOR}), GOING - {S.STAGING} | OWN, GOING - {S.STAGING} | OWN)
"""What an executor tells gives no reason."""

RANK: Mapping[State, int] = {S.STAGING: 0, S.STARTING: 1, S.RUNNING: 2, S.KILLING: 3}
"""A task never goes back among these."""


class AllowedWords(Checker):
    """Each status has a state, a reason and a source that go together, for the kind of framework that is told."""

    promise = "statuses are those of the tables"

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        aware = self.cluster.workload.is_aware(framework)
        state = State(status.state.value)
        cause = BY_ITSELF if status.reason is None else CAUSES.get(status.reason)
        words = f"{state.value}, {status.reason and status.reason.value}, {status.source and status.source.value}"
        if cause is None or status.source not in cause[0] or state not in cause[2 if aware else 1]:
            kind = "knows partitions" if aware else "does not know partitions"
            self.broken(f"{framework}, which {kind}, is told {words} of {status.task_id.value}: {status.message}")
        if (status.uuid is not None) is (status.source is MASTER):
            self.broken(f"{framework} is told {words} with uuid {status.uuid!r}: only the master's have none")
        away = status.unreachable_time is not None
        if away is not (state is S.UNREACHABLE) and not (away and state is S.LOST):
            self.broken(f"{framework} is told {words} with an unreachable time of {status.unreachable_time}")


class AllowedOrder(Checker):
    """The states a framework is told of a task follow each other as the table allows."""

    promise = "a task goes forward"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._rank: dict[str, tuple[int, State]] = {}
        self._final: dict[str, State] = {}

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        task_id, state = status.task_id.value, State(status.state.value)
        final = self._final.get(task_id)
        asked = status.reason is Reason.REASON_RECONCILIATION
        if final is not None and state is not final and not (asked and state in AWAY | NEVER_RAN):
            if {final, state} <= NEVER_RAN:
                return
            self.broken(f"{framework} was told {state.value} of task {task_id} after it had been told {final.value}")
        if state in RANK:
            rank, before = self._rank.get(task_id, (0, S.STAGING))
            if RANK[state] < rank:
                self.broken(f"{framework} was told {state.value} of task {task_id} after {before.value}")
            self._rank[task_id] = (RANK[state], state)
        # Of tasks that do not outlive their agent, its last words may come after its master has spoken.
        gone = state is S.GONE and asked and not self.cluster.workload.checkpoints(framework)
        if state in FINAL and final is None and not gone:
            self._final[task_id] = state


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
        if status.reason is Reason.REASON_RECONCILIATION and task_id in self._over:
            return  # Its end was taken long ago: nobody remembers it any more.
        run = self._runs.get(task_id)
        lie = self._lie(framework, status, state, run)
        if lie is not None:
            self.broken(f"{framework} was told that task {task_id} is {state.value}, and {lie}: {status.message}")
        if state in FINAL or (state is S.LOST and status.reason in _LOST_FOR_GOOD):
            self._over[task_id] = state

    def _lie(self, framework: str, status: mesos.TaskStatus, state: State, run: Run | None) -> str | None:
        """Why a status cannot be true; None if it can."""
        over = run is not None and run.ended_s is not None
        true = None
        match state:
            case S.FINISHED:
                true = over and run is not None and run.wait_status == 0 and not run.cut_off
            case S.FAILED:
                true = self._may_have_failed(status, run)
            case S.KILLED:
                if not self._was_killed(framework, status.task_id.value, run):
                    return "nobody asked for that"
                true = run is None or over
            case S.RUNNING | S.KILLING:
                true = run is not None
            case S.DROPPED:
                true = run is None
            case S.GONE:
                # Of tasks that do not outlive their agent a framework that is away does not hear otherwise.
                unkept = not self.cluster.workload.checkpoints(framework)
                true = run is None or unkept or (over and (status.reason is _NOT_BACK or run.cut_off))
            case S.LOST:
                true = self._may_be_lost(framework, status, run)
            case S.GONE_BY_OPERATOR:
                agent_id = status.agent_id.value if status.agent_id is not None else None
                return None if agent_id in self.cluster.asked.gone else "no operator has marked its agent gone"
            case S.ERROR:
                return "nothing in this workload leads to that"
        return None if true is not False else really(run)

    def _may_have_failed(self, status: mesos.TaskStatus, run: Run | None) -> bool:
        if run is None:
            # Its executor ended, or never began, before it was given the task.
            return self.cluster.workload.job_of(status.task_id.value).hosted and status.source is not EXECUTOR
        if run.ended_s is None:
            return False
        if run.hosted and status.source is not EXECUTOR:
            return True
        return run.wait_status != 0

    def _was_killed(self, framework: str, task_id: str, run: Run | None) -> bool:
        machines = self.cluster.asked.stopped
        stopped = bool(machines) if run is None else run.machine in machines
        unkept = not self.cluster.workload.checkpoints(framework)
        return stopped or unkept or self.cluster.workload.was_killed(self.cluster, framework, task_id)

    def _may_be_lost(self, framework: str, status: mesos.TaskStatus, run: Run | None) -> bool:
        over = run is None or run.ended_s is not None
        match status.reason:
            case Reason.REASON_AGENT_REMOVED:
                return True
            case Reason.REASON_AGENT_DISCONNECTED | Reason.REASON_AGENT_RESTARTED:
                return not self.cluster.workload.checkpoints(framework) or run is None
            case Reason.REASON_EXECUTOR_REREGISTRATION_TIMEOUT:
                return over
            case Reason.REASON_RECONCILIATION:
                return over or "unknown to the agent" not in (status.message or "")
            case Reason.REASON_AGENT_REREGISTERED:
                return True
            case _:
                return run is None


_NOT_BACK = Reason.REASON_EXECUTOR_REREGISTRATION_TIMEOUT
_LOST_FOR_GOOD = frozenset(
    {
        Reason.REASON_INVALID_OFFERS,
        Reason.REASON_EXECUTOR_TERMINATED,
        _NOT_BACK,
    }
)


def really(run: Run | None) -> str:
    if run is None:
        return "it has never run"
    if run.ended_s is None:
        return f"it runs since {run.started_s:.3f} s"
    return f"it really ended at {run.ended_s:.3f} s with wait status {run.wait_status}"
