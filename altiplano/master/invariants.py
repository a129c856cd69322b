"""What holds in a master at any moment; asserted by every test, and live with `--check`."""

from __future__ import annotations

from collections import Counter

from altiplano.master.state import Agent, End, Executor, Framework, MasterState, Membership, Offer, Presence, Task
from altiplano.model.resources import EMPTY, Resources


def check(state: MasterState) -> None:
    """Assert everything.  Nothing is sold twice, and nothing is forgotten."""
    for agent in state.agents.values():
        _check_agent(state, agent)
    for framework in state.frameworks.values():
        _check_framework(state, framework)
    for framework_id in state.withdrawing:
        assert state.frameworks[framework_id].withdrawn, f"{framework_id} has nothing to give back"
    for framework_id, framework in state.frameworks.items():
        assert (framework_id in state.ending) is (framework.presence is Presence.ENDING)
    assert not state.arriving.keys() & state.by_link.keys(), "an agent that is welcome is still arriving"
    for agent_id, parting in state.parting.items():
        assert agent_id in state.agents or parting.end is End.GONE, f"{agent_id} loses what nobody has"
    for offer in state.offers.values():
        assert state.agents[offer.agent_id].connected, f"offer {offer.id} is of an agent that is away"
        assert state.frameworks[offer.framework_id].connected, f"offer {offer.id} is of a framework that is away"
        assert offer.told or offer.id in state.untold[offer.framework_id], f"offer {offer.id} is never told"
    for framework_id, offer_ids in state.untold.items():
        assert framework_id in state.frameworks
        assert all(offer_id in state.offers for offer_id in offer_ids), "an offer is going to be told that is over"
    assert not set(state.frameworks) & set(state.completed), "a framework is both here and gone"
    here = {agent.id for agent in state.agents.values() if agent.membership is not Membership.LEAVING}
    assert not here & (set(state.unreachable) | set(state.gone)), "an agent is both here and gone"
    for stream, framework_id in state.by_stream.items():
        assert state.frameworks[framework_id].stream == stream
    for link, agent_id in state.by_link.items():
        assert state.agents[agent_id].link == link
    state.allocator.check()


def _check_agent(state: MasterState, agent: Agent) -> None:
    used = _sum([task.resources for task in agent.tasks.values() if task.holds])
    used = used + _sum([executor.resources for executor in agent.executors.values()])
    offered = _sum([offer.resources for offer in agent.offers.values()])
    turn = state.allocator.turns.get(agent.id)
    member = state.allocator.members[agent.id]
    if agent.membership is not Membership.LEAVING:
        assert agent.orders is state.orders.get(agent.id), f"{agent.id} does not know its orders"
    if agent.draining and agent.connected and not agent.tasks:
        assert agent.id in state.emptied, f"{agent.id} has nothing left, and nobody looks"
    assert used == agent.used, f"{agent.id} has {agent.used} in use, its tasks {used}"
    assert offered == agent.offered, f"{agent.id} has {agent.offered} on offer, its offers {offered}"
    free = member.free + (turn.resources if turn is not None else EMPTY)
    assert used + offered + free == agent.total, (
        f"{agent.id} has {agent.total}, but {used} is in use, {offered} on offer and {free} free"
    )
    assert (agent.id in state.awaited) is (agent.membership.value == "awaited")
    assert (agent.link is not None) is agent.connected
    for task in agent.tasks.values():
        assert state.frameworks[task.framework_id].tasks[task.id] is task, f"task {task.id} is known in one place only"
        assert task.holds is not task.state.ended, f"task {task.id} in {task.state} holds resources: {task.holds}"
    for offer in agent.offers.values():
        withdrawn = state.frameworks[offer.framework_id].withdrawn
        assert state.offers.get(offer.id) is offer or withdrawn[offer.id][0] is offer


def _check_framework(state: MasterState, framework: Framework) -> None:
    used: Counter[str] = Counter()
    for task in framework.tasks.values():
        if task.holds:
            used.update(task.resources.scalars)
    for executor in framework.executors.values():
        used.update(executor.resources.scalars)
    assert used == framework.used, f"{framework.id} has {framework.used} in use, its tasks {used}"
    assert (framework.stream is not None) is framework.connected
    for task in framework.tasks.values():
        assert state.agents[task.agent_id].tasks[framework.id, task.id] is task
    for offer in framework.offers.values():
        assert state.offers[offer.id] is offer
    if framework.presence in (Presence.REGISTERED,):
        assert not framework.tasks, f"{framework.id} has tasks, but is known from the registry only"
    else:
        client = state.allocator.clients[framework.id]
        assert client.active is framework.connected
        assert client.offers == len(framework.offers) + len(framework.withdrawn)
        assert client.suppressed == framework.suppressed
    _check_shares(state, framework)


def _check_shares(state: MasterState, framework: Framework) -> None:
    """What the allocator counts for a framework is what it holds."""
    held: dict[str, Resources] = {}
    holders: tuple[Task | Executor | Offer, ...] = (
        *(task for task in framework.tasks.values() if task.holds),
        *framework.executors.values(),
        *framework.offers.values(),
        *(offer for offer, _ in framework.withdrawn.values()),
    )
    for holder in holders:
        held[holder.role] = held.get(holder.role, EMPTY) + holder.resources
    for turn in state.allocator.turns.values():
        if turn.framework_id == framework.id:
            held[turn.role] = held.get(turn.role, EMPTY) + turn.resources
    for role in {*framework.roles, *held}:
        counted = dict(state.allocator.shares.held(role, framework.id))
        wanted = {
            name: amount for name, amount in held.get(role, EMPTY).scalars.items() if name not in state.config.excluded
        }
        assert counted == wanted, f"{framework.id} holds {wanted} in role {role}, but {counted} is counted"


def _sum(parts: list[Resources]) -> Resources:
    return sum(parts, EMPTY)
