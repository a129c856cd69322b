"""How the process ends: alone, or with all its tasks, or for good."""

from __future__ import annotations

from altiplano.agent import effects, events, executor_state, executors, facts
from altiplano.agent.draft import Draft
from altiplano.agent.state import LAUNCHED
from altiplano.executors import command
from altiplano.link import messages

ACKNOWLEDGEMENTS_S_MAX = 2.0
"""Time that the last updates of ended tasks get to be acknowledged before the process ends."""

LEAVE = ("leave",)
Why = command.Why


def order(draft: Draft, event: events.StopOrdered) -> None:
    """Begin to leave.  Tasks go on without the agent unless they are to end with it.

    Whoever is taking the tasks along goes on doing so: an order to leave them would come too late for those that
    have been ended, and the others would be left with a supervisor that nobody stops.
    """
    leaving = draft.state.leaving
    if leaving is not None and leaving.with_tasks and not event.with_tasks and not event.for_good:
        draft.note("the agent was told to stop once more; it is about to, together with its tasks")
        return
    if event.for_good:
        sentence = "the agent leaves its pool for good"
        draft.say(messages.Goodbye(sentence=sentence, cause=draft.cause))
        draft.fact(facts.AgentRetired())
    elif event.with_tasks:
        sentence = "the agent stops together with its tasks"
    else:
        sentence = "the agent stops; its tasks go on and are taken up again when it returns"
    draft.note(sentence)
    draft.fact(facts.LeaveOrdered(sentence=sentence, failed=False, with_tasks=event.with_tasks or event.for_good))
    if not event.for_good and not event.with_tasks:
        draft.do(effects.Exit(sentence=sentence, failed=False, stop_launcher=not _running(draft)))
        return
    why = Why.REMOVED if event.for_good else Why.STOPPING
    executors.shutdown_all(draft, why)
    for task in list(draft.state.tasks.values()):
        executors.kill(draft, task, why)
    wake_if_idle(draft)


def wake_if_idle(draft: Draft) -> None:
    """Where nothing runs that could end, no event will ask again whether it is time to go; so a timer does."""
    if not _running(draft):
        wait_s = ACKNOWLEDGEMENTS_S_MAX if draft.member and draft.untold() else 0.0
        draft.timer(LEAVE, draft.now.mono_s + wait_s)


def go_when_done(draft: Draft) -> None:
    """End the process once nothing of its tasks runs and their ends are told."""
    leaving = draft.state.leaving
    if leaving is None or not leaving.with_tasks:
        return
    if _running(draft):
        return
    deadline_s = draft.state.timers.at(LEAVE)
    if draft.member and draft.untold():
        if deadline_s is None:
            draft.timer(LEAVE, draft.now.mono_s + ACKNOWLEDGEMENTS_S_MAX)
            return
        if deadline_s > draft.now.mono_s:
            return
    draft.timer(LEAVE, None)
    draft.do(effects.Exit(sentence=leaving.sentence, failed=leaving.failed, stop_launcher=True))


def _running(draft: Draft) -> bool:
    """Whether the launcher may have processes of a task or executor after this decision."""
    state = draft.state
    return any(task.stage in LAUNCHED and key not in draft.ended for key, task in state.tasks.items()) or any(
        executor.stage in executor_state.LAUNCHED and key not in draft.parted
        for key, executor in state.executors.items()
    )
