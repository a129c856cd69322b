"""Checks of tasks as the agent's core runs them."""

from __future__ import annotations

import signal

import msgspec
import pytest

from altiplano.agent import effects, events
from altiplano.engine.core import Decision
from altiplano.executors import checks
from altiplano.executors.checks import Purpose, Slot
from altiplano.link import messages
from altiplano.ports import launcher, probes
from altiplano.wire import json
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import FRAMEWORK, Agent, framework, of, seconds, task

Reason = mesos.TaskStatusReason
OPEN = probes.Answer(connected=True)
REFUSED = probes.Answer(connected=False, sentence="port 80: connection refused")
KILLING = mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE


def health(**changes: object) -> mesos.HealthCheck:
    fields: dict[str, object] = {
        "type": mesos.HealthCheckType.TCP,
        "tcp": mesos.HealthCheckTCPCheckInfo(port=80),
        "delay_seconds": 1.0,
        "interval_seconds": 10.0,
        "timeout_seconds": 5.0,
        "grace_period_seconds": 0.0,
        "consecutive_failures": 2,
    }
    return mesos.HealthCheck(**{**fields, **changes})  # type: ignore[arg-type]


def by_command(value: str = "test -e alive", **changes: object) -> mesos.HealthCheck:
    order = mesos.CommandInfo(
        value=value,
        user="mallory",
        environment=mesos.Environment(variables=(mesos.EnvironmentVariable(name="PORT", value="81"),)),
    )
    return health(type=mesos.HealthCheckType.COMMAND, tcp=None, command=order, **changes)


def page_check() -> mesos.CheckInfo:
    return mesos.CheckInfo(
        type=mesos.CheckInfoType.HTTP,
        http=mesos.CheckInfoHttp(port=80, path="/state"),
        delay_seconds=1.0,
        interval_seconds=10.0,
        timeout_seconds=5.0,
    )


def answer(agent: Agent, run: str, what: probes.Answer) -> Decision:
    return agent.post(events.ProbeAnswered(cause="x", seed=agent.seed(), run=run, answer=what))


def begun(agent: Agent, run: str) -> Decision:
    started = launcher.Started(container_id=run, pid=5000, start_ticks=1, started_wall_s=agent.now().wall_s)
    return agent.post(events.LaunchAnswered(cause="x", seed=agent.seed(), outcome=started))


def over(agent: Agent, run: str, wait_status: int) -> Decision:
    wall_s = agent.now().wall_s
    exited = launcher.Exited(container_id=run, wait_status=wait_status, started_wall_s=wall_s, ended_wall_s=wall_s)
    return agent.post(events.ContainerExited(cause="x", seed=agent.seed(), exited=exited))


def probe(agent: Agent) -> effects.Probe:
    """Let time pass until a probe is under way."""
    while True:
        at = agent.core.wake_at()
        assert at is not None
        found = [effect for effect in agent.advance(max(0.0, at - agent.mono_s)) if isinstance(effect, effects.Probe)]
        if found:
            return found[0]


def running_with(**checks_: object) -> Agent:
    agent = Agent()
    agent.up_to_running(task(**checks_), framework(KILLING))
    return agent


def drain(agent: Agent) -> None:
    while (FRAMEWORK, "t1") in agent.core.state.streams:
        agent.ack()


def test_a_task_without_checks_has_no_timer_and_says_nothing_about_health() -> None:
    agent = running_with()
    assert agent.core.state.checks.watches == {}
    assert all(status.healthy is None and status.check_status is None for status in agent.updates())


def test_the_first_success_is_told_and_the_next_is_not() -> None:
    agent = running_with(health_check=health())
    first = probe(agent)
    assert first.target == probes.Tcp(port=80)
    answer(agent, first.run, OPEN)
    last = agent.updates()[-1]
    assert (last.state, last.healthy) == (mesos.TaskState.TASK_RUNNING, True)
    assert last.reason is Reason.REASON_TASK_HEALTH_CHECK_STATUS_UPDATED
    drain(agent)
    told = len(agent.updates())
    answer(agent, probe(agent).run, OPEN)
    assert len(agent.updates()) == told


