"""Ends of much at once: in pieces, with other calls between them, and told once."""

from __future__ import annotations

from collections import Counter

import pytest

from altiplano.engine.core import Decision, Wake
from altiplano.link import messages as link_messages
from altiplano.master import effects, events
from altiplano.master.state import Config
from altiplano.wire.messages import master, mesos, scheduler
from tests.unit.master.pool import INTERVAL_S, Agent, CallType, Capability, Framework, Pool

PIECE = 10
TASKS = 47


class LargePool:
    """A framework with many tasks on two agents, and another one beside it."""

    def __init__(self, *, aware: bool = True, checkpoint: bool = True, failover_timeout: float = 60.0) -> None:
        self.pool = Pool(Config(allocation_interval_s=INTERVAL_S, holdings_per_slice=PIECE, ping_misses_max=2))
        self.agents = [self.pool.agent("cpus:90;mem:9000"), self.pool.agent("cpus:90;mem:9000")]
        capabilities = (Capability.PARTITION_AWARE,) if aware else ()
        self.large = self.pool.framework(
            capabilities=capabilities, checkpoint=checkpoint, failover_timeout=failover_timeout
        )
        self.other = self.pool.framework(name="other", suppressed=("*",))
        self.pool.run()
        for offer in self.large.offers():
            mine = TASKS if offer.agent_id.value == self.agents[0].id else 3
            self.large.launch(offer, *(self.large.task(offer, "cpus:1;mem:10") for _ in range(mine)))
        for agent in self.agents:
            agent.obey()
        self.pool.run(1.0)
        self.pool.said.clear()

    def begin_teardown(self) -> Decision:
        return self.call(self.large, CallType.TEARDOWN, "teardown")

    def call(self, framework: Framework, kind: CallType, to: str) -> Decision:
        call = scheduler.Call(type=kind, framework_id=mesos.FrameworkID(value=framework.id))
        return self.pool.post(events.FrameworkCalls(to=to, stream=framework.stream, call=call, cause=to))

    def silence(self, agent: Agent) -> list[Decision]:
        """Let an agent miss its pings; the decisions from the one that gives it up."""
        pool = self.pool
        last = None
        while agent.id not in pool.state.parting:
            pool.clock.advance(max(0.0, (pool.core.wake_at() or 0.0) - pool.clock.now().mono_s))
            last = pool.post(Wake(cause="wake"))
        assert last is not None
        return [last, *self.pieces()]

    def pieces(self) -> list[Decision]:
        """Wake the core as long as it has something to end, or somebody arrives."""
        found = []
        state = self.pool.state
        while state.withdrawing or state.slices_wait:
            found.append(self.pool.post(Wake(cause="wake")))
            assert len(found) < 1000
        return found

    def replies(self, to: str) -> list[int]:
        return [reply.status for reply in self.pool.of(effects.Reply) if reply.to == to]


def ended_by(decision: Decision) -> int:
    """Tasks that a decision ends."""
    names = Counter(type(fact).__name__ for fact in decision.facts)
    killed = sum(len(fact.task_ids) for fact in decision.facts if type(fact).__name__ == "HoldingsEnded")
    return names["TaskCompleted"] + names["UnreachableEnded"] + killed


def test_a_teardown_ends_a_bounded_number_of_tasks_at_a_time():
    large = LargePool()
    pieces = [large.begin_teardown(), *large.pieces()]
    assert sum(map(ended_by, pieces)) == TASKS + 3
    assert max(map(ended_by, pieces)) == PIECE
    assert all(len(piece.facts) + len(piece.effects) <= 3 * PIECE for piece in pieces)
    assert large.large.id in large.pool.state.completed


def test_who_asked_for_a_teardown_hears_when_all_of_it_is_done():
    large = LargePool()
    large.begin_teardown()
    assert large.replies("teardown") == []
    large.pieces()
    assert large.replies("teardown") == [202]


