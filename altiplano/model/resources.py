"""Resources and their algebra.

`Resources` is a value: amounts by `Kind`, where a kind is everything by which one resource is told from another
except how much of it there is – name, reservations, disk, to whom it is allocated.  Amounts of the same kind add up;
those of different kinds stay side by side.  Nothing in here knows how messages look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, unique

from altiplano.model import values
from altiplano.model.values import Milli, Ranges, Value

UNRESERVED_ROLE = "*"


class ResourceError(ValueError):
    """Resources that cannot be, or that are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One level of a reservation: static ones come with the agent, dynamic ones are made by an operation."""

    role: str
    dynamic: bool = False
    principal: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()


@unique
class SourceType(Enum):
    """What is below a disk resource; none is the agent's own file system."""

    UNKNOWN = "UNKNOWN"
    PATH = "PATH"
    MOUNT = "MOUNT"
    BLOCK = "BLOCK"
    RAW = "RAW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The directory or device of a disk resource."""

    type: SourceType
    root: str | None = None
    id: str | None = None
    profile: str | None = None
    vendor: str | None = None
    metadata: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What makes disk space a volume (persistence and where tasks see it), and where it lies."""

    persistence_id: str | None = None
    persistence_principal: str | None = None
    container_path: str | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Everything about a resource but its amount.

    `reservations` is a stack, each role below the one before it; the last counts.  It is empty if unreserved.
    """

    name: str
    reservations: tuple[Reservation, ...] = ()
    disk: Disk | None = None
    revocable: bool = False
    shared: bool = False
    provider_id: str | None = None
    allocated_to: str | None = None
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Kinds are looked up far more often than made, and most of them contain others.
        told_apart_by = (self.name, self.reservations, self.disk, self.revocable, self.provider_id, self.allocated_to)
        object.__setattr__(self, "_hash", hash(told_apart_by))

    def __hash__(self) -> int:
        return self._hash

    def __setstate__(self, state: list[object]) -> None:
        # Hashes of texts differ from process to process, so one that was pickled is made anew.
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, value)
        self.__post_init__()

    @property
    def role(self) -> str:
        """The role for which it is reserved, or `*`."""
        return self.reservations[-1].role if self.reservations else UNRESERVED_ROLE

    @property
    def is_whole(self) -> bool:
        """Whether it cannot be divided: a persistent volume, a mounted disk, a device."""
        if self.disk is None:
            return False
        source = self.disk.source
        whole_source = source is not None and (
            source.type in (SourceType.MOUNT, SourceType.BLOCK)
            or (source.type is SourceType.RAW and source.id is not None)
        )
        return self.disk.persistence_id is not None or whole_source

    def may_go_to(self, role: str) -> bool:
        """Whether `role` may be offered it: unreserved, reserved for it, or for a role above it."""
        return not self.reservations or role == self.role or role.startswith(self.role + "/")


@dataclass(frozen=True, slots=True)
class Copies:
    """How often a shared volume is held. However often that is, its space is there once."""

    size: Milli
    count: int = 1


Amount = Value | Copies


