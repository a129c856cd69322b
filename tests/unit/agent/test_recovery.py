"""A new process on the log of an old one, whatever the launcher says by then."""

from __future__ import annotations

import pytest

from altiplano.agent import effects, events
from altiplano.ports import launcher
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import Agent, Capability, fetching, framework, of, seconds, task


def received() -> Agent:
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run(fetching())
    return agent


def starting() -> Agent:
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run()
    agent.ack()
    return agent


def running() -> Agent:
    agent = starting()
    agent.started()
    agent.ack()
    return agent


BEFORE = [received, starting, running]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_container_that_ended_meanwhile_is_told_with_its_true_status(before, snapshot):
    old = before()
    exited = old.exit(wait_status=7 << 8)
    agent = old.summarised() if snapshot else old.restarted()
    decision = agent.recover(launcher.Container(container_id=exited.container_id, outcome=exited))
    assert of(effects.Forget, decision)
    agent.join()
    while agent.core.state.streams:
        agent.ack()
    seen = old.states() + agent.states()
    assert seen == ["STARTING", "RUNNING", "FAILED"]
    assert agent.updates()[-1].message == "Command exited with status 7"


@pytest.mark.parametrize("before", BEFORE)
def test_a_container_that_runs_is_taken_up_again(before):
    old = before()
    container = launcher.Container(container_id=old.container(), outcome=old.running())
    agent = old.restarted()
    decision = agent.recover(container)
    assert not of(effects.Launch, decision)
    assert not of(effects.Destroy, decision)
    agent.join()
    while agent.core.state.streams:
        agent.ack()
    assert old.states() + agent.states() == ["STARTING", "RUNNING"]
    agent.exited()
    assert agent.states()[-1] == "FINISHED"


def test_a_task_that_was_only_received_begins_anew():
    agent = received().restarted()
    assert of(effects.MakeSandbox, agent.recover())


def test_a_task_that_was_to_be_started_is_started_under_the_same_container_id():
    old = starting()
    agent = old.restarted()
    (launch,) = of(effects.Launch, agent.recover())
    assert launch.spec.container_id == old.container()


@pytest.mark.parametrize("boot_id", [None, "boot-2"])
def test_a_task_that_never_began_and_was_to_be_killed_is_told_as_killed(boot_id):
    old = starting()
    old.kill()
    agent = old.restarted()
    decision = agent.recover() if boot_id is None else agent.recover(boot_id=boot_id)
    assert not of(effects.Launch, decision)
    agent.join()
    while agent.core.state.streams:
        agent.ack()
    end = agent.updates()[-1]
    assert (end.state.value, end.reason) == (
        "TASK_KILLED",
        mesos.TaskStatusReason.REASON_TASK_KILLED_DURING_LAUNCH,
    )


@pytest.mark.parametrize(("aware", "state"), [(False, "LOST"), (True, "DROPPED")])
def test_after_a_reboot_nothing_is_started_that_may_have_run(aware, state):
    capabilities = (Capability.PARTITION_AWARE,) if aware else ()
    old = Agent()
    old.recover()
    old.join()
    old.run(by=framework(*capabilities))
    agent = old.restarted()
    decision = agent.recover(boot_id="boot-2")
    assert not of(effects.Launch, decision)
    agent.join()
    agent.ack()
    assert agent.states()[-1] == state


def test_a_container_that_is_gone_ends_its_task_as_failed():
    agent = running().restarted()
    agent.recover()
    agent.join()
    status = agent.updates()[-1]
    assert (status.state.value, status.reason) == (
        "TASK_FAILED",
        mesos.TaskStatusReason.REASON_EXECUTOR_TERMINATED,
    )


def test_a_kill_goes_on_with_its_deadline():
    old = running()
    old.kill(policy=mesos.KillPolicy(grace_period=seconds(100)))
    container = launcher.Container(container_id=old.container(), outcome=old.running())
    old.mono_s += 60
    agent = old.restarted()
    assert of(effects.Terminate, agent.recover(container))
    assert not [e for e in agent.advance(39) if isinstance(e, effects.Destroy)]
    assert [e for e in agent.advance(2) if isinstance(e, effects.Destroy)]


