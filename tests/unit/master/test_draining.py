"""Deactivation and draining: what is offered, who ends, and what outlives master and agent."""

from __future__ import annotations

import pytest

from altiplano.link import messages as link_messages
from altiplano.master import effects, view
from altiplano.master.standing import STEPS, Standing
from altiplano.model.tasks import State
from altiplano.wire.messages import master, mesos
from tests.unit.master.pool import Agent, Capability, Framework, Pool

Call = master.CallType
Reason = mesos.TaskStatusReason


def deactivate(pool: Pool, agent: Agent) -> effects.Reply:
    call = master.CallDeactivateAgent(agent_id=mesos.AgentID(value=agent.id or ""))
    return pool.operator(type=Call.DEACTIVATE_AGENT, deactivate_agent=call)


def reactivate(pool: Pool, agent: Agent) -> effects.Reply:
    call = master.CallReactivateAgent(agent_id=mesos.AgentID(value=agent.id or ""))
    return pool.operator(type=Call.REACTIVATE_AGENT, reactivate_agent=call)


def drain(pool: Pool, agent: Agent, **how: object) -> effects.Reply:
    call = master.CallDrainAgent(agent_id=mesos.AgentID(value=agent.id or ""), **how)
    return pool.operator(type=Call.DRAIN_AGENT, drain_agent=call)


def standing(pool: Pool, agent: Agent) -> Standing:
    orders = pool.state.orders.get(agent.id or "")
    return Standing.WORKING if orders is None else orders.standing


def drain_state(pool: Pool, agent: Agent) -> mesos.DrainState | None:
    row = view.agent_row(pool.state.agents[agent.id or ""])
    return row.drain_info.state if row.drain_info is not None else None


def with_task(*capabilities: mesos.FrameworkInfoCapabilityType) -> tuple[Pool, Agent, Framework, str]:
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework(capabilities=capabilities)
    pool.run()
    task_id = framework.start("cpus:2;mem:256")
    agent.obey()
    framework.acknowledge(agent.update(framework.id or "", task_id, "TASK_RUNNING"))
    pool.run(1.0)
    return pool, agent, framework, task_id


def test_the_table_of_standings_is_complete():
    assert set(STEPS) == set(Standing)
    assert set().union(*STEPS.values()) == set(Standing)


def test_a_deactivated_agent_is_not_offered_and_keeps_its_tasks_until_it_is_reactivated():
    pool, agent, framework, task_id = with_task()
    offered = framework.offer()
    assert deactivate(pool, agent).status == 200
    assert framework.types()[-1] == "RESCIND"
    pool.run(60.0)
    assert offered.id.value not in pool.state.offers
    assert framework.offers() == []
    assert pool.state.task(framework.id or "", task_id).state is State.RUNNING
    assert not agent.heard(link_messages.DrainChanged)
    row = view.agent_row(pool.state.agents[agent.id or ""])
    assert (row.active, row.deactivated, row.drain_info) == (False, True, None)
    assert reactivate(pool, agent).status == 200
    pool.run(1.0)
    assert len(framework.offers()) == 1


def test_an_agent_that_is_drained_is_told_so_and_is_drained_when_its_last_end_is_acknowledged():
    pool, agent, framework, task_id = with_task()
    assert drain(pool, agent, max_grace_period=mesos.Duration(seconds=1, nanos=500_000_000)).status == 200
    (order,) = agent.heard(link_messages.DrainChanged)
    assert order.drain is not None
    assert (order.drain.max_grace_s, order.drain.mark_gone) == (1.5, False)
    killed = agent.update(framework.id or "", task_id, "TASK_KILLED", reason=Reason.REASON_AGENT_DRAINING)
    pool.run()
    assert drain_state(pool, agent) is mesos.DrainState.DRAINING
    framework.acknowledge(killed)
    pool.run(60.0)
    assert drain_state(pool, agent) is mesos.DrainState.DRAINED
    assert framework.offers() == []
    assert reactivate(pool, agent).status == 200
    assert agent.heard(link_messages.DrainChanged)[-1].drain is None
    pool.run(1.0)
    assert len(framework.offers()) == 1