class Resources:
    """An immutable sum of resources.  Nothing in it has an amount of zero.

    >>> total = parse("cpus:8;mem:8000;ports:[31000-31019]")
    >>> print(total - parse("cpus:0.3;ports:[31010-31012]"))
    cpus:7.7; mem:8000; ports:[31000-31009, 31013-31019]
    """

    __slots__ = ("_amounts", "_scalars")

    def __init__(self, amounts: Iterable[tuple[Kind, Value]] = ()) -> None:
        found: dict[Kind, Amount] = {}
        for kind, value in amounts:
            amount: Amount = Copies(value) if kind.shared and isinstance(value, int) and value else value
            if amount:
                found[kind] = _sum(kind, found[kind], amount) if kind in found else amount
        self._amounts: Mapping[Kind, Amount] = found
        self._scalars: Mapping[str, Milli] | None = None

    def __iter__(self) -> Iterator[tuple[Kind, Value]]:
        """Kinds and amounts, a shared volume as often as it is held."""
        for kind, amount in self._amounts.items():
            if isinstance(amount, Copies):
                yield from ((kind, amount.size) for _ in range(amount.count))
            else:
                yield kind, amount

    def __bool__(self) -> bool:
        return bool(self._amounts)

    @property
    def is_empty(self) -> bool:
        return not self._amounts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._amounts == other._amounts

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __add__(self, other: Resources) -> Resources:
        if not other:
            return self
        if not self:
            return other
        amounts = dict(self._amounts)
        for kind, amount in other._amounts.items():
            amounts[kind] = _sum(kind, amounts[kind], amount) if kind in amounts else amount
        return _made_of(amounts)

    def __sub__(self, other: Resources) -> Resources:
        """What is left.  Raises `ResourceError` if `other` is not contained."""
        amounts = dict(self._amounts)
        for kind, amount in other._amounts.items():
            have = amounts.get(kind)
            if have is None or not _covers(kind, have, amount):
                raise ResourceError(
                    f"{_amount_text(kind, amount)} is more than there is: "
                    f"{'nothing of that kind' if have is None else _amount_text(kind, have)}"
                )
            left = _difference(have, amount)
            if left:
                amounts[kind] = left
            else:
                del amounts[kind]
        return _made_of(amounts)

    def contains(self, other: Resources) -> bool:
        """Whether `other` can be taken from this."""
        for kind, amount in other._amounts.items():
            have = self._amounts.get(kind)
            if have is None or not _covers(kind, have, amount):
                return False
        return True

    def __ge__(self, other: Resources) -> bool:
        return self.contains(other)

    def __le__(self, other: Resources) -> bool:
        return other.contains(self)

    def __str__(self) -> str:
        return "; ".join(_amount_text(kind, amount) for kind, amount in self._amounts.items())

    def __repr__(self) -> str:
        return f"<Resources {self}>"

    def where(self, wanted: Callable[[Kind], bool]) -> Resources:
        """The part whose kinds are wanted."""
        return _made_of({kind: amount for kind, amount in self._amounts.items() if wanted(kind)})

    def each(self, change: Callable[[Kind], Kind]) -> Resources:
        """The same amounts, of changed kinds; those that become alike add up."""
        amounts: dict[Kind, Amount] = {}
        for kind, amount in self._amounts.items():
            kind = change(kind)
            amounts[kind] = _sum(kind, amounts[kind], amount) if kind in amounts else amount
        return _made_of(amounts)

    def unreserved(self) -> Resources:
        return self.where(lambda kind: not kind.reservations)

    def reserved(self, role: str | None = None) -> Resources:
        """What is reserved for `role`, or for any."""
        return self.where(lambda kind: bool(kind.reservations) and role in (None, kind.role))

    def allocatable_to(self, role: str) -> Resources:
        return self.where(lambda kind: kind.may_go_to(role))

    def allocated_to(self, role: str) -> Resources:
        return self.where(lambda kind: kind.allocated_to == role)

    def revocable(self) -> Resources:
        return self.where(lambda kind: kind.revocable)

    def non_revocable(self) -> Resources:
        return self.where(lambda kind: not kind.revocable)

    def shared(self) -> Resources:
        return self.where(lambda kind: kind.shared)

    def persistent_volumes(self) -> Resources:
        return self.where(lambda kind: kind.disk is not None and kind.disk.persistence_id is not None)

    def allocate(self, role: str) -> Resources:
        """The same, marked as allocated to `role`."""
        return self.each(lambda kind: replace(kind, allocated_to=role))

    def unallocate(self) -> Resources:
        return self.each(lambda kind: replace(kind, allocated_to=None))

    def push_reservation(self, reservation: Reservation) -> Resources:
        """The same, reserved once more, for the same role or one below."""
        for kind in self._amounts:
            if not reservation.dynamic and kind.reservations:
                raise ResourceError(
                    f"{kind.name} is reserved for {kind.role}; only the first reservation can be static"
                )
            if kind.reservations and not reservation.role.startswith(kind.role + "/"):
                raise ResourceError(
                    f"{kind.name} is reserved for {kind.role}; it can be refined for a role below that, "
                    f"not for {reservation.role}"
                )
        return self.each(lambda kind: replace(kind, reservations=(*kind.reservations, reservation)))

    def pop_reservation(self) -> Resources:
        """The same without the last reservation, which must be there."""
        for kind in self._amounts:
            if not kind.reservations:
                raise ResourceError(f"{kind.name} is not reserved")
        return self.each(lambda kind: replace(kind, reservations=kind.reservations[:-1]))

    def without_reservations(self) -> Resources:
        return self.each(lambda kind: replace(kind, reservations=()))

    @property
    def scalars(self) -> Mapping[str, Milli]:
        """Totals of all that is counted, by name."""
        # An allocator asks for these far more often than values are made.
        if self._scalars is None:
            self._scalars = self._count()
        return self._scalars

    def _count(self) -> Mapping[str, Milli]:
        totals: dict[str, Milli] = {}
        for kind, amount in self._amounts.items():
            if isinstance(amount, Copies):
                amount = amount.size
            if isinstance(amount, int):
                totals[kind.name] = totals.get(kind.name, 0) + amount
        return totals

    def scalar(self, name: str) -> Milli:
        """The total of one name; zero if there is none."""
        return self.scalars.get(name, 0)

    def ranges(self, name: str) -> Ranges:
        """All ranges of one name, whatever their kind."""
        parts = (a for kind, a in self._amounts.items() if kind.name == name and isinstance(a, tuple))
        return values.ranges(part for amount in parts for part in amount)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(kind.name for kind in self._amounts)


