"""What a rule becomes on an agent, and what happens to its files here."""

from __future__ import annotations

from pathlib import Path

import pytest

from altiplano.frameworks.flows import graph, launching, makeflow, opening
from altiplano.frameworks.flows.effects import Start
from altiplano.frameworks.flows.files import Files, aside, remove
from altiplano.frameworks.flows.graph import Node
from altiplano.frameworks.flows.placement import amount_of
from altiplano.frameworks.flows.workflow import WorkflowError


def node_of(text: str) -> Node:
    workflow = makeflow.parse(text, file="w.mf", environment={})
    return next(iter(graph.join(workflow, exists=lambda _: True, shared_dir=False).nodes.values()))


def start_of(node: Node) -> Start:
    return Start(key=node.key, task_id="run.1", amount=amount_of(node.rule.needs))


def test_a_task_has_the_needs_the_environment_and_the_name_of_its_rule() -> None:
    node = node_of("export COLOUR=blue\nCORES=2\nMEMORY=100\nout:\n\techo > out\n")
    task = launching.task(node, start_of(node), command="x", uris=(), exports={"OUTER": "1", "COLOUR": "red"})
    assert (task.id, task.name, task.cpus, task.mem) == ("run.1", "out", 2.0, 100)
    assert (task.env["OUTER"], task.env["COLOUR"], task.env["CORES"]) == ("1", "blue", "2")
    assert task.labels["flow.line"] == "w.mf:4"


def test_inputs_are_fetched_by_content_under_their_remote_names(tmp_path: Path) -> None:
    node = node_of("out: a->sub/b dir\n\tcat b > out\n")
    (tmp_path / "a").write_text("A")
    (tmp_path / "dir").mkdir()
    files = Files(tmp_path)
    inputs = {name: (files.describe(name), f"http://h/in/{name}", name == "a") for name in ("a", "dir")}
    command, uris = launching.carried(node, inputs=inputs, outputs_url="http://h/out/t", empty_fails=False)
    assert [(uri.value, uri.output_file, uri.extract, uri.cache) for uri in uris] == [
        ("http://h/in/a", "sub/b", False, True),
        ("http://h/in/dir", ".altiplano-flow.in.1.tar", False, False),
    ]
    assert "tar -xf" in command
    assert "http://h/out/t" in command


def test_a_rule_without_outputs_needs_no_wrapper() -> None:
    node = node_of(":\n\techo done\n")
    assert launching.carried(node, inputs={}, outputs_url="", empty_fails=False) == ("echo done", ())


def test_a_shared_command_says_so_when_the_directory_is_not_shared(tmp_path: Path) -> None:
    command = launching.shared_command("true", tmp_path / "no such place")
    assert command.startswith("cd '")
    assert "--shared-dir says it is" in command


def test_contents_are_read_once_while_they_stay_the_same(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (tmp_path / "a").write_text("one")
    first = files.describe("a")
    assert files.describe("a") is first
    (tmp_path / "a").write_text("two and more")
    assert files.describe("a").sha256 != first.sha256


def test_what_a_failed_try_left_is_kept_beside_until_the_next_one_fails(tmp_path: Path) -> None:
    rule = node_of("a d:\n\tx\n").rule
    files = Files(tmp_path)
    for text in ("first", "second"):
        (tmp_path / "a").write_text(text)
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / text).touch()
        files.set_aside(rule)
    assert aside(tmp_path / "a").read_text() == "second"
    assert [path.name for path in aside(tmp_path / "d").iterdir()] == ["second"]
    assert not (tmp_path / "a").exists()


def test_looking_at_outputs_tells_missing_from_empty(tmp_path: Path) -> None:
    rule = node_of("a b c: s\n\tx\n").rule
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").touch()
    (tmp_path / "s").write_text("source")
    look = Files(tmp_path).look(rule, again=False)
    assert (look.missing, look.empty, sorted(look.stamps)) == (("c",), ("b",), ["a", "b", "s"])


def test_a_link_to_a_directory_is_removed_and_not_the_directory(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    assert remove(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
    assert not remove(tmp_path / "nothing")


def test_a_workflow_file_that_is_not_there_is_a_problem_like_others(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"none\.mf:1: the workflow file cannot be read"):
        opening.read("none.mf", tmp_path, environment={}, shared_dir=False)


def test_exports_of_the_files_around_reach_a_nested_workflow(tmp_path: Path) -> None:
    (tmp_path / "outer").write_text("export COLOUR=blue\nx: inner\n\tMAKEFLOW inner\n")
    (tmp_path / "inner").write_text("x:\n\techo $COLOUR > x\n")
    outer = opening.read("outer", tmp_path, environment={}, shared_dir=False)
    (node,) = outer.nodes.values()
    nested = opening.read_nested(node, outer.nodes, tmp_path, environment={}, shared_dir=False)
    (inside,) = nested.nodes.values()
    assert inside.rule.command == "echo blue > x"
    assert opening.exports_around(inside, {**outer.nodes, **nested.nodes}) == {"COLOUR": "blue"}


def test_the_interpreter_that_runs_us_stands_for_python_unless_another_is_named() -> None:
    assert opening.environment_of({"PYTHON": "other"})["PYTHON"] == "other"
    assert opening.environment_of({})["PYTHON"].startswith("/")
