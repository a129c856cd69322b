"""The life of frameworks: subscribe, come back, disconnect, change, end."""

from __future__ import annotations

from altiplano.link import messages as link_messages
from altiplano.master import effects, endings, events, facts, infos, validation
from altiplano.master.outcome import SENTENCE_CHARS_MAX, Outcome
from altiplano.master.state import Agent, Framework, MasterState, Membership, Presence
from altiplano.wire.messages import master, mesos, scheduler

HEARTBEAT_S = 15.0
"""Every stream gets a heartbeat so often, whatever else it gets; clients are told the number."""

FAILOVER_TIMEOUT_S_MAX = 100 * 365 * 86400.0

RETURN_S_MIN = 60.0
"""After a restart of the master every framework has at least this long to subscribe again, even if it wanted less."""

HEARTBEAT_TIMER = "heartbeat"
FAILOVER_TIMER = "failover"

_HEARTBEAT = scheduler.Event(type=scheduler.EventType.HEARTBEAT)


def subscribe(out: Outcome, event: events.FrameworkSubscribes) -> None:
    """A framework opens a stream.  What is wrong with its description it is told by an ERROR event."""
    state = out.state
    info = event.subscribe.framework_info
    known = state.frameworks.get(event.framework_id) if event.framework_id else None
    refusal = _subscription_problem(state, event, known)
    if refusal is not None:
        sentence = scheduler.EventError(message=refusal[:SENTENCE_CHARS_MAX])
        error = scheduler.Event(type=scheduler.EventType.ERROR, error=sentence)
        out.do(effects.Send(stream=event.stream, event=error), effects.CloseStream(stream=event.stream))
        out.note(f"framework '{info.name}' cannot subscribe: {refusal}", event.framework_id or event.stream)
        return
    framework_id = event.framework_id or f"{state.master_id}-{state.next_framework:04d}"
    info = _described(info, framework_id, known)
    if known is not None:
        _leave_old_stream(out, known)
        endings.withdraw(out, known)
    if known is None or known.presence is not Presence.CONNECTED or _changed(known, info):
        out.holds(
            facts.FrameworkRegistered(
                framework_id=framework_id,
                name=info.name,
                failover_timeout_s=info.failover_timeout,
                at_s=out.now.wall_s,
            )
        )
    out.holds(
        facts.FrameworkSubscribed(
            framework_id=framework_id,
            stream=event.stream,
            info=info,
            suppressed=event.subscribe.suppressed_roles,
            constraints=event.subscribe.offer_constraints,
            at=out.now,
        ),
        facts.TimerSet(what=FAILOVER_TIMER, subject=framework_id, at_s=None),
        facts.TimerSet(what=HEARTBEAT_TIMER, subject=framework_id, at_s=out.now.mono_s + HEARTBEAT_S),
    )
    out.do(
        effects.Send(stream=event.stream, event=_subscribed(state, framework_id)),
        effects.Send(stream=event.stream, event=_HEARTBEAT),
    )
    out.note(_welcome(known, info, event.subscribe.suppressed_roles), framework_id)
    if known is not None:
        _broadcast(out, known, info)
    _publish(out, known, framework_id, info)


def _subscription_problem(state: MasterState, event: events.FrameworkSubscribes, known: Framework | None) -> str | None:
    if event.framework_id is not None and state.is_over(event.framework_id):
        return "Framework has been removed"
    info = event.subscribe.framework_info
    if known is not None and known.info is not None and known.info.principal != info.principal:
        return "Changing framework's principal is not allowed."
    return validation.framework_problem(state.config, info, event.subscribe.suppressed_roles)


def _described(info: mesos.FrameworkInfo, framework_id: str, known: Framework | None) -> mesos.FrameworkInfo:
    """The description that counts: a framework that comes back keeps its user and its checkpoint setting."""
    info = infos.replace(
        info,
        id=mesos.FrameworkID(value=framework_id),
        failover_timeout=min(info.failover_timeout, FAILOVER_TIMEOUT_S_MAX),
    )
    if known is not None and known.info is not None:
        info = infos.replace(info, user=known.info.user, checkpoint=known.info.checkpoint)
    return info


def _changed(known: Framework, info: mesos.FrameworkInfo) -> bool:
    return known.name != info.name or known.failover_timeout_s != info.failover_timeout


def _leave_old_stream(out: Outcome, framework: Framework) -> None:
    if framework.stream is not None:
        error = scheduler.EventError(message="Framework failed over")
        out.tell(framework, scheduler.Event(type=scheduler.EventType.ERROR, error=error))
        out.do(effects.CloseStream(stream=framework.stream))


def _subscribed(state: MasterState, framework_id: str) -> scheduler.Event:
    return scheduler.Event(
        type=scheduler.EventType.SUBSCRIBED,
        subscribed=scheduler.EventSubscribed(
            framework_id=mesos.FrameworkID(value=framework_id),
            heartbeat_interval_seconds=HEARTBEAT_S,
            master_info=infos.master_info(state),
        ),
    )


