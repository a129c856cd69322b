"""Agents that come with many tasks: taken in piece by piece, offered when all of it is known."""

from __future__ import annotations

import msgspec

from altiplano.engine.core import Decision, Wake
from altiplano.link import messages as link_messages
from altiplano.master import events
from altiplano.master.state import Config, Membership
from altiplano.model.resources import EMPTY
from altiplano.wire.messages import mesos, scheduler
from tests.unit.master.pool import INTERVAL_S, Agent, CallType, Framework, Pool

PIECE = 10
TASKS = 47


class LargeAgent:
    """A framework with many tasks on one agent, and a master that has just restarted."""

    def __init__(self, *, restart: bool = True) -> None:
        self.pool = Pool(Config(allocation_interval_s=INTERVAL_S, holdings_per_slice=PIECE))
        self.agent: Agent = self.pool.agent("cpus:90;mem:9000")
        self.framework: Framework = self.pool.framework()
        self.pool.run()
        offer = self.framework.offer()
        self.framework.launch(offer, *(self.framework.task(offer, "cpus:1;mem:10") for _ in range(TASKS)))
        self.agent.obey()
        if restart:
            self.pool.restart()
            self.framework.subscribe()

    def pieces(self, stop_after: int = 1000) -> list[Decision]:
        found = []
        while self.pool.state.arriving and len(found) < stop_after:
            found.append(self.pool.post(Wake(cause="wake")))
            assert len(found) <= 1000
        return found

    @property
    def taken(self) -> int:
        framework = self.pool.state.frameworks[self.framework.id]
        return len(framework.tasks)


def test_many_tasks_come_back_a_bounded_number_at_a_time_and_nothing_is_offered_before_the_last():
    large = LargeAgent()
    large.agent.hello()
    decisions = large.pieces()
    added = [sum(type(fact).__name__ == "TaskAdded" for fact in one.facts) for one in decisions]
    assert sum(added) == TASKS
    assert max(added) == PIECE
    assert not [fact for one in decisions for fact in one.facts if type(fact).__name__ == "OfferMade"]
    assert large.pool.state.agents[large.agent.id].connected
    assert large.agent.heard(link_messages.Welcome)
    large.pool.run(1.0)
    assert large.framework.offers()
    used = large.pool.state.agents[large.agent.id].used
    assert used.scalars == {"cpus": TASKS * 1000, "mem": TASKS * 10_000}


def test_a_link_that_breaks_between_two_pieces_leaves_an_agent_that_has_not_come():
    large = LargeAgent()
    large.agent.hello()
    large.pieces(stop_after=8)
    assert 0 < large.taken < TASKS
    large.agent.cut()
    assert not large.pool.state.arriving
    assert large.pool.state.agents[large.agent.id].membership is Membership.AWAITED
    large.agent.hello()
    large.pieces()
    assert large.taken == TASKS
    assert not large.framework.updates()


def test_an_agent_that_dials_again_between_two_pieces_begins_anew():
    large = LargeAgent()
    large.agent.hello()
    large.pieces(stop_after=2)
    large.agent.hello()
    assert list(large.pool.state.arriving) == [large.agent.link]
    large.pieces()
    assert large.taken == TASKS


def test_a_kill_between_two_pieces_is_ordered_when_the_agent_is_welcome():
    large = LargeAgent()
    large.agent.hello()
    large.pieces(stop_after=8)
    task_id = next(iter(large.pool.state.frameworks[large.framework.id].tasks))
    large.framework.kill(task_id)
    assert not large.agent.heard(link_messages.KillTask)
    large.pieces()
    (order,) = large.agent.heard(link_messages.KillTask)
    assert order.task_id == task_id


def test_a_framework_that_is_torn_down_between_two_pieces_is_ended_on_the_agent():
    large = LargeAgent()
    large.agent.hello()
    large.pieces(stop_after=8)
    call = scheduler.Call(type=CallType.TEARDOWN, framework_id=mesos.FrameworkID(value=large.framework.id))
    large.pool.post(events.FrameworkCalls(to="x", stream=large.framework.stream, call=call, cause="x"))
    large.pieces()
    assert large.framework.id in large.pool.state.completed
    (order,) = large.agent.heard(link_messages.ShutdownFramework)
    assert order.framework_id == large.framework.id
    assert large.pool.state.agents[large.agent.id].used == EMPTY


def test_a_report_that_cannot_be_read_is_refused_before_anything_is_taken_over():
    large = LargeAgent()
    key, last = list(large.agent.tasks.items())[-1]
    large.agent.tasks[key] = msgspec.structs.replace(last, task=msgspec.Raw(b'{"name":1}'))
    large.agent.hello()
    large.pieces()
    (refused,) = large.agent.heard(link_messages.Refused)
    assert not refused.final
    assert large.taken == 0
    assert large.pool.state.agents[large.agent.id].membership is Membership.AWAITED


def test_an_agent_whose_old_link_still_seems_alive_keeps_its_tasks():
    large = LargeAgent(restart=False)
    old = large.agent.link
    large.pool.run(1.0)
    large.agent.hello()
    large.pieces()
    assert large.agent.link != old
    assert large.pool.state.agents[large.agent.id].link == large.agent.link
    large.pool.post(events.LinkClosed(link=old, reason="it was", cause="old"))
    assert large.pool.state.agents[large.agent.id].connected
    assert large.taken == TASKS
    assert not large.framework.updates()
