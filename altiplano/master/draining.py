"""Deactivation and draining: how operators take agents out of use, and into it again.

A drain needs no cursor and no list of its own.  The order is in the registry, the agent ends its tasks, and each of
them leaves the master when its end is acknowledged, as always; an agent whose last task has left is looked at
(`MasterState.emptied`) and is drained then.
"""

from __future__ import annotations

from altiplano.link import messages as link_messages
from altiplano.master import agents, facts, offers
from altiplano.master.outcome import Outcome
from altiplano.master.standing import STEPS, Orders, Standing, order_of, standing_of
from altiplano.master.state import Agent, End, MasterState
from altiplano.wire.messages import master

GRACE_S_MAX = 365 * 86_400.0
"""The longest grace that may be named: a year."""

NS_PER_S = 1e9

Answer = tuple[int, str]


def deactivate(out: Outcome, agent_id: str) -> Answer:
    """DEACTIVATE_AGENT: nothing of the agent is offered from now on.  Its tasks go on."""
    refusal = _refusal(out.state, agent_id) or _scheduled(out.state, agent_id)
    if refusal is not None:
        return refusal
    if agent_id not in out.state.orders:
        _withhold(out, agent_id, Orders(standing=Standing.IDLE, since_s=out.now.wall_s))
        out.note("an operator deactivated this agent: it is not offered any more, and its tasks go on", agent_id)
    return 200, ""


def drain(out: Outcome, call: master.CallDrainAgent) -> Answer:
    """DRAIN_AGENT: nothing of the agent is offered, and its tasks are killed, each within the given grace."""
    agent_id = call.agent_id.value
    refusal = _refusal(out.state, agent_id) or _scheduled(out.state, agent_id)
    if refusal is not None:
        return refusal
    grace_s = None
    if call.max_grace_period is not None:
        given = call.max_grace_period
        grace_s = (given.seconds or 0) + (given.nanos or 0) / NS_PER_S
        if not 0 <= grace_s <= GRACE_S_MAX:
            return 400, f"'max_grace_period' is {grace_s:g} s: it must be between 0 and {GRACE_S_MAX:g} s"
    orders = Orders(
        standing=Standing.DRAINING, since_s=out.now.wall_s, max_grace_s=grace_s, mark_gone=bool(call.mark_gone)
    )
    _withhold(out, agent_id, orders)
    agent = out.state.agents.get(agent_id)
    if agent is not None:
        out.order(agent, link_messages.DrainChanged(drain=order_of(orders), cause=out.cause))
    count = 0 if agent is None else len(agent.tasks)
    away = "" if agent is not None and agent.connected else "; it is away and hears of it when it returns"
    then = ", and then it is marked gone" if orders.mark_gone else ""
    out.note(f"an operator drains this agent: its {count} tasks end{then}{away}", agent_id)
    return 200, ""


def reactivate(out: Outcome, agent_id: str) -> Answer:
    """REACTIVATE_AGENT: the agent is offered again."""
    state = out.state
    refusal = _refusal(state, agent_id)
    if refusal is not None:
        return refusal
    match standing_of(state.orders.get(agent_id)):
        case Standing.WORKING:
            return 400, f"Agent {agent_id} is not deactivated"
        case Standing.DRAINING:
            return 400, f"Agent {agent_id} is still draining: wait until it is drained, or mark it gone"
        case Standing.IDLE | Standing.DRAINED:
            pass
    out.holds(facts.OrdersGiven(agent_id=agent_id, orders=None))
    agent = state.agents.get(agent_id)
    if agent is not None:
        out.order(agent, link_messages.DrainChanged(drain=None, cause=out.cause))
    out.note("an operator reactivated this agent: it is offered again", agent_id)
    return 200, ""


def go_on(out: Outcome) -> None:
    """The first of the agents that may have nothing left: it is drained if that is so, and gone if that was ordered."""
    state = out.state
    agent_id = next(iter(state.emptied))
    out.holds(facts.EmptinessSeen(agent_id=agent_id))
    agent, orders = state.agents.get(agent_id), state.orders.get(agent_id)
    if agent is None or orders is None or orders.standing is not Standing.DRAINING or not _is_empty(agent):
        return
    drained = Orders(
        standing=Standing.DRAINED, since_s=orders.since_s, max_grace_s=orders.max_grace_s, mark_gone=orders.mark_gone
    )
    out.holds(facts.OrdersGiven(agent_id=agent_id, orders=drained))
    seconds = max(0.0, out.now.wall_s - orders.since_s)
    out.note(f"this agent is drained: its last task is over, {seconds:.0f} s after the order", agent_id)
    if orders.mark_gone:
        agents.mark_gone(out, agent_id, None)


def _refusal(state: MasterState, agent_id: str) -> Answer | None:
    parting = state.parting.get(agent_id)
    if parting is not None and parting.end is End.GONE:
        return 409, f"Agent {agent_id} is currently being marked gone"
    leaves = parting is not None and parting.end.leaves and parting.end is not End.SILENCE
    if leaves or (agent_id not in state.agents and agent_id not in state.unreachable):
        return 400, f"Unknown agent {agent_id}"
    return None


def _scheduled(state: MasterState, agent_id: str) -> Answer | None:
    agent = state.agents.get(agent_id)
    if agent is None or agent.unavailability is None:
        return None
    return 400, f"Agent {agent_id} is part of a maintenance schedule: take its machine out of that first"


def _withhold(out: Outcome, agent_id: str, orders: Orders) -> None:
    out.holds(facts.OrdersGiven(agent_id=agent_id, orders=orders))
    agent = out.state.agents.get(agent_id)
    if agent is not None:
        offers.rescind(out, agent.offers.values())


def _is_empty(agent: Agent) -> bool:
    # One that is away may return with tasks that a master before this one gave it.
    return agent.connected and not agent.tasks


# -- taking facts into the state


def apply_given(state: MasterState, fact: facts.OrdersGiven) -> None:
    before, after = standing_of(state.orders.get(fact.agent_id)), standing_of(fact.orders)
    # A summary tells where an agent stands, not how it came there.
    assert before is Standing.WORKING or after in STEPS[before], f"{fact.agent_id} goes from {before} to {after}"
    if fact.orders is None:
        state.orders.pop(fact.agent_id, None)
    else:
        state.orders[fact.agent_id] = fact.orders
    agent = state.agents.get(fact.agent_id)
    if agent is not None:
        agent.orders = fact.orders
        state.allocator.activate_agent(agent.id, agent.offerable)
        look_at(state, agent)


def apply_seen(state: MasterState, fact: facts.EmptinessSeen) -> None:
    state.emptied.pop(fact.agent_id, None)


def look_at(state: MasterState, agent: Agent) -> None:
    """Have an agent that may just have lost its last task looked at."""
    if agent.draining and _is_empty(agent):
        state.emptied[agent.id] = None
