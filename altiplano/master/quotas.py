"""Quotas: how an operator sets guarantees and limits of roles, all of a call or nothing of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from altiplano.master import facts, offers, validation
from altiplano.master.allocator.quota import Quota, is_in, paths
from altiplano.master.outcome import Outcome
from altiplano.master.state import MasterState, Offer
from altiplano.model import ids, values
from altiplano.model.resources import EMPTY
from altiplano.wire.messages import master, mesos, quota

ROLES_MAX = 10_000
"""Roles that may have a quota."""

AMOUNT_MAX = 10**15
"""Thousandths of one resource in a quota: more than any pool has."""

Answer = tuple[int, str]


def update(out: Outcome, call: master.CallUpdateQuota) -> Answer:
    """UPDATE_QUOTA: the quotas of several roles, replaced together.  An empty one takes the role's quota away."""
    wanted: dict[str, Quota] = {}
    for config in call.quota_configs:
        if config.role in wanted:
            return 400, f"Invalid QuotaConfig: role '{config.role}' is named twice"
        guarantees, problem = _amounts(config.role, config.guarantees)
        limits, other = _amounts(config.role, config.limits)
        if problem or other:
            return 400, f"Invalid QuotaConfig: {problem or other}"
        wanted[config.role] = Quota(guarantees=guarantees, limits=limits)
    return _set(out, wanted, force=bool(call.force))


def set_one(out: Outcome, request: quota.QuotaRequest) -> Answer:
    """SET_QUOTA, the older form: what is guaranteed is the limit as well, and a role has it once."""
    role = request.role or ""
    if role in out.state.allocator.quotas.of:
        return 400, f"Role '{role}' has a quota already: remove it first, or use UPDATE_QUOTA"
    held, problem = validation.resources_of(request.guarantee)
    if problem is None and not request.guarantee:
        problem = "it guarantees nothing"
    if problem is None and any(kind.reservations or not isinstance(value, int) for kind, value in held):
        problem = "a quota is about unreserved amounts only"
    if problem is not None:
        return 400, f"Failed to validate set quota request: {problem}"
    amounts = dict(held.scalars)
    return _set(out, {role: Quota(guarantees=amounts, limits=amounts)}, force=bool(request.force))


def remove(out: Outcome, role: str) -> Answer:
    """REMOVE_QUOTA, the older form."""
    if role not in out.state.allocator.quotas.of:
        return 400, f"Role '{role}' has no quota that could be removed"
    return _set(out, {role: Quota()}, force=True)


def summary(state: MasterState) -> facts.QuotasSet:
    """All quotas, as one fact."""
    return facts.QuotasSet(quotas=tuple(_fact(role, one) for role, one in state.allocator.quotas.of.items()))


def apply_set(state: MasterState, fact: facts.QuotasSet) -> None:
    for one in fact.quotas:
        state.allocator.set_quota(one.role, Quota(guarantees=dict(one.guarantees), limits=dict(one.limits)))


def _fact(role: str, one: Quota) -> facts.RoleQuota:
    return facts.RoleQuota(
        role=role, guarantees=tuple(sorted(one.guarantees.items())), limits=tuple(sorted(one.limits.items()))
    )


def _set(out: Outcome, wanted: Mapping[str, Quota], *, force: bool) -> Answer:
    merged = {role: one for role, one in {**out.state.allocator.quotas.of, **wanted}.items() if one}
    problem = _problem(out.state, wanted, merged)
    if problem is None and not force:
        problem = _overcommitted(out.state, merged) or _below_use(out.state, wanted)
    if problem is not None:
        return 400, f"Invalid quota: {problem}"
    out.holds(facts.QuotasSet(quotas=tuple(_fact(role, one) for role, one in wanted.items())))
    offers.rescind(out, _in_the_way(out.state, merged))
    for role, one in wanted.items():
        out.note(f"an operator set the quota of role {role}: {_text(one)}", role)
    return 200, ""


def _text(one: Quota) -> str:
    parts = [
        f"{what} {_listed(amounts)}"
        for what, amounts in (("at least", one.guarantees), ("at most", one.limits))
        if amounts
    ]
    return ", ".join(parts) or "none"


def _listed(amounts: Mapping[str, int]) -> str:
    return "; ".join(f"{name}:{values.number_text(amount)}" for name, amount in sorted(amounts.items()))


# -- what is refused


def _amounts(role: str, given: Mapping[str, mesos.ValueScalar]) -> tuple[dict[str, int], str | None]:
    amounts: dict[str, int] = {}
    for name, scalar in given.items():
        if not 0 <= scalar.value < math.inf or scalar.value * 1000 > AMOUNT_MAX:
            return {}, f"{name} of role '{role}' is {scalar.value}, which is not an amount from 0"
        amounts[name] = values.milli(scalar.value)
    return amounts, None