def test_a_task_that_fails_too_often_is_killed_with_the_reason_in_words() -> None:
    agent = running_with(health_check=health())
    answer(agent, probe(agent).run, REFUSED)
    drain(agent)
    killed = answer(agent, probe(agent).run, REFUSED)
    assert of(effects.Terminate, killed)
    agent.exited(wait_status=signal.SIGTERM)
    drain(agent)
    assert agent.states() == ["STARTING", "RUNNING", "RUNNING", "RUNNING", "KILLING", "KILLED"]
    assert [status.healthy for status in agent.updates()] == [None, None, False, False, False, False]
    last = agent.updates()[-1]
    assert last.reason is None
    assert last.message == (
        "The task was killed because its health check failed 2 times in a row, the last time because "
        "port 80: connection refused. Command terminated with signal Terminated"
    )


def test_a_probe_that_takes_too_long_is_given_up_and_counts() -> None:
    agent = running_with(health_check=health(consecutive_failures=9))
    first = probe(agent)
    stopped = [effect for effect in agent.advance(5.0) if isinstance(effect, effects.StopProbe)]
    assert [effect.run for effect in stopped] == [first.run]
    assert agent.updates()[-1].message == "The health check failed: it took longer than 5 s"
    told = len(agent.updates())
    answer(agent, first.run, OPEN)
    assert len(agent.updates()) == told


def test_an_agent_that_slept_counts_no_failure() -> None:
    agent = running_with(health_check=health(consecutive_failures=1))
    probe(agent)
    agent.mono_s += 300.0
    woken = agent.post(events.Wake(cause="wake", seed=agent.seed()))
    assert of(effects.StopProbe, woken)
    assert agent.states() == ["STARTING", "RUNNING"]
    answer(agent, probe(agent).run, OPEN)
    assert agent.updates()[-1].healthy is True


def test_a_command_check_is_a_container_inside_that_of_its_task() -> None:
    agent = running_with(health_check=by_command())
    (run,) = [effect for effect in agent.advance(1.0) if isinstance(effect, effects.RunCheck)]
    own = agent.core.state.tasks[FRAMEWORK, "t1"]
    assert run.spec.inside == own.container_id
    assert run.spec.cgroup is None
    assert run.spec.argv == ("/bin/sh", "-c", "test -e alive")
    assert run.spec.directory == own.directory
    assert run.spec.stdout == run.spec.stderr == f"{own.directory}/health-check.log"
    assert run.spec.output_max_bytes == checks.OUTPUT_BYTES_MAX
    assert run.spec.user is None
    variables = dict(run.spec.environment)
    assert variables["PORT"] == "81"
    assert variables["MESOS_TASK_ID"] == "t1"


def test_a_process_that_takes_too_long_is_ended_and_counts_once_it_has_ended() -> None:
    agent = running_with(health_check=by_command(consecutive_failures=9))
    (run,) = [effect for effect in agent.advance(1.0) if isinstance(effect, effects.RunCheck)]
    name = run.spec.container_id
    agent.advance(60.0)  # The launcher is busy: nothing has been started, and no time counts.
    begun(agent, name)
    (destroyed,) = [effect for effect in agent.advance(5.0) if isinstance(effect, effects.Destroy)]
    assert destroyed.container_id == name
    assert agent.states() == ["STARTING", "RUNNING"]
    ended = over(agent, name, signal.SIGKILL)
    assert [effect.container_id for effect in of(effects.Forget, ended)] == [name]
    assert agent.updates()[-1].healthy is False


def test_a_command_that_cannot_be_started_is_a_failure_and_a_launcher_that_cannot_is_none() -> None:
    agent = running_with(health_check=by_command(consecutive_failures=9))
    (run,) = [effect for effect in agent.advance(1.0) if isinstance(effect, effects.RunCheck)]
    name = run.spec.container_id
    agent.post(events.CheckNotBegun(cause="x", seed=agent.seed(), run=name, sentence="the disk is full"))
    assert agent.states() == ["STARTING", "RUNNING"]
    (run,) = [effect for effect in agent.advance(10.0) if isinstance(effect, effects.RunCheck)]
    failed = launcher.LaunchFailed(container_id=run.spec.container_id, sentence="The program x does not exist.")
    decision = agent.post(events.LaunchAnswered(cause="x", seed=agent.seed(), outcome=failed))
    assert of(effects.Forget, decision)
    assert agent.updates()[-1].healthy is False