def _welcome(known: Framework | None, info: mesos.FrameworkInfo, suppressed: tuple[str, ...]) -> str:
    wants = sorted(set(validation.framework_roles(info)) - set(suppressed))
    wanted = f"wants offers for {', '.join(wants)}" if wants else "wants no offers now: all its roles are suppressed"
    how = "subscribed" if known is None else "subscribed again"
    return f"framework '{info.name}' {how} and {wanted}"


def _broadcast(out: Outcome, framework: Framework, info: mesos.FrameworkInfo) -> None:
    """Agents that run its tasks learn the new description."""
    for agent in _agents_of(out.state, framework):
        out.order(agent, link_messages.UpdateFramework(framework=info, cause=out.cause))


def _publish(out: Outcome, known: Framework | None, framework_id: str, info: mesos.FrameworkInfo) -> None:
    if not out.state.operators:
        return
    row = master.ResponseGetFrameworksFramework(
        framework_info=info,
        active=True,
        connected=True,
        recovered=False,
        registered_time=infos.time_of(known.registered_s if known else out.now.wall_s),
        reregistered_time=infos.time_of(out.now.wall_s) if known else None,
    )
    if known is None or known.presence is Presence.REGISTERED:
        added = master.EventFrameworkAdded(framework=row)
        out.publish(master.Event(type=master.EventType.FRAMEWORK_ADDED, framework_added=added))
    else:
        updated = master.EventFrameworkUpdated(framework=row)
        out.publish(master.Event(type=master.EventType.FRAMEWORK_UPDATED, framework_updated=updated))


def update(out: Outcome, framework: Framework, call: scheduler.CallUpdateFramework) -> tuple[int, str]:
    """A connected framework describes itself anew; status and body of the answer."""
    problem = validation.update_problem(out.state.config, framework, call.framework_info, call.suppressed_roles)
    if problem is not None:
        return 400, problem
    info = call.framework_info
    roles = validation.framework_roles(info)
    of_others = tuple(offer.id for offer in framework.offers.values() if offer.role not in roles)
    if of_others:
        endings.withdraw(out, framework, of_others)
    if _changed(framework, info):
        out.holds(
            facts.FrameworkRegistered(
                framework_id=framework.id,
                name=info.name,
                failover_timeout_s=info.failover_timeout,
                at_s=out.now.wall_s,
            )
        )
    out.holds(
        facts.FrameworkUpdated(
            framework_id=framework.id,
            info=info,
            suppressed=call.suppressed_roles,
            constraints=call.offer_constraints,
        )
    )
    _broadcast(out, framework, info)
    _publish(out, framework, framework.id, info)
    out.note(f"framework '{info.name}' has a new description, roles {', '.join(roles)}", framework.id)
    return 200, ""


def heartbeat(out: Outcome, framework_id: str) -> None:
    framework = out.state.frameworks.get(framework_id)
    next_s = None
    if framework is not None and framework.stream is not None:
        out.tell(framework, _HEARTBEAT)
        next_s = out.now.mono_s + HEARTBEAT_S
    out.holds(facts.TimerSet(what=HEARTBEAT_TIMER, subject=framework_id, at_s=next_s))


def disconnect(out: Outcome, framework: Framework, reason: str) -> None:
    """The stream has ended: no offers until it comes back, and an end if it does not."""
    if framework.failover_timeout_s > 0:
        endings.withdraw(out, framework)
    out.holds(
        facts.FrameworkDisconnected(framework_id=framework.id),
        facts.TimerSet(what=HEARTBEAT_TIMER, subject=framework.id, at_s=None),
    )
    if framework.failover_timeout_s <= 0:
        remove(out, framework, f"its stream ended ({reason}) and its failover timeout is 0")
        return
    await_return(out, framework.id, framework.failover_timeout_s)
    out.note(
        f"framework '{framework.name}' is disconnected ({reason}); it has {framework.failover_timeout_s:g} s to return",
        framework.id,
    )


def await_return(out: Outcome, framework_id: str, timeout_s: float) -> None:
    """Let the deadline of a framework run from now."""
    out.holds(
        facts.FrameworkAway(framework_id=framework_id, deadline_s=out.now.wall_s + timeout_s),
        facts.TimerSet(what=FAILOVER_TIMER, subject=framework_id, at_s=out.now.mono_s + timeout_s),
    )


def failover_timeout(out: Outcome, framework_id: str) -> None:
    framework = out.state.frameworks.get(framework_id)
    out.holds(facts.TimerSet(what=FAILOVER_TIMER, subject=framework_id, at_s=None))
    if framework is not None and not framework.connected:
        remove(out, framework, f"it did not return within its failover timeout of {framework.failover_timeout_s:g} s")


def remove(out: Outcome, framework: Framework, reason: str, *, to: str | None = None, status: int = 202) -> None:
    """A framework ends, with everything it has.  `to` gets its answer of `status` when all of it is gone."""
    out.holds(
        facts.TimerSet(what=HEARTBEAT_TIMER, subject=framework.id, at_s=None),
        facts.TimerSet(what=FAILOVER_TIMER, subject=framework.id, at_s=None),
    )
    endings.end_framework(out, framework, reason, to=to, status=status)


