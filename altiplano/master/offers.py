"""Offers: how they are made, told, declined and withdrawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from altiplano.master import facts, infos
from altiplano.master.allocator import filters
from altiplano.master.allocator.allocator import ROUNDING
from altiplano.master.allocator.pool import Pick
from altiplano.master.outcome import Outcome
from altiplano.master.state import Agent, Framework, MasterState, Offer
from altiplano.model.resources import EMPTY, Kind, Resources
from altiplano.model.values import Value
from altiplano.wire import translate
from altiplano.wire.messages import mesos, scheduler

COALESCE_S = 0.003
"""Time from the first event that frees something to the run that offers it: what happens meanwhile is seen together."""

OFFER_TIMER = "offer"
TIMED_OUT_MAX = 100
"""Offers that are withdrawn at once for their age; the others of a framework follow with the next wake-up."""

REVIEW_TIMER = "review"
REVIEW_S = 5.0
"""So often some agents are looked at whether anything is known to have changed there: what a bug forgot is found."""

REVIEW_AGENTS_MAX = 250
"""Agents of one review; the next review goes on after the last of them."""

REVIEW_PAIRS_MAX = 2_500
"""Pairs of agent and framework of one review, so that it takes some milliseconds however many frameworks there are."""

TOLD_PER_SLICE = 200
"""Frameworks that are told their offers in one slice of a run."""

RESOURCE_MESSAGES_MAX = 65_536
"""Resources that are kept in the form in which they are told: a few hundred bytes each."""


def decline(out: Outcome, framework: Framework, call: scheduler.CallDecline) -> None:
    """The framework does not want these offers; those that are not its own or over already are passed over."""
    given_back: dict[str, Resources] = {}
    for message in call.offer_ids:
        offer = framework.offers.get(message.value)
        if offer is None or offer.id in given_back:
            continue
        given_back[offer.id] = offer.resources
        out.holds(facts.OfferEnded(offer_id=offer.id))
        refuse(out, framework.id, offer.role, offer.agent_id, offer.resources, call.filters, part=offer.part)
    if given_back:
        total = sum(given_back.values(), EMPTY)
        seconds = filters.refuse_seconds(call.filters.refuse_seconds if call.filters else None)
        out.note(f"declined {len(given_back)} offers ({total}) for {seconds:g} s", framework.id)


def refuse(
    out: Outcome,
    framework_id: str,
    role: str,
    agent_id: str,
    resources: Resources,
    wanted: mesos.Filters | None,
    *,
    part: bool = False,
) -> None:
    """Remember what a framework does not want of an agent; `part`: it declined a part of a divided one."""
    if not resources:
        return
    seconds = filters.refuse_seconds(wanted.refuse_seconds if wanted is not None else None)
    interval_s = out.state.config.allocation_interval_s
    out.holds(
        facts.Declined(
            framework_id=framework_id,
            role=role,
            agent_id=agent_id,
            resources=resources,
            until_s=out.now.mono_s + max(seconds, interval_s),
            short=seconds < interval_s,
            part=part,
        )
    )


def rescind(out: Outcome, offers: Iterable[Offer]) -> None:
    """Withdraw offers, and say so to frameworks that have heard of them."""
    for offer in offers:
        if offer.id not in out.state.offers:
            # Void already, and its framework knows or is told elsewhere.
            out.holds(facts.WithdrawnEnded(framework_id=offer.framework_id, offer_ids=(offer.id,)))
            continue
        out.holds(facts.OfferEnded(offer_id=offer.id))
        if offer.told:
            out.tell(out.state.frameworks[offer.framework_id], infos.rescind(offer.id))


def timed_out(out: Outcome, framework_id: str) -> None:
    """The oldest offers of a framework may have been unused for too long: these are withdrawn, for others to have.

    It counts as a decline for one interval, so that others get them; else who holds least would hoard for ever.
    """
    state, now_s = out.state, out.now.mono_s
    framework, timeout_s = state.frameworks.get(framework_id), state.config.offer_timeout_s
    next_s = None
    if framework is not None and timeout_s is not None:
        timed = [offer for offer in framework.offers.values() if _times_out(offer)]
        old = [offer for offer in timed if offer.told_s + timeout_s <= now_s]
        for offer in old[:TIMED_OUT_MAX]:
            rescind(out, (offer,))
            until_s = now_s + state.config.allocation_interval_s
            out.holds(_declined(offer.framework_id, offer.role, offer.agent_id, offer.resources, until_s))
        if old:
            count = len(old[:TIMED_OUT_MAX])
            out.note(f"{count} offers were not used for {timeout_s:g} s and are rescinded", framework_id)
        gone = {offer.id for offer in old[:TIMED_OUT_MAX]}
        left = [offer.told_s for offer in timed if offer.id not in gone]
        next_s = min(left) + timeout_s if left else None
    out.holds(facts.TimerSet(what=OFFER_TIMER, subject=framework_id, at_s=next_s))


def _times_out(offer: Offer) -> bool:
    """Whether it ends by itself: not what is reserved, which nobody else could use."""
    return offer.told_s < math.inf and not any(kind.reservations for kind, _ in offer.resources)


def _declined(framework_id: str, role: str, agent_id: str, resources: Resources, until_s: float) -> facts.Declined:
    return facts.Declined(
        framework_id=framework_id, role=role, agent_id=agent_id, resources=resources, until_s=until_s, short=False
    )


# -- allocation runs


def review(out: Outcome) -> None:
    """Let the next run look at some agents for no reason: the net below a fall that nobody knows of."""
    clients = max(1, len(out.state.allocator.clients))
    count = max(1, min(REVIEW_AGENTS_MAX, REVIEW_PAIRS_MAX // clients))
    out.holds(
        facts.TimerSet(what=REVIEW_TIMER, subject="", at_s=out.now.mono_s + REVIEW_S),
        facts.AgentsReviewed(count=count),
    )


def allocate(out: Outcome) -> None:
    """Go on with the allocation run, or begin one that is due."""
    allocator = out.state.allocator
    if allocator.running:
        _slice(out)
        return
    beat_s = allocator.beat_s
    beats = beat_s is not None and beat_s <= out.now.mono_s
    due = allocator.due_s is not None and allocator.due_s <= out.now.mono_s
    if beats or due:
        interval_s = allocator.interval_s
        expired_s = math.floor(out.now.mono_s / interval_s + ROUNDING) * interval_s if beats else None
        out.holds(facts.AllocationBegan(at_s=out.now.mono_s, expired_s=expired_s))


def _slice(out: Outcome) -> None:
    state = out.state
    plan = state.allocator.plan()
    out.holds(facts.AgentsVisited(agent_ids=plan.visited, withheld=plan.withheld))
    made: dict[str, list[mesos.Offer]] = {}
    number = state.next_offer
    for pick in plan.picks:
        if pick.waits:
            out.holds(
                facts.TurnKept(
                    framework_id=pick.framework_id, role=pick.role, agent_id=pick.agent_id, resources=pick.resources
                )
            )
            continue
        message = _message(state, pick, f"{state.master_id}-O{number}")
        number += 1
        made.setdefault(pick.framework_id, []).append(message)
        out.holds(facts.OfferMade(offer=message, role=pick.role, resources=pick.resources, part=pick.part))
    if len(plan.visited) == len(state.allocator.queue):
        _tell(out, made)


def _tell(out: Outcome, made: Mapping[str, list[mesos.Offer]]) -> None:
    """All agents were looked at: one event for every framework that was offered something, the next of them."""
    state = out.state
    waiting = [one for one in sorted({*state.untold, *made}) if state.allocator.may_be_told(one)]
    told = []
    for framework_id in waiting[:TOLD_PER_SLICE]:
        framework = state.frameworks[framework_id]
        earlier = [state.offers[offer_id] for offer_id in state.untold.get(framework_id, ())]
        messages = (*(offer.message for offer in earlier), *made.get(framework_id, ()))
        told.append(framework_id)
        out.tell(
            framework,
            scheduler.Event(type=scheduler.EventType.OFFERS, offers=scheduler.EventOffers(offers=messages)),
        )
        hosts = ", ".join(message.hostname for message in messages[:3])
        more = f" and {len(messages) - 3} more" if len(messages) > 3 else ""
        out.note(f"offered {len(messages)} agents: {hosts}{more}", framework_id)
        timeout_s = state.config.offer_timeout_s
        if timeout_s is not None and not state.timers.runs(OFFER_TIMER, framework_id):
            at_s = out.now.mono_s + timeout_s
            out.holds(facts.TimerSet(what=OFFER_TIMER, subject=framework_id, at_s=at_s))
    last = len(waiting) <= TOLD_PER_SLICE
    out.holds(facts.OffersTold(framework_ids=tuple(told), at_s=out.now.mono_s, last=last))


def _message(state: MasterState, pick: Pick, offer_id: str) -> mesos.Offer:
    agent = state.agents[pick.agent_id]
    framework = state.frameworks[pick.framework_id]
    executors = [mesos.ExecutorID(value=executor_id) for of, executor_id in agent.executors if of == framework.id]
    return mesos.Offer(
        id=mesos.OfferID(value=offer_id),
        framework_id=mesos.FrameworkID(value=framework.id),
        agent_id=mesos.AgentID(value=agent.id),
        hostname=agent.info.hostname,
        resources=resource_messages(pick.resources, pick.role, framework),
        executor_ids=tuple(executors),
        attributes=agent.info.attributes,
        url=agent_url(agent),
        unavailability=agent.unavailability,
        allocation_info=mesos.ResourceAllocationInfo(role=pick.role) if framework.multi_role else None,
        domain=agent.info.domain,
    )


def resource_messages(held: Resources, role: str, framework: Framework) -> tuple[mesos.Resource, ...]:
    """Resources as a framework sees them: in the form it knows, marked as allocated if it has several roles."""
    allocated = role if framework.multi_role else None
    return tuple(_resource_message(kind, value, allocated, framework.refined) for kind, value in held)


@lru_cache(maxsize=RESOURCE_MESSAGES_MAX)
def _resource_message(kind: Kind, value: Value, role: str | None, refined: bool) -> mesos.Resource:
    # Machines are bought by the hundred: most of what is offered has been offered before.
    (message,) = translate.resources_to(
        Resources(((replace(kind, allocated_to=role), value),)), refined=refined, allocation=role is not None
    )
    return message


def agent_url(agent: Agent) -> mesos.URL:
    info = agent.info
    ip = agent.peer or info.hostname
    return mesos.URL(
        scheme="http", address=mesos.Address(hostname=info.hostname, ip=ip, port=info.port), path="/slave(1)"
    )


# -- taking facts into the state


def apply_made(state: MasterState, fact: facts.OfferMade) -> None:
    framework = state.frameworks[fact.offer.framework_id.value]
    agent = state.agents[fact.offer.agent_id.value]
    offer = Offer(
        id=fact.offer.id.value,
        framework_id=framework.id,
        agent_id=agent.id,
        role=fact.role,
        resources=fact.resources,
        message=fact.offer,
        part=fact.part,
    )
    state.offers[offer.id] = framework.offers[offer.id] = agent.offers[offer.id] = offer
    state.untold.setdefault(framework.id, []).append(offer.id)
    state.next_offer += 1
    agent.offered = agent.offered + offer.resources
    state.allocator.offer(agent.id, framework.id, offer.role, offer.resources, part=fact.part)


def apply_began(state: MasterState, fact: facts.AllocationBegan) -> None:
    state.allocation_began_s = fact.at_s
    state.allocator.begin(fact.expired_s)


def apply_told(state: MasterState, fact: facts.OffersTold) -> None:
    for framework_id in fact.framework_ids:
        for offer_id in state.untold.pop(framework_id, ()):
            offer = state.offers[offer_id]
            offer.told, offer.told_s = True, fact.at_s
            state.counts["offers_sent"] += 1
    if fact.last:
        state.allocator.end()
        state.allocation_s.observe(max(0.0, fact.at_s - state.allocation_began_s))


def apply_kept(state: MasterState, fact: facts.OfferKept) -> None:
    framework = state.frameworks[fact.offer.framework_id.value]
    agent = state.agents[fact.offer.agent_id.value]
    offer = Offer(
        id=fact.offer.id.value,
        framework_id=framework.id,
        agent_id=agent.id,
        role=fact.role,
        resources=fact.resources,
        message=fact.offer,
        told=True,
    )
    state.offers[offer.id] = framework.offers[offer.id] = agent.offers[offer.id] = offer
    agent.offered = agent.offered + offer.resources
    state.allocator.keep_offer(agent.id, framework.id, offer.role, offer.resources)


def apply_ended(state: MasterState, fact: facts.OfferEnded) -> None:
    offer = state.offers.pop(fact.offer_id, None)
    if offer is None:
        return
    del state.frameworks[offer.framework_id].offers[offer.id]
    if not offer.told:
        untold = state.untold.get(offer.framework_id, [])
        if offer.id in untold:
            untold.remove(offer.id)
        if not untold:
            state.untold.pop(offer.framework_id, None)
    give_back(state, offer)


def give_back(state: MasterState, offer: Offer) -> None:
    """The resources of an offer that is over are free."""
    agent = state.agents[offer.agent_id]
    del agent.offers[offer.id]
    agent.offered = agent.offered - offer.resources
    state.allocator.recover(agent.id, offer.framework_id, offer.role, offer.resources)
    state.allocator.offer_ended(offer.framework_id)


def apply_declined(state: MasterState, fact: facts.Declined) -> None:
    state.allocator.refuse(
        fact.agent_id,
        fact.framework_id,
        fact.role,
        fact.resources,
        until_s=fact.until_s,
        short=fact.short,
        part=fact.part,
    )


def apply_turn_kept(state: MasterState, fact: facts.TurnKept) -> None:
    state.allocator.keep_turn(fact.agent_id, fact.framework_id, fact.role, fact.resources)
