"""Maintenance: windows in which machines will be away, inverse offers about them, machines that are down.

Frameworks with tasks, executors or offers on such a machine are asked to leave by an inverse offer, one at a time for
each agent.  What they answer is recorded for operators and changes nothing else.  Which inverse offers there should be
is found out by looking (`sweep`, on the beat): whoever comes later, or comes back, is asked then.
"""

from __future__ import annotations

from itertools import chain, islice

import msgspec

from altiplano.link import messages as link_messages
from altiplano.master import agents, facts, infos, machines, offers
from altiplano.master.allocator import filters
from altiplano.master.machines import Plan
from altiplano.master.outcome import Outcome
from altiplano.master.state import Agent, Asked, End, Framework, MasterState, Parting
from altiplano.wire.messages import allocator, maintenance, master, mesos, scheduler

SWEPT_PER_SLICE = 250
"""Agents that are looked at together; the others follow."""

SLICE_S = 0.02
"""Time from one of these looks to the next."""

Answer = tuple[int, str]
Status = allocator.InverseOfferStatusStatus


def update(out: Outcome, schedule: maintenance.Schedule) -> Answer:
    """UPDATE_MAINTENANCE_SCHEDULE: the one schedule is replaced.  Offers of machines it concerns are made anew."""
    plan = out.state.plan
    problem = machines.problem(schedule, out.state.down)
    if problem is not None:
        return 400, f"Invalid maintenance schedule: {problem}"
    _set(out, Plan(schedule=schedule, down=plan.down))
    out.note(f"an operator scheduled maintenance in {len(schedule.windows)} windows")
    return 200, ""


def start(out: Outcome, named: tuple[mesos.MachineID, ...]) -> Answer:
    """START_MAINTENANCE: the machines are down.  Their agents end with their tasks, and are not admitted."""
    state, plan = out.state, out.state.plan
    problem = _named_problem(named)
    scheduled, down = state.scheduled, state.down
    for machine in named:
        if machines.key(machine) not in scheduled:
            problem = problem or f"machine {machines.shown(machine)} is not part of a maintenance schedule"
        elif machines.key(machine) in down:
            problem = problem or f"machine {machines.shown(machine)} is down already"
    if problem is not None:
        return 400, f"Cannot start maintenance: {problem}"
    wanted = {machines.key(machine) for machine in named}
    there = [one for one in state.agents.values() if one.id not in state.parting and _is_on(one, wanted)]
    _set(out, Plan(schedule=plan.schedule, down=(*plan.down, *named)))
    for agent in there:
        sentence = "its machine is down for maintenance"
        out.order(agent, link_messages.ShutdownAgent(sentence=sentence, cause=out.cause))
        agents.remove(out, agent, Parting(end=End.DOWN, sentence=sentence))
    out.note(f"an operator took {len(named)} machines down for maintenance, with {len(there)} agents")
    return 200, ""


def stop(out: Outcome, named: tuple[mesos.MachineID, ...]) -> Answer:
    """STOP_MAINTENANCE: the machines are up again and leave the schedule."""
    plan = out.state.plan
    problem = _named_problem(named)
    for machine in named:
        if machines.key(machine) not in out.state.down:
            problem = problem or f"machine {machines.shown(machine)} is not down"
    if problem is not None:
        return 400, f"Cannot stop maintenance: {problem}"
    up = {machines.key(machine) for machine in named}
    left = []
    for window in plan.schedule.windows:
        ids = tuple(one for one in window.machine_ids if machines.key(one) not in up)
        if ids:
            left.append(infos.replace(window, machine_ids=ids))
    down = tuple(one for one in plan.down if machines.key(one) not in up)
    _set(out, Plan(schedule=maintenance.Schedule(windows=tuple(left)), down=down))
    out.note(f"an operator ended the maintenance of {len(named)} machines")
    return 200, ""


