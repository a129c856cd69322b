"""What can be told of a workflow before anything runs."""

from __future__ import annotations

import pytest

from altiplano.frameworks.flows import graph, makeflow
from altiplano.frameworks.flows.graph import Graph, RuleKey
from altiplano.frameworks.flows.workflow import WorkflowError


def join(
    text: str, *there: str, shared_dir: bool = False, parent: str | None = None, files: tuple[str, ...] = ()
) -> Graph:
    workflow = makeflow.parse(text, file="w.mf", environment={})
    above = None if parent is None else RuleKey(parent)
    return graph.join(workflow, exists=set(there).__contains__, shared_dir=shared_dir, parent=above, files=files)


def problems(text: str, *there: str, **options: object) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        join(text, *there, **options)  # type: ignore[arg-type]
    return [str(problem) for problem in caught.value.problems]


def test_rules_need_the_makers_of_their_inputs() -> None:
    nodes = join("c: a b\n\tx\na: s\n\tx\nb: a\n\tx\n", "s").nodes
    assert {key: node.needs for key, node in nodes.items()} == {"c": {"a", "b"}, "a": set(), "b": {"a"}}
    assert {key: node.stage for key, node in nodes.items()} == {"c": 2, "a": 0, "b": 1}


def test_a_file_of_two_rules_is_refused_with_both_lines() -> None:
    assert problems("a:\n\tx\n\nb a:\n\ty\n") == [
        "w.mf:4: 'a' is an output here and on line 1: a file is made by one rule only"
    ]


def test_an_input_must_be_there_or_made() -> None:
    assert problems("a: s t\n\tx\nb: u\n\tx\n", "t") == [
        "w.mf:1: the input 's' is not there and no rule makes it",
        "w.mf:3: the input 'u' is not there and no rule makes it",
    ]


def test_names_are_compared_as_text() -> None:
    assert problems("./a:\n\tx\nb: a\n\tx\n") == ["w.mf:3: the input 'a' is not there and no rule makes it"]


@pytest.mark.parametrize("made", ["d", "d/"])
def test_what_lies_in_a_made_directory_is_made_with_it(made: str) -> None:
    nodes = join(f"{made}:\n\tx\nb: d/e/f\n\tx\n").nodes
    assert nodes[RuleKey("b")].needs == {made}


def test_a_circle_is_named_from_its_first_line_on() -> None:
    text = "s: t\n\tx\na: c s\n\tx\nb: a\n\tx\nc: b\n\tx\n"
    assert problems(text, "t") == [
        "w.mf:3: rules in a circle can never run: 'a' needs 'c' (line 7), which needs 'b' (line 5), "
        "which needs 'a' (line 3)"
    ]


def test_a_rule_that_needs_its_own_output_is_a_circle() -> None:
    assert problems("a: a\n\tx\n", "a") == ["w.mf:1: the rule of 'a' needs what it makes itself"]


@pytest.mark.parametrize("name", [".", "/", "..", "../..", "./"])
def test_an_output_must_not_be_what_the_workflow_lies_in(name: str) -> None:
    assert problems(f"{name}:\n\tLOCAL x\n")[0].startswith(f"w.mf:1: '{name}' cannot be an output")


@pytest.mark.parametrize("name", ["/abs/f", "../f", "a/../../f"])
def test_a_file_outside_cannot_be_carried_to_an_agent(name: str) -> None:
    (told,) = problems(f"a: {name}\n\tx\n", name)
    assert f"as in '{name}->f'" in told
    assert join(f"a: {name}->f\n\tx\n", name).nodes
    assert join(f"a: {name}\n\tx\n", name, shared_dir=True).nodes
    assert join(f"a: {name}\n\tLOCAL x\n", name).nodes


def test_with_a_shared_directory_files_keep_their_names() -> None:
    (told,) = problems("a: b->c\n\tx\n", "b", shared_dir=True)
    assert told.startswith("w.mf:1: 'b->c': with --shared-dir commands run among the files")


def test_rules_without_outputs_are_known_by_their_command() -> None:
    assert list(join(":\n\tx\n:\n\tx\n:\n\ty\n").nodes) == ["$ x", "$ x (2)", "$ y"]


def test_rules_of_a_nested_workflow_carry_their_parents_key() -> None:
    (node,) = join("a:\n\tx\n", parent="p").nodes.values()
    assert (node.key, node.parent, node.label) == ("p » a", "p", "rule 0 (w.mf:1, a)")


def test_a_workflow_nested_in_itself_is_refused() -> None:
    assert problems("a:\n\tx\n", files=("w.mf", "v.mf")) == [
        "w.mf:1: this workflow is nested in itself: w.mf -> v.mf -> w.mf"
    ]


def test_nesting_has_a_limit() -> None:
    around = tuple(f"{number}.mf" for number in range(graph.NESTING_MAX + 1))
    assert problems("a:\n\tx\n", files=around) == ["w.mf:1: workflows are nested more than 16 deep"]
    assert join("a:\n\tx\n", files=around[1:]).nodes


def test_the_declared_boundary_is_compared() -> None:
    told = join("MAKEFLOW_INPUTS=s\nMAKEFLOW_OUTPUTS=b z\nb: s t\n\tx\n", "s", "t").warnings
    assert [str(warning) for warning in told] == [
        "w.mf:3: 't' is taken from outside and not declared in MAKEFLOW_INPUTS",
        "w.mf:1: 'z' is declared in MAKEFLOW_OUTPUTS and no rule makes it",
    ]


def test_all_problems_are_told_at_once() -> None:
    assert len(problems("a: s\n\tx\na: a\n\tx\nb: /t\n\tx\n")) == 4


def test_ten_thousand_rules_in_a_chain_are_joined() -> None:
    text = "".join(f"f{number}: f{number - 1}\n\tx\n" for number in range(1, 10_001))
    assert max(node.stage for node in join(text, "f0").nodes.values()) == 9_999


@pytest.mark.parametrize("text", ["a\udcff:\n\ttrue\n", "a:\n\techo \udcff > a\n", "a\0b:\n\ttrue\n"])
def test_bytes_that_are_no_text_are_refused_with_their_line(text: str) -> None:
    (problem,) = problems("# a comment may hold anything: \udcff\n" + text)
    assert problem.startswith("w.mf:2: this rule holds bytes that are not UTF-8")
