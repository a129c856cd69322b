"""The state of a flow: what its facts add up to.

Only `FlowState.apply` changes it.  Besides the rules' progress it keeps the indexes that make a
decision cheap: how many inputs a rule still lacks, what is ready by amount, which task is whose.
Facts may name rules whose nested workflow has not been opened again; their progress is kept and
found when it is.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from altiplano.engine.core import Fact
from altiplano.frameworks.flows import facts
from altiplano.frameworks.flows.events import AgentTotal
from altiplano.frameworks.flows.graph import NEST, Graph, Node, RuleKey
from altiplano.frameworks.flows.placement import Amount, amount_of
from altiplano.frameworks.flows.progress import ENDS, Progress, RuleState
from altiplano.frameworks.flows.workflow import CORES_DEFAULT_MILLI, Kind

ON_AGENTS = frozenset({RuleState.LAUNCHED, RuleState.RUNNING})


class AgentView:
    """What is known of an agent from its offers: free resources, and the most it ever offered."""

    __slots__ = ("free", "hostname", "largest")

    def __init__(self, hostname: str, free: Amount) -> None:
        self.hostname = hostname
        self.free = free
        self.largest = free


class FlowState:
    def __init__(self, graph: Graph) -> None:
        self.file = graph.file
        self.nodes: dict[RuleKey, Node] = {}
        self.progress: dict[RuleKey, Progress] = {}
        self.dependants: dict[RuleKey, list[RuleKey]] = {}
        self.unmet: dict[RuleKey, int] = {}
        self.children: dict[RuleKey, list[RuleKey]] = {}
        self.ready: dict[Amount, dict[RuleKey, None]] = {}
        self.ready_here: dict[RuleKey, None] = {}
        self.by_task: dict[str, RuleKey] = {}
        self.taken_up: frozenset[str] = frozenset()
        """Tasks that the run before has started."""
        self.counts: Counter[RuleState] = Counter()
        """Rules of the graph by state."""
        self.local_used_milli = 0
        self.run_id = ""
        self.launches = 0
        self.framework_id = ""
        self.endpoint: facts.EndpointKnown | None = None
        self.opened = False
        self.session_wanted = False
        self.exit_code: int | None = None
        self.abort: facts.AbortBegan | None = None
        self.agents: dict[str, AgentView] = {}
        self.pool: tuple[AgentTotal, ...] | None = None
        self.asked_mono_s: float | None = None
        self.offers_wanted = True
        self.held_back = False
        self._deadlines: list[tuple[float, RuleKey, str]] = []
        self._add(graph)

    # Questions.

    @property
    def open_count(self) -> int:
        """Rules that have not ended."""
        return len(self.nodes) - sum(self.counts[state] for state in ENDS)

    @property
    def ready_count(self) -> int:
        """Rules that wait for an agent."""
        return sum(map(len, self.ready.values()))

    def homeless(self) -> Iterator[RuleKey]:
        """Rules on agents whose nested workflow has not been opened by this process."""
        return (key for key in self.by_task.values() if key not in self.nodes)

    def within(self, key: RuleKey) -> Iterator[RuleKey]:
        """All rules of the nested workflow of `key`, however deep, that progress is known of."""
        return (other for other in self.progress if other.startswith(key + NEST))

    def next_deadline(self) -> float | None:
        """When the next wall time is over."""
        while self._deadlines:
            at, key, task_id = self._deadlines[0]
            progress = self.progress[key]
            if progress.task_id == task_id and progress.state is RuleState.RUNNING and not progress.overdue:
                return at
            heapq.heappop(self._deadlines)
        return None

    def overdue(self, mono_s: float) -> list[RuleKey]:
        """Rules that run beyond their wall time and are not being killed for it."""
        return [
            key
            for at, key, task_id in self._deadlines
            if at <= mono_s
            and (progress := self.progress[key]).task_id == task_id
            and progress.state is RuleState.RUNNING
            and not progress.overdue
        ]

    def oldest_ready(self) -> float | None:
        """Since when (`mono_s`) the rule that has waited longest for an agent waits."""
        firsts = (next(iter(keys)) for keys in self.ready.values() if keys)
        return min((self.progress[key].ready_mono_s for key in firsts), default=None)

    # Facts.

    def apply(self, fact: Fact) -> None:
        match fact:
            case facts.RunBegan():
                self.run_id = fact.run_id
                self.launches = max(self.launches, fact.launches)
            case facts.RunResumed():
                self.exit_code = None
            case facts.RunOpened():
                self.opened = True
                self.taken_up = frozenset(self.by_task)
            case facts.EndpointKnown():
                self.endpoint = fact
            case facts.FrameworkKnown():
                self.framework_id = fact.framework_id
            case facts.RunEnded():
                self.exit_code = fact.exit_code
            case facts.SessionWanted():
                self.session_wanted = True
            case facts.AgentSeen():
                view = self.agents.setdefault(fact.agent_id, AgentView(fact.hostname, fact.free))
                view.free = fact.free
                view.largest = _largest(view.largest, fact.free)
            case facts.AgentsKnown():
                self.pool = fact.agents
            case facts.AgentsAsked():
                self.asked_mono_s = fact.mono_s
            case facts.OffersWanted():
                self.offers_wanted, self.held_back = fact.wanted, fact.held_back
            case facts.AbortBegan():
                self.abort = fact
            case _:
                self._apply_rule(fact)

    def _apply_rule(self, fact: Fact) -> None:
        key: RuleKey = fact.key  # type: ignore[attr-defined]  # all facts left are about one rule
        progress = self.progress.setdefault(key, Progress())
        match fact:
            case facts.RuleReset():
                self._reset(key, progress)
            case facts.RulePreparing():
                self._step(key, RuleState.PREPARING)
            case facts.RuleReady():
                progress.ready_mono_s = fact.mono_s
                self._step(key, RuleState.READY)
            case facts.RuleLaunched():
                self._imply(key, RuleState.READY)
                self._started(progress, fact.wall_s)
                progress.task_id, progress.agent_id, progress.hostname = fact.task_id, fact.agent_id, fact.hostname
                self.launches = max(self.launches, int(fact.task_id.rpartition(".")[2]))
                self._step(key, RuleState.LAUNCHED)
            case facts.RuleStartedHere():
                self._imply(key, RuleState.READY)
                self._started(progress, fact.wall_s)
                self._step(key, RuleState.RUNNING)
            case facts.RuleRunning():
                progress.deadline_mono_s = fact.deadline_mono_s
                self._step(key, RuleState.RUNNING)
                if fact.deadline_mono_s is not None:
                    heapq.heappush(self._deadlines, (fact.deadline_mono_s, key, progress.task_id))
            case facts.RuleOverdue():
                progress.overdue = True
            case facts.RuleExpanded():
                self._step(key, RuleState.EXPANDED)
                self._add(fact.graph)
                self.children[key] = list(fact.graph.nodes)
            case facts.RuleEndedWell():
                # In a log a nested workflow is only seen to end.
                self._imply(key, RuleState.EXPANDED)
                progress.ended_wall_s = fact.wall_s
                self._step(key, RuleState.CHECKING)
            case facts.RuleDone():
                progress.outputs, progress.inputs = fact.outputs, fact.inputs
                progress.command_hash, progress.ended_wall_s = fact.command_hash, fact.wall_s
                self._step(key, RuleState.DONE)
                for dependant in self.dependants.get(key, ()):
                    self.unmet[dependant] -= 1
            case facts.RuleRetried():
                self._imply(key, RuleState.PREPARING)
                progress.failures += fact.counted
                progress.losses += not fact.counted
                progress.why = fact.why
                if progress.state is not RuleState.PREPARING:
                    self._step(key, RuleState.PREPARING)
            case facts.RuleFailed():
                self._imply(key, RuleState.PREPARING)
                progress.why, progress.ended_wall_s = fact.why, fact.wall_s
                self._step(key, RuleState.FAILED)
            case facts.RuleBlocked():
                progress.why = fact.why
                self._step(key, RuleState.BLOCKED)
            case facts.RuleAborted():
                self._step(key, RuleState.ABORTED)
            case facts.StderrKept():
                progress.stderr_tail = fact.text
            case _:
                raise AssertionError(f"{type(fact).__name__} is no fact of a flow")

    def _started(self, progress: Progress, wall_s: float) -> None:
        progress.tries += 1
        progress.started_wall_s = wall_s
        progress.overdue = False
        progress.deadline_mono_s = None

    def _imply(self, key: RuleKey, state: RuleState) -> None:
        """Take the passing steps towards `state` that a log does not hold."""
        way = {
            RuleState.PREPARING: (RuleState.WAITING,),
            RuleState.READY: (RuleState.WAITING, RuleState.PREPARING),
            RuleState.EXPANDED: (RuleState.WAITING, RuleState.PREPARING),
        }[state]
        for before, after in zip(way, (*way[1:], state), strict=True):
            if self.progress[key].state is before:
                self._step(key, after)

    def _step(self, key: RuleKey, after: RuleState) -> None:
        self._leave(key)
        self.progress[key].step(after, key)
        self._enter(key)

    def _reset(self, key: RuleKey, progress: Progress) -> None:
        self._leave(key)
        if progress.state is RuleState.DONE:
            for dependant in self.dependants.get(key, ()):
                self.unmet[dependant] += 1
        self.progress[key] = Progress(tries=progress.tries)
        self._enter(key)

    def _leave(self, key: RuleKey) -> None:
        """Take a rule out of the indexes of its state."""
        progress, node = self.progress[key], self.nodes.get(key)
        if progress.state in ON_AGENTS and progress.task_id:
            self.by_task.pop(progress.task_id, None)
        if node is None:
            return
        self.counts[progress.state] -= 1
        if progress.state is RuleState.READY:
            amount = amount_of(node.rule.needs)
            waiting = self.ready.get(amount, {})
            waiting.pop(key, None)
            self.ready_here.pop(key, None)
            if not waiting:
                self.ready.pop(amount, None)
        elif progress.state is RuleState.RUNNING and node.rule.kind is Kind.LOCAL:
            self.local_used_milli -= cores_here(node)
        elif progress.state in ON_AGENTS and progress.agent_id in self.agents:
            view = self.agents[progress.agent_id]
            view.free = view.free + amount_of(node.rule.needs)

    def _enter(self, key: RuleKey) -> None:
        progress, node = self.progress[key], self.nodes.get(key)
        if progress.state in ON_AGENTS and progress.task_id:
            self.by_task[progress.task_id] = key
        if node is None:
            return
        self.counts[progress.state] += 1
        if progress.state is RuleState.READY and node.rule.kind is Kind.LOCAL:
            self.ready_here[key] = None
        elif progress.state is RuleState.READY:
            self.ready.setdefault(amount_of(node.rule.needs), {})[key] = None
        elif progress.state is RuleState.RUNNING and node.rule.kind is Kind.LOCAL:
            self.local_used_milli += cores_here(node)
        elif progress.state in ON_AGENTS and progress.agent_id in self.agents:
            view = self.agents[progress.agent_id]
            view.free = view.free - amount_of(node.rule.needs)

    def _add(self, graph: Graph) -> None:
        for key, node in graph.nodes.items():
            self.nodes[key] = node
            self.progress.setdefault(key, Progress())
            self.dependants.setdefault(key, [])
            self._enter(key)
        for key, node in graph.nodes.items():
            self.unmet[key] = sum(self.progress[need].state is not RuleState.DONE for need in node.needs)
            for need in node.needs:
                self.dependants[need].append(key)

    # Snapshots and invariants.

    def summary(self) -> Iterable[Fact]:
        """Durable facts that lead here from an empty log."""
        yield facts.RunBegan(run_id=self.run_id, file=self.file, wall_s=0.0, launches=self.launches)
        if self.endpoint is not None:
            yield self.endpoint
        if self.framework_id:
            yield facts.FrameworkKnown(framework_id=self.framework_id)
        for key, progress in self.progress.items():
            yield from _facts_of(key, progress)
        if self.exit_code is not None:
            yield facts.RunEnded(exit_code=self.exit_code, wall_s=0.0)

    def check(self) -> None:
        """Assert every invariant."""
        tally: Counter[RuleState] = Counter()
        for key, node in self.nodes.items():
            progress = self.progress[key]
            tally[progress.state] += 1
            lacking = sum(self.progress[need].state is not RuleState.DONE for need in node.needs)
            assert self.unmet[key] == lacking, f"{key}: {self.unmet[key]} needs counted, {lacking} open"
            waits = key in self.ready_here or any(key in keys for keys in self.ready.values())
            assert waits == (progress.state is RuleState.READY), f"{key} is {progress.state} and ready: {waits}"
            if progress.state in ON_AGENTS and node.rule.kind is Kind.REMOTE:
                assert self.by_task[progress.task_id] == key
            if progress.state in (RuleState.LAUNCHED, RuleState.RUNNING, RuleState.READY):
                assert lacking == 0, f"{key} is {progress.state} and lacks {lacking} inputs"
        assert +tally == +self.counts, f"{tally} counted as {self.counts}"
        assert self.local_used_milli >= 0
        assert self.exit_code is None or not self.opened or not self.open_count, "ended with rules open"


def cores_here(node: Node) -> int:
    """Cores (1/1000) that a LOCAL rule takes of the manager's machine."""
    return node.rule.needs.cores_milli or CORES_DEFAULT_MILLI


