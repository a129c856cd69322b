"""Decides what a flow does: which rules run where, which run again, when it is over.

The one thing to know before changing it: `decide` sees the state as it was before its own facts.
What a decision has made so is kept in its `Draft` (draft.py), and everything that depends on
several changes at once – is the run over, are offers wanted – is settled there at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from altiplano.engine.core import Decision, Fact, Wake
from altiplano.frameworks.flows import effects, events, facts, resume, wrapper
from altiplano.frameworks.flows.draft import Draft
from altiplano.frameworks.flows.effects import What
from altiplano.frameworks.flows.graph import NEST, Graph, RuleKey
from altiplano.frameworks.flows.placement import LAUNCHES_MAX, Amount, Placed, place, shortage
from altiplano.frameworks.flows.progress import ENDS, RuleState, Stamp
from altiplano.frameworks.flows.state import ON_AGENTS, FlowState, cores_here
from altiplano.frameworks.flows.workflow import Kind
from altiplano.model.tasks import State
from altiplano.model.time import Instant

RETRIES_DEFAULT = 5
LOSSES_MAX = 100
"""Tasks of one rule that may be lost through no fault of its own before it is given up."""

DECLINE_S = 3_600.0
"""How long a declined offer stays away, unless more becomes free there or a rule becomes ready."""

CAPACITY_CHECK_S = 3.0
"""A rule that has waited this long for an agent is compared with all agents of the pool."""

CAPACITY_AGAIN_S = 30.0
"""Time between such comparisons."""

BLIND_S = 60.0
"""Where the master does not list its agents: waiting this long with nothing running, a rule that is
larger than anything ever offered is given up."""

ABORT_S_MAX = 15.0
"""Tasks that have not ended this long after an interruption are left to the master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run differs from the ordinary one."""

    retries: int = RETRIES_DEFAULT
    local_cores_milli: int = 1000
    """What LOCAL rules may use at one time of the manager's machine."""
    jobs_max: int | None = None
    """Rules on agents at one time; None for as many as the pool takes."""
    empty_fails: bool = False
    """An empty output counts as missing."""
    file_check: bool = True
    """A resumed run looks whether files of finished rules are still as they were."""
    rerun_changed: bool = False
    """A resumed run makes again what was made by another command or from other sources."""


