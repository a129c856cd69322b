"""Who comes first: roles, and frameworks within a role, by their dominant shares.

Roles form a tree along their slashes.  Children of one node compete with each other, and what a
child holds counts for its parent.  A role that has children of its own competes with them under
the name ".".  Within a role its frameworks compete.

All orders are kept sorted while allocations change, so a change costs a binary search instead of a
sort.  A `Draft` tries changes and takes them back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

Vector = Mapping[str, int]
"""Scalars by name, in thousandths."""

Key = tuple[float, int, str]
"""Share, offers made so far, name: the smallest is served first."""

OWN = "."
"""The name under which a role competes with its children."""


def dominant_share(held: Vector, totals: Vector) -> float:
    """Largest fraction of any one resource that somebody holds.

    Serving by this number, smallest first, is what makes offers fair (Ghodsi et al., NSDI 2011).  A
    resource the pool has none of is left out: nobody can be starved of it.

    >>> dominant_share({"cpus": 2000, "mem": 512000}, {"cpus": 8000, "mem": 1024000})
    0.5
    """
    share = 0.0
    for name, amount in held.items():
        total = totals.get(name, 0)
        if total > 0 and amount > share * total:
            share = amount / total
    return share


class Order:
    """Clients of one level, smallest share first; those that take part, and what all of them hold."""

    __slots__ = ("counts", "held", "keys", "places", "stale", "weights")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.places: dict[str, Key] = {}
        self.held: dict[str, dict[str, int]] = {}
        self.counts: dict[str, int] = {}
        self.weights: dict[str, float] = {}
        self.stale = False
        """Whether the only client's key is out of date: alone it is first whatever it holds."""

    def key(self, client: str, totals: Vector) -> Key:
        held = self.held.get(client)
        share = dominant_share(held, totals) / self.weights.get(client, 1.0) if held else 0.0
        return (share, self.counts.get(client, 0), client)

    def enter(self, client: str, totals: Vector) -> None:
        """Let a client take part."""
        if client not in self.places:
            if self.stale:
                self.sort(totals)
            key = self.places[client] = self.key(client, totals)
            insort(self.keys, key)

    def leave(self, client: str) -> None:
        """A client takes no part any more; what it holds stays counted."""
        key = self.places.pop(client, None)
        if key is not None:
            del self.keys[bisect_left(self.keys, key)]

    def change(self, client: str, delta: Vector, sign: int, count: int, totals: Vector) -> None:
        """A client holds more (sign 1) or less (-1), and `count` more offers were made to it."""
        held = self.held.get(client)
        if held is None:
            held = self.held[client] = {}
        for name, amount in delta.items():
            left = held.get(name, 0) + sign * amount
            if left:
                held[name] = left
            else:
                held.pop(name, None)
        if not held:
            del self.held[client]
        if count:
            self.counts[client] = self.counts.get(client, 0) + count
        self.place(client, totals)

    def place(self, client: str, totals: Vector) -> None:
        """Put a client where its share belongs."""
        old = self.places.get(client)
        if old is None:
            return
        if len(self.keys) == 1:
            self.stale = True
        else:
            new = self.key(client, totals)
            if new != old:
                del self.keys[bisect_left(self.keys, old)]
                insort(self.keys, new)
                self.places[client] = new

    def forget(self, client: str) -> None:
        self.leave(client)
        self.held.pop(client, None)
        self.counts.pop(client, None)

    def sort(self, totals: Vector) -> None:
        """Place everybody anew: the totals have changed."""
        self.places = {client: self.key(client, totals) for client in self.places}
        self.keys = sorted(self.places.values())
        self.stale = False

    def __iter__(self) -> Iterator[str]:
        for _, _, client in self.keys:
            yield client


def roles_in_order(shares: Shares) -> Iterator[str]:
    """Roles that have frameworks taking part, fairest first."""
    yield from _walk(shares, "")


def _walk(shares: Shares, path: str) -> Iterator[str]:
    level = shares.level(path)
    if level is None:
        return
    for name in level:
        child = path if name == OWN else f"{path}/{name}" if path else name
        if name == OWN or shares.level(child) is None:
            yield child
        else:
            yield from _walk(shares, child)