def test_an_idle_agent_is_drained_at_once_and_one_that_is_away_when_it_returns():
    pool = Pool()
    idle, away = pool.agent(), pool.agent()
    away.cut()
    drain(pool, idle)
    drain(pool, away)
    pool.run()
    assert (standing(pool, idle), standing(pool, away)) == (Standing.DRAINED, Standing.DRAINING)
    away.hello()
    (welcome,) = away.heard(link_messages.Welcome)
    assert welcome.drain is not None
    pool.run()
    assert standing(pool, away) is Standing.DRAINED


def test_a_drain_with_mark_gone_ends_with_an_agent_that_may_not_return():
    pool, agent, framework, task_id = with_task(Capability.PARTITION_AWARE)
    drain(pool, agent, mark_gone=True)
    told = agent.update(framework.id or "", task_id, "TASK_GONE_BY_OPERATOR", reason=Reason.REASON_AGENT_DRAINING)
    assert drain(pool, agent, mark_gone=True).status == 200, "an order may be given again"
    framework.acknowledge(told)
    pool.run()
    assert agent.id in pool.state.gone
    assert agent.heard(link_messages.ShutdownAgent)
    assert pool.state.orders == {}
    agent.hello()
    assert agent.heard(link_messages.ShutdownAgent)


def test_orders_outlive_the_master_and_agents_that_were_out_of_reach():
    pool, agent, framework, _ = with_task()
    other = pool.agent()
    drain(pool, agent)
    deactivate(pool, other)
    pool.restart()
    assert (standing(pool, agent), standing(pool, other)) == (Standing.DRAINING, Standing.IDLE)
    agent.hello()
    other.hello()
    framework.subscribe()
    pool.run(60.0)
    assert agent.heard(link_messages.Welcome)[-1].drain is not None
    assert framework.offers() == []
    assert drain_state(pool, agent) is mesos.DrainState.DRAINING, "its task lives"

    agent.cut()
    pool.run(3600.0)
    assert agent.id in pool.state.unreachable
    assert standing(pool, agent) is Standing.DRAINING
    agent.tasks.clear()
    agent.hello()
    pool.run()
    assert standing(pool, agent) is Standing.DRAINED

    summary = list(pool.core.summary())
    fresh = Pool()
    for fact in summary:
        fresh.core.apply(fact)
    assert fresh.state.orders == pool.state.orders
    fresh.core.check()


def test_what_cannot_be_ordered_is_refused_with_the_reason():
    pool = Pool()
    agent, nobody = pool.agent(), Agent(pool, "cpus:1")
    nobody.id = "nobody"
    for act in (drain, deactivate, reactivate):
        assert (act(pool, nobody).status, act(pool, nobody).body) == (400, "Unknown agent nobody")
    assert "is not deactivated" in reactivate(pool, agent).body
    assert "must be between" in drain(pool, agent, max_grace_period=mesos.Duration(seconds=-1)).body
    agent.cut()
    drain(pool, agent)
    assert "still draining" in reactivate(pool, agent).body
    assert deactivate(pool, agent).status == 200
    assert standing(pool, agent) is Standing.DRAINING, "to deactivate is less than to drain"


@pytest.mark.parametrize("count", [1, 250])
def test_many_tasks_are_drained_by_one_order(count: int):
    pool = Pool()
    agent = pool.agent("cpus:1000;mem:100000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    tasks = [framework.task(offer) for _ in range(count)]
    framework.launch(offer, *tasks)
    agent.obey()
    drain(pool, agent)
    assert len(agent.heard(link_messages.DrainChanged)) == 1
    for task in tasks:
        framework.acknowledge(agent.update(framework.id or "", task.task_id.value, "TASK_KILLED"))
    pool.run()
    assert standing(pool, agent) is Standing.DRAINED