def _named_problem(named: tuple[mesos.MachineID, ...]) -> str | None:
    if not named:
        return "no machine is named"
    if len({machines.key(one) for one in named}) < len(named):
        return "a machine is named twice"
    return next((problem for one in named if (problem := machines.machine_problem(one)) is not None), None)


def _is_on(agent: Agent, wanted: set[machines.Key]) -> bool:
    return any(one in wanted for one in machines.keys_of(agent.info.hostname, agent.peer))


def _set(out: Outcome, plan: Plan) -> None:
    """Replace the plan; frameworks learn what changed for agents by their offers."""
    out.holds(facts.MaintenancePlanned(plan=plan), facts.TimerSet(what=machines.TIMER, subject="", at_s=out.now.mono_s))
    scheduled = plan.scheduled
    for agent in out.state.agents.values():
        if agent.unavailability != machines.unavailability(scheduled, agent.info.hostname, agent.peer):
            offers.rescind(out, agent.offers.values())
            for framework_id, asked in agent.asked.items():
                _take_back(out, framework_id, asked)


# -- inverse offers


def sweep(out: Outcome) -> None:
    """Look at the next agents with a window: ask whoever should be asked, take back what concerns nobody any more."""
    state = out.state
    looked = list(islice(state.concerned, SWEPT_PER_SLICE))
    number = state.next_offer
    for agent_id in looked:
        agent = state.agents.get(agent_id)
        if agent is not None and agent.connected and agent.unavailability is not None:
            number = _sweep_one(out, agent, agent.unavailability, number)
    pause_s = SLICE_S if len(state.concerned) > len(looked) else state.config.allocation_interval_s
    at_s = out.now.mono_s + pause_s if looked else None
    out.holds(facts.AgentsSwept(agent_ids=tuple(looked)), facts.TimerSet(what=machines.TIMER, subject="", at_s=at_s))


def _sweep_one(out: Outcome, agent: Agent, when: mesos.Unavailability, number: int) -> int:
    state = out.state
    there = {framework_id for framework_id, _ in chain(agent.tasks, agent.executors)}
    there |= {offer.framework_id for offer in agent.offers.values()}
    for framework_id, asked in agent.asked.items():
        framework = state.frameworks.get(framework_id)
        if asked.open and (framework_id not in there or framework is None or framework.stream != asked.stream):
            out.holds(facts.InverseEnded(agent_id=agent.id, framework_id=framework_id))
            _take_back(out, framework_id, asked)
    for framework_id in sorted(there):
        framework, before = state.frameworks[framework_id], agent.asked.get(framework_id)
        if not framework.connected or framework.stream is None:
            continue
        if before is not None and before.stream == framework.stream and not before.may_be_repeated(out.now.mono_s):
            continue
        offer_id = f"{state.master_id}-O{number}"
        number += 1
        asked = Asked(id=offer_id, stream=framework.stream, status=before.status if before else Status.UNKNOWN)
        out.holds(facts.InverseMade(agent_id=agent.id, framework_id=framework_id, asked=asked))
        message = mesos.InverseOffer(
            id=mesos.OfferID(value=offer_id),
            url=offers.agent_url(agent),
            framework_id=mesos.FrameworkID(value=framework_id),
            agent_id=mesos.AgentID(value=agent.id),
            unavailability=when,
        )
        told = scheduler.EventInverseOffers(inverse_offers=(message,))
        out.tell(framework, scheduler.Event(type=scheduler.EventType.INVERSE_OFFERS, inverse_offers=told))
        out.note(f"asked to leave agent {agent.info.hostname}, which will be away for maintenance", framework_id)
    return number


def _take_back(out: Outcome, framework_id: str, asked: Asked) -> None:
    framework = out.state.frameworks.get(framework_id)
    if framework is not None and asked.open and framework.stream == asked.stream:
        gone = scheduler.EventRescindInverseOffer(inverse_offer_id=mesos.OfferID(value=asked.id))
        kind = scheduler.EventType.RESCIND_INVERSE_OFFER
        out.tell(framework, scheduler.Event(type=kind, rescind_inverse_offer=gone))


