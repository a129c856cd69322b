"""Where rules are drawn, and what their pictures say."""

from __future__ import annotations

import doctest
import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from altiplano.frameworks.flows import graph, makeflow
from altiplano.frameworks.flows.pages import layout, picture
from altiplano.frameworks.flows.pages.picture import FlowPicture, RulePicture
from altiplano.frameworks.flows.progress import RuleState
from altiplano.frameworks.flows.state import FlowState
from altiplano.testing import showflows


def draw(rules: tuple[RulePicture, ...]) -> layout.Drawing:
    return layout.draw(rules, under=lambda rule: rule.state.value)


def rule(key: str, *needs: str, category: str = "default") -> RulePicture:
    return RulePicture(key=key, title=key, state=RuleState.WAITING, needs=needs, category=category)


@st.composite
def graphs(draws: st.DrawFn) -> tuple[RulePicture, ...]:
    count = draws(st.integers(0, 40))
    rules = []
    for i in range(count):
        needs = draws(st.sets(st.integers(0, i - 1), max_size=4)) if i else set()
        rules.append(rule(f"r{i}", *(f"r{n}" for n in sorted(needs)), category=f"c{draws(st.integers(0, 3))}"))
    return tuple(rules)


def test_the_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(layout).failed == 0


@given(graphs())
def test_boxes_never_overlap_and_stay_on_the_sheet(rules: tuple[RulePicture, ...]) -> None:
    drawing = draw(rules)
    columns: dict[float, list[float]] = {}
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - layout.BOX_W
        assert 0 <= box.y <= drawing.height - layout.BOX_H
        columns.setdefault(box.x, []).append(box.y)
    for heights in columns.values():
        ordered = sorted(heights)
        assert all(low + layout.BOX_H <= high + 0.2 for low, high in itertools.pairwise(ordered))


@given(graphs())
def test_what_comes_before_stands_to_the_left(rules: tuple[RulePicture, ...]) -> None:
    drawing = draw(rules)
    x = {box.key: box.x for box in drawing.boxes}
    assert all(x[edge.begin] < x[edge.end] for edge in drawing.edges)
    assert len(drawing.edges) == sum(len(rule.needs) for rule in rules)


@given(graphs())
def test_the_same_flow_gives_the_same_drawing(rules: tuple[RulePicture, ...]) -> None:
    assert draw(rules) == draw(rules)


def test_a_chain_is_a_straight_line() -> None:
    drawing = draw((rule("a"), rule("b", "a"), rule("c", "b")))
    assert len({box.y for box in drawing.boxes}) == 1


def test_many_rules_become_their_categories() -> None:
    drawing = draw(showflows.production(0.0).rules)
    assert [box.title for box in drawing.boxes] == ["generate", "simulate", "reconstruct", "merge", "plot"]
    assert sum(box.size for box in drawing.boxes) == len(showflows.production(0.0).rules)


def test_categories_that_need_each_other_are_told_apart_by_step() -> None:
    rules = [rule("s0", category="x")]
    for i in range(1, layout.RULES_DRAWN_MAX + 2):
        rules.append(rule(f"s{i}", f"s{i - 1}", category="x" if i % 2 == 0 else "y"))
    drawing = draw(tuple(rules))
    assert drawing.boxes[0].title == "x, step 1"
    assert len(drawing.boxes) == len(rules)


def test_more_boxes_than_anybody_reads_are_left_to_the_table() -> None:
    rules = tuple(rule(f"r{i}", category=f"c{i}") for i in range(layout.BOXES_MAX + 5))
    drawing = draw(rules)
    assert (len(drawing.boxes), drawing.left_out) == (layout.BOXES_MAX, 5)


def test_every_state_has_a_colour_and_a_word() -> None:
    assert set(picture.GROUPS) == set(RuleState)
    assert set(picture.GROUPS.values()) == set(picture.GROUP_ORDER) == set(picture.GROUP_WORDS)


def test_the_counts_of_a_flow_are_those_of_its_rules() -> None:
    flow = showflows.validation(0.0)
    assert dict(flow.counts) == {group: Counter(r.group for r in flow.rules)[group] for group in picture.GROUP_ORDER}
    assert (flow.group, flow.word) == ("failed", "running, with failures")


def test_a_flow_that_ended_well_is_done() -> None:
    assert FlowPicture(id="f", title="f", rules=(), exit_code=0).word == "done"


def test_a_state_of_the_core_becomes_a_picture() -> None:
    workflow = makeflow.parse(
        "CATEGORY=one\na: x\n\tmake a\nCATEGORY=two\nb: a\n\tmake b\n", file="Makeflow", environment={}
    )
    state = FlowState(graph.join(workflow, exists=lambda name: name == "x", shared_dir=True))
    flow = picture.of_state(state)
    first, second = flow.rules
    assert (first.key, first.category, first.command, first.inputs) == ("a", "one", "make a", ("x",))
    assert second.needs == ("a",)
    assert "needs 'a'" in second.why
