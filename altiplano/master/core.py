"""The master's core: one event in, facts and effects out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from altiplano.engine.core import Decision, Fact, Wake
from altiplano.master import (
    agents,
    arrivals,
    draining,
    effects,
    endings,
    events,
    facts,
    frameworks,
    invariants,
    machines,
    maintenance,
    offers,
    operations,
    quotas,
    reconcile,
    snapshot,
    tasks,
    validation,
)
from altiplano.master.outcome import Outcome
from altiplano.master.state import Config, Framework, MasterState, Membership, Presence
from altiplano.model.time import Instant
from altiplano.wire.messages import master, scheduler

Type = scheduler.CallType

OPERATOR_TIMER: Final = "operator"


class Core:
    """Decides for a master.  `decide` changes nothing; `apply` alone does."""

    def __init__(self, config: Config) -> None:
        self.state = MasterState(config)

    # -- deciding

    def decide(self, event: events.AnyEvent, now: Instant) -> Decision:
        out = Outcome(self.state, now, event.cause)
        self._decide(out, event)
        allocator = self.state.allocator
        # Whether the facts free something shows only when they are applied; a run that finds nothing costs little.
        if out.facts and allocator.due_s is None and not isinstance(out.facts[-1], facts.AllocationBegan):
            out.holds(facts.AllocationDue(at_s=now.mono_s + offers.COALESCE_S))
        return out.decision()

    def _decide(self, out: Outcome, event: events.AnyEvent) -> None:
        match event:
            case events.FrameworkCalls():
                self._framework_calls(out, event)
            case events.AgentSays():
                agents.says(out, event.link, event.peer, event.message)
            case Wake():
                self._wake(out)
            case events.FrameworkSubscribes():
                frameworks.subscribe(out, event)
            case events.StreamClosed():
                self._stream_closed(out, event)
            case events.LinkClosed():
                agent_id = self.state.by_link.get(event.link)
                if agent_id is not None:
                    agents.disconnect(out, self.state.agents[agent_id], event.reason)
                elif event.link in self.state.arriving:
                    out.holds(facts.ArrivalOver(link=event.link))
            case events.OperatorCalls():
                _operator_calls(out, event)
            case events.OperatorSubscribes():
                _operator_subscribes(out, event)
            case events.Started():
                _started(out, event)
            case _:
                assert_never(event)

    def _framework_calls(self, out: Outcome, event: events.FrameworkCalls) -> None:
        """Checks in the order of Mesos, then the call.  What is wrong inside a valid call still gets 202."""
        call = event.call
        framework_id = call.framework_id.value if call.framework_id is not None else ""
        framework = self.state.framework(framework_id)
        refusal = _refusal(framework, event)
        if refusal is not None:
            out.reply(event.to, *refusal)
        elif framework is not None and event.call.type is Type.TEARDOWN:
            frameworks.remove(out, framework, "it asked for it (TEARDOWN)", to=event.to)
        elif framework is not None:
            status, body = _call(out, framework, call, more=event.more)
            out.reply(event.to, status, body)

    def _stream_closed(self, out: Outcome, event: events.StreamClosed) -> None:
        framework_id = self.state.by_stream.get(event.stream)
        if framework_id is not None:
            frameworks.disconnect(out, self.state.frameworks[framework_id], event.reason)
        elif event.stream in self.state.operators:
            out.holds(facts.OperatorLeft(stream=event.stream))

    def _wake(self, out: Outcome) -> None:
        # One timer at a time: a decision about two could contradict itself, since neither sees the other.
        timer = self.state.timers.first_due(out.now.mono_s)
        match timer:
            case None:
                reconcile.go_on(out)
                if self.state.emptied:
                    draining.go_on(out)
                    return
                # A framework that subscribes again is owed all it may have, and void offers hold a part of that.
                if endings.go_on(out):
                    return
                if self.state.arriving and not (self.state.parting or self.state.ending):
                    arrivals.go_on(out)
                offers.allocate(out)
            case (frameworks.HEARTBEAT_TIMER, subject):
                frameworks.heartbeat(out, subject)
            case (frameworks.FAILOVER_TIMER, subject):
                frameworks.failover_timeout(out, subject)
            case (arrivals.PING_TIMER, subject):
                agents.ping(out, subject)
            case (arrivals.REREGISTER_TIMER, subject):
                agents.did_not_return(out, subject)
            case ("operator", subject):
                _operator_heartbeat(out, subject)
            case (machines.TIMER, _):
                maintenance.sweep(out)
            case (offers.OFFER_TIMER, subject):
                offers.timed_out(out, subject)
            case (offers.REVIEW_TIMER, _):
                offers.review(out)
            case _:
                raise AssertionError(f"a timer for {timer}")

    # -- the state

    def apply(self, fact: Fact) -> None:
        state = self.state
        match fact:
            case facts.TaskUpdated():
                tasks.apply_updated(state, fact)
            case facts.TaskAdded():
                tasks.apply_added(state, fact)
            case facts.TaskCompleted():
                tasks.apply_completed(state, fact)
            case facts.OfferMade():
                offers.apply_made(state, fact)
            case facts.OfferEnded():
                offers.apply_ended(state, fact)
            case facts.OfferKept():
                offers.apply_kept(state, fact)
            case facts.ReconciliationLeft():
                reconcile.apply_left(state, fact)
            case facts.Declined():
                offers.apply_declined(state, fact)
            case facts.TimerSet():
                state.timers.set(fact.what, fact.subject, fact.at_s)
            case facts.AllocationDue():
                state.allocator.due_s = fact.at_s if state.allocator.wants_run else None
            case facts.AllocationBegan():
                offers.apply_began(state, fact)
            case facts.AgentsReviewed():
                state.allocator.review(fact.count)
            case facts.AgentsVisited():
                state.allocator.visited(fact.agent_ids, fact.withheld)
            case facts.TurnKept():
                offers.apply_turn_kept(state, fact)
            case facts.OffersTold():
                offers.apply_told(state, fact)
            case facts.UnreachableEnded():
                tasks.apply_unreachable_ended(state, fact)
            case facts.KillAsked():
                tasks.apply_kill_asked(state, fact)
            case facts.ExecutorAdded():
                tasks.apply_executor_added(state, fact)
            case facts.ExecutorRemoved():
                tasks.apply_executor_removed(state, fact)
            case facts.RolesRevived():
                frameworks.apply_revived(state, fact)
            case facts.RolesSuppressed():
                frameworks.apply_suppressed(state, fact)
            case facts.AgentPinged():
                agents.apply_pinged(state, fact)
            case facts.AgentAnswered():
                agents.apply_answered(state, fact)
            case _:
                self._apply_rarer(fact)

    def _apply_rarer(self, fact: Fact) -> None:
        state = self.state
        match fact:
            case facts.FrameworkRegistered():
                frameworks.apply_registered(state, fact)
            case facts.FrameworkSubscribed():
                frameworks.apply_subscribed(state, fact)
            case facts.FrameworkBrought():
                frameworks.apply_brought(state, fact)
            case facts.FrameworkUpdated():
                frameworks.apply_updated(state, fact)
            case facts.FrameworkDisconnected():
                frameworks.apply_disconnected(state, fact)
            case facts.FrameworkAway():
                frameworks.apply_away(state, fact)
            case facts.FrameworkEnding():
                endings.apply_ending(state, fact)
            case facts.FrameworkRemoved():
                endings.apply_removed(state, fact)
            case facts.FrameworkEnded():
                endings.apply_ended(state, fact)
            case facts.HelloHeard():
                arrivals.apply_heard(state, fact)
            case facts.ReportsRead():
                arrivals.apply_read(state, fact)
            case facts.ArrivalBegan():
                arrivals.apply_began(state, fact)
            case facts.ReportsTaken():
                arrivals.apply_taken(state, fact)
            case facts.ArrivalOver():
                arrivals.apply_over(state, fact)
            case facts.AgentParts():
                endings.apply_parts(state, fact)
            case facts.AgentParted():
                endings.apply_parted(state, fact)
            case facts.RemembranceLeft():
                endings.apply_remembrance_left(state, fact)
            case facts.OffersWithdrawn():
                endings.apply_withdrawn(state, fact)
            case facts.WithdrawnEnded():
                endings.apply_withdrawn_ended(state, fact)
            case facts.HoldingsEnded():
                endings.apply_holdings_ended(state, fact)
            case facts.AgentAdmitted():
                agents.apply_admitted(state, fact)
            case facts.AgentConnected():
                agents.apply_connected(state, fact)
            case facts.AgentDisconnected():
                agents.apply_disconnected(state, fact)
            case facts.AgentUnreachable():
                agents.apply_unreachable(state, fact)
            case facts.AgentGone():
                agents.apply_gone(state, fact)
            case facts.AgentRemoved():
                agents.apply_removed(state, fact)
            case facts.OrdersGiven():
                draining.apply_given(state, fact)
            case facts.MaintenancePlanned():
                maintenance.apply_planned(state, fact)
            case facts.AgentsSwept():
                maintenance.apply_swept(state, fact)
            case facts.InverseMade():
                maintenance.apply_made(state, fact)
            case facts.InverseAnswered():
                maintenance.apply_answered(state, fact)
            case facts.InverseEnded():
                maintenance.apply_ended(state, fact)
            case facts.EmptinessSeen():
                draining.apply_seen(state, fact)
            case facts.OperatorSubscribed():
                state.operators[fact.stream] = None
            case facts.OperatorLeft():
                state.operators.pop(fact.stream, None)
            case facts.EpochBegan():
                _apply_epoch(state, fact)
            case facts.WeightsSet():
                _apply_weights(state, fact)
            case facts.QuotasSet():
                quotas.apply_set(state, fact)
            case _:
                raise AssertionError(f"a fact of type {type(fact).__name__}")

    def wake_at(self) -> float | None:
        allocator = self.state.allocator
        state = self.state
        if allocator.running or state.reconciling or state.withdrawing or state.emptied or state.slices_wait:
            return 0.0
        times = (self.state.timers.next_s(), allocator.due_s, allocator.beat_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    def summary(self) -> Iterable[Fact]:
        state = self.state
        yield facts.EpochBegan(epoch=state.epoch, master_id=state.master_id, at_s=state.elected_s)
        yield facts.WeightsSet(weights=tuple(state.weights.items()))
        yield quotas.summary(state)
        yield facts.MaintenancePlanned(plan=state.plan)
        for agent in state.agents.values():
            if agent.membership is Membership.LEAVING:
                continue
            yield facts.AgentAdmitted(agent_id=agent.id, info=agent.info, at_s=agent.registered_s)
        for agent_id, since_s in state.unreachable.items():
            yield facts.AgentUnreachable(agent_id=agent_id, since_s=since_s)
        for agent_id, at_s in state.gone.items():
            yield facts.AgentGone(agent_id=agent_id, at_s=at_s)
        for agent_id, orders in state.orders.items():
            yield facts.OrdersGiven(agent_id=agent_id, orders=orders)
        for framework in state.frameworks.values():
            yield facts.FrameworkRegistered(
                framework_id=framework.id,
                name=framework.name,
                failover_timeout_s=framework.failover_timeout_s,
                at_s=framework.registered_s,
            )
            if framework.presence is Presence.ENDING:
                yield facts.FrameworkRemoved(framework_id=framework.id, at_s=framework.unregistered_s or 0.0)
            elif framework.deadline_s is not None:
                yield facts.FrameworkAway(framework_id=framework.id, deadline_s=framework.deadline_s)
        for framework in state.completed.values():
            yield facts.FrameworkRemoved(framework_id=framework.id, at_s=framework.unregistered_s or 0.0)

    @property
    def weight(self) -> int:
        """Records that are kept, about: what it takes to write all of them down."""
        state = self.state
        return (
            len(state.agents)
            + len(state.offers)
            + len(state.unreachable)
            + sum(len(one.message.tasks) for one in state.arriving.values())
            + sum(len(one.tasks) + len(one.completed) + len(one.unreachable) for one in state.frameworks.values())
            + sum(len(one.completed) for one in state.completed.values())
        )

    def check(self) -> None:
        invariants.check(self.state)


def _refusal(framework: Framework | None, event: events.FrameworkCalls) -> tuple[int, str] | None:
    if framework is None:
        return 400, "Framework cannot be found"
    if framework.info is not None and event.principal is not None and framework.info.principal != event.principal:
        return 400, f"Authenticated principal '{event.principal}' does not match principal of the framework"
    if not framework.connected:
        return 403, "Framework is not subscribed"
    if event.stream is None:
        return 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"
    if event.stream != framework.stream:
        return 400, "The stream ID included in this request didn't match the stream ID currently associated with it"
    return None


def _call(out: Outcome, framework: Framework, call: scheduler.Call, *, more: bool) -> tuple[int, str]:
    """Carry out a call or a part of one; status and body of the answer."""
    match call.type:
        case Type.ACKNOWLEDGE if call.acknowledge is not None:
            tasks.acknowledge(out, framework, call.acknowledge)
        case Type.ACCEPT if call.accept is not None:
            operations.accept(out, framework, call.accept, more=more)
        case Type.DECLINE if call.decline is not None:
            offers.decline(out, framework, call.decline)
        case Type.REVIVE:
            frameworks.revive(out, framework, call.revive.roles if call.revive is not None else ())
        case Type.SUPPRESS:
            frameworks.suppress(out, framework, call.suppress.roles if call.suppress is not None else ())
        case Type.KILL if call.kill is not None:
            tasks.kill(out, framework, call.kill)
        case Type.SHUTDOWN if call.shutdown is not None:
            tasks.shutdown_executor(out, framework, call.shutdown)
        case Type.MESSAGE if call.message is not None:
            tasks.framework_said(out, framework, call.message)
        case Type.RECONCILE if call.reconcile is not None:
            asked = [(one.task_id.value, one.agent_id.value if one.agent_id else None) for one in call.reconcile.tasks]
            if asked:
                reconcile.explicit(out, framework, asked)
            else:
                reconcile.implicit(out, framework)
        case Type.UPDATE_FRAMEWORK if call.update_framework is not None:
            return frameworks.update(out, framework, call.update_framework)
        case Type.ACCEPT_INVERSE_OFFERS if call.accept_inverse_offers is not None:
            maintenance.answered(out, framework, call.accept_inverse_offers)
        case Type.DECLINE_INVERSE_OFFERS if call.decline_inverse_offers is not None:
            maintenance.answered(out, framework, call.decline_inverse_offers)
        case Type.REQUEST | Type.ACKNOWLEDGE_OPERATION_STATUS | Type.RECONCILE_OPERATIONS:
            # REQUEST has never had a consequence; the others answer what this master does not send.
            out.note(f"{call.type.value} was received and has no consequence", framework.id)
        case _:
            return 501, f"A call of type {call.type.value if call.type else 'none'} is not known"
    return 202, ""


def _operator_calls(out: Outcome, event: events.OperatorCalls) -> None:
    call = event.call
    match call.type:
        case master.CallType.TEARDOWN if call.teardown is not None:
            framework_id = call.teardown.framework_id.value
            framework = out.state.frameworks.get(framework_id)
            if framework is None or out.state.is_over(framework_id):
                out.reply(event.to, 400, "No framework found with specified ID")
                return
            frameworks.remove(out, framework, "an operator asked for it", to=event.to, status=200)
        case master.CallType.MARK_AGENT_GONE if call.mark_agent_gone is not None:
            agents.mark_gone(out, call.mark_agent_gone.agent_id.value, event.to)
        case master.CallType.UPDATE_WEIGHTS if call.update_weights is not None:
            problem = validation.weights_problem(out.state.config, out.state.weights, call.update_weights.weight_infos)
            if problem is not None:
                out.reply(event.to, 400, problem)
                return
            weights = tuple((info.role or "", info.weight) for info in call.update_weights.weight_infos)
            out.holds(facts.WeightsSet(weights=weights))
            out.note("an operator set weights: " + ", ".join(f"{role} {weight:g}" for role, weight in weights))
            out.reply(event.to, 200)
        case master.CallType.DRAIN_AGENT if call.drain_agent is not None:
            out.reply(event.to, *draining.drain(out, call.drain_agent))
        case master.CallType.DEACTIVATE_AGENT if call.deactivate_agent is not None:
            out.reply(event.to, *draining.deactivate(out, call.deactivate_agent.agent_id.value))
        case master.CallType.REACTIVATE_AGENT if call.reactivate_agent is not None:
            out.reply(event.to, *draining.reactivate(out, call.reactivate_agent.agent_id.value))
        case master.CallType.UPDATE_MAINTENANCE_SCHEDULE if call.update_maintenance_schedule is not None:
            out.reply(event.to, *maintenance.update(out, call.update_maintenance_schedule.schedule))
        case master.CallType.START_MAINTENANCE if call.start_maintenance is not None:
            out.reply(event.to, *maintenance.start(out, call.start_maintenance.machines))
        case master.CallType.STOP_MAINTENANCE if call.stop_maintenance is not None:
            out.reply(event.to, *maintenance.stop(out, call.stop_maintenance.machines))
        case master.CallType.UPDATE_QUOTA if call.update_quota is not None:
            out.reply(event.to, *quotas.update(out, call.update_quota))
        case master.CallType.SET_QUOTA if call.set_quota is not None:
            out.reply(event.to, *quotas.set_one(out, call.set_quota.quota_request))
        case master.CallType.REMOVE_QUOTA if call.remove_quota is not None:
            out.reply(event.to, *quotas.remove(out, call.remove_quota.role))
        case _:
            out.reply(event.to, 501, f"{call.type.value if call.type else 'a call without type'} is not built yet")


def _operator_subscribes(out: Outcome, event: events.OperatorSubscribes) -> None:
    """Operators are told what happens from here on; one stream too many ends the oldest."""
    operators = out.state.operators
    if len(operators) >= out.state.config.operator_streams_max:
        oldest = next(iter(operators))
        out.holds(facts.OperatorLeft(stream=oldest))
        out.do(effects.CloseStream(stream=oldest))
    at_s = out.now.mono_s + frameworks.HEARTBEAT_S
    out.holds(
        facts.OperatorSubscribed(stream=event.stream),
        facts.TimerSet(what=OPERATOR_TIMER, subject=event.stream, at_s=at_s),
    )
    out.do(effects.Show(stream=event.stream, shot=snapshot.take(out.state), heartbeat_s=frameworks.HEARTBEAT_S))


def _operator_heartbeat(out: Outcome, stream: str) -> None:
    next_s = None
    if stream in out.state.operators:
        out.do(effects.Publish(event=master.Event(type=master.EventType.HEARTBEAT), stream=stream))
        next_s = out.now.mono_s + frameworks.HEARTBEAT_S
    out.holds(facts.TimerSet(what=OPERATOR_TIMER, subject=stream, at_s=next_s))


def _started(out: Outcome, event: events.Started) -> None:
    """Deadlines that ran before the restart run on; those that did not run begin."""
    state, now = out.state, out.now
    out.holds(facts.EpochBegan(epoch=event.epoch, master_id=event.master_id, at_s=now.wall_s))
    for framework in state.frameworks.values():
        if framework.presence is not Presence.REGISTERED:
            continue
        timeout_s = max(framework.failover_timeout_s, frameworks.RETURN_S_MIN)
        if framework.deadline_s is None:
            frameworks.await_return(out, framework.id, timeout_s)
        else:
            at_s = now.mono_of(framework.deadline_s, within_s=timeout_s)
            out.holds(facts.TimerSet(what=frameworks.FAILOVER_TIMER, subject=framework.id, at_s=at_s))
    at_s = now.mono_s + state.config.reregister_timeout_s
    for agent in state.agents.values():
        if agent.membership is Membership.AWAITED:
            out.holds(facts.TimerSet(what=arrivals.REREGISTER_TIMER, subject=agent.id, at_s=at_s))
    out.holds(facts.TimerSet(what=offers.REVIEW_TIMER, subject="", at_s=now.mono_s + offers.REVIEW_S))
    out.note(
        f"master {event.master_id} is in office, epoch {event.epoch}: it knows {len(state.agents)} agents and "
        f"{len(state.frameworks)} frameworks from its registry",
        event.master_id,
    )


def _apply_epoch(state: MasterState, fact: facts.EpochBegan) -> None:
    state.epoch = fact.epoch
    state.master_id = fact.master_id
    state.started_s = state.elected_s = fact.at_s
    # Ids begin with the master's, which is new, so counting starts again.
    state.next_framework = state.next_agent = state.next_offer = 0


def _apply_weights(state: MasterState, fact: facts.WeightsSet) -> None:
    for role, weight in fact.weights:
        state.weights[role] = weight
        state.allocator.shares.set_weight(role, weight)