EMPTY = Resources()


def parse(text: str, *, default_role: str = UNRESERVED_ROLE) -> Resources:
    """The resources in `cpus:8;mem(role):8192;ports:[31000-31099];zones:{a,b}`, as an agent's options give them.

    What names no role belongs to `default_role`.  Refuses with a `ResourceError` that says what is wrong.

    >>> parse("cpus(dev):2.5").reserved("dev").scalar("cpus")
    2500
    """
    parts = (part.strip() for part in text.replace("\n", ";").split(";"))
    return Resources(_one(part, default_role) for part in parts if part)


def _one(text: str, default_role: str) -> tuple[Kind, Value]:
    left, colon, right = (part.strip() for part in text.partition(":"))
    name, parenthesis, role = left.partition("(")
    name = name.strip()
    if not (name and colon and right) or (parenthesis and not role.endswith(")")):
        raise ResourceError(f"a resource is written as name:amount or name(role):amount, not as {text!r}")
    role = role[:-1].strip() if parenthesis else default_role
    if not role:
        raise ResourceError(f"{name}: the role in parentheses is empty; leave them away or name a role")
    try:
        value = values.parse(right)
    except ValueError as error:
        raise ResourceError(f"{name}: {error}") from error
    if isinstance(value, str):
        raise ResourceError(f"{name}: an amount is a number, ranges like [1-5] or a set like {{a,b}}, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise ResourceError(f"{name}: there cannot be {values.number_text(value)} of it")
    if name == "gpus" and (not isinstance(value, int) or value % 1000):
        raise ResourceError(f"gpus: a GPU is not divided; {right} is no whole number")
    reservations = () if role == UNRESERVED_ROLE else (Reservation(role=role),)
    return Kind(name=name, reservations=reservations), value


def _made_of(amounts: Mapping[Kind, Amount]) -> Resources:
    made = Resources()
    made._amounts = amounts
    return made


def _sum(kind: Kind, a: Amount, b: Amount) -> Amount:
    match a, b:
        case int(), int():
            return a + b
        case tuple(), tuple():
            return values.ranges_with(a, b)
        case frozenset(), frozenset():
            return a | b
        case Copies(), Copies() if a.size == b.size:
            return Copies(a.size, a.count + b.count)
        case _:
            raise ResourceError(
                f"{kind.name} cannot be {values.text_of(_once(a))} and {values.text_of(_once(b))} at the same time"
            )


def _difference(a: Amount, b: Amount) -> Amount | None:
    """What is left of `a`, which covers `b`; None if that is nothing."""
    match a, b:
        case int(), int():
            return a - b or None
        case tuple(), tuple():
            return values.ranges_without(a, b) or None
        case frozenset(), frozenset():
            return a - b or None
        case Copies(), Copies() if a.count > b.count:
            return Copies(a.size, a.count - b.count)
        case _:
            return None


def _covers(kind: Kind, a: Amount, b: Amount) -> bool:
    match a, b:
        case int(), int():
            return a == b if kind.is_whole else a >= b
        case tuple(), tuple():
            return values.ranges_contain(a, b)
        case frozenset(), frozenset():
            return a >= b
        case Copies(), Copies():
            return a.size == b.size and a.count >= b.count
        case _:
            return False


def _once(amount: Amount) -> Value:
    return amount.size if isinstance(amount, Copies) else amount


def _amount_text(kind: Kind, amount: Amount) -> str:
    copies = f"<SHARED>x{amount.count}" if isinstance(amount, Copies) else ""
    return f"{_kind_text(kind)}{copies}:{values.text_of(_once(amount))}"


def _kind_text(kind: Kind) -> str:
    text = kind.name
    if kind.allocated_to is not None:
        text += f"(allocated: {kind.allocated_to})"
    if kind.reservations:
        levels = (
            ",".join(filter(None, ("DYNAMIC" if one.dynamic else "STATIC", one.role, one.principal)))
            for one in kind.reservations
        )
        text += f"(reservations: [{', '.join(f'({level})' for level in levels)}])"
    if kind.disk is not None:
        source = kind.disk.source
        parts = (
            source and f"{source.type.value}{f'({source.id})' if source.id else ''}:{source.root or ''}",
            kind.disk.persistence_id and f"{kind.disk.persistence_id}:{kind.disk.container_path or ''}",
        )
        text += f"[{','.join(part for part in parts if part)}]"
    return text + ("{REV}" if kind.revocable else "")
