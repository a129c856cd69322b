"""A flow as plain values: all that its pages show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from altiplano.frameworks.flows import view
from altiplano.frameworks.flows.draft import EXIT_INTERRUPTED
from altiplano.frameworks.flows.progress import RuleState
from altiplano.frameworks.flows.state import FlowState

GROUPS: Mapping[RuleState, str] = {
    RuleState.WAITING: "idle",
    RuleState.PREPARING: "ready",
    RuleState.READY: "ready",
    RuleState.LAUNCHED: "running",
    RuleState.RUNNING: "running",
    RuleState.EXPANDED: "running",
    RuleState.CHECKING: "running",
    RuleState.DONE: "finished",
    RuleState.FAILED: "failed",
    RuleState.BLOCKED: "lost",
    RuleState.ABORTED: "killed",
}
"""The colour of a state."""

GROUP_ORDER = ("finished", "running", "ready", "failed", "lost", "killed", "idle")
GROUP_WORDS: Mapping[str, str] = {
    "finished": "done",
    "running": "running",
    "ready": "ready",
    "failed": "failed",
    "lost": "blocked",
    "killed": "aborted",
    "idle": "waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePicture:
    """One rule, now."""

    key: str
    title: str
    state: RuleState
    needs: tuple[str, ...] = ()
    """Keys of rules that come before."""
    category: str = "default"
    command: str = ""
    line: int = 0
    tries: int = 0
    where: str = ""
    why: str = ""
    """What it waits for, or why it failed."""
    stderr_tail: str = ""
    task_id: str = ""
    agent_id: str = ""
    started_s: float | None = None
    ended_s: float | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return GROUPS[self.state]

    def seconds(self, now: float) -> float | None:
        """How long it has run, or ran."""
        if self.started_s is None:
            return None
        return (now if self.ended_s is None else self.ended_s) - self.started_s

    @property
    def text(self) -> str:
        return f"{self.title} {self.category} {self.state.value} {self.where} {self.command}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowHead:
    """A flow without its rules: a line of the list."""

    id: str
    title: str
    directory: str = ""
    """Where its files are."""
    framework_id: str = ""
    exit_code: int | None = None
    """None while it goes on."""
    alive: bool = True
    """Whether a process has it."""
    own_url: str = ""
    """The page of that process, which tells more than its log: why rules wait."""
    started_s: float | None = None
    ended_s: float | None = None
    counts: tuple[tuple[str, int], ...] = ()
    """How many rules are in each group, groups in their usual order."""

    @property
    def done(self) -> int:
        return dict(self.counts).get("finished", 0)

    @property
    def total(self) -> int:
        return sum(number for _, number in self.counts)

    @property
    def place(self) -> str:
        """Its directory, in so few words that flows of one name are told apart on a phone."""
        above, _, name = self.directory.rpartition("/")
        return f"…/{above.rpartition('/')[2]}/{name}" if above.count("/") > 1 else self.directory

    @property
    def goes_on(self) -> bool:
        return self.exit_code is None and self.alive

    @property
    def group(self) -> str:
        if self.exit_code is None:
            if not self.alive:
                return "killed"
            return "failed" if dict(self.counts).get("failed") else "running"
        return {0: "finished", EXIT_INTERRUPTED: "killed"}.get(self.exit_code, "failed")

    @property
    def word(self) -> str:
        """Its state in a word or two."""
        if self.exit_code is None:
            if not self.alive:
                return "broken off"
            return "running, with failures" if dict(self.counts).get("failed") else "running"
        return {0: "done", EXIT_INTERRUPTED: "interrupted"}.get(self.exit_code, "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPicture(FlowHead):
    """One flow, now."""

    rules: tuple[RulePicture, ...]
    counts: tuple[tuple[str, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        found = Counter(rule.group for rule in self.rules)
        object.__setattr__(self, "counts", tuple((group, found[group]) for group in GROUP_ORDER))

    @property
    def head(self) -> FlowHead:
        return FlowHead(**{one.name: getattr(self, one.name) for one in fields(FlowHead)})


def of_state(state: FlowState, *, directory: str = "", own_url: str = "", alive: bool = True) -> FlowPicture:
    """What the core of a flow knows, as values."""
    rules = []
    for key, node in state.nodes.items():
        seen, progress = view.rule_view(state, key), state.progress[key]
        rules.append(
            RulePicture(
                key=key,
                title=seen.title,
                state=progress.state,
                needs=tuple(sorted(node.needs)),
                category=seen.category,
                command=node.rule.command,
                line=seen.line,
                tries=seen.tries,
                where=seen.where,
                why=seen.why,
                stderr_tail=seen.stderr_tail,
                task_id=progress.task_id,
                agent_id=progress.agent_id,
                started_s=progress.started_wall_s or None,
                ended_s=progress.ended_wall_s or None,
                inputs=tuple(file.local for file in node.rule.inputs),
                outputs=tuple(file.local for file in node.rule.outputs),
            )
        )
    starts = [rule.started_s for rule in rules if rule.started_s is not None]
    ends = [rule.ended_s for rule in rules if rule.ended_s is not None]
    return FlowPicture(
        id=state.run_id or "flow",
        title=state.file,
        directory=directory,
        own_url=own_url,
        alive=alive,
        rules=tuple(rules),
        framework_id=state.framework_id,
        exit_code=state.exit_code,
        started_s=min(starts, default=None),
        ended_s=max(ends, default=None) if state.exit_code is not None or not alive else None,
    )