def revive(out: Outcome, framework: Framework, roles: tuple[str, ...]) -> None:
    """The framework wants offers again, and forgets what it declined.  One wrong role spoils the call."""
    wrong = sorted(set(roles) - set(framework.roles))
    if wrong:
        out.note(f"REVIVE is ignored: the framework does not have the roles {', '.join(wrong)}", framework.id)
        return
    out.holds(facts.RolesRevived(framework_id=framework.id, roles=roles or framework.roles))


def suppress(out: Outcome, framework: Framework, roles: tuple[str, ...]) -> None:
    wrong = sorted(set(roles) - set(framework.roles))
    if wrong:
        out.note(f"SUPPRESS is ignored: the framework does not have the roles {', '.join(wrong)}", framework.id)
        return
    out.holds(facts.RolesSuppressed(framework_id=framework.id, roles=roles or framework.roles))


def _agents_of(state: MasterState, framework: Framework) -> list[Agent]:
    """Connected agents that run something of a framework."""
    ids = {task.agent_id: None for task in framework.tasks.values()}
    ids.update({agent_id: None for agent_id, _ in framework.executors})
    agents = [state.agents[agent_id] for agent_id in ids if agent_id in state.agents]
    return [agent for agent in agents if agent.membership is Membership.CONNECTED]


# -- taking facts into the state


def apply_registered(state: MasterState, fact: facts.FrameworkRegistered) -> None:
    framework = state.frameworks.get(fact.framework_id)
    if framework is None:
        state.frameworks[fact.framework_id] = Framework(
            id=fact.framework_id,
            name=fact.name,
            presence=Presence.REGISTERED,
            failover_timeout_s=fact.failover_timeout_s,
            registered_s=fact.at_s,
        )
        state.next_framework += 1
        return
    framework.name = fact.name
    framework.failover_timeout_s = fact.failover_timeout_s
    framework.deadline_s = None


def apply_subscribed(state: MasterState, fact: facts.FrameworkSubscribed) -> None:
    framework = state.frameworks[fact.framework_id]
    if framework.stream is not None:
        state.by_stream.pop(framework.stream, None)
    if framework.presence is not Presence.REGISTERED or framework.registered_s < state.elected_s:
        framework.reregistered_s = fact.at.wall_s
    framework.presence = Presence.CONNECTED
    framework.stream = fact.stream
    framework.deadline_s = None
    state.by_stream[fact.stream] = framework.id
    _describe(state, framework, fact.info, fact.suppressed, fact.constraints, active=True)


def apply_brought(state: MasterState, fact: facts.FrameworkBrought) -> None:
    assert fact.info.id is not None, "an agent brought a framework without id"
    framework = state.frameworks[fact.info.id.value]
    framework.presence = Presence.RECOVERED
    _describe(state, framework, fact.info, (), None, active=False)


def apply_updated(state: MasterState, fact: facts.FrameworkUpdated) -> None:
    framework = state.frameworks[fact.framework_id]
    _describe(state, framework, fact.info, fact.suppressed, fact.constraints, active=framework.connected)


def _describe(
    state: MasterState,
    framework: Framework,
    info: mesos.FrameworkInfo,
    suppressed: tuple[str, ...],
    constraints: scheduler.OfferConstraints | None,
    *,
    active: bool,
) -> None:
    framework.info = info
    framework.name = info.name
    framework.roles = validation.framework_roles(info)
    framework.suppressed = frozenset(suppressed)
    framework.constraints = constraints
    framework.capabilities = frozenset(one.type for one in info.capabilities if one.type is not None)
    state.allocator.add_framework(
        framework.id,
        framework.roles,
        suppressed,
        active=active,
        gpus=mesos.FrameworkInfoCapabilityType.GPU_RESOURCES in framework.capabilities,
        minimums=infos.minimums(info),
    )


def apply_disconnected(state: MasterState, fact: facts.FrameworkDisconnected) -> None:
    framework = state.frameworks[fact.framework_id]
    if framework.stream is not None:
        state.by_stream.pop(framework.stream, None)
    framework.stream = None
    framework.presence = Presence.DISCONNECTED
    state.allocator.deactivate_framework(framework.id)
    state.untold.pop(framework.id, None)
    state.reconciling.pop(framework.id, None)


def apply_away(state: MasterState, fact: facts.FrameworkAway) -> None:
    state.frameworks[fact.framework_id].deadline_s = fact.deadline_s


def apply_suppressed(state: MasterState, fact: facts.RolesSuppressed) -> None:
    framework = state.frameworks[fact.framework_id]
    framework.suppressed |= frozenset(fact.roles)
    state.allocator.suppress(framework.id, fact.roles)


def apply_revived(state: MasterState, fact: facts.RolesRevived) -> None:
    framework = state.frameworks[fact.framework_id]
    framework.suppressed -= frozenset(fact.roles)
    state.allocator.revive(framework.id, fact.roles)
