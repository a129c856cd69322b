"""How much of what is unreserved a role may still be given: limits, guarantees, and what is held back for them.

What a role consumes is what it and the roles below it hold of unreserved resources, and all that is
reserved for them, in use or not.

* A limit is never passed: what is offered is cut down to the room that is left.
* A guarantee is held back: of what nobody holds, others get only what all unmet guarantees together
  leave.  So it does not matter on which agents the guaranteed resources are, nor who comes first.

All amounts are scalars in thousandths.  Where no role has a quota none of this costs anything.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from altiplano.master.allocator.pool import Minimums
from altiplano.master.allocator.sorter import Key, Shares
from altiplano.model.resources import EMPTY, Resources

Amounts = Mapping[str, int]


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What a role is sure of, and the most it gets.  Names that are missing: nothing is sure, nothing is limited."""

    guarantees: Mapping[str, int] = {}
    limits: Mapping[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.guarantees or self.limits)


class Quotas:
    """The quotas of all roles, and the reservations that count towards them."""

    def __init__(self, shares: Shares, minimums: Minimums) -> None:
        self.of: dict[str, Quota] = {}
        self._shares = shares
        self._minimums = minimums
        self._reserved: dict[str, Resources] = {}
        """What is reserved, by the role it is reserved for."""
        self._reserved_held: dict[str, Resources] = {}
        """What of that is held, by the role it is allocated to."""
        self.standings: dict[str, Standing] = {}
        """How each role stands to its quota, and what that comes to; right after `settle`."""
        self.summary = Summary()
        self._outdated: set[str] = set()

    def set(self, role: str, quota: Quota) -> None:
        """Give a role a quota; an empty one takes it away."""
        if quota:
            self.of[role] = quota
        else:
            self.of.pop(role, None)
        self._outdated.add(role)

    def add_agent(self, total: Resources, sign: int) -> None:
        """The reservations of an agent come (sign 1) or go (-1)."""
        for role in {kind.role for kind, _ in total if kind.reservations}:
            part = total.reserved(role)
            before = self._reserved.get(role, EMPTY)
            self._reserved[role] = before + part if sign > 0 else before - part
            self._outdated.update(path for path in paths(role) if path in self.of)

    def change(self, role: str, resources: Resources, sign: int, *, reserved: bool) -> None:
        """A role holds more or less; `reserved`: some of it may be reserved."""
        if reserved:
            part = resources.reserved()
            before = self._reserved_held.get(role, EMPTY)
            self._reserved_held[role] = before + part if sign > 0 else before - part
        if self.of:
            self._outdated.update(path for path in paths(role) if path in self.of)

    def settle(self) -> None:
        """Put right what changes have outdated."""
        for role in self._outdated:
            before = self.standings.pop(role, None)
            if before is not None and "/" not in role:
                self.summary.count(role, before, -1)
            if role in self.of:
                now = self.standings[role] = self.standing(role, {})
                if "/" not in role:
                    self.summary.count(role, now, 1)
        self._outdated.clear()

    def standing(self, role: str, extra: Mapping[str, Resources]) -> Standing:
        """`extra`: reservations that are held beyond those that are known here."""
        quota, consumed = self.of[role], self.consumed(role, extra)
        left = {name: max(0, limit - consumed.get(name, 0)) for name, limit in quota.limits.items()}
        lack = {name: most - consumed.get(name, 0) for name, most in quota.guarantees.items()}
        return Standing(
            left=left,
            lack={name: amount for name, amount in lack.items() if amount > 0},
            full=all(any(left.get(name, least) < least for name, least in one.items()) for one in self._minimums),
        )

    def consumed(self, path: str, extra: Mapping[str, Resources] | None = None) -> Amounts:
        """What a role consumes."""
        consumed = Counter(self._shares.named(self._shares.role_held(path)))
        for role, part in (*self._reserved_held.items(), *(extra or {}).items()):
            if is_in(role, path):
                consumed.subtract(part.scalars)
        for role, part in self._reserved.items():
            if is_in(role, path):
                consumed.update(part.scalars)
        return consumed

    def available(self) -> Counter[str]:
        """What is unreserved and held by nobody."""
        left = Counter(self._shares.totals)
        left.subtract(self._shares.named(self._shares.held_by_all))
        for part in self._reserved_held.values():
            left.update(part.scalars)
        for part in self._reserved.values():
            left.subtract(part.scalars)
        return left


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a role stands to its quota."""

    left: Amounts
    """What its limits leave, of what is limited."""
    lack: Amounts
    """What it lacks of its guarantees, where it lacks something."""
    full: bool
    """Whether its limits leave too little for any offer."""


class Summary:
    """What the quotas of the first level of roles come to.

    A role's guarantee contains those of the roles below it, so only the first level is held back.
    """

    def __init__(self) -> None:
        self.required: Counter[str] = Counter()
        """What all roles together lack of their guarantees."""
        self.lacking: set[str] = set()
        self.full: set[str] = set()

    def copy(self) -> Summary:
        made = Summary()
        made.required, made.lacking, made.full = Counter(self.required), set(self.lacking), set(self.full)
        return made

    def count(self, role: str, standing: Standing, sign: int) -> None:
        for name, amount in standing.lack.items():
            self.required[name] += sign * amount
        for roles, belongs in ((self.lacking, bool(standing.lack)), (self.full, standing.full)):
            if belongs and sign > 0:
                roles.add(role)
            elif belongs:
                roles.discard(role)


class Room:
    """What roles may be given within one slice, where what the slice offers is counted at once."""

    def __init__(self, quotas: Quotas, shares: Shares) -> None:
        quotas.settle()
        self._quotas = quotas
        self._shares = shares
        self._summary = quotas.summary.copy()
        self._changed: dict[str, Standing] = {}
        self._available = quotas.available()
        self._reserved_held: dict[str, Resources] = {}
        lacking, full = self._summary.lacking, self._summary.full
        keys = shares.first_level()
        self.first = [key for key in keys if key[2] in lacking and key[2] not in full]
        """Roles of the first level that want offers and lack something, fairest first: served before others."""
        self.others = [key for key in keys if key[2] not in lacking and key[2] not in full]
        """The others, but for those that are at their limits."""

    @property
    def any_full(self) -> bool:
        return bool(self._summary.full)

    def _standing(self, path: str) -> Standing | None:
        return self._changed.get(path) or self._quotas.standings.get(path)

    def most(self, role: str) -> Amounts:
        """The most that a role may be given of each resource that is scarce for it."""
        most: dict[str, int] = {}
        first = True
        for path in paths(role):
            standing = self._standing(path)
            if first:
                first = False
                lack = standing.lack if standing is not None else {}
                for name, required in self._summary.required.items():
                    if required:
                        most[name] = lack.get(name, 0) + max(0, self._available[name] - required)
            if standing is not None:
                for name, left in standing.left.items():
                    most[name] = min(most.get(name, left), left)
        return most

    def take(self, role: str, resources: Resources, sign: int = 1) -> None:
        """A role was given something, as the shares know already; or gave it back (sign -1)."""
        unreserved = resources
        if any(kind.reservations for kind, _ in resources):
            unreserved, reserved = resources.unreserved(), resources.reserved()
            before = self._reserved_held.get(role, EMPTY)
            self._reserved_held[role] = before + reserved if sign > 0 else before - reserved
        for name, amount in unreserved.scalars.items():
            self._available[name] -= sign * amount
        for path in paths(role):
            old = self._standing(path)
            if old is not None:
                new = self._changed[path] = self._quotas.standing(path, self._reserved_held)
                if "/" not in path:
                    self._summary.count(path, old, -1)
                    self._summary.count(path, new, 1)

    def place(self, role: str, before: Key) -> None:
        """Put a role of the first level where it belongs now; `before` is the key by which it stood till then."""
        for keys in (self.first, self.others):
            index = bisect_left(keys, before)
            if index < len(keys) and keys[index] is before:
                del keys[index]
        entry = before[3]
        if entry.takes_part and role not in self._summary.full:
            insort(self.first if role in self._summary.lacking else self.others, entry.key)


def cut_down(resources: Resources, most: Mapping[str, int]) -> Resources:
    """As much of these resources as fits into amounts; reservations are not touched.

    >>> from altiplano.model.resources import parse
    >>> print(cut_down(parse("cpus:8;mem:1000;ports:[1-10]"), {"cpus": 3000, "disk": 0}))
    cpus:3; mem:1000; ports:[1-10]
    """
    left = {name: amount for name, amount in most.items() if resources.scalars.get(name, 0) > amount}
    if not left:
        return resources
    kept = []
    for kind, value in resources:
        if kind.name in left and not kind.reservations and not kind.revocable and isinstance(value, int):
            # A GPU or a volume is given whole or not at all.
            step = value if kind.is_whole or kind.shared else 1000 if kind.name == "gpus" else 1
            value = min(value, left[kind.name]) // step * step
            left[kind.name] -= value
        kept.append((kind, value))
    made = Resources(kept)
    return resources if made == resources else made


def paths(role: str) -> Iterator[str]:
    """A role and all above it, from the first level down."""
    at = role.find("/")
    while at >= 0:
        yield role[:at]
        at = role.find("/", at + 1)
    yield role


def is_in(role: str, path: str) -> bool:
    return role == path or role.startswith(path + "/")
