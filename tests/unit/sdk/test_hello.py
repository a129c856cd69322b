"""The first example, on a master in memory: how a framework's author tests."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from altiplano.sdk.framework import Framework
from altiplano.testing.master import MasterTwin
from altiplano.wire.messages import mesos, scheduler

HELLO = Path(__file__).parents[3] / "examples" / "01-hello" / "hello.py"


def hello(count: int) -> Framework:
    framework = runpy.run_path(str(HELLO))["Hello"](count)
    assert isinstance(framework, Framework)
    return framework


def test_it_runs_its_tasks_and_leaves_the_pool_clean(capsys: pytest.CaptureFixture[str]) -> None:
    twin = MasterTwin()
    twin.add_agent("alps1", cpus=1, mem=1024)
    twin.connect(hello(3))
    assert [task.name for task in twin.tasks.values()] == ["hello-0", "hello-1", "hello-2"]
    assert twin.suppressed == {"*"}
    for task_id in list(twin.tasks):
        twin.finish(task_id)
    assert twin.finished == dict.fromkeys(("hello-0", "hello-1", "hello-2"), mesos.TaskState.TASK_FINISHED)
    assert twin.made(scheduler.CallType.TEARDOWN)
    assert twin.ended is not None
    assert twin.ended.sentence is None
    assert "hello-2 is TASK_FINISHED" in capsys.readouterr().out


def test_it_waits_for_more_machines_when_one_is_too_small() -> None:
    twin = MasterTwin()
    twin.add_agent("alps1", cpus=0.2, mem=1024)
    twin.connect(hello(3))
    assert list(twin.tasks) == ["hello-0", "hello-1"]
    twin.add_agent("alps2", cpus=0.2, mem=1024)
    assert list(twin.tasks) == ["hello-0", "hello-1", "hello-2"]
    assert twin.tasks["hello-2"].agent_id == "agent-alps2"


def test_the_example_fits_on_a_page() -> None:
    assert len(HELLO.read_text().splitlines()) <= 50
