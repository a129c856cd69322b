"""A flow's graph as text."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from altiplano.frameworks.flows.graph import Graph, Node
from altiplano.frameworks.flows.workflow import Kind

RULES_SHOWN_MAX = 12
"""Rules of one level that are named; a level with more says how many."""

_WORDS = {Kind.REMOTE: "", Kind.LOCAL: "  LOCAL", Kind.NESTED: "  MAKEFLOW"}


def levels(graph: Graph) -> str:
    """Rules by level: those of one level need nothing of each other."""
    by_stage: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes.values():
        by_stage[node.stage].append(node)
    lines = [f"{graph.file}: {_rules(len(graph.nodes))} in {len(by_stage)} level{'s' * (len(by_stage) != 1)}"]
    for stage in sorted(by_stage):
        nodes = by_stage[stage]
        lines.append(f"level {stage}: {_rules(len(nodes))}")
        lines += [f"  {_line(graph, node)}" for node in nodes[:RULES_SHOWN_MAX]]
        if len(nodes) > RULES_SHOWN_MAX:
            lines.append(f"  … and {len(nodes) - RULES_SHOWN_MAX} more")
    return "\n".join(lines)


def records(graph: Graph) -> list[dict[str, Any]]:
    """The rules as `flow graph --json` prints them, in the order of the file."""
    return [
        {
            "rule": node.rule.title,
            "line": node.rule.line,
            "level": node.stage,
            "category": node.rule.category,
            "kind": node.rule.kind.value,
            "inputs": [use.local for use in node.rule.inputs],
            "outputs": [use.local for use in node.rule.outputs],
            "after": sorted(graph.nodes[key].rule.title for key in node.needs),
            "command": node.rule.command,
        }
        for node in graph.nodes.values()
    ]


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count} rules"


def _line(graph: Graph, node: Node) -> str:
    needs = sorted((graph.nodes[key] for key in node.needs), key=lambda need: need.rule.number)
    after = ", ".join(need.rule.title for need in needs[:3]) + (f" and {len(needs) - 3} more" if len(needs) > 3 else "")
    return f"{node.rule.title}  [{node.rule.category}]{_WORDS[node.rule.kind]}" + (f"  after {after}" if after else "")


def dot(graph: Graph) -> str:
    """The graph for Graphviz; rules of one category share a colour."""
    categories = list(dict.fromkeys(node.rule.category for node in graph.nodes.values()))
    colour = {name: number % 8 + 1 for number, name in enumerate(categories)}
    lines = ["digraph flow {", '  rankdir=LR; node [shape=box, style="rounded,filled", colorscheme=pastel28];']
    for key, node in graph.nodes.items():
        lines.append(f"  {_quoted(key)} [label={_quoted(node.rule.title)}, fillcolor={colour[node.rule.category]}];")
    for key, node in graph.nodes.items():
        lines += [f"  {_quoted(need)} -> {_quoted(key)};" for need in sorted(node.needs)]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