def test_between_two_pieces_others_are_served_and_the_framework_is_a_stranger():
    large = LargePool()
    large.begin_teardown()
    assert large.large.closed
    large.call(large.other, CallType.REVIVE, "other")
    assert large.replies("other") == [202]
    large.call(large.large, CallType.REVIVE, "late")
    assert large.replies("late") == [400]
    subscribed = large.large.stream
    large.large.subscribe()
    assert large.large.stream != subscribed
    assert "removed" in large.large.events()[-1].error.message
    assert (
        large.pool.operator(
            type=master.CallType.TEARDOWN,
            teardown=master.CallTeardown(framework_id=mesos.FrameworkID(value=large.large.id)),
        ).status
        == 400
    )


def test_a_framework_that_ends_is_offered_nothing_though_its_tasks_free_machines():
    large = LargePool()
    large.begin_teardown()
    large.pool.run(1.0)
    offered = [offer for send in large.pool.of(effects.Send) if send.event.offers for offer in send.event.offers.offers]
    assert offered == []
    assert not large.pool.state.frameworks.get(large.large.id)


def test_every_agent_is_told_once_to_end_the_framework():
    large = LargePool()
    large.begin_teardown()
    large.pieces()
    for agent in large.agents:
        assert len(agent.heard(link_messages.ShutdownFramework)) == 1


def test_an_agent_that_returns_between_two_pieces_is_told_to_end_the_framework():
    large = LargePool()
    large.begin_teardown()
    large.agents[0].cut()
    large.agents[0].hello()
    large.pieces()
    assert large.agents[0].heard(link_messages.Welcome)
    (order,) = large.agents[0].heard(link_messages.ShutdownFramework)
    assert order.framework_id == large.large.id


def test_an_update_between_two_pieces_changes_nothing():
    large = LargePool()
    large.begin_teardown()
    state = large.pool.state
    left = next(iter(state.frameworks[large.large.id].tasks))
    owner = next(agent for agent in large.agents if (large.large.id, left) in agent.tasks)
    owner.update(large.large.id, left, "TASK_KILLED")
    assert left in state.frameworks[large.large.id].tasks
    large.pieces()
    assert large.large.id in state.completed


def test_a_crash_between_two_pieces_does_not_bring_the_framework_back():
    large = LargePool()
    large.begin_teardown()
    large.pool.restart()
    assert large.large.id in large.pool.state.completed
    large.agents[0].hello()
    large.pieces()
    assert large.agents[0].heard(link_messages.ShutdownFramework)
    assert not large.pool.state.agents[large.agents[0].id].tasks


@pytest.mark.parametrize(("aware", "word"), [(True, "TASK_UNREACHABLE"), (False, "TASK_LOST")])
def test_the_loss_of_an_agent_is_told_in_pieces_each_task_once_and_the_failure_last(aware: bool, word: str):
    large = LargePool(aware=aware)
    large.pool.run(0.1)
    agent = large.agents[0]
    pieces = large.silence(agent)
    assert max(ended_by(piece) for piece in pieces) == PIECE
    told = Counter(status.task_id.value for status in large.large.updates())
    assert set(told.values()) == {1}
    lost = [status for status in large.large.updates() if status.agent_id.value == agent.id]
    assert len(lost) == TASKS
    assert {status.state.value for status in lost} == {word}
    told_of_it = [
        event.type.value
        for event in large.large.events()
        if (event.update and event.update.status.agent_id.value == agent.id)
        or (event.failure and event.failure.agent_id.value == agent.id)
    ]
    assert told_of_it == ["UPDATE"] * TASKS + ["FAILURE"]


def test_a_gone_agent_that_comes_back_before_all_is_told_is_told_to_end():
    large = LargePool()
    large.pool.post(
        events.OperatorCalls(
            to="gone",
            call=master.Call(
                type=master.CallType.MARK_AGENT_GONE,
                mark_agent_gone=master.CallMarkAgentGone(agent_id=mesos.AgentID(value=large.agents[0].id)),
            ),
            cause="gone",
        )
    )
    assert large.replies("gone") == []
    large.agents[0].hello()
    assert large.agents[0].heard(link_messages.ShutdownAgent)
    large.pieces()
    assert large.replies("gone") == [200]
    assert large.agents[0].id not in large.pool.state.agents


