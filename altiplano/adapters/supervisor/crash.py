"""Named points at which a test lets one of our processes kill itself, once.

`ALTIPLANO_CRASH_POINT=supervisor.after_spawn` arms a point, `…:3` lets it pass
twice first; `ALTIPLANO_CRASH_DIR` names a directory for the marks that keep it
from happening again.  Several points are separated by commas.
"""

from __future__ import annotations

import os

CRASH_POINTS = {
    "supervisor": (
        "supervisor.started",
        "supervisor.recovered",
        "supervisor.before_intent",
        "supervisor.after_intent",
        "supervisor.after_cgroup",
        "supervisor.after_spawn",
        "supervisor.after_settle",
        "supervisor.after_start_record",
        "supervisor.exit_seen",
        "supervisor.exit_written",
        "supervisor.exit_durable",
        "supervisor.exit_reaped",
        "supervisor.exit_told",
        "supervisor.cleaned",
        "supervisor.after_forget",
        "supervisor.compaction_written",
        "supervisor.compaction_renamed",
    ),
    "keeper": (
        "keeper.started",
        "keeper.after_spawn",
        "keeper.supervisor_reaped",
        "keeper.before_look",
        "keeper.before_reap",
        "keeper.after_reap",
    ),
}

_armed: dict[str, int] = {}
for _entry in filter(None, os.environ.get("ALTIPLANO_CRASH_POINT", "").split(",")):
    _name, _, _count = _entry.partition(":")
    assert any(_name in points for points in CRASH_POINTS.values()), f"{_name} is no crash point"
    _armed[_name] = int(_count or "1")


def at(name: str) -> None:
    """Die here if this point is armed and has not fired yet."""
    if _armed and name in _armed:
        _fire(name)


def _fire(name: str) -> None:
    _armed[name] -= 1
    if _armed[name] > 0:
        return
    try:
        mark = os.path.join(os.environ["ALTIPLANO_CRASH_DIR"], name)
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        del _armed[name]
        return
    os.kill(os.getpid(), 9)