@pytest.mark.parametrize("by", ["kill", "exit", "completion"])
def test_nothing_of_a_check_is_left_when_its_task_ends(by: str) -> None:
    agent = running_with(health_check=by_command(), check=page_check(), max_completion_time=seconds(3.0))
    passed = agent.advance(1.0)
    (run,) = [effect for effect in passed if isinstance(effect, effects.RunCheck)]
    (asked,) = [effect for effect in passed if isinstance(effect, effects.Probe)]
    before = len(agent.done)
    match by:
        case "kill":
            agent.kill()
        case "exit":
            agent.exited()
        case _:
            agent.advance(3.0)
    done = agent.done[before:]
    assert run.spec.container_id in [one.container_id for one in done if isinstance(one, effects.Destroy)]
    assert asked.run in [one.run for one in done if isinstance(one, effects.StopProbe)]
    assert agent.core.state.checks.watches == {}
    assert of(effects.Forget, over(agent, run.spec.container_id, signal.SIGKILL))
    answer(agent, asked.run, OPEN)
    assert not [one for one in agent.advance(1.0) if isinstance(one, effects.RunCheck | effects.Probe)]


def test_every_status_of_a_task_with_a_check_names_what_it_said_last() -> None:
    agent = running_with(check=page_check())
    empty = mesos.CheckStatusInfo(type=mesos.CheckInfoType.HTTP, http=mesos.CheckStatusInfoHttp())
    assert [status.check_status for status in agent.updates()] == [empty, empty]
    answer(agent, probe(agent).run, probes.Answer(connected=True, status_code=503))
    drain(agent)
    answer(agent, probe(agent).run, probes.Answer(connected=True, status_code=503))
    agent.exited()
    drain(agent)
    assert agent.states() == ["STARTING", "RUNNING", "RUNNING", "FINISHED"]
    busy = mesos.CheckStatusInfo(type=mesos.CheckInfoType.HTTP, http=mesos.CheckStatusInfoHttp(status_code=503))
    assert [status.check_status for status in agent.updates()][2:] == [busy, busy]
    assert agent.updates()[2].reason is Reason.REASON_TASK_CHECK_STATUS_UPDATED


def test_a_check_and_a_health_check_keep_what_the_other_said() -> None:
    agent = running_with(health_check=health(), check=page_check())
    of_check, of_health = [effect for effect in agent.advance(1.0) if isinstance(effect, effects.Probe)]
    answer(agent, of_health.run, OPEN)
    answer(agent, of_check.run, probes.Answer(connected=True, status_code=200))
    drain(agent)
    last = agent.updates()[-1]
    assert last.healthy is True
    assert last.check_status is not None
    assert last.check_status.http == mesos.CheckStatusInfoHttp(status_code=200)


def test_a_new_process_goes_on_with_the_checks_of_the_tasks_it_finds() -> None:
    agent = running_with(health_check=health())
    answer(agent, probe(agent).run, REFUSED)
    drain(agent)
    was = agent.running()
    for fresh in (agent.restarted(), agent.summarised()):
        fresh.recover(launcher.Container(container_id=was.container_id, outcome=was))
        fresh.join()
        told = len(fresh.updates())
        asked = probe(fresh)
        answer(fresh, asked.run, REFUSED)  # The second in a row, if the first were not of another process.
        assert not fresh.core.state.tasks[FRAMEWORK, "t1"].killing
        assert fresh.updates()[told:][-1].healthy is False
        drain(fresh)
        answer(fresh, probe(fresh).run, OPEN)
        assert fresh.updates()[-1].healthy is True


def test_what_an_earlier_process_ran_of_a_check_is_ended_and_forgotten() -> None:
    agent = running_with(health_check=by_command())
    (run,) = [effect for effect in agent.advance(1.0) if isinstance(effect, effects.RunCheck)]
    was, name = agent.running(), run.spec.container_id
    left = launcher.Started(container_id=name, pid=5000, start_ticks=1, started_wall_s=was.started_wall_s)
    fresh = agent.restarted()
    recovered = fresh.recover(
        launcher.Container(container_id=was.container_id, outcome=was),
        launcher.Container(container_id=name, outcome=left),
    )
    assert [effect.container_id for effect in of(effects.Destroy, recovered)] == [name]
    assert [effect.container_id for effect in of(effects.Forget, over(fresh, name, signal.SIGKILL))] == [name]


