"""The command executor: tables of what is reported."""

from __future__ import annotations

import pytest

from altiplano.executors import command
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos

Why = command.Why
PLAN = command.Plan(grace_s=3.0, completion_s=0.7)
MIB = 1024 * 1024


def killing(why: Why) -> command.Killing:
    return command.Killing(why=why, since_wall_s=100.0, deadline_wall_s=103.0)


@pytest.mark.parametrize(
    ("wait_status", "state", "message"),
    [
        (0, State.FINISHED, "Command exited with status 0"),
        (1 << 8, State.FAILED, "Command exited with status 1"),
        (255 << 8, State.FAILED, "Command exited with status 255"),
        (9, State.FAILED, "Command terminated with signal Killed"),
        (15, State.FAILED, "Command terminated with signal Terminated"),
        (11 | 0x80, State.FAILED, "Command terminated with signal Segmentation fault"),
    ],
)
def test_an_exit_is_told_in_the_words_of_mesos(wait_status, state, message):
    report = command.ended(PLAN, None, command.Exit(wait_status=wait_status))
    assert (report.state, report.message, report.source) == (state, message, command.Source.SOURCE_EXECUTOR)


@pytest.mark.parametrize(
    ("why", "state", "reason"),
    [
        (Why.ORDERED, State.KILLED, None),
        (Why.STOPPING, State.KILLED, None),
        (Why.COMPLETION, State.FAILED, command.Reason.REASON_MAX_COMPLETION_TIME_REACHED),
        (Why.UNKEPT, State.LOST, command.Reason.REASON_AGENT_DISCONNECTED),
    ],
)
@pytest.mark.parametrize("wait_status", [0, 9, 15, None])
def test_a_killed_task_ends_by_the_reason_of_the_kill(why, state, reason, wait_status):
    report = command.ended(PLAN, killing(why), command.Exit(wait_status=wait_status))
    assert (report.state, report.reason) == (state, reason)


def test_every_reason_to_kill_has_an_end():
    assert set(command.ENDS) == set(Why)
    assert all(end.state.ended for end in command.ENDS.values())


def test_an_unseen_end_is_a_failure_that_says_so():
    report = command.ended(PLAN, None, command.Exit(wait_status=None, limitation="the machine was rebooted"))
    assert (report.state, report.reason) == (State.FAILED, command.Reason.REASON_EXECUTOR_TERMINATED)
    assert report.message == "the machine was rebooted"


def test_a_command_that_survives_the_memory_limit_has_finished():
    exit_ = command.Exit(wait_status=0, oom_killed=True, memory_limit_bytes=MIB)
    assert command.ended(PLAN, None, exit_).state is State.FINISHED


def test_the_memory_limit_names_both_numbers():
    exit_ = command.Exit(wait_status=9, oom_killed=True, memory_limit_bytes=64 * MIB, memory_peak_bytes=60 * MIB)
    report = command.ended(PLAN, None, exit_)
    assert report.message == "Memory limit exceeded: Requested: 64MB Maximum Used: 60MB"
    assert report.limitation is not None
    assert report.limitation.resources[0].scalar == mesos.ValueScalar(value=60.0)


def test_the_first_kill_terminates_and_later_ones_only_shorten():
    first = command.kill(PLAN, None, why=Why.ORDERED, policy=None, wall_s=100.0)
    assert first is not None
    assert first.terminate
    assert first.killing.deadline_wall_s == 103.0
    assert command.kill(PLAN, first.killing, why=Why.ORDERED, policy=None, wall_s=102.0) is None
    sooner = mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=10**9))
    second = command.kill(PLAN, first.killing, why=Why.ORDERED, policy=sooner, wall_s=102.0)
    assert second is not None
    assert not second.terminate
    assert second.killing.deadline_wall_s == 101.0


def test_a_removal_silences_a_kill_for_ever():
    silenced = command.kill(PLAN, killing(Why.ORDERED), why=Why.REMOVED, policy=None, wall_s=101.0)
    assert silenced is not None
    assert silenced.killing.why is Why.REMOVED
    assert command.kill(PLAN, silenced.killing, why=Why.ORDERED, policy=None, wall_s=102.0) is None


@pytest.mark.parametrize(
    ("shown", "why", "told"), [(True, Why.ORDERED, True), (False, Why.ORDERED, False), (True, Why.UNKEPT, False)]
)
def test_killing_is_shown_to_those_who_ask_for_it(shown, why, told):
    order = command.kill(command.Plan(killing_shown=shown), None, why=why, policy=None, wall_s=0.0)
    assert order is not None
    assert (order.report is not None) == told


def test_the_plan_comes_from_task_and_framework():
    task = mesos.TaskInfo(
        name="t",
        task_id=mesos.TaskID(value="t"),
        agent_id=mesos.AgentID(value="a"),
        kill_policy=mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=2 * 10**9)),
        max_completion_time=mesos.DurationInfo(nanoseconds=5 * 10**8),
    )
    capability = mesos.FrameworkInfoCapability(type=mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE)
    framework = mesos.FrameworkInfo(user="u", name="f", capabilities=(capability,))
    assert command.plan(task, framework) == command.Plan(grace_s=2.0, completion_s=0.5, killing_shown=True)
