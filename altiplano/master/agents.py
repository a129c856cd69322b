"""The life of agents as a master sees it: join, return, break, silence, end."""

from __future__ import annotations

from itertools import chain

from altiplano.link import messages as link_messages
from altiplano.master import arrivals, endings, facts, machines, offers, tasks
from altiplano.master.outcome import Outcome
from altiplano.master.state import REMOVED_AGENTS_MAX, Agent, End, MasterState, Membership, Parting
from altiplano.wire import translate

PING_TIMER = arrivals.PING_TIMER
REREGISTER_TIMER = arrivals.REREGISTER_TIMER


def says(out: Outcome, link: str, peer: str, message: link_messages.FromAgent) -> None:
    """A message came over a link; the first one must be `Hello`."""
    if isinstance(message, link_messages.Hello):
        arrivals.hello(out, link, peer, message)
        return
    agent_id = out.state.by_link.get(link)
    if agent_id is None:
        # Whoever was refused or replaced may still be talking.
        return
    agent = out.state.agents[agent_id]
    match message:
        case link_messages.StatusUpdate():
            tasks.updated(out, agent, message)
        case link_messages.ExecutorMessage():
            tasks.executor_said(out, agent, message)
        case link_messages.ExecutorEnded():
            tasks.executor_ended(out, agent, message)
        case link_messages.Pong():
            if agent.misses:
                out.holds(facts.AgentAnswered(agent_id=agent_id))
        case link_messages.Goodbye():
            _leaves(out, agent, message.sentence)


def disconnect(out: Outcome, agent: Agent, reason: str) -> None:
    """The link broke.  The agent may come back with its tasks; those of frameworks that do not checkpoint are lost."""
    offers.rescind(out, agent.offers.values())
    there = {framework_id for framework_id, _ in chain(agent.tasks, agent.executors)}
    forsaken = sorted(one for one in there if not out.state.frameworks[one].checkpoint)
    out.holds(facts.AgentDisconnected(agent_id=agent.id, forsaken=tuple(forsaken)))
    if forsaken:
        parting = Parting(end=End.LINK, sentence=reason, framework_ids=frozenset(forsaken))
        endings.part(out, agent.id, parting)
        endings.part_further(out, agent.id, parting)
    out.note(f"agent {agent.info.hostname} is disconnected: {reason}", agent.id)


def ping(out: Outcome, agent_id: str) -> None:
    """Time for a ping, or time to give up on an agent."""
    config = out.state.config
    agent = out.state.agents.get(agent_id)
    if agent is None or agent.membership is Membership.AWAITED:
        out.holds(facts.TimerSet(what=PING_TIMER, subject=agent_id, at_s=None))
        return
    if agent.misses >= config.ping_misses_max:
        lose(out, agent, f"{agent.misses} pings, one each {config.ping_interval_s:g} s, had no answer")
        return
    out.order(agent, link_messages.Ping(cause=out.cause))
    out.holds(
        facts.AgentPinged(agent_id=agent_id, misses=agent.misses + 1),
        facts.TimerSet(what=PING_TIMER, subject=agent_id, at_s=out.now.mono_s + config.ping_interval_s),
    )


def did_not_return(out: Outcome, agent_id: str) -> None:
    """An agent of the registry has not come back since the restart."""
    agent = out.state.agents.get(agent_id)
    out.holds(facts.TimerSet(what=REREGISTER_TIMER, subject=agent_id, at_s=None))
    if agent is not None and agent.membership is Membership.AWAITED:
        seconds = out.state.config.reregister_timeout_s
        lose(out, agent, f"it did not return within {seconds:g} s after the restart of the master")


def lose(out: Outcome, agent: Agent, reason: str) -> None:
    """An agent is unreachable; it may come back, and its tasks with it."""
    since_s = out.now.wall_s
    parting = Parting(end=End.SILENCE, sentence=reason, since_s=since_s)
    _leave(out, agent.id, parting, facts.AgentUnreachable(agent_id=agent.id, since_s=since_s))
    out.note(f"agent {agent.info.hostname} is unreachable: {reason}", agent.id)


def _leaves(out: Outcome, agent: Agent, sentence: str) -> None:
    """An agent says goodbye: its tasks are lost, its id is not used again."""
    parting = Parting(end=End.GOODBYE, sentence=sentence)
    _leave(out, agent.id, parting, facts.AgentRemoved(agent_id=agent.id, at_s=out.now.wall_s))
    out.note(f"agent {agent.info.hostname} left for good{': ' + sentence if sentence else ''}", agent.id)


def mark_gone(out: Outcome, agent_id: str, to: str | None) -> None:
    """An operator says that an agent will never return; `to` hears when all has been told what follows from it.

    Without `to` that is the end of a drain.
    """
    state = out.state
    agent = state.agents.get(agent_id)
    if agent_id in state.gone or (agent is None and agent_id not in state.unreachable):
        unknown = agent_id not in state.gone
        if to is not None:
            out.reply(to, *((404, f"No agent found with specified ID: {agent_id}") if unknown else (200, "")))
        return
    if agent is not None:
        out.order(agent, link_messages.ShutdownAgent(sentence="an operator marked this agent gone", cause=out.cause))
    parting = Parting(end=End.GONE, to=to)
    _leave(out, agent_id, parting, facts.AgentGone(agent_id=agent_id, at_s=out.now.wall_s))
    out.note("an operator marked this agent gone; it is never admitted again", agent_id)


