"""Maintenance: what is scheduled, who is asked to leave, and machines that are down."""

from __future__ import annotations

import pytest

from altiplano.link import messages as link_messages
from altiplano.master import effects, maintenance
from altiplano.model.tasks import State
from altiplano.wire.messages import allocator, master, mesos, scheduler
from altiplano.wire.messages import maintenance as messages
from tests.unit.master.pool import Agent, CallType, Framework, Pool

Call = master.CallType
Status = allocator.InverseOfferStatusStatus
IP = "127.0.0.1"
WHEN = mesos.Unavailability(start=mesos.TimeInfo(nanoseconds=10**18), duration=mesos.DurationInfo(nanoseconds=10**9))


def machine(agent: Agent) -> mesos.MachineID:
    return mesos.MachineID(hostname=agent.hostname.upper(), ip=IP)


def plan(pool: Pool, *machines: mesos.MachineID, when: mesos.Unavailability = WHEN) -> effects.Reply:
    windows = (messages.Window(machine_ids=machines, unavailability=when),) if machines else ()
    call = master.CallUpdateMaintenanceSchedule(schedule=messages.Schedule(windows=windows))
    return pool.operator(type=Call.UPDATE_MAINTENANCE_SCHEDULE, update_maintenance_schedule=call)


def down(pool: Pool, *machines: mesos.MachineID) -> effects.Reply:
    return pool.operator(type=Call.START_MAINTENANCE, start_maintenance=master.CallStartMaintenance(machines=machines))


def up(pool: Pool, *machines: mesos.MachineID) -> effects.Reply:
    return pool.operator(type=Call.STOP_MAINTENANCE, stop_maintenance=master.CallStopMaintenance(machines=machines))


def asked(framework: Framework) -> list[mesos.InverseOffer]:
    found = [event.inverse_offers.inverse_offers for event in framework.events() if event.inverse_offers is not None]
    return [offer for some in found for offer in some]


def statuses(pool: Pool) -> list[allocator.InverseOfferStatusStatus]:
    return [one.status for row in maintenance.status_of(pool.state).draining_machines for one in row.statuses]


def with_task() -> tuple[Pool, Agent, Framework, str]:
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    task_id = framework.start("cpus:2;mem:256")
    agent.obey()
    framework.acknowledge(agent.update(framework.id or "", task_id, "TASK_RUNNING"))
    pool.run(1.0)
    return pool, agent, framework, task_id


def test_a_window_is_told_by_an_inverse_offer_and_with_offers_that_are_made_anew():
    pool, agent, framework, _ = with_task()
    pool.framework(name="idle", roles=("other",), suppressed=("other",))
    before = framework.offer()
    assert plan(pool, machine(agent)).status == 200
    pool.run(0.5)
    assert before.id.value not in pool.state.offers
    assert framework.offer().unavailability == WHEN
    (one,) = asked(framework)
    assert (one.agent_id, one.unavailability, one.resources) == (mesos.AgentID(value=agent.id or ""), WHEN, ())
    pool.run(60.0)
    assert len(asked(framework)) == 1, "one is asked once while it has not answered"


@pytest.mark.parametrize(
    ("kind", "field", "call", "status"),
    [
        (CallType.ACCEPT_INVERSE_OFFERS, "accept_inverse_offers", scheduler.CallAcceptInverseOffers, Status.ACCEPT),
        (CallType.DECLINE_INVERSE_OFFERS, "decline_inverse_offers", scheduler.CallDeclineInverseOffers, Status.DECLINE),
    ],
)
def test_what_a_framework_answers_is_recorded_and_it_is_asked_again_when_its_filter_is_over(
    kind: CallType, field: str, call: type, status: allocator.InverseOfferStatusStatus
):
    pool, agent, framework, _ = with_task()
    plan(pool, machine(agent))
    pool.run(0.5)
    (one,) = asked(framework)
    answer = call(inverse_offer_ids=(one.id, mesos.OfferID(value="nobody's")), filters=mesos.Filters(refuse_seconds=5))
    assert framework.call(kind, **{field: answer}).status == 202
    assert statuses(pool) == [status]
    pool.run(4.0)
    assert len(asked(framework)) == 1
    pool.run(2.0)
    assert len(asked(framework)) == 2
    assert statuses(pool) == [status], "the last answer stands until there is another"


