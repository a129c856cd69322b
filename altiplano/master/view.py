"""What a master shows: its state as messages of the operator API.  Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from altiplano.master import infos
from altiplano.master.allocator.quota import paths
from altiplano.master.snapshot import FrameworkThen
from altiplano.master.standing import Orders, Standing
from altiplano.master.state import Agent, Framework, MasterState, Presence, Task
from altiplano.model.resources import Kind, Resources
from altiplano.model.tasks import State
from altiplano.wire import json, translate
from altiplano.wire.messages import master, mesos, quota

Capability = mesos.AgentInfoCapabilityType

AGENT_CAPABILITIES = tuple(
    mesos.AgentInfoCapability(type=one)
    for one in (
        Capability.MULTI_ROLE,
        Capability.HIERARCHICAL_ROLE,
        Capability.RESERVATION_REFINEMENT,
        Capability.AGENT_DRAINING,
    )
)


def resources(held: Resources) -> tuple[mesos.Resource, ...]:
    """Resources as operators see them."""
    return translate.resources_to(held, refined=True)


def task_message(framework_id: str, info: mesos.TaskInfo, state: State) -> mesos.Task:
    """A task that was just launched."""
    return mesos.Task(
        name=info.name,
        task_id=info.task_id,
        framework_id=mesos.FrameworkID(value=framework_id),
        executor_id=info.executor.executor_id if info.executor is not None else None,
        agent_id=info.agent_id,
        state=infos.WIRE_STATES[state],
        resources=info.resources,
        labels=info.labels,
        discovery=info.discovery,
        container=info.container,
        user=info.command.user if info.command is not None else None,
        health_check=info.health_check,
        kill_policy=info.kill_policy,
        limits=info.limits,
    )


def task_row(task: Task) -> mesos.Task:
    """A task as it stands."""
    info = json.decode(mesos.TaskInfo, task.info)
    return infos.replace(
        task_message(task.framework_id, info, task.state),
        statuses=task.statuses,
        status_update_state=infos.WIRE_STATES[task.update_state] if task.update_state is not None else None,
        status_update_uuid=task.update_uuid,
    )


def agent_row(agent: Agent) -> master.ResponseGetAgentsAgent:
    return master.ResponseGetAgentsAgent(
        agent_info=agent.info,
        active=agent.offerable,
        version=infos.MESOS_VERSION,
        pid=agent_pid(agent),
        registered_time=infos.time_of(agent.registered_s),
        reregistered_time=infos.time_of(agent.reregistered_s),
        total_resources=resources(agent.total),
        allocated_resources=resources(agent.used),
        offered_resources=resources(agent.offered),
        capabilities=AGENT_CAPABILITIES,
        deactivated=agent.orders is not None,
        drain_info=drain_info(agent.orders),
        estimated_drain_start_time=infos.time_of(drain_since_s(agent.orders)),
    )


def drain_info(orders: Orders | None) -> mesos.DrainInfo | None:
    """How far the drain of an agent is, if there is one."""
    if orders is None or not orders.drains:
        return None
    grace = orders.max_grace_s
    return mesos.DrainInfo(
        state=mesos.DrainState.DRAINED if orders.standing is Standing.DRAINED else mesos.DrainState.DRAINING,
        config=mesos.DrainConfig(
            max_grace_period=None if grace is None else mesos.DurationInfo(nanoseconds=round(grace * 1e9)),
            mark_gone=orders.mark_gone,
        ),
    )


def drain_since_s(orders: Orders | None) -> float | None:
    return orders.since_s if orders is not None and orders.drains else None


def new_agent_row(info: mesos.AgentInfo, peer: str, at_s: float) -> master.ResponseGetAgentsAgent:
    """An agent that is about to become a member."""
    return master.ResponseGetAgentsAgent(
        agent_info=info,
        active=True,
        version=infos.MESOS_VERSION,
        pid=f"slave(1)@{peer}:{info.port}",
        registered_time=infos.time_of(at_s),
        total_resources=info.resources,
        capabilities=AGENT_CAPABILITIES,
        deactivated=False,
    )


def agent_pid(agent: Agent) -> str:
    return f"slave(1)@{agent.peer or agent.info.hostname}:{agent.info.port}"


def framework_row(then: FrameworkThen) -> master.ResponseGetFrameworksFramework:
    framework = then.record
    info = framework.info or mesos.FrameworkInfo(user="", name=framework.name, id=mesos.FrameworkID(value=framework.id))
    return master.ResponseGetFrameworksFramework(
        framework_info=info,
        active=framework.connected,
        connected=framework.connected,
        recovered=framework.presence in (Presence.RECOVERED, Presence.REGISTERED),
        registered_time=infos.time_of(framework.registered_s),
        reregistered_time=infos.time_of(framework.reregistered_s),
        unregistered_time=infos.time_of(framework.unregistered_s),
        offers=tuple(offer.message for offer in then.offers),
        allocated_resources=resources(used(framework)),
        offered_resources=resources(offered(then)),
        offer_constraints=framework.constraints,
    )


def used(framework: Framework) -> Resources:
    """What a framework uses on all machines: amounts only, since a port means nothing without its machine."""
    return _amounts(framework.used)


def offered(then: FrameworkThen) -> Resources:
    """What a framework is offered on all machines: amounts only."""
    total: Counter[str] = Counter()
    for offer in then.offers:
        total.update(offer.resources.scalars)
    return _amounts(total)


def _amounts(amounts: Mapping[str, int]) -> Resources:
    return Resources((Kind(name=name), amount) for name, amount in amounts.items())


def known_frameworks(state: MasterState) -> list[Framework]:
    """Frameworks with a description; the others are known from the registry only."""
    return [framework for framework in state.frameworks.values() if framework.info is not None]


def get_master(state: MasterState) -> master.ResponseGetMaster:
    return master.ResponseGetMaster(
        master_info=infos.master_info(state), start_time=state.started_s, elected_time=state.elected_s
    )


def get_roles(state: MasterState) -> master.ResponseGetRoles:
    return master.ResponseGetRoles(roles=tuple(_role(state, role) for role in roles(state)))


def roles(state: MasterState) -> list[str]:
    """Roles that frameworks have or that have a weight or a quota, and `*`."""
    names = {role for framework in state.frameworks.values() for role in framework.roles}
    return sorted({"*", *names, *state.weights, *state.allocator.quotas.of})


def members_of(state: MasterState, role: str) -> list[Framework]:
    return [framework for framework in known_frameworks(state) if role in framework.roles]


def held_by_role(state: MasterState, role: str) -> tuple[Resources, Resources]:
    """What tasks and executors of a role use, and what is on offer to it."""
    used = offered = Resources()
    for framework in state.frameworks.values():
        for task in framework.tasks.values():
            if task.role == role and task.holds:
                used = used + task.resources
        for executor in framework.executors.values():
            if executor.role == role:
                used = used + executor.resources
        for offer in framework.offers.values():
            if offer.role == role:
                offered = offered + offer.resources
    return used, offered


def _role(state: MasterState, role: str) -> mesos.Role:
    used, offered = held_by_role(state, role)
    return mesos.Role(
        name=role,
        weight=state.allocator.shares.weight(role),
        frameworks=tuple(mesos.FrameworkID(value=one.id) for one in members_of(state, role)),
        resources=resources(used + offered),
    )


def get_quota(state: MasterState) -> master.ResponseGetQuota:
    return master.ResponseGetQuota(status=quota_status(state))


def quota_status(state: MasterState) -> quota.QuotaStatus:
    """All quotas, in the form of today and, where there is a guarantee, in the one of old clients."""
    of = state.allocator.quotas.of
    return quota.QuotaStatus(
        infos=tuple(
            quota.QuotaInfo(
                role=role, guarantee=resources(Resources((Kind(name=n), v) for n, v in one.guarantees.items()))
            )
            for role, one in of.items()
            if one.guarantees
        ),
        configs=tuple(
            quota.QuotaConfig(role=role, guarantees=_scalars(one.guarantees), limits=_scalars(one.limits))
            for role, one in of.items()
        ),
    )


def _scalars(amounts: Mapping[str, int]) -> dict[str, mesos.ValueScalar]:
    return {name: mesos.ValueScalar(value=amount / 1000) for name, amount in amounts.items()}


def get_weights(state: MasterState) -> master.ResponseGetWeights:
    return master.ResponseGetWeights(
        weight_infos=tuple(mesos.WeightInfo(role=role, weight=weight) for role, weight in state.weights.items())
    )


def waiting_reason(state: MasterState, framework: Framework) -> str:
    """Why a framework has no offers, in one sentence."""
    if not framework.connected:
        return "it is not connected"
    if framework.offers:
        return f"it holds {len(framework.offers)} offers"
    wants = sorted(set(framework.roles) - framework.suppressed)
    if not wants:
        return "all its roles are suppressed: it has to REVIVE first"
    quotas = state.allocator.quotas
    full = {
        role: path for role in wants for path in paths(role) if path in quotas.of and quotas.standing(path, {}).full
    }
    if len(full) == len(wants):
        return "; ".join(f"role {path} is at the limit of its quota" for path in sorted(set(full.values())))
    free = [agent_id for agent_id, member in state.allocator.members.items() if member.active and member.free]
    if not free:
        return f"nothing is free on any of {len(state.agents)} agents"
    filtered = sum(
        1
        for agent_id in free
        if any(
            state.allocator.filters.refused(
                agent_id, (framework.id, role), state.allocator.members[agent_id].free
            ).value
            != "no"
            for role in wants
        )
    )
    return f"{len(free)} agents have something free; on {filtered} of them it declined as much a while ago"
