"""Who needs whom: a workflow joined into a graph, and all that can be told before anything runs.

Files are compared as text, so `a` and `./a` are two files.  A directory stands for all it holds:
an input below a directory that some rule makes comes from that rule.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NewType

from altiplano.frameworks.flows.workflow import FileUse, Kind, Problem, Rule, Workflow, WorkflowError

NESTING_MAX = 16
"""Workflows inside of workflows, at most this many deep."""

RuleKey = NewType("RuleKey", str)
"""Names a rule over edits of its file and over restarts: by the first file it makes, for a file is
output of one rule only; a rule without outputs by its command.  Rules of a nested workflow carry the
key of the rule that brought it before their own, with `NEST` between."""

NEST = " » "


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A rule in its graph."""

    key: RuleKey
    rule: Rule
    file: str
    """The workflow file it stands in."""
    needs: frozenset[RuleKey]
    """Rules that must be done before."""
    stage: int
    """Rules on the longest way to it from the beginning."""
    parent: RuleKey | None = None
    """The rule whose nested workflow this one belongs to."""

    @property
    def label(self) -> str:
        """How messages call it.

        A file and a line find the rule; what it makes tells people which one it is.
        """
        return f"rule {self.rule.number} ({self.file}:{self.rule.line}, {self.rule.title})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Rules of one file by key, in the order of the file."""

    file: str
    nodes: Mapping[RuleKey, Node]
    warnings: tuple[Problem, ...] = ()


def join(
    workflow: Workflow,
    *,
    exists: Callable[[str], bool],
    shared_dir: bool,
    parent: RuleKey | None = None,
    files: tuple[str, ...] = (),
) -> Graph:
    """The graph of a workflow whose files can all come to be.

    `exists(name)` tells whether a file is there already; `shared_dir` says that commands run among
    the files themselves; `files` are the workflow files around a nested one, the outermost first.
    Raises WorkflowError with every problem: files of two makers, files of none, circles, names
    that cannot be carried to an agent.
    """
    strange = [Problem(workflow.file, rule.line, _NOT_TEXT) for rule in workflow.rules if not _is_text(rule)]
    if strange:
        # Such names can be neither looked for nor sent to a master, so nothing more can be told of them.
        raise WorkflowError(strange)
    problems = list(_nesting_problems(workflow, files))
    makers = _makers(workflow, problems)
    for rule in workflow.rules:
        problems.extend(_name_problems(workflow.file, rule, shared_dir))
    keys = _keys(workflow, parent)
    needs = [_needs_of(workflow.file, rule, makers, exists, problems) for rule in workflow.rules]
    order, circle = _order(needs)
    problems.extend(_circle_problems(workflow, circle))
    if problems:
        raise WorkflowError(problems)
    stages: dict[int, int] = {}
    for number in order:
        stages[number] = 1 + max((stages[before] for before in needs[number]), default=-1)
    nodes = {
        keys[rule.number]: Node(
            key=keys[rule.number],
            rule=rule,
            file=workflow.file,
            needs=frozenset(keys[number] for number in needs[rule.number]),
            stage=stages[rule.number],
            parent=parent,
        )
        for rule in workflow.rules
    }
    warnings = (*workflow.warnings, *_boundary_warnings(workflow, makers))
    return Graph(file=workflow.file, nodes=nodes, warnings=warnings)


_NOT_TEXT = "this rule holds bytes that are not UTF-8, or zero bytes, which no master takes: save the file as UTF-8"


def _is_text(rule: Rule) -> bool:
    names = [name for use in (*rule.outputs, *rule.inputs) for name in (use.local, use.remote)]
    variables = [text for pair in (*rule.environment, *rule.exports) for text in pair]
    text = " ".join([*names, *variables, rule.command, rule.category])
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _keys(workflow: Workflow, parent: RuleKey | None) -> list[RuleKey]:
    prefix = "" if parent is None else parent + NEST
    keys: list[RuleKey] = []
    same: dict[str, int] = {}
    for rule in workflow.rules:
        if rule.outputs:
            keys.append(RuleKey(prefix + rule.outputs[0].local))
            continue
        count = same[rule.command] = same.get(rule.command, 0) + 1
        keys.append(RuleKey(f"{prefix}$ {rule.command}" + (f" ({count})" if count > 1 else "")))
    return keys


def _makers(workflow: Workflow, problems: list[Problem]) -> dict[str, int]:
    """The rule of each output; a file of two rules is a problem that names both lines."""
    makers: dict[str, int] = {}
    for rule in workflow.rules:
        for use in rule.outputs:
            other = makers.setdefault(use.local, rule.number)
            if other != rule.number:
                line = workflow.rules[other].line
                sentence = f"'{use.local}' is an output here and on line {line}: a file is made by one rule only"
                problems.append(Problem(workflow.file, rule.line, sentence))
    return makers


