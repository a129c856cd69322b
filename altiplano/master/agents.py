"""The life of agents as a master sees it: join, return, break, silence, end."""

from __future__ import annotations

from altiplano.link import messages as link_messages
from altiplano.master import arrivals, effects, facts, infos, offers, tasks
from altiplano.master.outcome import Outcome
from altiplano.master.state import REMOVED_AGENTS_MAX, Agent, MasterState, Membership
from altiplano.model.tasks import State
from altiplano.wire import translate
from altiplano.wire.messages import master, mesos

Reason = mesos.TaskStatusReason

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
    forsaken = sorted(
        {
            framework_id
            for framework_id, _ in (*agent.tasks, *agent.executors)
            if not out.state.frameworks[framework_id].checkpoint
        }
    )
    for task in list(agent.tasks.values()):
        if task.framework_id in forsaken:
            tasks.lose(
                out,
                task,
                State.LOST,
                reason=Reason.REASON_AGENT_DISCONNECTED,
                message=f"Agent {agent.info.hostname} disconnected, and the framework does not checkpoint",
            )
    _drop_executors(out, agent, frozenset(forsaken))
    out.holds(facts.AgentDisconnected(agent_id=agent.id, forsaken=tuple(forsaken)))
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
    for task in list(agent.tasks.values()):
        framework = out.state.frameworks[task.framework_id]
        tasks.lose(
            out,
            task,
            infos.lost_state(framework, State.UNREACHABLE),
            reason=Reason.REASON_AGENT_REMOVED,
            message=f"Agent {agent.info.hostname} is unreachable: {reason}",
            unreachable_s=since_s if framework.partition_aware else None,
        )
    _part(out, agent)
    out.holds(facts.AgentUnreachable(agent_id=agent.id, since_s=since_s))
    out.note(f"agent {agent.info.hostname} is unreachable: {reason}", agent.id)


def _leaves(out: Outcome, agent: Agent, sentence: str) -> None:
    """An agent says goodbye: its tasks are lost, its id is not used again."""
    for task in list(agent.tasks.values()):
        tasks.lose(
            out,
            task,
            State.LOST,
            reason=Reason.REASON_AGENT_REMOVED,
            message=f"Agent {agent.info.hostname} left the pool",
        )
    _part(out, agent)
    out.holds(facts.AgentRemoved(agent_id=agent.id, at_s=out.now.wall_s))
    out.note(f"agent {agent.info.hostname} left for good{': ' + sentence if sentence else ''}", agent.id)


def mark_gone(out: Outcome, agent_id: str) -> tuple[int, str]:
    """An operator says that an agent will never return; status and body of the answer."""
    state = out.state
    agent = state.agents.get(agent_id)
    if agent is None and agent_id not in state.unreachable:
        if agent_id in state.gone:
            return 200, ""
        return 404, f"No agent found with specified ID: {agent_id}"
    if agent is not None:
        for task in list(agent.tasks.values()):
            framework = state.frameworks[task.framework_id]
            tasks.lose(
                out,
                task,
                infos.lost_state(framework, State.GONE_BY_OPERATOR),
                reason=infos.gone_reason(framework),
                message=f"Agent {agent.info.hostname} was marked gone by an operator",
            )
        out.order(agent, link_messages.ShutdownAgent(sentence="an operator marked this agent gone", cause=out.cause))
        _part(out, agent)
    for framework in state.frameworks.values():
        for task in framework.unreachable.values():
            if task.agent_id == agent_id:
                tasks.end_unreachable(out, framework, task, "Its agent was marked gone by an operator")
    out.holds(facts.AgentGone(agent_id=agent_id, at_s=out.now.wall_s))
    out.note("an operator marked this agent gone; it is never admitted again", agent_id)
    return 200, ""


def _part(out: Outcome, agent: Agent) -> None:
    """What is common to all ends: no offers, no executors, no link, and every framework hears of it."""
    offers.rescind(out, agent.offers.values())
    _drop_executors(out, agent, None)
    if agent.link is not None:
        out.do(effects.CloseLink(link=agent.link, reason="the agent is not a member any more"))
    out.holds(
        facts.TimerSet(what=PING_TIMER, subject=agent.id, at_s=None),
        facts.TimerSet(what=REREGISTER_TIMER, subject=agent.id, at_s=None),
    )
    failure = infos.agent_failure(agent.id)
    for framework in out.state.frameworks.values():
        out.tell(framework, failure)
    out.publish(
        master.Event(
            type=master.EventType.AGENT_REMOVED,
            agent_removed=master.EventAgentRemoved(agent_id=mesos.AgentID(value=agent.id)),
        )
    )


def _drop_executors(out: Outcome, agent: Agent, framework_ids: frozenset[str] | None) -> None:
    for framework_id, executor_id in agent.executors:
        if framework_ids is None or framework_id in framework_ids:
            out.holds(facts.ExecutorRemoved(framework_id=framework_id, agent_id=agent.id, executor_id=executor_id))


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
    state.allocator.activate_agent(agent.id, True)


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
    state.counts["slave_unreachable_completed"] += 1
    state.counts["slave_removals_unhealthy"] += 1


def apply_gone(state: MasterState, fact: facts.AgentGone) -> None:
    _drop(state, fact.agent_id)
    state.unreachable.pop(fact.agent_id, None)
    _keep(state.gone, fact.agent_id, fact.at_s)


def apply_removed(state: MasterState, fact: facts.AgentRemoved) -> None:
    _drop(state, fact.agent_id)
    state.unreachable.pop(fact.agent_id, None)
    state.counts["slave_removals_unregistered"] += 1


def _drop(state: MasterState, agent_id: str) -> None:
    agent = state.agents.pop(agent_id, None)
    if agent is None:
        return
    assert not agent.tasks, f"agent {agent_id} is dropped with tasks {sorted(agent.tasks)[:5]}"
    assert not agent.offers, f"agent {agent_id} is dropped with offers"
    if agent.link is not None:
        state.by_link.pop(agent.link, None)
    state.awaited.discard(agent_id)
    state.allocator.remove_agent(agent_id)
    state.counts["slave_removals"] += 1


def _keep(memory: dict[str, float], agent_id: str, at_s: float) -> None:
    memory[agent_id] = at_s
    while len(memory) > REMOVED_AGENTS_MAX:
        del memory[next(iter(memory))]


def apply_pinged(state: MasterState, fact: facts.AgentPinged) -> None:
    state.agents[fact.agent_id].misses = fact.misses


def apply_answered(state: MasterState, fact: facts.AgentAnswered) -> None:
    state.agents[fact.agent_id].misses = 0