class FlowCore:
    """The core of one run of one workflow."""

    def __init__(self, graph: Graph, options: Options | None = None) -> None:
        self.options = options or Options()
        self.state = FlowState(graph)

    def apply(self, fact: Fact) -> None:
        self.state.apply(fact)

    def check(self) -> None:
        self.state.check()

    def summary(self) -> Iterable[Fact]:
        return self.state.summary()

    def wake_at(self) -> float | None:
        state = self.state
        if not state.opened or state.exit_code is not None:
            return None
        times = [state.next_deadline(), self._capacity_at()]
        if state.abort is not None:
            times = [state.abort.deadline_mono_s]
        return min((at for at in times if at is not None), default=None)

    def decide(self, event: events.FlowEvent, now: Instant) -> Decision:
        draft = Draft(self.state, now, event.cause, self.options.jobs_max)
        match event:
            case events.Opened():
                self._opened(event, draft)
            case events.EndpointOpened():
                draft.say(facts.EndpointKnown(port=event.port, secret=event.secret))
            case events.Connected():
                if event.framework_id != self.state.framework_id:
                    draft.say(facts.FrameworkKnown(framework_id=event.framework_id))
            case events.OffersArrived():
                self._offers(event, draft)
            case events.AgentsListed():
                self._agents(event, draft)
            case events.TaskChanged():
                self._task(event, draft)
            case events.Prepared():
                self._prepared(event.key, draft)
            case events.PreparationFailed():
                if self._is(event.key, RuleState.PREPARING):
                    draft.fail(event.key, event.sentence)
            case events.NestedOpened():
                self._nested(event, draft)
            case events.OutputsChecked():
                self._checked(event, draft)
            case events.LocalEnded():
                self._local_ended(event, draft)
            case events.StderrRead():
                progress = self.state.progress[event.key]
                if event.text and progress.tries == event.tries:
                    draft.say(facts.StderrKept(key=event.key, text=event.text))
            case events.Interrupted():
                self._interrupted(event, draft)
            case Wake():
                self._wake(draft)
            case _:
                assert_never(event)
        return draft.decision()

    def _is(self, key: RuleKey, *states: RuleState) -> bool:
        progress = self.state.progress.get(key)
        return progress is not None and progress.state in states

    # The beginning.

    def _opened(self, event: events.Opened, draft: Draft) -> None:
        state = self.state
        if state.run_id:
            draft.say(facts.RunResumed(wall_s=draft.now.wall_s))
        else:
            draft.say(facts.RunBegan(run_id=event.run_id, file=state.file, wall_s=draft.now.wall_s))
        draft.open()
        graph = Graph(file=state.file, nodes=state.nodes)
        started = self._go_on(graph, dict(event.stamps), draft)
        # Tasks of nested workflows are known again once their rule has been opened; if it is not going to be, never.
        for key in list(state.homeless()):
            top = next((above for above in _above(key) if above in state.nodes), None)
            if top is None or top not in started:
                draft.reset(key, "the rule it was nested in begins anew")

    def _go_on(self, graph: Graph, stamps: dict[str, Stamp | None], draft: Draft) -> set[RuleKey]:
        """Set the rules of a graph to where the log and the files say they are, and start what can be started.

        The rules that are being prepared now.
        """
        progress = {key: draft.progress(key) for key in graph.nodes}
        again = resume.resets(
            graph.nodes,
            progress,
            stamps,
            file_check=self.options.file_check,
            rerun_changed=self.options.rerun_changed,
        )
        for key, why in again.items():
            draft.reset(key, why)
        done = {key for key in graph.nodes if progress[key].state is RuleState.DONE and key not in again}
        started = set()
        for key, node in graph.nodes.items():
            if key in done:
                draft.do(effects.Report(what=What.KEPT, key=key))
            elif key in again or progress[key].state is RuleState.WAITING:
                if node.needs <= done:
                    draft.prepare(key, node)
                    started.add(key)
            elif progress[key].state is RuleState.CHECKING:
                draft.do(effects.CheckOutputs(key=key, tries=progress[key].tries, cause=draft.cause))
        return started

    def _nested(self, event: events.NestedOpened, draft: Draft) -> None:
        if not self._is(event.key, RuleState.PREPARING):
            return
        draft.expand(event.key, event.graph)
        self._go_on(event.graph, dict(event.stamps), draft)
        draft.settle_parent(event.key)

    def _prepared(self, key: RuleKey, draft: Draft) -> None:
        if not self._is(key, RuleState.PREPARING):
            return
        node = self.state.nodes[key]
        if node.rule.kind is not Kind.LOCAL:
            draft.ready(key)
            return
        cores = cores_here(node)
        if cores > self.options.local_cores_milli:
            here = self.options.local_cores_milli / 1000
            draft.fail(key, f"needs {cores / 1000:g} cores next to the manager, which has {here:g} for LOCAL rules")
            return
        draft.ready(key)
        if self.state.local_used_milli + cores <= self.options.local_cores_milli:
            draft.start_here(key)

    # Agents.

    def _offers(self, event: events.OffersArrived, draft: Draft) -> None:
        for offer in event.offers:
            draft.say(facts.AgentSeen(agent_id=offer.agent_id, hostname=offer.hostname, free=offer.free))
        limit = self._launches_max()
        placed = [] if self.state.abort else place(self.state.ready, event.offers, limit=limit)
        # More may fit on what this batch must leave: it is to come back at once.
        refuse_s = 0.0 if len(placed) == LAUNCHES_MAX else DECLINE_S
        by_offer: dict[str, list[Placed]] = {}
        for one in placed:
            by_offer.setdefault(one.offer.offer_id, []).append(one)
        for ones in by_offer.values():
            draft.launch(ones, refuse_s=refuse_s)
        unused = tuple(offer.offer_id for offer in event.offers if offer.offer_id not in by_offer)
        if unused:
            draft.do(effects.Decline(offer_ids=unused, refuse_s=refuse_s))
        draft.held_back = refuse_s > 0

    def _launches_max(self) -> int:
        if self.options.jobs_max is None:
            return LAUNCHES_MAX
        return min(LAUNCHES_MAX, max(0, self.options.jobs_max - len(self.state.by_task)))

    def _task(self, event: events.TaskChanged, draft: Draft) -> None:
        key = self.state.by_task.get(event.task_id)
        if event.update_id:
            draft.do(effects.Acknowledge(update_id=event.update_id))
        if key is None or key not in self.state.nodes:
            if not event.state.ended and event.state is not State.UNKNOWN:
                # A task of a try that was given up: it must not write beside the one that took its place.
                draft.do(effects.KillTask(task_id=event.task_id, agent_id=event.agent_id))
            return
        progress = self.state.progress[key]
        match event.state:
            case State.RUNNING:
                if progress.state is RuleState.LAUNCHED:
                    self._running(key, draft)
            case State.STAGING | State.STARTING | State.KILLING:
                pass
            case State.FINISHED if not self.state.abort:
                draft.check_outputs(key)
            case _ if self.state.abort:
                draft.abort(key)
            case State.FAILED if not event.began and event.task_id in self.state.taken_up:
                # Its inputs were asked for while nobody was there to serve them: the rule is not to blame.
                self._try_lost(key, event, draft)
            case State.FAILED | State.ERROR:
                draft.do(
                    effects.ReadStderr(key=key, tries=progress.tries, task_id=event.task_id, agent_id=progress.agent_id)
                )
                self._try_failed(key, _why_failed(event), draft)
            case State.KILLED if progress.overdue:
                limit = self.state.nodes[key].rule.needs.wall_time_s
                self._try_failed(key, f"it ran longer than its wall time of {limit} s", draft)
            case _:
                self._try_lost(key, event, draft)

    def _running(self, key: RuleKey, draft: Draft) -> None:
        limit = self.state.nodes[key].rule.needs.wall_time_s
        started = self.state.progress[key].started_wall_s
        deadline = None if limit is None else draft.now.mono_of(started + limit)
        draft.say(facts.RuleRunning(key=key, deadline_mono_s=deadline))

    def _try_failed(self, key: RuleKey, why: str, draft: Draft) -> None:
        """Count a try that was the rule's own fault."""
        draft.do(effects.SetAside(key=key))
        if self.state.progress[key].failures >= self.options.retries:
            tries = self.state.progress[key].failures + 1
            draft.fail(key, f"{why} (after {tries} {'try' if tries == 1 else 'tries'})")
        else:
            draft.retry(key, why, counted=True)

    def _try_lost(self, key: RuleKey, event: events.TaskChanged, draft: Draft) -> None:
        progress = self.state.progress[key]
        where = progress.hostname or progress.agent_id
        why = f"its task on {where} ended as {event.state.name}" + (f": {event.sentence}" if event.sentence else "")
        if event.state is State.UNREACHABLE and progress.agent_id:
            draft.do(effects.KillTask(task_id=event.task_id, agent_id=progress.agent_id))
        if progress.losses >= LOSSES_MAX:
            draft.fail(key, f"{why} ({LOSSES_MAX} tasks lost, more than a pool in order loses)")
        else:
            draft.retry(key, why, counted=False)

    # Outputs, LOCAL rules.

    def _checked(self, event: events.OutputsChecked, draft: Draft) -> None:
        progress = self.state.progress[event.key]
        if progress.state is not RuleState.CHECKING or progress.tries != event.tries:
            return
        node = self.state.nodes[event.key]
        why = None
        if event.missing:
            why = f"it ended well and did not make {_names(event.missing)}"
        elif event.empty and self.options.empty_fails:
            why = f"it ended well and left {_names(event.empty)} empty"
        if why is None:
            outputs, inputs = ({use.local for use in uses} for uses in (node.rule.outputs, node.rule.inputs))
            draft.done(
                event.key,
                outputs={name: stamp for name, stamp in event.stamps.items() if name in outputs},
                inputs={name: stamp for name, stamp in event.stamps.items() if name in inputs},
                command_hash=resume.command_hash(node.rule.command),
            )
        elif node.rule.kind is Kind.NESTED:
            # Its rules have all ended well; running them again would make nothing else.
            draft.fail(event.key, why)
        else:
            self._try_failed(event.key, why, draft)

    def _local_ended(self, event: events.LocalEnded, draft: Draft) -> None:
        progress = self.state.progress[event.key]
        if progress.state is RuleState.RUNNING and progress.tries == event.tries:
            if self.state.abort:
                draft.abort(event.key)
            elif event.exit_status == 0:
                draft.check_outputs(event.key)
            else:
                if event.stderr_tail:
                    draft.say(facts.StderrKept(key=event.key, text=event.stderr_tail))
                self._try_failed(event.key, _status_sentence(event.exit_status), draft)
        self._start_waiting_here(event.key, draft)

    def _start_waiting_here(self, ended: RuleKey, draft: Draft) -> None:
        state = self.state
        if state.abort:
            return
        used = state.local_used_milli
        if self._is(ended, RuleState.RUNNING):
            used -= cores_here(state.nodes[ended])
        for key in list(state.ready_here):
            cores = cores_here(state.nodes[key])
            if used + cores <= self.options.local_cores_milli:
                used += cores
                draft.start_here(key)

    # Time.

    def _wake(self, draft: Draft) -> None:
        state, now = self.state, draft.now
        if state.exit_code is not None or not state.opened:
            return
        if state.abort is not None:
            if now.mono_s >= state.abort.deadline_mono_s:
                for key in state.nodes:
                    if state.progress[key].state not in ENDS:
                        draft.abort(key)
            return
        for key in state.overdue(now.mono_s):
            progress = state.progress[key]
            draft.say(facts.RuleOverdue(key=key))
            draft.do(effects.KillTask(task_id=progress.task_id, agent_id=progress.agent_id))
        capacity_at = self._capacity_at()
        if capacity_at is not None and capacity_at <= now.mono_s:
            draft.say(facts.AgentsAsked(mono_s=now.mono_s))
            draft.do(effects.ListAgents())

    def _capacity_at(self) -> float | None:
        """When the rules that wait for an agent shall be compared with the agents that there are."""
        oldest = self.state.oldest_ready()
        if oldest is None or self.state.abort is not None:
            return None
        asked = self.state.asked_mono_s
        at = oldest + CAPACITY_CHECK_S
        return at if asked is None else max(at, asked + CAPACITY_AGAIN_S)

    def _agents(self, event: events.AgentsListed, draft: Draft) -> None:
        draft.say(facts.AgentsKnown(agents=event.agents, mono_s=draft.now.mono_s))
        if self.state.abort is not None:
            return
        machines, word = self._largest_machines(event, draft.now)
        for amount, keys in self.state.ready.items():
            why = shortage(amount, machines, best="the largest agent", word=word) if machines else None
            for key in list(keys) if why else ():
                draft.fail(key, f"no agent can hold it: it {why}")

    def _largest_machines(self, event: events.AgentsListed, now: Instant) -> tuple[list[Amount], str]:
        """The machines that a waiting rule has to fit on; none if that is not known."""
        if event.agents is not None:
            return [agent.total for agent in event.agents], "in all"
        oldest = self.state.oldest_ready()
        running = sum(self.state.counts[state] for state in ON_AGENTS)
        if oldest is None or running or now.mono_s - oldest < BLIND_S:
            return [], ""
        return [view.largest for view in self.state.agents.values()], "ever free"

    # The end.

    def _interrupted(self, event: events.Interrupted, draft: Draft) -> None:
        state = self.state
        if state.abort is not None or state.exit_code is not None:
            return
        deadline = draft.now.mono_s + ABORT_S_MAX
        draft.say(facts.AbortBegan(sentence=event.sentence, deadline_mono_s=deadline))
        draft.aborting = True
        for key, node in state.nodes.items():
            progress = state.progress[key]
            if progress.state in ENDS:
                continue
            if progress.state not in ON_AGENTS:
                draft.abort(key)
            elif node.rule.kind is Kind.LOCAL:
                draft.do(effects.KillHere(key=key))
            else:
                draft.do(effects.KillTask(task_id=progress.task_id, agent_id=progress.agent_id))