def test_who_comes_back_is_asked_again_and_who_has_left_is_not_asked_any_more():
    pool, agent, framework, task_id = with_task()
    plan(pool, machine(agent))
    pool.run(0.5)
    framework.close()
    framework.subscribe()
    pool.run(0.5)
    (one,) = asked(framework)
    for offer in framework.offers():
        framework.decline(offer, seconds=3600.0)
    framework.acknowledge(agent.update(framework.id or "", task_id, "TASK_FINISHED"))
    pool.run(0.05)
    for offer in framework.offers():
        framework.decline(offer, seconds=3600.0)
    pool.run(1.0)
    gone = [event.rescind_inverse_offer for event in framework.events() if event.rescind_inverse_offer is not None]
    assert [event.inverse_offer_id for event in gone] == [one.id]


def test_a_schedule_that_is_taken_back_takes_its_inverse_offers_and_windows_back():
    pool, agent, framework, _ = with_task()
    plan(pool, machine(agent))
    pool.run(0.5)
    assert plan(pool).status == 200
    assert framework.types().count("RESCIND_INVERSE_OFFER") == 1
    pool.run(1.0)
    assert framework.offer().unavailability is None
    assert len(asked(framework)) == 1


def test_an_agent_of_a_machine_that_is_down_loses_its_tasks_and_stays_out_until_it_is_up():
    pool, agent, framework, task_id = with_task()
    other = pool.agent()
    plan(pool, machine(agent))
    pool.run(0.5)
    assert down(pool, machine(agent)).status == 200
    assert agent.heard(link_messages.ShutdownAgent)
    pool.run(0.5)
    assert framework.updates(task_id)[-1].state is mesos.TaskState.TASK_LOST
    assert pool.state.frameworks[framework.id or ""].completed[task_id].state is State.LOST
    assert list(pool.state.agents) == [other.id]
    pool.restart()
    assert maintenance.status_of(pool.state).down_machines == (machine(agent),)
    agent.tasks.clear()
    agent.hello()
    assert agent.heard(link_messages.ShutdownAgent)
    assert plan(pool).status == 400, "a machine that is down stays in the schedule"
    assert up(pool, machine(agent)).status == 200
    assert maintenance.schedule(pool.state).windows == ()
    agent.hello()
    assert agent.heard(link_messages.Welcome)


def test_what_cannot_be_planned_is_refused_with_the_reason():
    pool = Pool()
    agent = pool.agent()
    one = machine(agent)
    empty = messages.Schedule(windows=(messages.Window(unavailability=WHEN),))
    call = master.CallUpdateMaintenanceSchedule(schedule=empty)
    reply = pool.operator(type=Call.UPDATE_MAINTENANCE_SCHEDULE, update_maintenance_schedule=call)
    assert (reply.status, "names no machine" in reply.body) == (400, True)
    assert "named twice" in plan(pool, one, mesos.MachineID(hostname=agent.hostname, ip=IP)).body
    assert "neither 'hostname' nor 'ip'" in plan(pool, mesos.MachineID()).body
    assert "not an IP address" in plan(pool, mesos.MachineID(ip="localhost")).body
    backwards = mesos.Unavailability(start=WHEN.start, duration=mesos.DurationInfo(nanoseconds=-1))
    assert "before it begins" in plan(pool, one, when=backwards).body
    assert "not part of a maintenance schedule" in down(pool, one).body
    assert "is not down" in up(pool, one).body
    assert "no machine" in down(pool).body
    assert plan(pool, one).status == 200
    drain = master.CallDrainAgent(agent_id=mesos.AgentID(value=agent.id or ""))
    reply = pool.operator(type=Call.DRAIN_AGENT, drain_agent=drain)
    assert (reply.status, "maintenance schedule" in reply.body) == (400, True)


def test_the_plan_outlives_the_master_and_a_summary_of_the_log():
    pool, agent, framework, _ = with_task()
    plan(pool, mesos.MachineID(hostname=agent.hostname))
    pool.restart()
    agent.hello()
    framework.subscribe()
    pool.run(2.0)
    assert len(asked(framework)) == 1
    fresh = Pool()
    for fact in pool.core.summary():
        fresh.core.apply(fact)
    assert fresh.state.plan == pool.state.plan


def test_an_agent_that_is_away_and_drains_goes_down_with_its_machine_and_its_orders_are_forgotten():
    pool, agent, _, _ = with_task()
    drain = master.CallDrainAgent(agent_id=mesos.AgentID(value=agent.id or ""))
    assert pool.operator(type=Call.DRAIN_AGENT, drain_agent=drain).status == 200
    agent.cut()
    plan(pool, machine(agent))
    assert down(pool, machine(agent)).status == 200
    pool.run(0.5)
    assert (pool.state.agents, pool.state.orders) == ({}, {})
