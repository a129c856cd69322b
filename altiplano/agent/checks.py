"""When the checks of a task begin and end: with its process.  What happens in between is in `check_runs`."""

from __future__ import annotations

from altiplano.agent import check_state, effects, facts
from altiplano.agent.draft import Draft
from altiplano.agent.state import Task
from altiplano.executors import checks
from altiplano.executors.checks import Phase, Slot, Watch


def begin(draft: Draft, task: Task, started_wall_s: float, *, again: bool = False) -> None:
    """The task runs: its checks do from now on.  `again`: it was started by an earlier process of this agent."""
    if task.info.health_check is None and task.info.check is None:
        return
    healthy = task.status.healthy if task.status is not None else None
    for plan in checks.plans(task.info):
        watch = checks.begun(plan, started_mono_s=draft.now.mono_of(started_wall_s), healthy=healthy)
        if again:
            watch = checks.resumed(plan, watch, now_mono_s=draft.now.mono_s, fraction=draft.draw.fraction())
        draft.fact(
            facts.CheckSet(framework_id=task.framework_id, task_id=task.id, purpose=plan.purpose.value, watch=watch)
        )
        draft.timer(check_state.timer((*task.key, plan.purpose)), watch.due_mono_s)


def stop(draft: Draft, task: Task) -> None:
    """The task ends, or is about to: nothing of it is checked any more, and no run of a check is left."""
    draft.unchecked.add(task.key)
    for key, watch in draft.state.checks.of(*task.key):
        draft.fact(facts.CheckDropped(framework_id=key[0], task_id=key[1], purpose=key[2].value))
        if watch.phase in check_state.UNDER_WAY:
            _break_off(draft, watch)
            let_next(draft, watch.slot)


def let_next(draft: Draft, slot: Slot) -> None:
    """A run is over: who waits for its turn is looked at."""
    if draft.state.checks.waiting[slot]:
        draft.timer(check_state.turn(slot), draft.now.mono_s)


def _break_off(draft: Draft, watch: Watch) -> None:
    if watch.slot is Slot.PROBE:
        draft.do(effects.StopProbe(run=watch.run))
    elif watch.phase is Phase.RUNNING:
        draft.do(effects.Destroy(container_id=watch.run))
