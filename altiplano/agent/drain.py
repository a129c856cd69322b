"""An operator takes this machine out of use: its tasks end, each by its own grace or the operator's shorter one.

The master says it with every welcome, so an agent that was away hears of it as well, and one that still drains when
nobody wants it any more is told to stop.
"""

from __future__ import annotations

from altiplano.agent import executors, facts
from altiplano.agent.draft import Draft
from altiplano.agent.state import Stage, Task
from altiplano.executors import command, custom
from altiplano.link import messages
from altiplano.wire.messages import mesos

Why = command.Why


def ordered(draft: Draft, drain: messages.Drain | None) -> None:
    """Drain, or do not any more.  Tasks that were told to end do so all the same."""
    changed = drain != draft.state.drain
    if changed:
        draft.fact(facts.DrainSet(drain=drain))
        draft.note("an operator drains this agent" if drain is not None else "this agent is not drained any more")
    if drain is None:
        return
    for task in list(draft.state.tasks.values()):
        over = task.stage is Stage.ENDED or task.key in draft.ended
        # An executor that knows is not told with every welcome.
        if not over and (changed or task.kill is None):
            executors.kill(draft, task, _why(draft, task, drain), policy=_policy(task, drain))


def _why(draft: Draft, task: Task, drain: messages.Drain) -> Why:
    aware = custom.aware(draft.framework(task.framework_id))
    return Why.DRAINING_FOR_GOOD if drain.mark_gone and aware else Why.DRAINING


def _policy(task: Task, drain: messages.Drain) -> mesos.KillPolicy | None:
    """The grace of a task within the operator's; None leaves it to the task."""
    if drain.max_grace_s is None:
        return None
    own, most_ns = task.info.kill_policy, round(drain.max_grace_s * command.NS_PER_S)
    grace = own.grace_period if own is not None else None
    wanted_ns = grace.nanoseconds if grace is not None else round(command.KILL_GRACE_DEFAULT_S * command.NS_PER_S)
    return mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=min(wanted_ns, most_ns)))