def _above(key: RuleKey) -> Iterable[RuleKey]:
    """The rules that a nested rule lies in, innermost first."""
    parts = key.split(NEST)
    for length in range(len(parts) - 1, 0, -1):
        yield RuleKey(NEST.join(parts[:length]))


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_OF_WRAPPER: Mapping[int, str] = {
    wrapper.STATUS_MISSING: "an output was not made",
    wrapper.STATUS_EMPTY: "an output was left empty",
    wrapper.STATUS_TRANSFER: "an output could not be sent home",
    wrapper.STATUS_INPUT: "an input could not be put in its place",
}


def _why_failed(event: events.TaskChanged) -> str:
    if event.exit_status:
        sentence = _status_sentence(event.exit_status)
        if event.exit_status in _OF_WRAPPER:
            # A command may end so by itself; then its own stderr, which follows, says nothing of altiplano-flow.
            sentence += f", by which the script around it says: {_OF_WRAPPER[event.exit_status]}"
        return f"{sentence}: {event.sentence}" if "altiplano-flow:" in event.sentence else sentence
    return event.sentence or f"its task ended as {event.state.name}"


def _status_sentence(status: int) -> str:
    if status < 0:
        return f"its command was ended by signal {-status}"
    if status > 128:
        return f"its command ended with status {status} (signal {status - 128}, if a shell says so)"
    return f"its command ended with status {status}"
