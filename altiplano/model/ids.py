"""Names of things, and which texts may be names.

Ids become directory names on agents, so the rules are those of a path component.
"""

from __future__ import annotations

from typing import NewType

AgentId = NewType("AgentId", str)
ContainerId = NewType("ContainerId", str)
ExecutorId = NewType("ExecutorId", str)
FrameworkId = NewType("FrameworkId", str)
OfferId = NewType("OfferId", str)
TaskId = NewType("TaskId", str)
Cause = NewType("Cause", str)
"""Names the first reason of a chain of events; it is copied to all that follows from it."""

ID_BYTES_MAX = 255
_ROLE_SPACES = frozenset("\t\n\x0b\x0c\r \x7f")


def id_problem(text: str) -> str | None:
    """Why `text` cannot be the id of a task, executor, framework, agent or volume; None if it can."""
    if not text:
        return "an id must not be empty"
    if len(text.encode("utf-8", "surrogatepass")) > ID_BYTES_MAX:
        return f"an id must not be longer than {ID_BYTES_MAX} bytes"
    if text in (".", ".."):
        return f"'{text}' is a directory, not an id"
    for sign in text:
        if sign in "/\\" or ord(sign) < 0x20 or ord(sign) == 0x7F:
            return f"an id must not contain {sign!r}"
    return None


def role_problem(role: str) -> str | None:
    """Why `role` is not a role; None if it is one.

    A role is `*` or a path of components separated by "/".
    """
    if role == "*":
        return None
    if not role:
        return "a role must not be empty"
    if role.startswith("/") or role.endswith("/") or "//" in role:
        return f"role '{role}' must not begin or end with a slash, nor hold two in a row"
    for component in role.split("/"):
        if component in (".", "..", "*"):
            return f"role '{role}' must not have '{component}' as a component"
        if component.startswith("-"):
            return f"role '{role}' must not have a component that begins with a dash"
        if not _ROLE_SPACES.isdisjoint(component):
            return f"role '{role}' must not contain white space"
    return None