def _problem(state: MasterState, wanted: Mapping[str, Quota], merged: Mapping[str, Quota]) -> str | None:
    """Why these quotas cannot be, in whatever pool."""
    if len(merged) > ROLES_MAX:
        return f"{len(merged)} roles would have one; the most is {ROLES_MAX}"
    for role, one in wanted.items():
        problem = ids.role_problem(role) or ("it is the role of everybody" if role == "*" else None)
        if problem is not None:
            return f"role '{role[:64]}' cannot have one: {problem}"
        if state.config.roles is not None and role not in state.config.roles:
            return f"role '{role}' is not present in the master's --roles"
        for name in (*one.guarantees, *one.limits):
            if name in state.config.excluded:
                return f"{name} does not count in fair shares (--fair-sharing-excluded-resource-names)"
        for name, limit in one.limits.items():
            if one.guarantees.get(name, 0) > limit:
                return f"role '{role}' cannot be sure of more {name} than its limit of {values.number_text(limit)}"
    return _tree_problem(merged)


def _tree_problem(merged: Mapping[str, Quota]) -> str | None:
    """A role's guarantee holds those of the roles below it, and its limit holds for them."""
    below: dict[str, Counter[str]] = {}
    for role, one in merged.items():
        parent = role.rpartition("/")[0]
        if not parent:
            continue
        below.setdefault(parent, Counter()).update(one.guarantees)
        for name, limit in merged.get(parent, Quota()).limits.items():
            if one.limits.get(name, 0) > limit:
                return f"the limit of role '{role}' on {name} is above that of '{parent}'"
    for parent, total in below.items():
        for name, amount in total.items():
            if amount > merged.get(parent, Quota()).guarantees.get(name, 0):
                return (
                    f"the roles below '{parent}' are guaranteed {values.number_text(amount)} {name}, "
                    f"which is more than '{parent}' itself is"
                )
    return None


def _overcommitted(state: MasterState, merged: Mapping[str, Quota]) -> str | None:
    total: Counter[str] = Counter()
    for role, one in merged.items():
        if "/" not in role:
            total.update(one.guarantees)
    there = state.allocator.shares.totals
    for name, amount in total.items():
        if amount > there.get(name, 0):
            return (
                f"{values.number_text(amount)} {name} would be guaranteed in all, and the pool has "
                f"{values.number_text(there.get(name, 0))}: use 'force' if more is to come"
            )
    return None


def _below_use(state: MasterState, wanted: Mapping[str, Quota]) -> str | None:
    for role, one in wanted.items():
        used = Counter(state.allocator.quotas.consumed(role))
        for offer in _offers_of(state, role):
            used.subtract(offer.resources.unreserved().scalars)
        for name, limit in one.limits.items():
            if used[name] > limit:
                return (
                    f"role '{role}' uses {values.number_text(used[name])} {name}, more than the limit of "
                    f"{values.number_text(limit)}: use 'force' to have it use no more than now"
                )
    return None


def _offers_of(state: MasterState, role: str) -> Iterator[Offer]:
    return (offer for offer in state.offers.values() if is_in(offer.role, role))


# -- what makes room


def _in_the_way(state: MasterState, merged: Mapping[str, Quota]) -> list[Offer]:
    """Offers, newest first, that are above a limit, or hold what is guaranteed to others and is free nowhere else."""
    quotas = state.allocator.quotas
    consumed = {role: Counter(quotas.consumed(role)) for role in merged}
    lacking = {
        role: {
            name: most - consumed[role][name] for name, most in one.guarantees.items() if most > consumed[role][name]
        }
        for role, one in merged.items()
        if "/" not in role
    }
    short: Counter[str] = sum((Counter(lack) for lack in lacking.values()), Counter())
    short.subtract(quotas.available())
    found = []
    for offer in reversed(list(state.offers.values())):
        unreserved = offer.resources.unreserved() if offer.resources else EMPTY
        scalars = unreserved.scalars
        above = any(
            amount > 0 and consumed[path][name] > merged[path].limits.get(name, math.inf)
            for path in paths(offer.role)
            if path in merged
            for name, amount in scalars.items()
        )
        needed = not lacking.get(next(paths(offer.role))) and any(short[name] > 0 for name in scalars)
        if above or needed:
            found.append(offer)
            short.subtract(scalars)
            for path in paths(offer.role):
                if path in consumed:
                    consumed[path].subtract(scalars)
    return found
