"""Reads workflow files into graphs.

The one place of flows that opens a workflow file, for a run, for a nested workflow, and for the
commands that only look.  File names start from `root`, the directory in which the flow is started.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from altiplano.frameworks.flows import graph, makeflow
from altiplano.frameworks.flows.graph import Graph, Node, RuleKey
from altiplano.frameworks.flows.workflow import Problem, WorkflowError

PYTHON = "PYTHON"
"""The variable by which workflow files name an interpreter; the one that runs us unless set."""


def environment_of(outside: Mapping[str, str]) -> dict[str, str]:
    """What a workflow file may refer to."""
    return {PYTHON: sys.executable, **outside}


def read(
    name: str,
    root: Path,
    *,
    environment: Mapping[str, str],
    shared_dir: bool,
    parent: RuleKey | None = None,
    around: tuple[str, ...] = (),
) -> Graph:
    """The graph of a workflow file.  Raises WorkflowError with everything that is wrong."""
    path = root / name
    try:
        with path.open("rb") as stream:
            content = stream.read(makeflow.FILE_BYTES_MAX + 1)
    except OSError as error:
        raise WorkflowError([Problem(name, 1, f"the workflow file cannot be read: {error.strerror}")]) from error
    workflow = makeflow.parse(makeflow.decode(content, file=name), file=name, environment=environment)
    return graph.join(
        workflow, exists=lambda used: (root / used).exists(), shared_dir=shared_dir, parent=parent, files=around
    )


def read_nested(
    node: Node, nodes: Mapping[RuleKey, Node], root: Path, *, environment: Mapping[str, str], shared_dir: bool
) -> Graph:
    """The graph of the workflow that a MAKEFLOW rule brings; exports of the rules around reach it."""
    return read(
        node.rule.command,
        root,
        environment={**environment, **exports_around(node, nodes)},
        shared_dir=shared_dir,
        parent=node.key,
        around=tuple(one.file for one in _chain(node, nodes)),
    )


def exports_around(node: Node, nodes: Mapping[RuleKey, Node]) -> dict[str, str]:
    """What the files around a rule, and its own, export: the inner value counts."""
    found: dict[str, str] = {}
    for one in _chain(node, nodes):
        found.update(one.rule.exports)
    return found


def _chain(node: Node, nodes: Mapping[RuleKey, Node]) -> list[Node]:
    """The rules that a rule is nested in, the outermost first, and itself."""
    chain = [node]
    while (parent := chain[0].parent) is not None:
        chain.insert(0, nodes[parent])
    return chain