def _needs_of(
    file: str, rule: Rule, makers: Mapping[str, int], exists: Callable[[str], bool], problems: list[Problem]
) -> frozenset[int]:
    """The rules that make the inputs of `rule`; an input nobody makes and that is not there is a problem."""
    needs = set()
    for use in rule.inputs:
        maker = next((makers[name] for name in _itself_and_above(use.local) if name in makers), None)
        if maker is not None:
            needs.add(maker)
        elif not exists(use.local):
            sentence = f"the input '{use.local}' is not there and no rule makes it"
            problems.append(Problem(file, rule.line, sentence))
    return frozenset(needs)


def _itself_and_above(name: str) -> Iterator[str]:
    """A name, then the directories it lies in, nearest first; with and without a slash at the end."""
    yield name
    while name and name != "/" and ".." not in name.split("/"):
        yield name
        bare = name.rstrip("/")
        yield bare if bare != name else name + "/"
        name = posixpath.dirname(bare)


def _order(needs: list[frozenset[int]]) -> tuple[list[int], list[int]]:
    """Rules in an order that can run, or the rules of a circle, the first one again at its end."""
    try:
        return list(TopologicalSorter(dict(enumerate(needs))).static_order()), []
    except CycleError as error:
        return [], list(error.args[1])


def _circle_problems(workflow: Workflow, circle: list[int]) -> Iterator[Problem]:
    """graphlib names each rule before the one that needs it; people read it the other way."""
    if not circle:
        return
    rules = [workflow.rules[number] for number in reversed(circle)]
    if len(circle) == 2:
        yield Problem(workflow.file, rules[0].line, f"the rule of '{rules[0].title}' needs what it makes itself")
        return
    first = min(range(len(rules) - 1), key=lambda place: rules[place].line)
    rules = [*rules[first:-1], *rules[: first + 1]]
    way = ", which needs ".join(f"'{rule.title}' (line {rule.line})" for rule in rules[1:])
    yield Problem(workflow.file, rules[0].line, f"rules in a circle can never run: '{rules[0].title}' needs {way}")


def _name_problems(file: str, rule: Rule, shared_dir: bool) -> Iterator[Problem]:
    for use in rule.outputs:
        path = posixpath.normpath(use.local)
        if path in (".", "/") or path.split("/")[-1] == "..":
            sentence = f"'{use.local}' cannot be an output: replacing it would replace what lies around the workflow"
            yield Problem(file, rule.line, sentence)
    if rule.kind is not Kind.REMOTE:
        return
    for use in (*rule.outputs, *rule.inputs):
        refusal = _shared_problem(use) if shared_dir else _carried_problem(use)
        if refusal:
            yield Problem(file, rule.line, refusal)


def _shared_problem(use: FileUse) -> str | None:
    if not use.renamed:
        return None
    return f"'{use.local}->{use.remote}': with --shared-dir commands run among the files, which keep their names"


def _carried_problem(use: FileUse) -> str | None:
    """Why a file cannot be put below the directory of a task."""
    path = posixpath.normpath(use.remote)
    if not path.startswith(("/", "../")) and path != "..":
        return None
    return (
        f"'{use.remote}' lies outside of the directory in which the command runs on an agent: "
        f"give it a name there, as in '{use.local}->{posixpath.basename(path)}', or use --shared-dir"
    )


def _nesting_problems(workflow: Workflow, files: tuple[str, ...]) -> Iterator[Problem]:
    if workflow.file in files:
        way = " -> ".join((*files, workflow.file))
        yield Problem(workflow.file, 1, f"this workflow is nested in itself: {way}")
    elif len(files) > NESTING_MAX:
        yield Problem(workflow.file, 1, f"workflows are nested more than {NESTING_MAX} deep")


def _boundary_warnings(workflow: Workflow, makers: Mapping[str, int]) -> Iterator[Problem]:
    """Where the declared boundary differs from what the rules really take and give."""
    if workflow.declared_inputs is not None:
        for rule in workflow.rules:
            for use in rule.inputs:
                if use.local not in makers and use.local not in workflow.declared_inputs:
                    sentence = f"'{use.local}' is taken from outside and not declared in MAKEFLOW_INPUTS"
                    yield Problem(workflow.file, rule.line, sentence)
    for name in workflow.declared_outputs or ():
        if name not in makers:
            yield Problem(workflow.file, 1, f"'{name}' is declared in MAKEFLOW_OUTPUTS and no rule makes it")
