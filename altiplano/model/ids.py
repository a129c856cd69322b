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
UUID_BYTES = 16
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


def uuid_problem(uuid: bytes) -> str | None:
    """Why bytes are not a UUID as RFC 4122 has it; None if they are one.

    The agent asks this of an executor's update, the master of a scheduler's acknowledgement: an update that
    could not be acknowledged must not be taken.
    """
    if len(uuid) != UUID_BYTES:
        return f"Not a valid UUID: {len(uuid)} bytes instead of {UUID_BYTES}"
    if uuid[8] & 0xC0 != 0x80 or not 1 <= uuid[6] >> 4 <= 5:
        return "Not a valid UUID: its variant or version is none of RFC 4122"
    return None