def answered(
    out: Outcome,
    framework: Framework,
    call: scheduler.CallAcceptInverseOffers | scheduler.CallDeclineInverseOffers,
) -> None:
    """A framework says whether it will leave; ids that are not its own or over are passed over."""
    status = Status.ACCEPT if isinstance(call, scheduler.CallAcceptInverseOffers) else Status.DECLINE
    ids = {one.value for one in call.inverse_offer_ids}
    seconds = filters.refuse_seconds(call.filters.refuse_seconds if call.filters is not None else None)
    until_s = out.now.mono_s + max(seconds, out.state.config.allocation_interval_s)
    for agent_id in out.state.concerned:
        agent = out.state.agents.get(agent_id)
        asked = agent.asked.get(framework.id) if agent is not None else None
        if agent is not None and asked is not None and asked.open and asked.id in ids:
            after = msgspec.structs.replace(asked, open=False, status=status, at_s=out.now.wall_s, until_s=until_s)
            out.holds(facts.InverseAnswered(agent_id=agent_id, framework_id=framework.id, asked=after))
            out.note(f"{status.value}: to leave agent {agent.info.hostname} for maintenance", framework.id, agent_id)


# -- reading


def schedule(state: MasterState) -> maintenance.Schedule:
    return state.plan.schedule


def status_of(state: MasterState) -> maintenance.ClusterStatus:
    """Machines with a window, with what frameworks answered, and machines that are down."""
    plan = state.plan
    by_machine: dict[machines.Key, list[allocator.InverseOfferStatus]] = {}
    for agent_id in state.concerned:
        agent = state.agents.get(agent_id)
        for framework_id, asked in agent.asked.items() if agent is not None else ():
            assert agent is not None
            if asked.status is Status.UNKNOWN:
                continue
            said = allocator.InverseOfferStatus(
                status=asked.status,
                framework_id=mesos.FrameworkID(value=framework_id),
                timestamp=mesos.TimeInfo(nanoseconds=round(asked.at_s * 1e9)),
            )
            for one in machines.keys_of(agent.info.hostname, agent.peer):
                by_machine.setdefault(one, []).append(said)
    named = [one for window in plan.schedule.windows for one in window.machine_ids]
    return maintenance.ClusterStatus(
        draining_machines=tuple(
            maintenance.ClusterStatusDrainingMachine(id=one, statuses=tuple(by_machine.get(machines.key(one), ())))
            for one in named
            if machines.key(one) not in state.down
        ),
        down_machines=plan.down,
    )


def get_schedule(state: MasterState) -> master.ResponseGetMaintenanceSchedule:
    return master.ResponseGetMaintenanceSchedule(schedule=schedule(state))


def get_status(state: MasterState) -> master.ResponseGetMaintenanceStatus:
    return master.ResponseGetMaintenanceStatus(status=status_of(state))


# -- taking facts into the state


def apply_planned(state: MasterState, fact: facts.MaintenancePlanned) -> None:
    state.plan, state.scheduled, state.down = fact.plan, fact.plan.scheduled, fact.plan.is_down
    for agent in state.agents.values():
        agents.concern(state, agent)


def apply_swept(state: MasterState, fact: facts.AgentsSwept) -> None:
    for agent_id in fact.agent_ids:
        # Whoever was looked at goes behind the others.
        state.concerned.pop(agent_id, None)
        if agent_id in state.agents:
            state.concerned[agent_id] = None


def apply_made(state: MasterState, fact: facts.InverseMade) -> None:
    state.agents[fact.agent_id].asked[fact.framework_id] = fact.asked
    state.next_offer += 1


def apply_answered(state: MasterState, fact: facts.InverseAnswered) -> None:
    state.agents[fact.agent_id].asked[fact.framework_id] = fact.asked


def apply_ended(state: MasterState, fact: facts.InverseEnded) -> None:
    state.agents[fact.agent_id].asked.pop(fact.framework_id, None)
