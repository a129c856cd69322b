"""A world for a flow's core: files, agents and a log in memory, one step at a time.

`FlowWorld` carries out effects the way a shell does, on dictionaries.  What a command does is
decided by the test: a command of the form `fail` fails, `lose` loses its task, `forget` succeeds
and makes nothing, anything else makes the rule's outputs.  Events wait in a list, so that a test can
choose their order; `kill` forgets all but the durable facts, as a crash does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from altiplano.engine.core import Effect, Fact, Note, Wake
from altiplano.engine.records import FactCodec
from altiplano.frameworks.flows import effects, events, facts, graph, makeflow
from altiplano.frameworks.flows.core import FlowCore, Options
from altiplano.frameworks.flows.graph import Graph, RuleKey
from altiplano.frameworks.flows.placement import Amount, Offer
from altiplano.frameworks.flows.progress import RuleState, Stamp
from altiplano.frameworks.flows.workflow import Problem, WorkflowError
from altiplano.model.tasks import State
from altiplano.model.time import Instant

STEPS_MAX = 100_000
"""Events after which a flow that has not ended counts as stuck."""


@dataclass(slots=True)
class Task:
    task_id: str
    key: RuleKey
    agent_id: str
    amount: Amount


@dataclass(slots=True, kw_only=True)
class FlowWorld:
    """One flow and everything around it."""

    text: str
    sources: tuple[str, ...] = ()
    nested: Mapping[str, str] = field(default_factory=dict)
    agents: dict[str, Amount] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    files: dict[str, Stamp] = field(default_factory=dict)
    log: list[bytes] = field(default_factory=list)
    waiting: list[events.FlowEvent] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    done_effects: list[Effect] = field(default_factory=list)
    outcome: Callable[[RuleKey, str], str] | None = None
    """Overrides what a command does: given key and command, the word that stands for it."""
    mono_s: float = 1000.0
    written: int = 0
    offers_made: int = 0
    connected: bool = False
    subscribed: bool = True
    restarts: int = 0
    ran: list[RuleKey] = field(default_factory=list)
    """Keys of commands that were started, in order."""
    offers_out: dict[str, str] = field(default_factory=dict)
    """Offers that have not been answered, and their agents."""
    filtered: set[str] = field(default_factory=set)
    """Agents that are not offered: their last offer was answered, and nothing became free since."""
    core: FlowCore = field(init=False)
    codec: FactCodec[Fact] = field(init=False)

    def __post_init__(self) -> None:
        self.agents = self.agents or {"a1": Amount(cpus_milli=2000, mem_mb=4096, disk_mb=1000)}
        for name in (*self.sources, *self.nested):
            self.write(name)
        self.codec = FactCodec(facts.DURABLE_TYPES, version=facts.VERSION)
        self.open()

    # The file system.

    def write(self, name: str) -> None:
        self.written += 1
        self.files[name] = Stamp(size_bytes=1, mtime_ns=self.written)

    def _graph(self, text: str, file: str, parent: RuleKey | None = None) -> Graph:
        workflow = makeflow.parse(text, file=file, environment={})
        around = () if parent is None else ("w.mf",)
        return graph.join(workflow, exists=self.files.__contains__, shared_dir=False, parent=parent, files=around)

    # The process.

    def open(self) -> None:
        """Start the process: recover, then begin or go on."""
        self.core = FlowCore(self._graph(self.text, "w.mf"), self.options)
        self.connected = self.subscribed = False
        self.offers_out.clear()
        self.filtered.clear()
        self.waiting.clear()
        for fact in self.codec.recover(None, self.log):
            self.core.apply(fact)
        self.core.check()
        self.restarts += 1
        self.waiting.append(events.Opened(cause="open", run_id="run", stamps=self._stamps()))

    def kill(self) -> None:
        """End the process as `kill -9` does, and start it again.  LOCAL commands end with it."""
        self.open()

    def _stamps(self) -> dict[str, Stamp | None]:
        names = {name for one in self.core.state.progress.values() for name in (*one.outputs, *one.inputs)}
        return {name: self.files.get(name) for name in names}

    @property
    def now(self) -> Instant:
        return Instant(mono_s=self.mono_s, wall_s=self.mono_s + 1e9)

    def step(self, place: int = 0) -> None:
        """Let the core decide on one of the waiting events."""
        event = self.waiting.pop(place)
        decision = self.core.decide(event, self.now)
        for fact in decision.facts:
            self.core.apply(fact)
            if fact.durable:
                self.log.append(self.codec.encode(fact))
        self.core.check()
        for effect in decision.effects:
            self.done_effects.append(effect)
            self.perform(effect)

    def run(self) -> int:
        """Let everything happen, in order, until the flow has ended; its exit code."""
        for _ in range(STEPS_MAX):
            if self.core.state.opened and self.core.state.exit_code is not None:
                return self.core.state.exit_code
            if self.waiting:
                self.step()
            elif not self.happen():
                raise AssertionError(f"the flow is stuck: {self.states()}")
        raise AssertionError("the flow does not come to an end")

    def happen(self) -> bool:
        """Let something happen outside of the core; whether there was anything."""
        if self.offer():
            return True
        if self.tasks:
            self.end_task(next(iter(self.tasks)))
            return True
        wake_at = self.core.wake_at()
        if wake_at is None:
            return False
        self.mono_s = max(self.mono_s, wake_at)
        self.waiting.append(Wake(cause="wake"))
        return True

    def states(self) -> dict[str, RuleState]:
        return {key: self.core.state.progress[key].state for key in self.core.state.nodes}

    # The pool.

    def free(self, agent_id: str) -> Amount:
        amount = self.agents[agent_id]
        for task in self.tasks.values():
            if task.agent_id == agent_id:
                amount = amount - task.amount
        return amount

    def offer(self) -> bool:
        """Offer what is free of every agent that may be offered, if offers are wanted."""
        if not self.connected or not self.subscribed:
            return False
        made = []
        for agent_id in self.agents:
            free = self.free(agent_id)
            if free.cpus_milli and agent_id not in self.filtered and agent_id not in self.offers_out.values():
                self.offers_made += 1
                offer_id = f"o{self.offers_made}"
                self.offers_out[offer_id] = agent_id
                made.append(Offer(offer_id=offer_id, agent_id=agent_id, hostname=f"host-{agent_id}", free=free))
        if made:
            self.waiting.append(events.OffersArrived(cause="offers", offers=tuple(made)))
        return bool(made)

    def rescind(self) -> None:
        """Take all offers back that have not been answered."""
        self.offers_out.clear()

    def end_task(self, task_id: str) -> None:
        """Let the command of a task come to its end, whatever that is."""
        task = self.tasks.pop(task_id)
        node = self.core.state.nodes.get(task.key)
        word = self._word(task.key, node.rule.command) if node else "forget"
        state = {"fail": State.FAILED, "lose": State.LOST}.get(word, State.FINISHED)
        if state is State.FINISHED and word != "forget" and node:
            for use in node.rule.outputs:
                self.write(use.local)
        self.held_by(task.agent_id)
        self.tell(task_id, state, exit_status=3 if state is State.FAILED else None)

    def held_by(self, agent_id: str) -> None:
        """More became free there: it may be offered again."""
        self.filtered.discard(agent_id)

    def tell(self, task_id: str, state: State, *, exit_status: int | None = None, began: bool = True) -> None:
        self.waiting.append(
            events.TaskChanged(
                cause=task_id,
                task_id=task_id,
                state=state,
                exit_status=exit_status,
                began=began,
                update_id=f"u-{task_id}",
            )
        )

    def _word(self, key: RuleKey, command: str) -> str:
        return self.outcome(key, command) if self.outcome else command

    # Effects.

    def perform(self, effect: Effect) -> None:
        match effect:
            case effects.Connect():
                self.connected = self.subscribed = True
                self.waiting.append(events.Connected(cause="connect", framework_id="f1"))
                for task_id, agent_id in effect.tasks:
                    state = State.RUNNING if task_id in self.tasks else State.UNKNOWN
                    self.waiting.append(
                        events.TaskChanged(cause="reconcile", task_id=task_id, state=state, agent_id=agent_id)
                    )
            case effects.Prepare():
                for use in self.core.state.nodes[effect.key].rule.outputs:
                    self.files.pop(use.local, None)
                self.waiting.append(events.Prepared(cause=effect.cause, key=effect.key))
            case effects.OpenNested():
                self.waiting.append(self._nested_event(effect))
            case effects.Launch():
                self._launch(effect)
            case effects.Suppress():
                self.subscribed = False
            case effects.Revive():
                self.subscribed = True
                self.filtered.clear()
            case effects.KillTask():
                if effect.task_id in self.tasks:
                    agent_id = self.tasks.pop(effect.task_id).agent_id
                    self.held_by(agent_id)
                    self.tell(effect.task_id, State.KILLED)
            case effects.RunHere():
                self._run_here(effect)
            case effects.CheckOutputs():
                self.waiting.append(self._checked(effect))
            case effects.SetAside():
                for use in self.core.state.nodes[effect.key].rule.outputs:
                    self.files.pop(use.local, None)
            case effects.ReadStderr():
                self.waiting.append(
                    events.StderrRead(cause="stderr", key=effect.key, tries=effect.tries, text="the last words")
                )
            case effects.ListAgents():
                pool = tuple(
                    events.AgentTotal(agent_id=agent_id, hostname=agent_id, total=total)
                    for agent_id, total in self.agents.items()
                )
                self.waiting.append(events.AgentsListed(cause="list", agents=pool))
            case effects.Decline():
                known = [offer_id for offer_id in effect.offer_ids if offer_id in self.offers_out]
                agents = {self.offers_out.pop(offer_id) for offer_id in known}
                self.filtered |= agents if effect.refuse_s else set()
            case effects.Acknowledge() | effects.KillHere() | effects.Report() | effects.Finish() | Note():
                pass
            case _:
                raise AssertionError(f"the world cannot {effect}")

    def _launch(self, effect: effects.Launch) -> None:
        if self.offers_out.pop(effect.offer_id, None) is None:
            # Rescinded meanwhile: the launch comes too late, as it may with a real master.
            for start in effect.starts:
                self.tell(start.task_id, State.DROPPED)
            return
        if effect.refuse_s:
            self.filtered.add(effect.agent_id)
        for start in effect.starts:
            assert start.task_id not in self.tasks, f"{start.task_id} is used twice"
            assert start.amount.fits_in(self.free(effect.agent_id)), "an agent is given more than it has"
            node = self.core.state.nodes[start.key]
            for use in node.rule.inputs:
                assert use.local in self.files, f"{start.key} starts without {use.local}"
            self.tasks[start.task_id] = Task(start.task_id, start.key, effect.agent_id, start.amount)
            self.ran.append(start.key)
            self.tell(start.task_id, State.RUNNING)

    def _run_here(self, effect: effects.RunHere) -> None:
        node = self.core.state.nodes[effect.key]
        word = self._word(effect.key, node.rule.command)
        self.ran.append(effect.key)
        if word not in ("fail", "forget"):
            for use in node.rule.outputs:
                self.write(use.local)
        status = 3 if word == "fail" else 0
        self.waiting.append(
            events.LocalEnded(
                cause="here",
                key=effect.key,
                tries=effect.tries,
                exit_status=status,
                stderr_tail="" if not status else "x",
            )
        )

    def _checked(self, effect: effects.CheckOutputs) -> events.OutputsChecked:
        rule = self.core.state.nodes[effect.key].rule
        missing = tuple(use.local for use in rule.outputs if use.local not in self.files)
        stamps = {use.local: self.files[use.local] for use in (*rule.outputs, *rule.inputs) if use.local in self.files}
        return events.OutputsChecked(
            cause=effect.cause, key=effect.key, tries=effect.tries, missing=missing, stamps=stamps
        )

    def _nested_event(self, effect: effects.OpenNested) -> events.NestedOpened | events.PreparationFailed:
        name = self.core.state.nodes[effect.key].rule.command
        try:
            if name not in self.files:
                raise WorkflowError([Problem(name, 1, "the file is gone")])
            inside = self._graph(self.nested[name], name, effect.key)
        except WorkflowError as error:
            return events.PreparationFailed(cause=effect.cause, key=effect.key, sentence=str(error))
        return events.NestedOpened(cause=effect.cause, key=effect.key, graph=inside, stamps=self._stamps())
