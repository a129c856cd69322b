"""Where an agent lives: its work directory, known by more than its path.

An agent's id and its tasks come with its directory.  A copy that is started beside the original would be the same
agent twice, each ending the tasks that it does not find.  A directory that was moved, or put back from a copy after
the original was lost, is the agent as before.
"""

from __future__ import annotations

import contextlib
import os

FILE = "place"


class Copied(Exception):
    """The work directory is a copy of another one, which is still there."""


def take(work_dir: str) -> None:
    """Make this directory the agent's place.  Raises Copied where another one still is."""
    mine = (work_dir, str(os.stat(work_dir).st_ino))
    said = _read(work_dir)
    if said == mine:
        return
    if said is not None and said[1] != mine[1] and said == (said[0], _number(said[0])) == _read(said[0]):
        raise Copied(
            f"{work_dir} is a copy of {said[0]}, which is still there, and both would be the same agent: use the "
            f"original, or another work directory; if the copy is to take its place, remove the original first"
        )
    # A disk that takes nothing is told by the log, which needs it more.
    with contextlib.suppress(OSError):
        fresh = os.path.join(work_dir, f"{FILE}.new")
        with open(fresh, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join(reversed(mine)))
        os.rename(fresh, os.path.join(work_dir, FILE))


def _read(work_dir: str) -> tuple[str, str] | None:
    """The path and the number of the directory that an agent was last started in."""
    try:
        with open(os.path.join(work_dir, FILE), encoding="utf-8", errors="surrogateescape") as file:
            number, newline, path = file.read().partition("\n")
    except OSError:
        return None
    return (path, number) if newline else None


def _number(path: str) -> str | None:
    try:
        return str(os.stat(path).st_ino)
    except OSError:
        return None
