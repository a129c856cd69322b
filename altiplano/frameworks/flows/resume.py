"""What an interrupted run does again.

A finished rule counts as finished while its outputs are there.  When one is gone, the rule and all
that follow run again; when one was changed by hand, what needs it runs again, and the rule itself
does not.  A changed source file or command runs nothing again unless asked for: people edit
comments and fix one rule of many, and hours of computing are theirs to throw away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from altiplano.frameworks.flows.graph import Node, RuleKey
from altiplano.frameworks.flows.progress import Progress, RuleState, Stamp
from altiplano.frameworks.flows.workflow import Kind

HASH_DIGITS = 16


def command_hash(command: str) -> str:
    """By what a command is known to be the same as before."""
    return hashlib.sha256(command.encode("utf-8", "surrogateescape")).hexdigest()[:HASH_DIGITS]


def resets(
    nodes: Mapping[RuleKey, Node],
    progress: Mapping[RuleKey, Progress],
    stamps: Mapping[str, Stamp | None],
    *,
    file_check: bool = True,
    rerun_changed: bool = False,
) -> dict[RuleKey, str]:
    """The rules that begin anew, in an order in which they can, each with the reason in a sentence."""
    made = {use.local for node in nodes.values() for use in node.rule.outputs}
    order = TopologicalSorter({key: node.needs for key, node in nodes.items()}).static_order()
    again: dict[RuleKey, str] = {}
    for key in order:
        why = _why_again(nodes[key], progress[key])
        if why is None and progress[key].state is RuleState.DONE:
            why = _follows(nodes[key], nodes, progress, again)
            if why is None and file_check:
                why = _changed(nodes[key], progress[key], stamps, made, rerun_changed)
        elif why is None and progress[key].state is not RuleState.WAITING:
            why = _follows(nodes[key], nodes, progress, again)
        if why is not None:
            again[key] = why
    return again


def _why_again(node: Node, progress: Progress) -> str | None:
    match progress.state:
        case RuleState.FAILED:
            return "it failed in the last run"
        case RuleState.BLOCKED | RuleState.ABORTED:
            return "the last run did not come to it"
        case RuleState.PREPARING | RuleState.READY | RuleState.EXPANDED:
            return "the last run ended before it started"
        case RuleState.LAUNCHED | RuleState.RUNNING if node.rule.kind is Kind.LOCAL:
            return "it ran next to the manager, which is gone"
        case _:
            return None


def _follows(
    node: Node, nodes: Mapping[RuleKey, Node], progress: Mapping[RuleKey, Progress], again: Iterable[RuleKey]
) -> str | None:
    for need in sorted(node.needs):
        if need in again or progress[need].state is not RuleState.DONE:
            return f"it needs '{nodes[need].rule.title}', which is made again"
    return None


def _changed(
    node: Node, progress: Progress, stamps: Mapping[str, Stamp | None], made: set[str], rerun_changed: bool
) -> str | None:
    for name in progress.outputs:
        if stamps.get(name) is None:
            return f"its output '{name}' is gone"
    if {use.local for use in node.rule.outputs} != progress.outputs.keys():
        return "it now makes other files"
    for name, before in progress.inputs.items():
        if (name in made or rerun_changed) and stamps.get(name) != before:
            return f"its input '{name}' has changed since"
    if rerun_changed and progress.command_hash != command_hash(node.rule.command):
        return "its command has changed"
    return None
