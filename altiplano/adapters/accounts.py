"""Who a process in a container is: `user[:group]`, read by the image's own account files.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ID_MAX: Final = 2**31 - 1
"""Of a user or a group in a container."""
FILE_BYTES_MAX: Final = 1024 * 1024
"""What is read of an account file."""
GROUPS_MAX: Final = 256


class UnknownAccount(Exception):
    """The image has no such user or group; the sentence names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def account(text: str, passwd: str = "", group: str = "") -> Account:
    """The account that a text names; an empty one is root.  Numbers need not be in the files, names must.

    A user without a group gets the one that `passwd` gives him, and the further ones that `group` does.

    >>> account("ana", "ana:x:1000:100::/home/ana:/bin/sh", "physics:x:2000:ana")
    Account(uid=1000, gid=100, groups=(2000,), home='/home/ana')
    """
    user, colon, wanted = (text or "0").partition(":")
    if colon and not wanted:
        raise UnknownAccount(f"The user {text!r:.80} of the image has a colon and no group behind it.")
    entry = next((line for line in _lines(passwd, 7) if user in (line[0], line[2])), None)
    if entry is not None:
        name, uid, gid, home = entry[0], _id(entry[2]), _id(entry[3]), entry[5]
    else:
        name, uid, gid, home = None, _id(user), 0, "/"
    if uid is None:
        raise UnknownAccount(f"The image has no user {user!r:.80} in its /etc/passwd; use a number, or another image.")
    groups: tuple[int, ...] = ()
    if colon:
        found = next((line[2] for line in _lines(group, 4) if line[0] == wanted), wanted)
        gid = _id(found)
        if gid is None:
            raise UnknownAccount(f"The image has no group {wanted!r:.80} in its /etc/group; use a number.")
    elif name is not None:
        further = (_id(line[2]) for line in _lines(group, 4) if name in line[3].split(","))
        groups = tuple(dict.fromkeys(one for one in further if one is not None and one != gid))[:GROUPS_MAX]
    return Account(uid=uid, gid=gid or 0, groups=groups, home=home if home.startswith("/") else "/")


def _lines(text: str, fields: int) -> list[list[str]]:
    return [line.split(":") for line in text.splitlines() if line.count(":") == fields - 1]


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= ID_MAX else None