def remove(out: Outcome, agent: Agent, parting: Parting) -> None:
    """An agent is no member any more; what it ran ends piece by piece, so that many may go at once."""
    endings.part(out, agent.id, parting)
    out.holds(*_left(agent.id, facts.AgentRemoved(agent_id=agent.id, at_s=out.now.wall_s)))


def _leave(out: Outcome, agent_id: str, parting: Parting, durable: facts.AnyFact) -> None:
    """What is common to all ends of a membership; the first piece of what the agent ran ends at once."""
    endings.part(out, agent_id, parting)
    out.holds(*_left(agent_id, durable))
    endings.part_further(out, agent_id, parting)


def _left(agent_id: str, durable: facts.AnyFact) -> tuple[facts.AnyFact, ...]:
    return (
        durable,
        facts.TimerSet(what=PING_TIMER, subject=agent_id, at_s=None),
        facts.TimerSet(what=REREGISTER_TIMER, subject=agent_id, at_s=None),
    )


# -- taking facts into the state


def apply_admitted(state: MasterState, fact: facts.AgentAdmitted) -> None:
    total = translate.resources_from(fact.info.resources)
    state.unreachable.pop(fact.agent_id, None)
    agent = state.agents.get(fact.agent_id)
    if agent is not None:
        agent.info = fact.info
        agent.total = total
        state.allocator.change_total(agent.id, total)
        return
    state.agents[fact.agent_id] = Agent(
        id=fact.agent_id, info=fact.info, total=total, membership=Membership.AWAITED, registered_s=fact.at_s
    )
    state.agents[fact.agent_id].orders = state.orders.get(fact.agent_id)
    state.awaited.add(fact.agent_id)
    state.next_agent += 1
    state.allocator.add_agent(fact.agent_id, total)


def apply_connected(state: MasterState, fact: facts.AgentConnected) -> None:
    agent = state.agents[fact.agent_id]
    if agent.link is not None:
        state.by_link.pop(agent.link, None)
    if agent.registered_s < fact.at_s:
        agent.reregistered_s = fact.at_s
        state.counts["slave_reregistrations"] += 1
    else:
        state.counts["slave_registrations"] += 1
    agent.membership = Membership.CONNECTED
    agent.link = fact.link
    agent.peer = fact.peer
    agent.altiplano_version = fact.altiplano_version
    agent.misses = 0
    agent.forsaken = set()
    state.awaited.discard(agent.id)
    state.by_link[fact.link] = agent.id
    state.allocator.activate_agent(agent.id, agent.offerable)
    if agent.draining:
        state.emptied[agent.id] = None
    concern(state, agent)


def concern(state: MasterState, agent: Agent) -> None:
    """Let an agent know the window of its machine; whoever was asked about another one is asked anew."""
    when = machines.unavailability(state.scheduled, agent.info.hostname, agent.peer)
    if when != agent.unavailability:
        agent.unavailability, agent.asked = when, {}
    if when is None:
        state.concerned.pop(agent.id, None)
    else:
        state.concerned[agent.id] = None


def apply_disconnected(state: MasterState, fact: facts.AgentDisconnected) -> None:
    agent = state.agents[fact.agent_id]
    if agent.link is not None:
        state.by_link.pop(agent.link, None)
    agent.link = None
    agent.membership = Membership.DISCONNECTED
    agent.forsaken |= set(fact.forsaken)
    state.allocator.activate_agent(agent.id, False)


def apply_unreachable(state: MasterState, fact: facts.AgentUnreachable) -> None:
    _drop(state, fact.agent_id)
    _keep(state.unreachable, fact.agent_id, fact.since_s)
    if len(state.orders) > 2 * REMOVED_AGENTS_MAX:
        for agent_id in [one for one in state.orders if one not in state.agents and one not in state.unreachable]:
            del state.orders[agent_id]
    state.counts["slave_unreachable_completed"] += 1
    state.counts["slave_removals_unhealthy"] += 1


def apply_gone(state: MasterState, fact: facts.AgentGone) -> None:
    _drop(state, fact.agent_id)
    state.unreachable.pop(fact.agent_id, None)
    state.orders.pop(fact.agent_id, None)
    _keep(state.gone, fact.agent_id, fact.at_s)


def apply_removed(state: MasterState, fact: facts.AgentRemoved) -> None:
    _drop(state, fact.agent_id)
    state.unreachable.pop(fact.agent_id, None)
    state.orders.pop(fact.agent_id, None)
    state.counts["slave_removals_unregistered"] += 1


def _drop(state: MasterState, agent_id: str) -> None:
    if agent_id not in state.parting:
        # From the registry: its tasks were never known here.
        endings.drop(state, agent_id)


def _keep(memory: dict[str, float], agent_id: str, at_s: float) -> None:
    memory[agent_id] = at_s
    while len(memory) > REMOVED_AGENTS_MAX:
        del memory[next(iter(memory))]


def apply_pinged(state: MasterState, fact: facts.AgentPinged) -> None:
    state.agents[fact.agent_id].misses = fact.misses


def apply_answered(state: MasterState, fact: facts.AgentAnswered) -> None:
    state.agents[fact.agent_id].misses = 0