def test_no_more_run_at_once_than_may_and_the_others_take_their_turn() -> None:
    most = checks.AT_ONCE_MAX[Slot.COMMAND]
    agent = Agent()
    agent.recover()
    agent.join()
    for number in range(most + 3):
        agent.run(task(f"t{number}", health_check=by_command()))
        agent.started(f"t{number}")
    runs = [effect for effect in agent.advance(30.0) if isinstance(effect, effects.RunCheck)]
    assert len(runs) == most
    for wave in (2, 1):
        for _ in range(wave):
            over(agent, runs.pop(0).spec.container_id, 0)
        next_ = [effect for effect in agent.advance(0.0) if isinstance(effect, effects.RunCheck)]
        assert len(next_) == wave
        runs += next_
    assert not agent.core.state.checks.waiting[Slot.COMMAND]
    assert agent.core.state.checks.free(Slot.COMMAND) == 0


def test_a_killed_task_makes_room_for_those_that_wait() -> None:
    most = checks.AT_ONCE_MAX[Slot.COMMAND]
    agent = Agent()
    agent.recover()
    agent.join()
    for number in range(most + 1):
        agent.run(task(f"t{number}", health_check=by_command()))
        agent.started(f"t{number}")
    agent.advance(1.0)
    agent.kill("t0")
    assert len([effect for effect in agent.advance(0.0) if isinstance(effect, effects.RunCheck)]) == 1


def test_a_scheduler_that_is_away_is_not_told_every_failure_later() -> None:
    agent = running_with(health_check=health(consecutive_failures=1000))
    for _ in range(checks.UNTOLD_MAX + 10):
        answer(agent, probe(agent).run, REFUSED)
    assert len(agent.core.state.streams[FRAMEWORK, "t1"].pending) == checks.UNTOLD_MAX
    answer(agent, probe(agent).run, OPEN)
    drain(agent)
    assert agent.updates()[-1].healthy is False
    answer(agent, probe(agent).run, OPEN)
    assert agent.updates()[-1].healthy is True


def test_a_check_whose_command_no_machine_can_run_is_refused_with_the_task() -> None:
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run(task(health_check=by_command("echo \0")))
    message = agent.updates()[-1].message
    assert message is not None
    assert message.startswith("This agent cannot run the task: of its health check, the command contains a NUL")


def test_a_task_of_a_group_is_checked_and_takes_the_group_along() -> None:
    agent = Agent()
    agent.recover()
    agent.join()
    info = mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value="default"), type=mesos.ExecutorInfoType.DEFAULT, command=None
    )
    checked = health(consecutive_failures=1)
    tasks = (task("a", executor=info, health_check=checked), task("b", executor=info))
    raws = tuple(msgspec.Raw(json.encode(one)) for one in tasks)
    agent.hear(messages.RunTaskGroup(framework=framework(), executor=info, tasks=raws))
    agent.started("a")
    agent.started("b")
    killed = answer(agent, probe(agent).run, REFUSED)
    assert [one.container_id for one in of(effects.Terminate, killed)] == [agent.container("a")]
    spoiled = agent.exited("a", signal.SIGTERM)
    assert [one.container_id for one in of(effects.Terminate, spoiled)] == [agent.container("b")]


def test_the_wake_of_a_check_whose_task_is_killed_by_the_same_wake_begins_nothing() -> None:
    agent = running_with(health_check=health(delay_seconds=2.0), max_completion_time=seconds(2.0))
    agent.mono_s += 2.0
    woken = agent.post(events.Wake(cause="wake", seed=agent.seed()))
    assert of(effects.Terminate, woken)
    later = agent.advance(20.0)
    assert not [effect for effect in later if isinstance(effect, effects.Probe)]
    assert (FRAMEWORK, "t1", Purpose.HEALTH) not in agent.core.state.checks.watches
