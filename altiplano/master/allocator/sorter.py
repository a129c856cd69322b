"""Who comes first: roles, and frameworks within a role, by their dominant shares.

Roles form a tree along their slashes.  Children of one node compete with each other, and what a
child holds counts for its parent.  A role that has children of its own competes with them under
the name ".".  Within a role its frameworks compete.

Amounts are vectors: tuples of thousandths, one place for each resource of the pool.  A share is the
exact fraction rounded once to a float, so clients come out of order only where their shares differ by
less than one part in 2**53.

Every order is kept sorted while allocations change.  A change notes whose key is out of date; the
order is put right when somebody reads it, one by one or all at once, whichever is less work.  A
`Draft` tries changes and takes them back.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from operator import add, neg, truediv

Vector = tuple[int, ...]
"""Amounts in thousandths, in the order of `Axes.names`."""

OWN = "."
"""The name under which a role competes with its children."""

WEIGHT_MIN = 1e-9
WEIGHT_MAX = 1e9
"""Weights beyond these count as these: further out nobody could tell them apart, and shares would leave the floats."""

SORT_FROM = 12
"""An order with more than one outdated key in so many is sorted anew instead of key by key."""


PLACE_UP_TO = 2
"""So few outdated keys are always put right one by one."""


class Axes:
    """The resources that are counted, and how much of each the pool has."""

    __slots__ = ("divisors", "generation", "names", "places", "totals")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: dict[str, int] = {}
        self.totals: list[int] = []
        # Whatever is divided by infinity is no share: nobody can be starved of what the pool has none of.
        self.divisors: list[float] = []
        self.generation = 0
        """Goes up with every change of the totals, which outdates all keys."""

    def add(self, name: str) -> None:
        self.places[name] = len(self.names)
        self.names.append(name)
        self.totals.append(0)
        self.divisors.append(math.inf)

    def change(self, amounts: Vector) -> None:
        self.totals = list(map(add, self.totals, amounts))
        self.divisors = [total or math.inf for total in self.totals]
        self.generation += 1

    def share(self, held: Vector, weight: float = 1.0) -> float:
        """Largest fraction of any one resource, divided by a weight: exact, then rounded once.

        Serving by this number, smallest first, is what makes offers fair (Ghodsi et al., NSDI 2011).
        """
        if weight == 1.0:
            return max(map(truediv, held, self.divisors)) if held else 0.0
        above, below = min(max(weight, WEIGHT_MIN), WEIGHT_MAX).as_integer_ratio()
        return max(
            ((amount * below) / (total * above) for amount, total in zip(held, self.totals, strict=True) if total),
            default=0.0,
        )


class Entry:
    """One client of an order: a role or a framework, what it holds, and where it stands if it takes part."""

    __slots__ = ("below", "count", "held", "key", "name", "takes_part", "weight")

    def __init__(self, name: str, held: Vector, weight: float = 1.0) -> None:
        self.name = name
        self.held = held
        self.count = 0
        """Offers made so far."""
        self.weight = weight
        self.takes_part = False
        self.key: Key = (0.0, 0, name, self)
        self.below: Order | None = None
        """Who competes for what this role gets; None for a framework."""


Key = tuple[float, int, str, Entry]
"""Share, offers made so far, name: the smallest is served first.  Names differ, so entries are never compared."""

Place = tuple["Order", Entry]


class Order:
    """Clients of one level, smallest share first; those that take part, and what all of them hold."""

    __slots__ = ("_axes", "_generation", "entries", "is_level", "keys", "outdated", "path", "up")

    def __init__(self, path: str, axes: Axes, *, is_level: bool, up: Place | None) -> None:
        self.path = path
        self.is_level = is_level
        """Whether roles compete here, or the frameworks of one role."""
        self.up = up
        """The entry above that counts all that is held here."""
        self.entries: dict[str, Entry] = {}
        self.keys: list[Key] = []
        self._axes = axes
        self._generation = axes.generation
        self.outdated: set[Entry] = set()
        """Who takes part and holds something else than its key says."""

    def add(self, name: str, weight: float = 1.0) -> Entry:
        entry = self.entries[name] = Entry(name, (0,) * len(self._axes.names), weight)
        return entry

    def enter(self, entry: Entry) -> None:
        """Let a client take part."""
        self.settle()
        entry.takes_part = True
        entry.key = self._key(entry)
        insort(self.keys, entry.key)
        if len(self.keys) == 2:
            # The first of them was alone, and nobody cared for its key.
            self._sort()

    def leave(self, entry: Entry) -> None:
        """A client takes no part any more; what it holds stays counted."""
        entry.takes_part = False
        self.outdated.discard(entry)
        # Outdated keys are in order among each other, so this one is found where it was put.
        del self.keys[bisect_left(self.keys, entry.key)]

    def settle(self) -> None:
        """Put everybody where his share belongs.  Somebody alone is first whatever he holds."""
        outdated, is_old = self.outdated, self._generation != self._axes.generation
        if not (outdated or is_old) or len(self.keys) <= 1:
            return
        count = len(outdated)
        if is_old or (count > PLACE_UP_TO and count * SORT_FROM > len(self.keys)):
            self._sort()
        else:
            for entry in outdated:
                self.place(entry)
            outdated.clear()

    def _sort(self) -> None:
        everybody = self._generation != self._axes.generation or len(self.keys) == 2
        for entry in [key[3] for key in self.keys] if everybody else self.outdated:
            entry.key = self._key(entry)
        self.keys = [key[3].key for key in self.keys]
        self.keys.sort()
        self._generation = self._axes.generation
        self.outdated.clear()

    def place(self, entry: Entry) -> None:
        """Put one client where its share belongs."""
        old, new = entry.key, self._key(entry)
        if new != old:
            keys = self.keys
            del keys[bisect_left(keys, old)]
            insort(keys, new)
            entry.key = new

    def _key(self, entry: Entry) -> Key:
        if entry.weight == 1.0 and entry.held:
            # `Axes.share` written out: this is asked for every offer.
            return (max(map(truediv, entry.held, self._axes.divisors)), entry.count, entry.name, entry)
        return (self._axes.share(entry.held, entry.weight), entry.count, entry.name, entry)

    def __iter__(self) -> Iterator[str]:
        self.settle()
        for key in self.keys:
            yield key[2]


class Shares:
    """All orders: the role tree and the frameworks of every role."""

    def __init__(self) -> None:
        self.axes = Axes()
        self._levels: dict[str, Order] = {"": Order("", self.axes, is_level=True, up=None)}
        self._members: dict[str, Order] = {}
        self._weights: dict[str, float] = {}
        self.held_by_all: Vector = ()

    # -- amounts

    @property
    def totals(self) -> Mapping[str, int]:
        axes = self.axes
        return {name: total for name, total in zip(axes.names, axes.totals, strict=True) if total}

    def vector(self, amounts: Mapping[str, int]) -> Vector:
        axes = self.axes
        for name in amounts:
            if name not in axes.places:
                self._add_axis(name)
        get = amounts.get
        return tuple([get(name, 0) for name in axes.names])

    def _add_axis(self, name: str) -> None:
        self.axes.add(name)
        self.held_by_all = (*self.held_by_all, 0)
        for order in (*self._levels.values(), *self._members.values()):
            for entry in order.entries.values():
                entry.held = (*entry.held, 0)

    def add_total(self, amounts: Vector, sign: int) -> None:
        """The pool has grown (sign 1) or shrunk (-1)."""
        self.axes.change(amounts if sign > 0 else tuple(map(neg, amounts)))

    # -- who there is

    def roles(self) -> list[str]:
        """Roles that have frameworks, or in which something is held."""
        return sorted(self._members)

    def members(self, role: str) -> Order | None:
        """The frameworks of a role, as they compete."""
        return self._members.get(role)

    def in_order(self) -> Iterator[Order]:
        """The frameworks of one role after the other, of roles where some take part, fairest role first."""
        root = self._levels[""]
        root.settle()
        return below(root.keys)

    def first_level(self) -> list[Key]:
        """The roles of the first level that take part, fairest first."""
        root = self._levels[""]
        root.settle()
        return root.keys

    def first_key(self, role: str) -> Key:
        """Where the role of the first level stands that a role belongs to."""
        return self._levels[""].entries[role.split("/", 1)[0]].key

    def rank(self, role: str, framework_id: str) -> tuple[Key, ...]:
        """Keys from the root down to a framework that takes part: whoever has the smaller comes first in all."""
        keys: list[Key] = []
        place: Place | None = self._place(role, framework_id)
        while place is not None:
            order, entry = place
            order.settle()
            keys.append(entry.key)
            place = order.up
        return tuple(reversed(keys))

    def enter(self, role: str, framework_id: str) -> None:
        """A framework takes part in the competition for a role."""
        place: Place | None = self._place(role, framework_id)
        while place is not None:
            order, entry = place
            if entry.takes_part:
                return
            order.enter(entry)
            place = order.up

    def leave(self, role: str, framework_id: str) -> None:
        """A framework takes no part; what it holds stays counted."""
        members = self._members.get(role)
        entry = members.entries.get(framework_id) if members is not None else None
        if members is None or entry is None:
            return
        place: Place | None = (members, entry)
        while place is not None:
            order, client = place
            if not client.takes_part:
                break
            order.leave(client)
            if order.keys:
                break
            place = order.up
        self._drop_idle(members, entry)

    def change(self, role: str, framework_id: str, delta: Vector, sign: int, count: int = 0) -> None:
        """A framework holds more (sign 1) or less (-1) in a role, and `count` more offers were made to it."""
        place = first = self._place(role, framework_id)
        if sign < 0:
            delta = tuple(map(neg, delta))
        up: Place | None = place
        while up is not None:
            order, entry = up
            entry.held = tuple(map(add, entry.held, delta))
            entry.count += count
            if entry.takes_part:
                order.outdated.add(entry)
            up = order.up
        self.held_by_all = tuple(map(add, self.held_by_all, delta))
        if sign < 0 or count < 0:
            self._drop_idle(*first)

    def forget(self, role: str, framework_id: str) -> None:
        """A framework has left a role: the offers made to it there do not count any more."""
        self.leave(role, framework_id)
        members = self._members.get(role)
        entry = members.entries.get(framework_id) if members is not None else None
        if entry is not None and entry.count:
            self.change(role, framework_id, (0,) * len(self.axes.names), 1, -entry.count)

    # -- weights, and what is shown

    def set_weight(self, role: str, weight: float) -> None:
        """Let a role count `weight` times; a role above others carries it for all of them."""
        self._weights[role] = weight
        parent, _, name = role.rpartition("/")
        level = self._levels.get(parent)
        entry = level.entries.get(name) if level is not None else None
        if level is not None and entry is not None:
            entry.weight = weight
            if entry.takes_part:
                level.outdated.add(entry)

    def weight(self, role: str) -> float:
        return self._weights.get(role, 1.0)

    def held(self, role: str, framework_id: str) -> Mapping[str, int]:
        """What a framework holds in a role."""
        return self.named(self._held(role, framework_id))

    def framework_share(self, role: str, framework_id: str) -> float:
        """The dominant share of a framework in one of its roles."""
        held = self._held(role, framework_id)
        return self.axes.share(held) if any(held) else 0.0

    def role_share(self, role: str) -> float:
        """The dominant share of a role with all below it, not divided by its weight."""
        return self.axes.share(self.role_held(role))

    def role_held(self, role: str) -> Vector:
        """What a role holds with all below it."""
        parent, _, name = role.rpartition("/")
        level = self._levels.get(parent)
        entry = level.entries.get(name) if level is not None else None
        return entry.held if entry is not None else ()

    def _held(self, role: str, framework_id: str) -> Vector:
        members = self._members.get(role)
        entry = members.entries.get(framework_id) if members is not None else None
        return entry.held if entry is not None else ()

    def named(self, vector: Vector) -> Mapping[str, int]:
        """What is in a vector, by name."""
        return {name: amount for name, amount in zip(self.axes.names, vector, strict=False) if amount}

    # -- the tree

    def _place(self, role: str, framework_id: str) -> Place:
        members = self._members.get(role)
        if members is None:
            members = self._add_role(role)
        entry = members.entries.get(framework_id)
        if entry is None:
            entry = members.add(framework_id)
        return members, entry

    def _add_role(self, role: str) -> Order:
        """Make a place for a new role; a role above it that was a leaf becomes a branch."""
        level = self._levels[""]
        *above, name = role.split("/")
        path = ""
        for step in above:
            path = f"{path}/{step}" if path else step
            below = self._levels.get(path)
            level = self._branch(path, step, level) if below is None else below
        if role in self._levels:
            level, name = self._levels[role], OWN
        entry = self._add_entry(level, name)
        members = self._members[role] = Order(role, self.axes, is_level=False, up=(level, entry))
        entry.below = members
        return members

    def _add_entry(self, level: Order, name: str) -> Entry:
        path = f"{level.path}/{name}" if level.path else name
        return level.add(name, 1.0 if name == OWN else self.weight(path))

    def _branch(self, path: str, name: str, parent: Order) -> Order:
        entry = parent.entries.get(name)
        if entry is None:
            entry = self._add_entry(parent, name)
        level = self._levels[path] = Order(path, self.axes, is_level=True, up=(parent, entry))
        members = entry.below
        entry.below = level
        if members is not None:
            own = self._add_entry(level, OWN)
            own.held, own.count, own.below = entry.held, entry.count, members
            members.up = (level, own)
            if entry.takes_part:
                level.enter(own)
        return level

    def _drop_idle(self, members: Order, entry: Entry) -> None:
        """Forget a client of which nothing is known, its role if that was the last, and what was there only for it."""
        if entry.takes_part or entry.count or any(entry.held):
            return
        members.entries.pop(entry.name, None)
        if members.entries or members.up is None:
            return
        self._members.pop(members.path, None)
        level, name = members.up[0], members.up[1].name
        del level.entries[name]
        while level.up is not None and not level.entries:
            del self._levels[level.path]
            above, entry = level.up
            del above.entries[entry.name]
            level = above
        if level.up is not None and list(level.entries) == [OWN]:
            self._fold(level, level.up)

    def _fold(self, level: Order, up: Place) -> None:
        """A role without children is a leaf."""
        own = level.entries[OWN]
        assert own.below is not None, f"role {level.path} is without frameworks"
        up[1].below, own.below.up = own.below, up
        del self._levels[level.path]


def below(keys: Iterable[Key]) -> Iterator[Order]:
    """The frameworks of one role after the other, of these roles and those below them."""
    for key in keys:
        order = key[3].below
        if order is None:
            continue
        order.settle()
        if order.is_level:
            yield from below(order.keys)
        else:
            yield order


class Draft:
    """Changes that are tried on the shares themselves, and taken back by `undo`.

    Copying everything instead would cost as much as there are clients, for every single event.  The
    sorted keys of an order that is touched are copied, which is one block of memory.
    """

    def __init__(self, base: Shares, *, counts_all: bool = False) -> None:
        """`counts_all`: what a role holds is asked for as well, not only who comes first."""
        self._base = base
        self._counts_all = counts_all
        self._keys: dict[Order, list[Key]] = {}
        self._was: list[tuple[Entry, Key, Vector, int]] = []

    def change(self, role: str, framework_id: str, delta: Vector, sign: int, count: int = 0) -> None:
        """As `Shares.change`, of somebody who takes part or holds something."""
        members = self._base.members(role)
        assert members is not None, f"a draft is about role {role}, which nobody has"
        place: Place | None = (members, members.entries[framework_id])
        if sign < 0:
            delta = tuple(map(neg, delta))
        while place is not None:
            order, entry = place
            place = order.up
            if place is None and len(order.keys) == 1 and entry.takes_part and not self._counts_all:
                # The one role that anybody wants offers for is the first, whatever it holds.
                break
            if order not in self._keys:
                order.settle()
                self._keys[order] = order.keys.copy()
            self._was.append((entry, entry.key, entry.held, entry.count))
            entry.held = tuple(map(add, entry.held, delta))
            entry.count += count
            if entry.takes_part and len(order.keys) > 1:
                order.place(entry)

    def undo(self) -> None:
        """Leave the shares as they were."""
        for entry, key, held, count in reversed(self._was):
            entry.key, entry.held, entry.count = key, held, count
        for order, keys in self._keys.items():
            order.keys = keys
        self._was.clear()
        self._keys.clear()
