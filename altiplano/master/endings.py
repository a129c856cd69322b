"""Ends of much at once: a framework with all its tasks, an agent with all it ran, thousands of offers.

What ends is written down first, in one fact; from then on nobody launches, offers or is offered anything there.
What it held ends piece by piece, `Config.holdings_per_slice` at a time, and other calls are served in between.
There is no other cursor than what is left: each piece takes the first of it away.  A crash between two pieces
loses nothing: the fact is in the registry, and what the pieces would have said is found out by reconciliation, as
after any failover.

    FrameworkEnding, FrameworkRemoved ─► HoldingsEnded … ─► FrameworkEnded
    AgentParts, AgentUnreachable | AgentGone | AgentRemoved ─► TaskCompleted … ─► AgentParted
    OffersWithdrawn ─► WithdrawnEnded …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final, TypeVar

import msgspec

from altiplano.link import messages as link_messages
from altiplano.master import effects, facts, infos, offers, tasks
from altiplano.master.outcome import Outcome
from altiplano.master.state import Agent, End, Ending, Framework, MasterState, Membership, Parting, Presence, Task
from altiplano.model.tasks import State
from altiplano.wire.messages import master, mesos

Reason = mesos.TaskStatusReason

Held = TypeVar("Held")

REMEMBERED_PER_SLICE: Final = 5_000
"""Unreachable tasks that are looked at in one piece for those of an agent that is gone."""


def go_on(out: Outcome) -> bool:
    """The next piece of what has been ending for longest; whether offers are still to be given back.

    One subject at a time: a decision about two could end a task twice, since neither sees the other.
    """
    state = out.state
    if state.withdrawing:
        _give_back(out, state.frameworks[next(iter(state.withdrawing))])
        return True
    if state.parting:
        agent_id, parting = next(iter(state.parting.items()))
        part_further(out, agent_id, parting)
    elif state.ending:
        framework_id, ending = next(iter(state.ending.items()))
        _end_further(out, state.frameworks[framework_id], ending)
    return False


# -- offers of a framework


def withdraw(out: Outcome, framework: Framework, offer_ids: tuple[str, ...] | None = None) -> None:
    """Offers are void from now on, all of a framework unless some are named; a piece of them is given back at once.

    Those that are named it is told about, each when its resources are free.
    """
    if not framework.offers:
        return
    out.holds(facts.OffersWithdrawn(framework_id=framework.id, offer_ids=offer_ids))
    chosen = framework.offers if offer_ids is None else offer_ids
    first = tuple(islice(chosen, out.state.config.holdings_per_slice))
    for offer_id in first if offer_ids is not None else ():
        if framework.offers[offer_id].told:
            out.tell(framework, infos.rescind(offer_id))
    out.holds(facts.WithdrawnEnded(framework_id=framework.id, offer_ids=first))


def _give_back(out: Outcome, framework: Framework) -> None:
    first = tuple(islice(framework.withdrawn, out.state.config.holdings_per_slice))
    for offer_id in first:
        offer, stream = framework.withdrawn[offer_id]
        # Who has subscribed again since then has never heard of the offer.
        if offer.told and stream is not None and stream == framework.stream:
            out.tell(framework, infos.rescind(offer_id))
    out.holds(facts.WithdrawnEnded(framework_id=framework.id, offer_ids=first))


# -- a framework


def end_framework(out: Outcome, framework: Framework, reason: str, *, to: str | None = None, status: int = 202) -> None:
    """A framework ends, with everything it has.  `to` gets its answer of `status` when all of it is gone."""
    ending = Ending(to=to, status=status, sentence=reason)
    out.holds(
        facts.FrameworkEnding(framework_id=framework.id, to=to, status=status, sentence=reason),
        facts.FrameworkRemoved(framework_id=framework.id, at_s=out.now.wall_s),
    )
    if framework.stream is not None:
        out.do(effects.CloseStream(stream=framework.stream))
    count = len(framework.tasks)
    out.note(f"framework '{framework.name}' is removed: {reason}; it had {count} tasks", framework.id)
    _end_further(out, framework, ending)


def _end_further(out: Outcome, framework: Framework, ending: Ending) -> None:
    room = out.state.config.holdings_per_slice
    void = tuple(islice(chain(framework.withdrawn, framework.offers), room))
    room -= len(void)
    ended = list(islice(framework.tasks.values(), room))
    room -= len(ended)
    executors = tuple(islice(framework.executors, room))
    told = _order_shutdown(out, framework, ending, ended, executors)
    for task in ended:
        out.note(f"task {task.id} is killed: its framework is removed", task.id)
    if void:
        out.holds(facts.WithdrawnEnded(framework_id=framework.id, offer_ids=void))
    if ended or executors:
        out.holds(
            facts.HoldingsEnded(
                framework_id=framework.id,
                task_ids=tuple(task.id for task in ended),
                executors=executors,
                told=told,
            )
        )
    held = len(framework.withdrawn) + len(framework.offers) + len(framework.tasks) + len(framework.executors)
    if held > len(void) + len(ended) + len(executors):
        return
    out.holds(facts.FrameworkEnded(framework_id=framework.id))
    if framework.info is not None:
        removed = master.EventFrameworkRemoved(framework_info=framework.info)
        out.publish(master.Event(type=master.EventType.FRAMEWORK_REMOVED, framework_removed=removed))
    if ending.to is not None:
        out.reply(ending.to, ending.status)


def _order_shutdown(
    out: Outcome, framework: Framework, ending: Ending, ended: list[Task], executors: Iterable[tuple[str, str]]
) -> tuple[str, ...]:
    """Tell the agents of these tasks and executors, each once, to end the framework; who was told."""
    ids = dict.fromkeys((*(task.agent_id for task in ended), *(agent_id for agent_id, _ in executors)))
    new = tuple(agent_id for agent_id in ids if agent_id not in ending.told)
    order = link_messages.ShutdownFramework(framework_id=framework.id, cause=out.cause)
    for agent_id in new:
        out.order(out.state.agents[agent_id], order)
    return new


# -- an agent


def part(out: Outcome, agent_id: str, parting: Parting) -> None:
    """An agent loses what it ran, in pieces: `part_further` takes the first.  Durable facts about it come between."""
    agent = out.state.agents.get(agent_id)
    if agent is not None and parting.end.leaves:
        offers.rescind(out, agent.offers.values())
        if agent.link is not None:
            out.do(effects.CloseLink(link=agent.link, reason="the agent is not a member any more"))
    out.holds(facts.AgentParts(agent_id=agent_id, parting=parting))


def part_further(out: Outcome, agent_id: str, parting: Parting) -> None:
    """The next piece of what an agent loses; behind the last one everybody hears that it is gone."""
    room = out.state.config.holdings_per_slice
    agent = out.state.agents.get(agent_id)
    if agent is not None:
        lost = list(islice(_held(agent.tasks.items(), parting), room + 1))
        for _, task in lost[:room]:
            _lose(out, agent, task, parting)
        executors = list(islice(_held(agent.executors.items(), parting), room + 1))
        for (framework_id, executor_id), _ in executors[:room]:
            out.holds(facts.ExecutorRemoved(framework_id=framework_id, agent_id=agent_id, executor_id=executor_id))
        if len(lost) > room or len(executors) > room:
            return
        room -= len(lost)
    if parting.end is End.GONE and not _end_unreachable(out, agent_id, parting, room):
        return
    _parted(out, agent_id, agent, parting)


def _held(things: Iterable[tuple[tuple[str, str], Held]], parting: Parting) -> Iterator[tuple[tuple[str, str], Held]]:
    """What of an agent ends with a parting."""
    for key, thing in things:
        concerned = parting.framework_ids is None or key[0] in parting.framework_ids
        if concerned and key not in parting.kept:
            yield key, thing


def _lose(out: Outcome, agent: Agent, task: Task, parting: Parting) -> None:
    framework = out.state.frameworks[task.framework_id]
    hostname = agent.info.hostname
    unreachable_s = None
    reason = Reason.REASON_AGENT_REMOVED
    match parting.end:
        case End.SILENCE:
            state = infos.lost_state(framework, State.UNREACHABLE)
            message = f"Agent {hostname} is unreachable: {parting.sentence}"
            unreachable_s = parting.since_s if framework.partition_aware else None
        case End.GOODBYE:
            state, message = State.LOST, f"Agent {hostname} left the pool"
        case End.GONE:
            state, reason = infos.lost_state(framework, State.GONE_BY_OPERATOR), infos.gone_reason(framework)
            message = f"Agent {hostname} was marked gone by an operator"
        case End.DOWN:
            state, message = State.LOST, f"Agent {hostname} is removed: {parting.sentence}"
        case End.LINK:
            state, reason = State.LOST, Reason.REASON_AGENT_DISCONNECTED
            message = f"Agent {hostname} disconnected, and the framework does not checkpoint"
        case End.FORGOTTEN:
            state, reason = infos.lost_state(framework, State.GONE), Reason.REASON_RECONCILIATION
            message = "Task is unknown to the agent"
    tasks.lose(out, task, state, reason=reason, message=message, unreachable_s=unreachable_s)


def _end_unreachable(out: Outcome, agent_id: str, parting: Parting, room: int) -> bool:
    """End what frameworks were told is out of reach on the agent; whether that is all of it."""
    left = parting.left if parting.left is not None else tuple(out.state.frameworks)
    looked = done = 0
    for framework_id in left:
        framework = out.state.frameworks.get(framework_id)
        if looked >= REMEMBERED_PER_SLICE or room <= 0:
            break
        if framework is not None:
            looked += 1 + len(framework.unreachable)
            mine = [task for task in framework.unreachable.values() if task.agent_id == agent_id]
            for task in mine[:room]:
                tasks.end_unreachable(out, framework, task, "Its agent was marked gone by an operator")
            if len(mine) > room:
                break
            room -= len(mine)
        done += 1
    if done == len(left):
        return True
    out.holds(facts.RemembranceLeft(agent_id=agent_id, framework_ids=left[done:]))
    return False


def _parted(out: Outcome, agent_id: str, agent: Agent | None, parting: Parting) -> None:
    """Nothing is left; if the agent has gone, every framework hears of it."""
    out.holds(facts.AgentParted(agent_id=agent_id))
    if agent is not None and parting.end.leaves:
        failure = infos.agent_failure(agent_id)
        for framework in out.state.frameworks.values():
            out.tell(framework, failure)
        out.publish(
            master.Event(
                type=master.EventType.AGENT_REMOVED,
                agent_removed=master.EventAgentRemoved(agent_id=mesos.AgentID(value=agent_id)),
            )
        )
    if parting.to is not None:
        out.reply(parting.to, 200)


# -- taking facts into the state


def apply_withdrawn(state: MasterState, fact: facts.OffersWithdrawn) -> None:
    framework = state.frameworks[fact.framework_id]
    _withdraw(state, framework, fact.offer_ids)


def _withdraw(state: MasterState, framework: Framework, offer_ids: tuple[str, ...] | None) -> None:
    """A few nanoseconds for each offer: they are void at once, whatever their number."""
    stream = framework.stream if offer_ids is not None else None
    chosen = tuple(framework.offers) if offer_ids is None else offer_ids
    for offer_id in chosen:
        del state.offers[offer_id]
        framework.withdrawn[offer_id] = framework.offers.pop(offer_id), stream
    if chosen:
        state.withdrawing[framework.id] = None
    left = [offer_id for offer_id in state.untold.pop(framework.id, ()) if offer_id in framework.offers]
    if left:
        state.untold[framework.id] = left


def apply_withdrawn_ended(state: MasterState, fact: facts.WithdrawnEnded) -> None:
    framework = state.frameworks[fact.framework_id]
    for offer_id in fact.offer_ids:
        offer, _ = framework.withdrawn.pop(offer_id)
        offers.give_back(state, offer)
    if not framework.withdrawn:
        state.withdrawing.pop(framework.id, None)


def apply_ending(state: MasterState, fact: facts.FrameworkEnding) -> None:
    state.ending[fact.framework_id] = Ending(to=fact.to, status=fact.status, sentence=fact.sentence)


def apply_removed(state: MasterState, fact: facts.FrameworkRemoved) -> None:
    """A framework is no more: it is not offered anything, and nobody may speak for it."""
    framework = state.frameworks.get(fact.framework_id)
    if framework is None:
        framework = state.frameworks[fact.framework_id] = Framework(
            id=fact.framework_id, name="", presence=Presence.REGISTERED, failover_timeout_s=0.0, registered_s=fact.at_s
        )
    _withdraw(state, framework, None)
    state.reconciling.pop(framework.id, None)
    if framework.stream is not None:
        state.by_stream.pop(framework.stream, None)
        framework.stream = None
    if framework.id in state.allocator.clients:
        state.allocator.deactivate_framework(framework.id)
    framework.presence = Presence.ENDING
    framework.unregistered_s = fact.at_s
    framework.deadline_s = None
    if framework.id not in state.ending:
        # From the registry: what it held comes back with nobody, since agents are told to end it.
        _complete(state, framework)


def apply_holdings_ended(state: MasterState, fact: facts.HoldingsEnded) -> None:
    framework = state.frameworks[fact.framework_id]
    state.ending[framework.id].told.update(fact.told)
    tasks.apply_end_of(state, framework, fact.task_ids, fact.executors)


def apply_ended(state: MasterState, fact: facts.FrameworkEnded) -> None:
    del state.ending[fact.framework_id]
    _complete(state, state.frameworks[fact.framework_id])


def _complete(state: MasterState, framework: Framework) -> None:
    assert not framework.tasks, f"framework {framework.id} is complete with tasks"
    assert not framework.executors, f"framework {framework.id} is complete with executors"
    assert not framework.withdrawn, f"framework {framework.id} is complete with offers"
    del state.frameworks[framework.id]
    if framework.id in state.allocator.clients:
        state.allocator.remove_framework(framework.id)
    framework.presence = Presence.COMPLETED
    state.completed[framework.id] = framework
    while len(state.completed) > state.config.completed_frameworks_max:
        state.completed.popitem(last=False)


def apply_parts(state: MasterState, fact: facts.AgentParts) -> None:
    before = state.parting.get(fact.agent_id)
    agent = state.agents.get(fact.agent_id)
    state.parting[fact.agent_id] = fact.parting
    assert before is None or before.to is None, "whoever waits for an answer is never told"
    if agent is not None and fact.parting.end.leaves:
        if agent.link is not None:
            state.by_link.pop(agent.link, None)
        agent.link = None
        agent.membership = Membership.LEAVING
        state.awaited.discard(agent.id)
        state.allocator.activate_agent(agent.id, False)


def apply_remembrance_left(state: MasterState, fact: facts.RemembranceLeft) -> None:
    state.parting[fact.agent_id] = msgspec.structs.replace(state.parting[fact.agent_id], left=fact.framework_ids)


def apply_parted(state: MasterState, fact: facts.AgentParted) -> None:
    parting = state.parting.pop(fact.agent_id)
    if parting.end.leaves:
        drop(state, fact.agent_id)


def drop(state: MasterState, agent_id: str) -> None:
    """An agent is no member any more; nothing is left of what it held."""
    agent = state.agents.pop(agent_id, None)
    if agent is None:
        return
    assert not agent.tasks, f"agent {agent_id} is dropped with tasks {sorted(agent.tasks)[:5]}"
    assert not agent.offers, f"agent {agent_id} is dropped with offers"
    if agent.link is not None:
        state.by_link.pop(agent.link, None)
    state.awaited.discard(agent_id)
    state.concerned.pop(agent_id, None)
    state.allocator.remove_agent(agent_id)
    state.counts["slave_removals"] += 1
