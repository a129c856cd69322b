"""Which rule goes where: first fit, biggest first.

Amounts are integers; an offer is what one agent has free.  Nothing here knows what a rule does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.workflow import CORES_DEFAULT_MILLI, MEM_DEFAULT_MB, Needs

LAUNCHES_MAX = 500
"""Rules started by one batch of offers, so that no step of it takes over 10 ms; what is left of the offers comes
back at once for the next ones."""


class Amount(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """Resources of one machine.  The order is by cpus, then memory: what is hard to place is big."""

    cpus_milli: int = 0
    gpus: int = 0
    mem_mb: int = 0
    disk_mb: int = 0

    def fits_in(self, free: Amount) -> bool:
        return (
            self.cpus_milli <= free.cpus_milli
            and self.mem_mb <= free.mem_mb
            and self.disk_mb <= free.disk_mb
            and self.gpus <= free.gpus
        )

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            cpus_milli=self.cpus_milli + other.cpus_milli,
            gpus=self.gpus + other.gpus,
            mem_mb=self.mem_mb + other.mem_mb,
            disk_mb=self.disk_mb + other.disk_mb,
        )

    def __sub__(self, other: Amount) -> Amount:
        """What is left; never less than nothing, since offers and estimates may disagree."""
        return Amount(
            cpus_milli=max(0, self.cpus_milli - other.cpus_milli),
            gpus=max(0, self.gpus - other.gpus),
            mem_mb=max(0, self.mem_mb - other.mem_mb),
            disk_mb=max(0, self.disk_mb - other.disk_mb),
        )


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent offers."""

    offer_id: str
    agent_id: str
    hostname: str
    free: Amount
    ports: tuple[tuple[int, int], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A rule and the offer that takes it."""

    key: RuleKey
    offer: Offer
    amount: Amount


def amount_of(needs: Needs) -> Amount:
    """What a rule takes of an agent, with what holds for rules that say nothing."""
    return Amount(
        cpus_milli=needs.cores_milli or CORES_DEFAULT_MILLI,
        gpus=needs.gpus or 0,
        mem_mb=needs.mem_mb or MEM_DEFAULT_MB,
        disk_mb=needs.disk_mb or 0,
    )


def place(
    waiting: Mapping[Amount, Iterable[RuleKey]], offers: Sequence[Offer], *, limit: int = LAUNCHES_MAX
) -> list[Placed]:
    """Rules on offers: the biggest rules first, each on the first offer that still holds it, `limit` at most.

    Rules of one amount keep their order.  Once an amount fits nowhere its other rules are not tried.
    """
    free = [offer.free for offer in offers]
    placed: list[Placed] = []
    for amount in sorted(waiting, reverse=True):
        first = 0
        for key in waiting[amount]:
            while first < len(offers) and not amount.fits_in(free[first]):
                first += 1
            if first == len(offers) or len(placed) == limit:
                break
            free[first] = free[first] - amount
            placed.append(Placed(key=key, offer=offers[first], amount=amount))
    return placed


def shortage(amount: Amount, machines: Sequence[Amount], *, best: str, word: str) -> str | None:
    """Why `amount` fits on none of the machines, with numbers; None if it fits on one.

    `best` names the machines ("the best agent"), `word` what the numbers are ("free", "in all").
    """
    if not machines:
        return "no agent has offered anything yet"
    if any(amount.fits_in(machine) for machine in machines):
        return None
    for needed, most, unit in (
        (amount.cpus_milli, max(machine.cpus_milli for machine in machines), "cpus"),
        (amount.gpus, max(machine.gpus for machine in machines), "gpus"),
        (amount.mem_mb, max(machine.mem_mb for machine in machines), "MB of memory"),
        (amount.disk_mb, max(machine.disk_mb for machine in machines), "MB of disk"),
    ):
        if needed > most:
            scale = 1000 if unit == "cpus" else 1
            what = "cpu" if unit == "cpus" and needed == 1000 else unit
            return f"needs {needed / scale:g} {what} on one agent; {best} has {most / scale:g} {word}"
    return f"needs {describe(amount)} on one agent; no agent has all of it {word}"


def describe(amount: Amount) -> str:
    """An amount in words.

    >>> describe(Amount(cpus_milli=1500, mem_mb=512))
    '1.5 cpus, 512 MB'
    """
    parts = [f"{amount.cpus_milli / 1000:g} cpu{'s' * (amount.cpus_milli != 1000)}", f"{amount.mem_mb} MB"]
    if amount.disk_mb:
        parts.append(f"{amount.disk_mb} MB of disk")
    if amount.gpus:
        parts.append(f"{amount.gpus} gpu{'s' * (amount.gpus != 1)}")
    return ", ".join(parts)
