"""Crash points: none is forgotten in a list, none is listed that is nowhere, and an armed one kills once."""

from __future__ import annotations

import ast
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from altiplano.adapters.images import shelf
from altiplano.adapters.supervisor import keeper, server
from altiplano.agent import daemon
from altiplano.kit import crash
from altiplano.master import server as master_server

ROOT = pathlib.Path(__file__).parents[3]
LISTED = {*keeper.POINTS, *server.POINTS, *daemon.POINTS, *master_server.POINTS, *shelf.POINTS}

PROGRAM = """
from altiplano.kit import crash
crash.arm("agent", ("before", "after"))
for _ in range(3):
    crash.at("before")
    print("passed", flush=True)
"""


def points_in_the_source() -> set[str]:
    """The arguments of every call of `crash.at`, and the values of the tables that `crash.at_entry` gets."""
    found = set()
    for path in (ROOT / "altiplano").rglob("*.py"):
        text = path.read_text()
        if "crash.at" not in text:
            continue
        tree = ast.parse(text)
        tables = {node.args[0].id for node in calls(tree, "at_entry") if isinstance(node.args[0], ast.Name)}
        for node in calls(tree, "at"):
            found |= texts(node.args[0])
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in tables:
                found |= texts(node.value)
    return found


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "crash"
    ]


def texts(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def run(folder: pathlib.Path, point: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ALTIPLANO_CRASH_POINT": point, "ALTIPLANO_CRASH_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )


def test_every_point_is_listed_and_every_listed_point_is_somewhere() -> None:
    assert points_in_the_source() == LISTED


@pytest.mark.parametrize(
    ("point", "passed"), [("agent.before", 0), ("agent.before:3", 2), ("master.x,agent.before", 0)]
)
def test_an_armed_process_dies_once(tmp_path: pathlib.Path, point: str, passed: int) -> None:
    first, second = run(tmp_path, point), run(tmp_path, point)
    assert first.returncode == -signal.SIGKILL
    assert first.stdout.count("passed") == passed
    assert second.returncode == 0
    assert second.stdout.count("passed") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["agent.before"]


def test_points_of_other_processes_do_not_concern_us(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, "master.before").returncode == 0


def test_a_point_that_does_not_exist_is_refused(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, "agent.behind")
    assert done.returncode == 1
    assert "agent.behind is no crash point; those of the agent are before, after" in done.stderr


def test_a_visitor_is_called_at_every_point_and_nobody_dies() -> None:
    seen: list[str] = []
    crash.visit(seen.append)
    try:
        crash.at("anything")
        crash.at_entry({"a kind": "a point"}, "a kind")
        crash.at_entry({"a kind": "a point"}, "another kind")
    finally:
        crash.visit(None)
    crash.at("afterwards")
    assert seen == ["anything", "a point"]