def _largest(a: Amount, b: Amount) -> Amount:
    return Amount(
        cpus_milli=max(a.cpus_milli, b.cpus_milli),
        gpus=max(a.gpus, b.gpus),
        mem_mb=max(a.mem_mb, b.mem_mb),
        disk_mb=max(a.disk_mb, b.disk_mb),
    )


def _facts_of(key: RuleKey, progress: Progress) -> Iterator[Fact]:
    wall_s = progress.started_wall_s
    for counted, times in ((True, progress.failures), (False, progress.losses)):
        for _ in range(times):
            yield facts.RuleRetried(key=key, why=progress.why, counted=counted, wall_s=wall_s, cause="snapshot")
    match progress.state:
        case RuleState.LAUNCHED | RuleState.RUNNING | RuleState.CHECKING if progress.task_id:
            yield facts.RuleLaunched(
                key=key,
                task_id=progress.task_id,
                agent_id=progress.agent_id,
                hostname=progress.hostname,
                wall_s=wall_s,
                cause="snapshot",
            )
        case RuleState.RUNNING | RuleState.CHECKING if wall_s:
            yield facts.RuleStartedHere(key=key, wall_s=wall_s, cause="snapshot")
    if progress.state in (RuleState.CHECKING, RuleState.DONE):
        yield facts.RuleEndedWell(key=key, wall_s=progress.ended_wall_s, cause="snapshot")
    match progress.state:
        case RuleState.DONE:
            yield facts.RuleDone(
                key=key,
                outputs=progress.outputs,
                inputs=progress.inputs,
                command_hash=progress.command_hash,
                wall_s=progress.ended_wall_s,
                cause="snapshot",
            )
        case RuleState.FAILED:
            yield facts.RuleFailed(key=key, why=progress.why, wall_s=progress.ended_wall_s, cause="snapshot")
        case RuleState.BLOCKED:
            yield facts.RuleBlocked(key=key, why=progress.why)
        case RuleState.ABORTED:
            yield facts.RuleAborted(key=key)
    if progress.stderr_tail:
        yield facts.StderrKept(key=key, text=progress.stderr_tail)
