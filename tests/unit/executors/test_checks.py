"""When checks run, what their results mean, and what is told of them."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from altiplano.executors import checks
from altiplano.executors.checks import Health, Phase, Purpose, Result, Turn, Verdict
from altiplano.ports import probes
from altiplano.wire.messages import mesos

PASSED = Result(verdict=Verdict.PASSED)
FAILED = Result(verdict=Verdict.FAILED, sentence="nobody listens")
TIMED_OUT = Result(verdict=Verdict.TIMED_OUT, sentence="it took longer than 5 s")
VOID = Result(verdict=Verdict.VOID)


def health(**changes: object) -> checks.Plan:
    fields = {
        "purpose": Purpose.HEALTH,
        "target": probes.Tcp(port=80),
        "delay_s": 0.0,
        "interval_s": 10.0,
        "timeout_s": 5.0,
        "grace_s": 20.0,
        "failures_max": 3,
    }
    return checks.Plan(**{**fields, **changes})  # type: ignore[arg-type]


def run(plan: checks.Plan, watch: checks.Watch, result: Result, *, now_mono_s: float) -> checks.Judged:
    busy = checks.running(plan, watch, run="run", now_mono_s=now_mono_s)
    return checks.judge(plan, busy, result, now_mono_s=now_mono_s)


def begun(plan: checks.Plan, *, healthy: bool | None = None) -> checks.Watch:
    return checks.begun(plan, started_mono_s=100.0, healthy=healthy)


def test_the_defaults_are_those_of_mesos() -> None:
    task = mesos.TaskInfo(
        name="t",
        task_id=mesos.TaskID(value="t"),
        agent_id=mesos.AgentID(value="a"),
        health_check=mesos.HealthCheck(tcp=mesos.HealthCheckTCPCheckInfo(port=80), type=mesos.HealthCheckType.TCP),
    )
    (plan,) = checks.plans(task)
    assert (plan.delay_s, plan.interval_s, plan.timeout_s, plan.grace_s, plan.failures_max) == (15, 10, 20, 10, 3)
    assert plan.target == probes.Tcp(port=80)


def test_a_health_check_of_an_old_client_has_no_type() -> None:
    command = checks.health_plan(mesos.HealthCheck(command=mesos.CommandInfo(value="true")))
    page = checks.health_plan(mesos.HealthCheck(http=mesos.HealthCheckHTTPCheckInfo(port=80, path="/alive")))
    assert command is not None
    assert command.slot is checks.Slot.COMMAND
    assert page is not None
    assert page.target == probes.Http(port=80, path="/alive")


def test_what_the_master_would_refuse_is_no_check() -> None:
    assert checks.health_plan(mesos.HealthCheck(type=mesos.HealthCheckType.HTTP)) is None
    assert checks.check_plan(mesos.CheckInfo(tcp=mesos.CheckInfoTcp(port=80))) is None


@pytest.mark.parametrize(
    ("asked", "interval_s", "timeout_s"),
    [(0.0, checks.INTERVAL_S_MIN, checks.TIMEOUT_S_MAX), (float("nan"), checks.INTERVAL_S_MIN, checks.TIMEOUT_S_MAX),
     (float("inf"), checks.SECONDS_MAX, checks.TIMEOUT_S_MAX), (2.0, 2.0, 2.0)],
)  # fmt: skip
def test_what_a_task_asks_for_is_kept_within_limits(asked: float, interval_s: float, timeout_s: float) -> None:
    check = mesos.HealthCheck(tcp=mesos.HealthCheckTCPCheckInfo(port=80), interval_seconds=asked, timeout_seconds=asked)
    plan = checks.health_plan(check)
    assert plan is not None
    assert (plan.interval_s, plan.timeout_s) == (interval_s, timeout_s)


def test_the_first_run_is_due_after_the_delay_and_the_next_an_interval_after_the_end() -> None:
    plan = health(delay_s=3.0)
    watch = begun(plan)
    assert watch.due_mono_s == 103.0
    assert run(plan, watch, PASSED, now_mono_s=104.5).watch.due_mono_s == 114.5


def test_health_is_told_once() -> None:
    plan = health()
    first = run(plan, begun(plan), PASSED, now_mono_s=101.0)
    assert first.healthy is True
    assert checks.worth_telling(first, None)
    second = run(plan, first.watch, PASSED, now_mono_s=111.0)
    assert not checks.worth_telling(second, True)


def test_failures_within_the_grace_of_a_new_task_are_excused() -> None:
    plan = health(failures_max=1)
    judged = run(plan, begun(plan), FAILED, now_mono_s=119.0)
    assert judged.healthy is None
    assert not judged.kill
    assert judged.watch.failures == 0
    assert run(plan, judged.watch, FAILED, now_mono_s=120.0).kill


def test_the_first_success_ends_the_grace() -> None:
    plan = health()
    healthy = run(plan, begun(plan), PASSED, now_mono_s=101.0).watch
    assert run(plan, healthy, FAILED, now_mono_s=102.0).healthy is False


def test_so_many_failures_in_a_row_end_a_task_and_no_fewer() -> None:
    plan = health(grace_s=0.0)
    watch, told = begun(plan), []
    for result in (FAILED, TIMED_OUT, PASSED, FAILED, FAILED):
        judged = run(plan, watch, result, now_mono_s=200.0)
        assert not judged.kill
        watch = judged.watch
        told.append(judged.healthy)
    assert told == [False, False, True, False, False]
    last = run(plan, watch, FAILED, now_mono_s=200.0)
    assert last.kill
    assert last.healthy is False
    assert checks.doom(plan, FAILED) == (
        "its health check failed 3 times in a row, the last time because nobody listens"
    )


def test_a_run_that_nobody_could_judge_changes_nothing() -> None:
    plan = health(grace_s=0.0, failures_max=2)
    watch = run(plan, begun(plan), FAILED, now_mono_s=200.0).watch
    judged = run(plan, watch, VOID, now_mono_s=300.0)
    assert judged.healthy is None
    assert not judged.kill
    assert (judged.watch.health, judged.watch.failures) == (Health.UNHEALTHY, 1)


def test_a_timeout_that_is_seen_late_is_void() -> None:
    plan = health()
    watch = checks.running(plan, begun(plan), run="r", now_mono_s=100.0)
    assert checks.overdue(watch, now_mono_s=105.1) is Verdict.TIMED_OUT
    assert checks.overdue(watch, now_mono_s=165.0) is Verdict.VOID


def test_a_process_that_ended_by_itself_was_not_too_slow() -> None:
    plan = health()
    busy = checks.running(plan, begun(plan), run="r", now_mono_s=100.0)
    stopping = checks.stopping(busy, now_mono_s=105.0)
    assert checks.of_exit(plan, stopping, 0, signal.SIGKILL) == Result(verdict=Verdict.PASSED, value=0)
    assert checks.of_exit(plan, stopping, signal.SIGKILL, signal.SIGKILL).verdict is Verdict.TIMED_OUT
    slept = checks.stopping(busy, now_mono_s=190.0)
    assert checks.of_exit(plan, slept, signal.SIGKILL, signal.SIGKILL).verdict is Verdict.VOID


def test_the_end_of_a_process_is_its_result() -> None:
    plan = health()
    busy = checks.running(plan, begun(plan), run="r", now_mono_s=100.0)
    assert checks.of_exit(plan, busy, 3 << 8, signal.SIGKILL).value == 3
    assert checks.of_exit(plan, busy, signal.SIGKILL, signal.SIGKILL).verdict is Verdict.FAILED
    assert checks.of_exit(plan, busy, None, signal.SIGKILL).verdict is Verdict.VOID


@pytest.mark.parametrize(("code", "verdict"), [(200, Verdict.PASSED), (399, Verdict.PASSED), (404, Verdict.FAILED),
                                               (500, Verdict.FAILED), (None, Verdict.FAILED)])  # fmt: skip
def test_a_page_is_healthy_by_its_status(code: int | None, verdict: Verdict) -> None:
    answer = probes.Answer(connected=True, status_code=code, sentence="it hung up")
    assert checks.of_answer(probes.Http(port=80), answer).verdict is verdict


def test_a_check_tells_what_it_saw_and_nothing_where_it_saw_nothing() -> None:
    plan = health(purpose=Purpose.CHECK)
    assert checks.status_of(plan).tcp == mesos.CheckStatusInfoTcp()
    assert checks.status_of(plan, TIMED_OUT).tcp == mesos.CheckStatusInfoTcp()
    assert checks.status_of(plan, FAILED).tcp == mesos.CheckStatusInfoTcp(succeeded=False)
    page = health(purpose=Purpose.CHECK, target=probes.Http(port=80))
    missing = Result(verdict=Verdict.FAILED, value=404)
    assert checks.status_of(page, missing).http == mesos.CheckStatusInfoHttp(status_code=404)


def test_a_new_process_knows_what_was_told_and_counts_from_zero() -> None:
    plan = health(grace_s=0.0, failures_max=2)
    watch = checks.resumed(plan, begun(plan, healthy=False), now_mono_s=500.0, fraction=0.5)
    assert (watch.health, watch.failures, watch.due_mono_s) == (Health.UNHEALTHY, 0, 505.0)
    assert not run(plan, watch, FAILED, now_mono_s=505.0).kill


def test_a_step_that_is_not_in_the_table_is_refused() -> None:
    plan = health()
    with pytest.raises(AssertionError, match="resting cannot be stopping"):
        checks.stopping(begun(plan), now_mono_s=100.0)


def test_the_tables_are_total() -> None:
    assert set(checks.STEPS) == set(Health)
    assert set(checks.PHASES) == set(Phase)
    for state, steps in checks.STEPS.items():
        missing = set(Turn) - set(steps)
        assert (
            missing
            == {
                Health.UNKNOWN: set(),
                Health.HEALTHY: {Turn.EXCUSED},
                Health.UNHEALTHY: {Turn.EXCUSED},
                Health.DOOMED: set(Turn),
            }[state]
        )


@given(
    results=some.lists(
        some.tuples(some.sampled_from([PASSED, FAILED, TIMED_OUT, VOID]), some.floats(0.0, 30.0)), max_size=40
    ),
    failures_max=some.integers(1, 4),
    grace_s=some.sampled_from([0.0, 15.0, 60.0]),
)
def test_health_is_what_the_rules_say_over_any_results(
    results: list[tuple[Result, float]], failures_max: int, grace_s: float
) -> None:
    """The rules a second time, over the whole history: voids never were, and the grace ends with the first success."""
    plan = health(failures_max=failures_max, grace_s=grace_s)
    watch, now_mono_s = begun(plan), 100.0
    counted: list[bool] = []
    for result, pause_s in results:
        now_mono_s += pause_s
        judged = run(plan, watch, result, now_mono_s=now_mono_s)
        if result is not VOID and (result is PASSED or counted or now_mono_s >= 100.0 + grace_s):
            counted.append(result is PASSED)
        row = next((n for n, passed in enumerate(reversed(counted)) if passed), len(counted))
        assert judged.kill == (row >= failures_max and result is not VOID and bool(counted))
        if judged.kill:
            assert judged.watch.health is Health.DOOMED
            return
        assert judged.watch.failures == row
        expected = {True: Health.HEALTHY, False: Health.UNHEALTHY, None: Health.UNKNOWN}
        assert judged.watch.health is expected[counted[-1] if counted else None]
        assert judged.watch.due_mono_s == now_mono_s + plan.interval_s
        watch = judged.watch


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (None, ""),
        (mesos.CheckStatusInfo(type=mesos.CheckInfoType.TCP, tcp=mesos.CheckStatusInfoTcp()), "no result"),
        (mesos.CheckStatusInfo(tcp=mesos.CheckStatusInfoTcp(succeeded=False)), "its port is closed"),
        (mesos.CheckStatusInfo(http=mesos.CheckStatusInfoHttp(status_code=503)), "its page answers with 503"),
        (mesos.CheckStatusInfo(command=mesos.CheckStatusInfoCommand(exit_code=0)), "its command exits with 0"),
    ],
)
def test_what_a_check_saw_is_said_in_words(info: mesos.CheckStatusInfo | None, words: str) -> None:
    assert checks.in_words(info) == words
