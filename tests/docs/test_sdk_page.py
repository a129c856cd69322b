"""The pages for people who begin do not promise what is not there."""

from __future__ import annotations

import re
from pathlib import Path

from altiplano import sdk
from altiplano.cli.main import COMMANDS
from altiplano.sdk import core, running, session
from altiplano.testing.master import MasterTwin

ROOT = Path(__file__).parents[2]
SDK = (ROOT / "docs" / "sdk.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def test_every_callback_and_method_on_the_page_exists() -> None:
    table = SDK.partition("| callback | when |")[2].partition("\n\n")[0]
    callbacks = re.findall(r"`(\w+)\(", table)
    assert len(callbacks) >= 10
    asked = re.findall(r"`self\.(\w+)\(", SDK)
    assert len(asked) >= 7
    for name in (*callbacks, *asked):
        assert hasattr(sdk.Framework, name), name


def test_the_smallest_framework_runs_on_the_twin() -> None:
    code = SDK.partition("```python\n")[2].partition("sdk.run(")[0]
    names: dict[str, type[sdk.Framework]] = {}
    exec(code, names)  # type: ignore[arg-type]
    twin = MasterTwin()
    twin.add_agent("alps1")
    twin.connect(names["Hello"]())
    (task,) = twin.tasks
    twin.finish(task)
    assert twin.ended is not None


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert f"{session.CALLS_MAX:,}, then `CallsFull`" in SDK
    assert f"{running.EVENTS_MAX:,}, then no more" in SDK
    assert f"| {core.SEEN_MAX:,} |" in SDK
    assert f"{core.HEARTBEATS_MISSED_MAX * core.HEARTBEAT_S_DEFAULT:g} s" in SDK
    assert f"{core.RETRY.base_s:g} s, doubling up to {core.RETRY.cap_s:g} s" in SDK


def test_every_command_in_the_tutorial_exists() -> None:
    named = set(re.findall(r"^altiplano (\w+)", TUTORIAL, re.MULTILINE)) | set(
        re.findall(r"`altiplano (\w+)", TUTORIAL)
    )
    assert {"up", "down", "run", "task", "agent", "doctor"} <= named
    assert named <= set(COMMANDS)