def test_tasks_out_of_reach_are_gone_in_pieces_when_an_operator_says_so():
    large = LargePool()
    large.silence(large.agents[0])
    large.pool.said.clear()
    large.pool.operator(
        type=master.CallType.MARK_AGENT_GONE,
        mark_agent_gone=master.CallMarkAgentGone(agent_id=mesos.AgentID(value=large.agents[0].id)),
    )
    told = Counter(status.task_id.value for status in large.large.updates())
    assert len(told) == TASKS
    assert set(told.values()) == {1}
    assert not large.pool.state.parting


def test_reconciliation_between_two_pieces_finds_what_was_told_out_of_reach():
    large = LargePool()
    agent = large.agents[0]
    first = next(iter(agent.tasks))[1]
    while agent.id not in large.pool.state.parting:
        at_s = large.pool.core.wake_at()
        large.pool.clock.advance(max(0.0, at_s - large.pool.clock.now().mono_s))
        large.pool.post(Wake(cause="wake"))
    large.large.reconcile((first, agent.id))
    assert large.large.updates(first)[-1].state is mesos.TaskState.TASK_UNREACHABLE


def test_a_broken_link_loses_what_does_not_checkpoint_in_pieces_and_keeps_the_agent():
    large = LargePool(checkpoint=False)
    agent = large.agents[0]
    agent.cut()
    assert len(large.large.updates()) == PIECE
    large.pieces()
    assert {status.state.value for status in large.large.updates()} == {"TASK_LOST"}
    assert len(large.large.updates()) == TASKS
    assert agent.id in large.pool.state.agents
    agent.hello()
    large.pieces()
    assert agent.heard(link_messages.Welcome)


def test_an_agent_that_forgot_much_is_admitted_when_all_of_it_was_told():
    large = LargePool()
    agent = large.agents[0]
    agent.cut()
    kept = dict(list(agent.tasks.items())[:5])
    agent.tasks = kept
    agent.hello()
    (refused,) = agent.heard(link_messages.Refused)
    assert not refused.final
    large.pieces()
    assert len(large.large.updates()) == TASKS - 5
    agent.hello()
    assert agent.heard(link_messages.Welcome)
    assert set(large.pool.state.agents[agent.id].tasks) == set(kept)
    assert len(large.large.updates()) == TASKS - 5


@pytest.mark.parametrize("returns", [True, False])
def test_offers_of_a_stream_that_ended_are_void_at_once_and_given_back_in_pieces(returns: bool):
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, holdings_per_slice=PIECE))
    agents = [pool.agent() for _ in range(3 * PIECE + 2)]
    framework = pool.framework()
    pool.run()
    old = framework.offers()
    assert len(old) == len(agents)
    framework.close() if not returns else framework.subscribe()
    state = pool.state
    assert not state.offers
    assert len(state.frameworks[framework.id].withdrawn) == 2 * PIECE + 2
    if returns:
        framework.launch(old[-1], framework.task(old[-1]))
        assert "no longer valid" in framework.updates()[-1].message
    pool.run()
    assert not state.withdrawing
    assert all(state.allocator.members[agent.id].free for agent in agents) is not returns
    if returns:
        # All that it may have comes in one event, though its old offers were given back in four pieces.
        assert [len(event.offers.offers) for event in framework.events() if event.offers] == [len(agents)]


def test_a_role_that_is_given_up_rescinds_its_offers_in_pieces():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, holdings_per_slice=PIECE))
    agents = [pool.agent() for _ in range(2 * PIECE)]
    framework = pool.framework(roles=("a", "b"))
    pool.run()
    gone = {offer.id.value for offer in framework.offers() if offer.allocation_info.role == "a"}
    info = mesos.FrameworkInfo(
        **{
            **{name: getattr(framework.info, name) for name in ("user", "name", "failover_timeout", "checkpoint")},
            "roles": ("b",),
            "capabilities": framework.info.capabilities,
            "id": mesos.FrameworkID(value=framework.id),
        }
    )
    update = scheduler.CallUpdateFramework(framework_info=info)
    framework.call(CallType.UPDATE_FRAMEWORK, update_framework=update)
    pool.run()
    rescinded = [event.rescind.offer_id.value for event in framework.events() if event.rescind]
    assert sorted(rescinded) == sorted(gone)
    assert len(agents) == 2 * PIECE
