"""Answers to frameworks that ask what became of their tasks."""

from __future__ import annotations

from collections.abc import Iterable

from altiplano.master import facts, infos
from altiplano.master.outcome import Outcome
from altiplano.master.state import Framework, MasterState, Task
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

Reason = mesos.TaskStatusReason

TASKS_PER_SLICE = 100
"""Tasks that a framework is told in one slice when it asks about all it has."""


def implicit(out: Outcome, framework: Framework) -> None:
    """One update for every task the framework has here, ended but unacknowledged ones included.

    They are told in slices, each as its task stands then.
    """
    _tell(out, framework, tuple(framework.tasks))


def go_on(out: Outcome) -> None:
    """The next slice of what one framework waits for; the others come after it."""
    state = out.state
    if state.reconciling:
        framework_id, task_ids = next(iter(state.reconciling.items()))
        _tell(out, state.frameworks[framework_id], task_ids)


def _tell(out: Outcome, framework: Framework, task_ids: tuple[str, ...]) -> None:
    for task_id in task_ids[:TASKS_PER_SLICE]:
        task = framework.tasks.get(task_id)
        if task is not None:
            out.tell(framework, infos.update(_latest(out, task)))
    if len(task_ids) > TASKS_PER_SLICE or framework.id in out.state.reconciling:
        left = task_ids[TASKS_PER_SLICE:]
        out.holds(facts.ReconciliationLeft(framework_id=framework.id, task_ids=left))


def explicit(out: Outcome, framework: Framework, asked: Iterable[tuple[str, str | None]]) -> None:
    """One update for every task that is asked for, with its agent if the framework named one."""
    for task_id, agent_id in asked:
        task = framework.tasks.get(task_id)
        status = _latest(out, task) if task is not None else _unknown(out, framework, task_id, agent_id)
        if status is not None:
            out.tell(framework, infos.update(status))


def _latest(out: Outcome, task: Task) -> mesos.TaskStatus:
    last = task.statuses[-1] if task.statuses else None
    status = infos.status_of(
        task,
        task.update_state or task.state,
        now=out.now,
        message="Reconciliation: Latest task state",
        reason=Reason.REASON_RECONCILIATION,
    )
    if last is None:
        return status
    return infos.replace(
        status, healthy=last.healthy, check_status=last.check_status, container_status=last.container_status
    )


def _unknown(out: Outcome, framework: Framework, task_id: str, agent_id: str | None) -> mesos.TaskStatus | None:
    """What can be said of a task that is not known here; None while its agent may still bring it."""
    state = out.state
    if _may_come_back(state, agent_id):
        return None
    answer, words, since_s = State.UNKNOWN, "Task is unknown", None
    # An agent may be one of these and still a member, while it loses what it ran.
    if agent_id is not None and agent_id in state.unreachable:
        answer, words = State.UNREACHABLE, "Task is unreachable"
        since_s = state.unreachable[agent_id]
    elif agent_id in state.gone:
        answer, words = State.GONE_BY_OPERATOR, "Task is gone by operator"
    elif agent_id in state.agents:
        answer, words = State.GONE, "Task is unknown to the agent"
    return infos.status(
        task_id,
        infos.lost_state(framework, answer),
        now=out.now,
        message=f"Reconciliation: {words}",
        reason=Reason.REASON_RECONCILIATION,
        agent_id=agent_id,
        unreachable_s=since_s,
    )


def _may_come_back(state: MasterState, agent_id: str | None) -> bool:
    """Whether the agent, or without one any agent, is known but not back since the restart."""
    return bool(state.awaited) if agent_id is None else agent_id in state.awaited


# -- taking facts into the state


def apply_left(state: MasterState, fact: facts.ReconciliationLeft) -> None:
    # Whoever was served goes behind the others.
    state.reconciling.pop(fact.framework_id, None)
    if fact.task_ids:
        state.reconciling[fact.framework_id] = fact.task_ids