def test_a_wall_clock_that_was_set_back_does_not_lengthen_the_grace_of_a_kill():
    old = running()
    old.kill(policy=mesos.KillPolicy(grace_period=seconds(100)))
    container = launcher.Container(container_id=old.container(), outcome=old.running())
    agent = old.restarted()
    agent.wall_0 -= 3600
    agent.recover(container)
    assert [e for e in agent.advance(101) if isinstance(e, effects.Destroy)]


def test_the_max_completion_time_counts_from_the_start_of_the_command():
    old = Agent()
    old.up_to_running(task(max_completion_time=seconds(100)))
    container = launcher.Container(container_id=old.container(), outcome=old.running())
    old.mono_s += 60
    agent = old.restarted()
    agent.recover(container)
    assert not [e for e in agent.advance(39) if isinstance(e, effects.Terminate)]
    assert [e for e in agent.advance(2) if isinstance(e, effects.Terminate)]


@pytest.mark.parametrize("before", BEFORE)
def test_without_checkpoint_tasks_do_not_outlive_the_process(before):
    old = Agent()
    old.recover()
    old.join()
    old.run(fetching() if before is received else None, by=framework(checkpoint=False))
    if before is running:
        old.started()
    exit_ = old.exit(wait_status=9)
    inventory = [launcher.Container(container_id=old.container(), outcome=old.running())] if before is running else []
    agent = old.restarted()
    decision = agent.recover(*inventory)
    assert bool(of(effects.Destroy, decision)) == (before is running)
    if before is running:
        agent.post(events.ContainerExited(cause="x", seed=agent.seed(), exited=exit_))
    agent.join()
    while agent.core.state.streams:
        agent.ack()
    assert agent.states()[-1] == "LOST"
    assert not agent.core.state.tasks


def test_containers_of_nobody_are_ended_and_forgotten():
    agent = Agent()
    started = launcher.Started(container_id="stray", pid=1, start_ticks=1, started_wall_s=0.0)
    failed = launcher.LaunchFailed(container_id="failed", sentence="no")
    decision = agent.recover(
        launcher.Container(container_id="stray", outcome=started),
        launcher.Container(container_id="failed", outcome=failed),
    )
    assert [e.container_id for e in of(effects.Destroy, decision)] == ["stray"]
    assert [e.container_id for e in of(effects.Forget, decision)] == ["failed"]


def test_unacknowledged_updates_survive():
    old = running()
    old.exited()
    agent = old.restarted()
    agent.recover()
    agent.join()
    assert agent.states() == ["FINISHED"]
    assert agent.updates()[0].uuid == old.updates()[-1].uuid


def test_a_snapshot_holds_what_the_log_holds():
    for before in BEFORE:
        old = before()
        old.run(task("t2"))
        a, b = old.restarted(), old.summarised()
        assert list(a.core.summary()) == list(b.core.summary())


def test_a_core_can_be_written_down_and_read_again():
    agent = running()
    copy = agent.copied()
    assert list(copy.core.summary()) == list(agent.core.summary())
    copy.exited()
    assert copy.states()[-1] == "FINISHED"
    assert agent.core.state.tasks


def test_old_sandboxes_go_and_sooner_on_a_full_disk():
    agent = running()
    agent.exited()
    agent.ack()
    (kept,) = agent.core.state.kept.values()
    agent.mono_s += 3600

    def look(used: float) -> list[effects.RemoveSandbox]:
        return of(effects.RemoveSandbox, agent.post(events.DiskMeasured(cause="x", seed=agent.seed(), used=used)))

    assert not look(0.1)
    (removal,) = look(0.95)
    assert removal.directory == kept.directory
    agent.post(events.SandboxRemoved(cause="x", seed=agent.seed(), container_id=kept.container_id))
    assert not agent.core.state.kept
