"""What people are shown of a flow: pure functions of its state."""

from __future__ import annotations

from collections import Counter

import msgspec

from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.placement import amount_of, shortage
from altiplano.frameworks.flows.progress import ENDS, RuleState
from altiplano.frameworks.flows.state import FlowState
from altiplano.frameworks.flows.workflow import Kind

UNDER_WAY = frozenset({RuleState.LAUNCHED, RuleState.RUNNING, RuleState.EXPANDED})
"""What people call running."""


class Part(msgspec.Struct, kw_only=True):
    """Rules that belong together in a picture: one category."""

    name: str
    total: int = 0
    done: int = 0
    running: int = 0
    failed: int = 0


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    title: str
    file: str
    line: int
    category: str
    state: str
    tries: int
    where: str
    why: str
    stderr_tail: str


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a flow."""

    file: str
    run_id: str
    exit_code: int | None
    total: int
    counts: dict[str, int]
    parts: tuple[Part, ...]


def view(state: FlowState) -> FlowView:
    parts: dict[str, Part] = {}
    for key, node in state.nodes.items():
        name = node.rule.category
        part = parts.setdefault(name, Part(name=name))
        now = state.progress[key].state
        part.total += 1
        part.done += now is RuleState.DONE
        part.running += now in UNDER_WAY
        part.failed += now in (RuleState.FAILED, RuleState.BLOCKED)
    return FlowView(
        file=state.file,
        run_id=state.run_id,
        exit_code=state.exit_code,
        total=len(state.nodes),
        counts={one.value: state.counts[one] for one in RuleState if state.counts[one]},
        parts=tuple(parts.values()),
    )


def rule_view(state: FlowState, key: RuleKey) -> RuleView:
    node, progress = state.nodes[key], state.progress[key]
    where = progress.hostname or progress.agent_id
    if node.rule.kind is Kind.LOCAL and progress.tries:
        where = "here"
    return RuleView(
        key=key,
        title=node.rule.title,
        file=node.file,
        line=node.rule.line,
        category=node.rule.category,
        state=progress.state.value,
        tries=progress.tries,
        where=where,
        why=waits_for(state, key) or progress.why,
        stderr_tail=progress.stderr_tail,
    )


def waits_for(state: FlowState, key: RuleKey) -> str:
    """Why a rule does not run yet, in a sentence with numbers; empty if it waits for nothing."""
    progress = state.progress[key]
    match progress.state:
        case RuleState.WAITING:
            return _waits_for_inputs(state, key)
        case RuleState.PREPARING:
            return "its inputs are being read"
        case RuleState.READY if key in state.ready_here:
            return f"other LOCAL rules use {state.local_used_milli / 1000:g} cores next to the manager"
        case RuleState.READY:
            return _waits_for_agent(state, key)
        case _:
            return ""


def _waits_for_inputs(state: FlowState, key: RuleKey) -> str:
    open_needs = [need for need in state.nodes[key].needs if state.progress[need].state is not RuleState.DONE]
    if not open_needs:
        return "it is about to start"
    nodes = sorted((state.nodes[need] for need in open_needs), key=lambda node: node.rule.number)
    first = nodes[0]
    more = f", and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    now = state.progress[first.key].state
    doing = "running" if now in UNDER_WAY else now.value
    return f"needs '{first.rule.title}' from line {first.rule.line}, which is {doing}{more}"


def _waits_for_agent(state: FlowState, key: RuleKey) -> str:
    amount = amount_of(state.nodes[key].rule.needs)
    if not state.session_wanted or not state.framework_id:
        return "the master has not answered yet"
    free = [agent.free for agent in state.agents.values()]
    why = shortage(amount, free, best="the best agent", word="free")
    if why is not None:
        return why
    return "fits on an agent; the next offer takes it"


def slowest(state: FlowState, limit: int) -> list[RuleKey]:
    """Rules that run now, the longest running first."""
    running = [key for key in state.nodes if state.progress[key].state in (RuleState.LAUNCHED, RuleState.RUNNING)]
    return sorted(running, key=lambda key: state.progress[key].started_wall_s)[:limit]


def reasons(state: FlowState) -> Counter[str]:
    """Why rules wait, each sentence with the number of rules it holds for."""
    return Counter(waits_for(state, key) for key in state.nodes if state.progress[key].state is RuleState.READY)


def failures(state: FlowState) -> list[RuleView]:
    """Rules that failed, in the order of the file."""
    return [rule_view(state, key) for key in state.nodes if state.progress[key].state is RuleState.FAILED]


def ended(state: FlowState) -> int:
    return sum(state.counts[one] for one in ENDS)
