"""Named points at which a test lets one of our processes kill itself, once.

`ALTIPLANO_CRASH_POINT=agent.after_launch` arms a point of the agent, `…:3` lets it pass twice first;
several are separated by commas.  `ALTIPLANO_CRASH_DIR` names a directory for the marks that keep a
point from firing again in the process that comes next.  Each module that has points lists them in
`POINTS`; a process joins the lists of its modules and says at its start which process it is.

The supervisor imports this module: nothing but the standard library, and little of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

POINT_VARIABLE = "ALTIPLANO_CRASH_POINT"
MARKS_VARIABLE = "ALTIPLANO_CRASH_DIR"

_armed: dict[str, int] = {}
_process = ""
_visitor: Callable[[str], None] | None = None


class _Every(dict[str, int]):
    """Every point is armed."""

    def __bool__(self) -> bool:
        return True

    def __contains__(self, point: object) -> bool:
        return True


def visit(visitor: Callable[[str], None] | None) -> None:
    """Call this at every point instead of dying there; None ends it.  For simulations, whose processes share one."""
    global _armed, _visitor
    _armed, _visitor = {} if visitor is None else _Every(), visitor


def arm(process: str, points: tuple[str, ...]) -> None:
    """This process is a `process`, with these points: arm those that the environment names."""
    global _process
    _process = process
    _armed.clear()
    for entry in filter(None, os.environ.get(POINT_VARIABLE, "").split(",")):
        name, _, count = entry.partition(":")
        whose, _, point = name.partition(".")
        if whose == process:
            assert point in points, f"{name} is no crash point; those of the {process} are {', '.join(points)}"
            _armed[point] = int(count or "1")


def at(point: str) -> None:
    """Die here if this point is armed and has not fired yet."""
    if _armed and point in _armed:
        _fire(point)


def at_entry(table: Mapping[Any, str], key: object) -> None:
    """Be at the point that a table names for a kind of message, if it names one."""
    if _armed and key in table:
        at(table[key])


def _fire(point: str) -> None:
    if _visitor is not None:
        _visitor(point)
        return
    _armed[point] -= 1
    if _armed[point] > 0:
        return
    del _armed[point]
    mark = os.path.join(os.environ[MARKS_VARIABLE], f"{_process}.{point}")
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)