class Shares:
    """All orders: the role tree and the frameworks of every role."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.stale = False
        self._levels: dict[str, Order] = {"": Order()}
        self._members: dict[str, Order] = {}

    def level(self, path: str) -> Order | None:
        return self._levels.get(path)

    def members(self, role: str) -> Order | None:
        return self._members.get(role)

    def roles(self) -> list[str]:
        """Roles that have or had frameworks."""
        return sorted(self._members)

    def add_total(self, amounts: Vector, sign: int) -> None:
        """The pool has grown (sign 1) or shrunk (-1); orders are right again after `refresh`."""
        for name, amount in amounts.items():
            left = self.totals.get(name, 0) + sign * amount
            if left:
                self.totals[name] = left
            else:
                self.totals.pop(name, None)
        self.stale = True

    def refresh(self) -> None:
        if self.stale:
            for order in (*self._levels.values(), *self._members.values()):
                order.sort(self.totals)
            self.stale = False

    def set_weight(self, role: str, weight: float) -> None:
        """Let a role count `weight` times; a role above others carries it for all of them."""
        parent, _, name = role.rpartition("/")
        self._grow(role)
        level = self._levels[parent]
        level.weights[name] = weight
        level.place(name, self.totals)

    def weight(self, role: str) -> float:
        parent, _, name = role.rpartition("/")
        level = self._levels.get(parent)
        return level.weights.get(name, 1.0) if level else 1.0

    def enter(self, role: str, framework_id: str) -> None:
        """A framework takes part in the competition for a role."""
        members = self._members.get(role)
        if members is None:
            members = self._members[role] = Order()
            self._grow(role)
        members.enter(framework_id, self.totals)
        for path, name in self._steps(role):
            self._levels[path].enter(name, self.totals)

    def leave(self, role: str, framework_id: str) -> None:
        members = self._members.get(role)
        if members is None:
            return
        members.leave(framework_id)
        if members.keys:
            return
        for path, name in reversed(list(self._steps(role))):
            self._levels[path].leave(name)
            if self._levels[path].keys:
                return

    def change(self, role: str, framework_id: str, delta: Vector, sign: int, count: int = 0) -> None:
        if role not in self._members:
            self._members[role] = Order()
            self._grow(role)
        self._members[role].change(framework_id, delta, sign, count, self.totals)
        for path, name in self._steps(role):
            self._levels[path].change(name, delta, sign, count, self.totals)

    def forget(self, role: str, framework_id: str) -> None:
        """The framework is gone and holds nothing."""
        members = self._members.get(role)
        if members is not None:
            self.leave(role, framework_id)
            members.forget(framework_id)
            self._drop(role)

    def _drop(self, role: str) -> None:
        """Forget a role that nobody uses, and the roles above it that were there only for it; weights stay."""
        members = self._members.get(role)
        if members is not None and not (members.places or members.held or members.counts):
            del self._members[role]
        while role and role not in self._members and not self._is_used(role):
            parent, _, name = role.rpartition("/")
            if role in self._levels and not self._levels[role].weights:
                del self._levels[role]
            if role not in self._levels and parent in self._levels:
                self._levels[parent].forget(name)
            role = parent

    def _is_used(self, role: str) -> bool:
        below = role + "/"
        return any(other.startswith(below) for other in self._members)

    def held(self, role: str, framework_id: str) -> Vector:
        members = self._members.get(role)
        return members.held.get(framework_id, {}) if members else {}

    def role_share(self, role: str) -> float:
        """The dominant share of a role with all below it, not divided by its weight."""
        parent, _, name = role.rpartition("/")
        level = self._levels.get(parent)
        return dominant_share(level.held.get(name, {}), self.totals) if level else 0.0

    def _steps(self, role: str) -> Iterator[tuple[str, str]]:
        """The way from the root down to a role: at which level it competes under which name."""
        return steps(role, role in self._levels)

    def _grow(self, role: str) -> None:
        """Make a place for a new role; a role above it that was a leaf becomes a branch."""
        path = ""
        for name in role.split("/")[:-1]:
            path = f"{path}/{name}" if path else name
            if path not in self._levels:
                level = self._levels[path] = Order()
                members = self._members.get(path)
                if members is not None:
                    self._move_down(path, level, members)

    def _move_down(self, path: str, level: Order, members: Order) -> None:
        parent, _, name = path.rpartition("/")
        above = self._levels[parent]
        if above.held.get(name):
            level.held[OWN] = dict(above.held[name])
        level.counts[OWN] = above.counts.get(name, 0)
        if members.keys:
            level.enter(OWN, self.totals)


def steps(role: str, is_branch: bool) -> Iterator[tuple[str, str]]:
    path = ""
    for name in role.split("/"):
        yield path, name
        path = f"{path}/{name}" if path else name
    if is_branch:
        yield path, OWN


class Draft:
    """Changes that are tried on the shares themselves, and taken back by `undo`.

    Copying the orders instead would cost as much as there are clients, for every single event.
    """

    def __init__(self, base: Shares) -> None:
        self._base = base
        self._done: list[tuple[str, str, Vector, int, int]] = []

    def change(self, role: str, framework_id: str, delta: Vector, sign: int, count: int = 0) -> None:
        self._base.change(role, framework_id, delta, sign, count)
        self._done.append((role, framework_id, delta, sign, count))

    def undo(self) -> None:
        """Leave the shares as they were."""
        for role, framework_id, delta, sign, count in reversed(self._done):
            self._base.change(role, framework_id, delta, -sign, -count)
        self._done.clear()
