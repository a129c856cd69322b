"""Why a command waits, and how it ends."""

from __future__ import annotations

import pytest

from altiplano import sdk
from altiplano.cli import listing, waiting
from altiplano.cli.failures import Failure
from altiplano.cli.listing import AgentRow, Amounts, FrameworkRow
from altiplano.cli.run_framework import RunFramework, exit_code
from altiplano.testing.master import MasterTwin
from altiplano.wire.messages import mesos
from altiplano.wire.messages.scheduler import CallType

NEEDS = Amounts(cpus=2, mem=512)


def machine(name: str, cpus: float, used: float = 0, state: str = "active") -> AgentRow:
    return AgentRow(
        id=f"id-{name}",
        hostname=name,
        state=state,
        version="1",
        total=Amounts(cpus=cpus, mem=8192),
        used=Amounts(cpus=used),
        attributes={},
        registered_wall_s=None,
    )


def framework(name: str, cpus: float) -> FrameworkRow:
    return FrameworkRow(
        id=name,
        name=name,
        state="active",
        roles=("*",),
        user="eva",
        webui_url="",
        used=Amounts(cpus=cpus),
        offered=Amounts(),
        registered_wall_s=None,
    )


def test_a_pool_without_machines() -> None:
    assert "no machine that takes tasks" in waiting.explain(NEEDS, [], [])
    assert "(1 are not active)" in waiting.explain(NEEDS, [machine("alps1", 4, state="draining")], [])


def test_a_task_that_is_too_large_for_every_machine() -> None:
    assert waiting.explain(NEEDS, [machine("alps1", 1)], []) == (
        "no machine of 1 machine is large enough, even when idle: alps1 has 1 cpus and 8192 MB of memory, and the "
        "task needs 2 cpus and 512 MB of memory; ask for less"
    )


def test_machines_that_are_busy_and_who_holds_them() -> None:
    sentence = waiting.explain(NEEDS, [machine("alps1", 4, used=3)], [framework("flows", 3), framework("idle", 0)])
    assert sentence == (
        "1 machine would be large enough but busy: the task needs 2 cpus and 512 MB of memory, and the most that is "
        "free is 1 cpus and 8192 MB of memory on alps1; flows holds 3 cpus"
    )


def test_room_that_was_not_offered_yet() -> None:
    assert "alps1 has room" in waiting.explain(NEEDS, [machine("alps1", 4)], [])


@pytest.mark.parametrize(
    ("state", "sentence", "interrupted", "code"),
    [
        ("TASK_FINISHED", "Command exited with status 0", False, 0),
        ("TASK_FAILED", "Command exited with status 7", False, 7),
        ("TASK_FAILED", "Command terminated with signal Segmentation fault", False, 139),
        ("TASK_FAILED", "Command terminated with signal Killed", False, 137),
        ("TASK_KILLED", "Command terminated with signal Terminated", True, 130),
        ("TASK_KILLED", "", False, 143),
        ("TASK_LOST", "the agent is gone", False, 125),
        ("TASK_ERROR", "Task uses more resources than offered", False, 125),
    ],
)
def test_exit_codes_of_a_run(state: str, sentence: str, interrupted: bool, code: int) -> None:
    message = mesos.TaskStatus(task_id=mesos.TaskID(value="t"), state=mesos.TaskState(state), message=sentence)
    assert exit_code(sdk.Status.of(message), interrupted=interrupted) == code


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("Failed to launch container: The program x is in no directory of PATH (/bin).", 127),
        ("Failed to launch container: The program /x may not be executed: permission denied.", 126),
        ("Failed to launch container: the file could not be fetched", 125),
    ],
)
def test_exit_codes_of_what_could_not_be_started(sentence: str, code: int) -> None:
    message = mesos.TaskStatus(
        task_id=mesos.TaskID(value="t"),
        state=mesos.TaskState.TASK_FAILED,
        message=sentence,
        reason=mesos.TaskStatusReason.REASON_CONTAINER_LAUNCH_FAILED,
    )
    assert exit_code(sdk.Status.of(message), interrupted=False) == code


def run_framework(said: list[str]) -> RunFramework:
    task = sdk.Task(id="run-1", command="make", cpus=2, mem=512)
    return RunFramework(task, role="*", name="run make", say=said.append)


def test_a_run_takes_one_offer_and_ends_with_its_task() -> None:
    twin, one = MasterTwin(), run_framework([])
    twin.add_agent("alps1", cpus=1)
    twin.add_agent("alps2", cpus=4)
    twin.connect(one)
    assert (one.hostname, one.running) == ("alps2", True)
    assert "alps1 is too small" in one.lacks
    twin.fail("run-1", "Command exited with status 3")
    assert one.outcome is not None
    assert (one.outcome.exit_code, one.outcome.hostname) == (3, "alps2")


def test_a_run_whose_offer_was_void_takes_another() -> None:
    twin, one = MasterTwin(auto_run=False), run_framework([])
    twin.add_agent("alps1")
    twin.connect(one)
    twin.update("run-1", mesos.TaskState.TASK_DROPPED, "the agent was gone by then")
    assert one.outcome is None
    assert list(twin.tasks) == ["run-1"]
    assert twin.tasks["run-1"].state is mesos.TaskState.TASK_STAGING


def test_the_first_interrupt_kills_and_the_second_leaves() -> None:
    said: list[str] = []
    twin, one = MasterTwin(auto_kill=False), run_framework(said)
    twin.add_agent("alps1")
    twin.connect(one)
    assert one.interrupt() is False
    twin.settle()
    assert [call.kill.task_id.value for call in twin.made(CallType.KILL) if call.kill] == ["run-1"]
    assert "Ctrl-C again" in said[0]
    assert one.interrupt() is True


def test_names_may_be_short_as_long_as_they_are_clear() -> None:
    rows = ["a", "b", "c"]
    names = [("run-11", "make"), ("run-12", "make"), ("svc-1", "web")]
    assert listing.chosen("task", "svc", rows, names) == "c"
    assert listing.chosen("task", "web", rows, names) == "c"
    assert listing.chosen("task", "run-12", rows, names) == "b"
    with pytest.raises(Failure, match="may be several tasks: run-11, run-12"):
        listing.chosen("task", "make", rows, names)
    with pytest.raises(Failure, match="there is no task 'x'"):
        listing.chosen("task", "x", rows, names)
