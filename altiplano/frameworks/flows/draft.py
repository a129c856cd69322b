"""One decision in the making: what follows when a rule ends, and what follows from that.

A rule that ends makes others startable, or bars them; the last rule of a nested workflow ends the
rule that brought it; the last rule of all ends the run.  All of it is one decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from altiplano.engine.core import Decision, Effect, Fact
from altiplano.frameworks.flows import effects, facts
from altiplano.frameworks.flows.effects import What
from altiplano.frameworks.flows.graph import Graph, Node, RuleKey
from altiplano.frameworks.flows.placement import Placed
from altiplano.frameworks.flows.progress import ENDS, Progress, RuleState, Stamp
from altiplano.frameworks.flows.state import FlowState
from altiplano.frameworks.flows.workflow import Kind
from altiplano.model.time import Instant

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class Draft:
    def __init__(self, state: FlowState, now: Instant, cause: str, jobs_max: int | None = None) -> None:
        self.state = state
        self.now = now
        self.cause = cause
        self.held_back = False
        """Offers were declined or used in part, so some are kept from us."""
        self.aborting = state.abort is not None
        self._jobs_max = jobs_max
        self._off_agents: set[str] = set()
        """Tasks whose rule is on an agent no more."""
        self._facts: list[Fact] = []
        self._effects: list[Effect] = []
        self._ended: dict[RuleKey, RuleState] = {}
        self._fresh: dict[RuleKey, None] = {}
        """Rules reset here: whatever the state says of them, they wait."""
        self._graphs: list[Graph] = []
        self._nodes: dict[RuleKey, Node] = {}
        self._opening = False
        self._launches = 0
        self._ready_more = 0
        self._ready_less = 0

    def say(self, fact: Fact) -> None:
        self._facts.append(fact)

    def do(self, effect: Effect) -> None:
        self._effects.append(effect)

    def node(self, key: RuleKey) -> Node:
        return self._nodes.get(key) or self.state.nodes[key]

    def progress(self, key: RuleKey) -> Progress:
        return self.state.progress.get(key) or Progress()

    # Beginnings.

    def open(self) -> None:
        """The run begins, or goes on after a restart."""
        self.say(facts.RunOpened())
        self._opening = True

    def reset(self, key: RuleKey, why: str) -> None:
        self._fresh[key] = None
        self._leave_agent(key)
        self.say(facts.RuleReset(key=key, why=why))
        self.do(effects.Report(what=What.RESET, key=key, sentence=why))

    def prepare(self, key: RuleKey, node: Node) -> None:
        """All it needs is made: let it be made ready."""
        self.say(facts.RulePreparing(key=key))
        if node.rule.kind is Kind.NESTED:
            self.do(effects.OpenNested(key=key, cause=self.cause))
        else:
            self.do(effects.Prepare(key=key, cause=self.cause))

    def expand(self, key: RuleKey, graph: Graph) -> None:
        """Let the rules of a nested workflow take part."""
        self.say(facts.RuleExpanded(key=key, graph=graph))
        self._graphs.append(graph)
        self._nodes.update(graph.nodes)

    def ready(self, key: RuleKey) -> None:
        self.say(facts.RuleReady(key=key, mono_s=self.now.mono_s))
        if self.node(key).rule.kind is Kind.REMOTE:
            self._ready_more += 1

    def launch(self, placed: Sequence[Placed], *, refuse_s: float) -> None:
        """Start rules on one offer."""
        offer = placed[0].offer
        starts = []
        for one in placed:
            self._launches += 1
            self._ready_less += 1
            task_id = f"{self.state.run_id}.{self.state.launches + self._launches}"
            self.say(
                facts.RuleLaunched(
                    key=one.key,
                    task_id=task_id,
                    agent_id=offer.agent_id,
                    hostname=offer.hostname,
                    wall_s=self.now.wall_s,
                    cause=self.cause,
                )
            )
            self.do(effects.Report(what=What.STARTED, key=one.key, sentence=f"on {offer.hostname}"))
            starts.append(effects.Start(key=one.key, task_id=task_id, amount=one.amount))
        self.do(
            effects.Launch(
                offer_id=offer.offer_id,
                agent_id=offer.agent_id,
                starts=tuple(starts),
                refuse_s=refuse_s,
                cause=self.cause,
            )
        )

    def start_here(self, key: RuleKey) -> None:
        tries = self.progress(key).tries + 1
        self.say(facts.RuleStartedHere(key=key, wall_s=self.now.wall_s, cause=self.cause))
        self.do(effects.Report(what=What.STARTED, key=key, sentence="next to the manager"))
        self.do(effects.RunHere(key=key, tries=tries, cause=self.cause))

    # Ends of tries and rules.

    def check_outputs(self, key: RuleKey) -> None:
        self._leave_agent(key)
        self.say(facts.RuleEndedWell(key=key, wall_s=self.now.wall_s, cause=self.cause))
        self.do(effects.CheckOutputs(key=key, tries=self.progress(key).tries, cause=self.cause))

    def retry(self, key: RuleKey, why: str, *, counted: bool) -> None:
        self._leave_agent(key)
        self.say(facts.RuleRetried(key=key, why=why, counted=counted, wall_s=self.now.wall_s, cause=self.cause))
        self.do(effects.Report(what=What.RETRIED, key=key, sentence=why))
        self.do(effects.Prepare(key=key, cause=self.cause))

    def done(
        self, key: RuleKey, *, outputs: Mapping[str, Stamp], inputs: Mapping[str, Stamp], command_hash: str
    ) -> None:
        self.say(
            facts.RuleDone(
                key=key,
                outputs=dict(outputs),
                inputs=dict(inputs),
                command_hash=command_hash,
                wall_s=self.now.wall_s,
                cause=self.cause,
            )
        )
        self.do(effects.Report(what=What.DONE, key=key))
        self._ended[key] = RuleState.DONE
        for dependant in self.state.dependants.get(key, ()):
            startable = self.state.unmet[dependant] == 1 and not self.aborting
            if startable and self.progress(dependant).state is RuleState.WAITING:
                self.prepare(dependant, self.state.nodes[dependant])
        self._settle_above(key)

    def fail(self, key: RuleKey, why: str) -> None:
        """No try is left: the rule and all that needs it will not be made in this run."""
        if self.progress(key).state is RuleState.READY and self.node(key).rule.kind is Kind.REMOTE:
            self._ready_less += 1
        if self.node(key).rule.kind is Kind.NESTED:
            for inside in set(self.state.within(key)).intersection(self.state.homeless()):
                self.reset(inside, "the rule it was nested in has failed")
        self._leave_agent(key)
        self.say(facts.RuleFailed(key=key, why=why, wall_s=self.now.wall_s, cause=self.cause))
        self.do(effects.Report(what=What.FAILED, key=key, sentence=why))
        self._ended[key] = RuleState.FAILED
        self._bar(key)
        self._settle_above(key)

    def _bar(self, failed: RuleKey) -> None:
        """Everything that needs the failed rule, directly or not."""
        title = self.node(failed).rule.title
        waiting = list(self.state.dependants.get(failed, ()))
        while waiting:
            key = waiting.pop()
            if key in self._ended or self.progress(key).state is not RuleState.WAITING:
                continue
            self._ended[key] = RuleState.BLOCKED
            why = f"it needs '{title}', which failed"
            self.say(facts.RuleBlocked(key=key, why=why))
            self.do(effects.Report(what=What.BLOCKED, key=key, sentence=why))
            waiting.extend(self.state.dependants.get(key, ()))

    def abort(self, key: RuleKey) -> None:
        progress = self.progress(key)
        if progress.state is RuleState.READY and self.node(key).rule.kind is Kind.REMOTE:
            self._ready_less += 1
        self._leave_agent(key)
        self.say(facts.RuleAborted(key=key))
        self._ended[key] = RuleState.ABORTED

    def _leave_agent(self, key: RuleKey) -> None:
        task_id = self.progress(key).task_id
        if self.state.by_task.get(task_id) == key:
            self._off_agents.add(task_id)

    # Ends of nested workflows.

    def _settle_above(self, key: RuleKey) -> None:
        parent = self.node(key).parent
        if parent is not None:
            self.settle_parent(parent)

    def settle_parent(self, parent: RuleKey) -> None:
        """End the rule of a nested workflow if all rules inside have ended."""
        if self.aborting or parent in self._ended:
            return
        children = self.state.children.get(parent)
        if children is None:
            children = [key for graph in self._graphs for key, node in graph.nodes.items() if node.parent == parent]
        states = [self._state_after(key) for key in children]
        if any(state not in ENDS for state in states):
            return
        bad = sum(state is not RuleState.DONE for state in states)
        if bad:
            self.fail(parent, f"{bad} of the {len(states)} rules of its workflow did not end well")
        else:
            self.check_outputs(parent)

    def _state_after(self, key: RuleKey) -> RuleState:
        if key in self._ended:
            return self._ended[key]
        return RuleState.WAITING if key in self._fresh else self.progress(key).state

    # The end of the decision.

    def decision(self) -> Decision:
        self._settle_session()
        self._settle_run()
        self._settle_offers()
        return Decision(facts=tuple(self._facts), effects=tuple(self._effects))

    def _settle_session(self) -> None:
        """Speak to the master as soon as all tasks that it may tell of can be found."""
        state = self.state
        news = self._opening or self._graphs or self._fresh
        if state.session_wanted or not news or not (state.opened or self._opening):
            return
        if set(state.homeless()) - self._nodes.keys() - self._fresh.keys():
            return
        tasks = tuple(
            (task_id, state.progress[key].agent_id) for task_id, key in state.by_task.items() if key not in self._fresh
        )
        nodes = {**state.nodes, **self._nodes}
        elsewhere = (
            node.rule.kind is not Kind.LOCAL and self._state_after(key) not in ENDS for key, node in nodes.items()
        )
        if tasks or any(elsewhere):
            self.say(facts.SessionWanted())
            self.do(effects.Connect(framework_id=state.framework_id, tasks=tasks))

    def _settle_run(self) -> None:
        """End the run if no rule is open any more."""
        state = self.state
        if not (self._ended or self._opening or self.aborting) or (state.exit_code is not None and not self._opening):
            return
        closed = sum(key in state.nodes and state.progress[key].state not in ENDS for key in self._ended)
        reopened = sum(key in state.nodes and state.progress[key].state in ENDS for key in self._fresh)
        new = sum(self._state_after(key) not in ENDS for key in self._nodes)
        if state.open_count - closed + reopened + new:
            return
        states = [self._state_after(key) for key in state.nodes]
        failed = states.count(RuleState.FAILED)
        barred = states.count(RuleState.BLOCKED)
        if self.aborting:
            code, sentence = EXIT_INTERRUPTED, "the run was interrupted; run it again to go on"
        elif failed or barred:
            code = EXIT_FAILED
            sentence = f"{failed} of {len(states)} rules failed" + (f", {barred} not run" if barred else "")
        else:
            code, sentence = EXIT_OK, f"all {len(states)} rules are done"
        self.say(facts.RunEnded(exit_code=code, wall_s=self.now.wall_s))
        self.do(effects.Finish(exit_code=code, sentence=sentence))

    def _has_room(self) -> bool:
        """Whether one more rule may go to an agent."""
        on_agents = len(self.state.by_task) - len(self._off_agents) + self._launches
        return self._jobs_max is None or on_agents < self._jobs_max

    def _settle_offers(self) -> None:
        """Ask for offers while rules wait for an agent and one more may run, and only then."""
        state = self.state
        if any(isinstance(effect, effects.Finish) for effect in self._effects[-1:]):
            return
        held_back = state.held_back or self.held_back
        waiting = state.ready_count + self._ready_more - self._ready_less > 0
        wanted = waiting and self._has_room() and not self.aborting
        if wanted and (not state.offers_wanted or (held_back and self._ready_more)):
            self.do(effects.Revive())
            held_back = False
        elif not wanted and state.offers_wanted:
            self.do(effects.Suppress())
        if (wanted, held_back) != (state.offers_wanted, state.held_back):
            self.say(facts.OffersWanted(wanted=wanted, held_back=held_back))
