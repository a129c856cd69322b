"""When the sandboxes of ended tasks go: at `gc_delay`, and the sooner the fuller the disk is."""

from __future__ import annotations

from altiplano.agent import effects, facts
from altiplano.agent.draft import Draft
from altiplano.agent.recovery import DISK
from altiplano.agent.state import FRAMEWORKS_IDLE_MAX, SANDBOXES_MAX

REMOVALS_PER_LOOK_MAX = 1000
"""Sandboxes removed after one look at the disk; the next look takes the next ones."""


def watch(draft: Draft) -> None:
    draft.timer(DISK, draft.now.mono_s + draft.node.disk_watch_s)
    draft.do(effects.MeasureDisk())


def measured(draft: Draft, used: float) -> None:
    """Remove what is too old for a disk as full as this one."""
    age_s_max = allowed_age_s(draft.node.gc_delay_s, draft.node.gc_disk_headroom, used)
    surplus = len(draft.state.kept) - SANDBOXES_MAX
    count = 0
    for kept in draft.state.kept.values():
        if count >= REMOVALS_PER_LOOK_MAX:
            break
        if count >= surplus and draft.now.wall_s - kept.ended_wall_s <= age_s_max:
            break
        draft.do(effects.RemoveSandbox(container_id=kept.container_id, directory=kept.directory))
        count += 1
    if count:
        draft.note(
            f"the disk is {used:.0%} full, so sandboxes may be {age_s_max / 86400:.1f} days old; {count} are removed"
        )
    idle = draft.state.idle_frameworks()
    for framework_id in idle[: max(0, len(idle) - FRAMEWORKS_IDLE_MAX)]:
        draft.fact(facts.FrameworkForgotten(framework_id=framework_id))


def allowed_age_s(gc_delay_s: float, headroom: float, used: float) -> float:
    """How old a sandbox may get.

    >>> allowed_age_s(100.0, 0.1, 0.4), allowed_age_s(100.0, 0.1, 0.95)
    (50.0, 0.0)
    """
    return round(gc_delay_s * max(0.0, 1 - headroom - used), 3)
