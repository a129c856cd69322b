"""The runs of checks: begun when they are due, ended when their time is over, judged, told.

A run of a command is a container inside that of its task: its cgroups, its user, its limits, its sandbox; it ends
with the task, whatever becomes of this agent.  A run over HTTP or TCP is a socket of this process.  Which runs are
under way is not in the log: a new process ends what it finds of them, and begins anew.
"""

from __future__ import annotations

import posixpath
import signal

import msgspec

from altiplano.agent import check_state, checks, effects, environment, facts, launch
from altiplano.agent.draft import Draft
from altiplano.agent.state import Task
from altiplano.executors import checks as rules
from altiplano.executors import command
from altiplano.executors.checks import Phase, Plan, Purpose, Result, Slot, Verdict, Watch
from altiplano.model.tasks import State as TaskState
from altiplano.ports import launcher, probes
from altiplano.wire.messages import mesos

Reason = mesos.TaskStatusReason

RUN_ID_BYTES = 6
"""Of the name of a run: no two runs of one task have the same."""


def due(draft: Draft, key: check_state.Key) -> None:
    """The moment of a check has come: to begin, or to have ended."""
    watch = draft.state.checks.watches.get(key)
    if watch is None or key[:2] in draft.unchecked:
        return
    task, plan = _of(draft, key)
    if watch.phase is Phase.RUNNING:
        _time_over(draft, task, plan, watch)
    elif _free(draft, watch.slot) > 0 and not draft.state.checks.waiting[watch.slot]:
        _run(draft, task, plan, watch)
    else:
        draft.timer(check_state.timer(key), None)
        _set(draft, key, rules.waiting(watch))


def next_ones(draft: Draft, slot: Slot) -> None:
    """Begin with those that wait, as many as may run."""
    draft.timer(check_state.turn(slot), None)
    for key in list(draft.state.checks.waiting[slot]):
        if _free(draft, slot) <= 0:
            break
        if key[:2] not in draft.unchecked:
            task, plan = _of(draft, key)
            _run(draft, task, plan, draft.state.checks.watches[key])


def _run(draft: Draft, task: Task, plan: Plan, watch: Watch) -> None:
    draft.checks_begun[watch.slot] = draft.checks_begun.get(watch.slot, 0) + 1
    key = (*task.key, plan.purpose)
    run = f"{task.container_id}.{plan.purpose.value}.{draft.draw.uuid_bytes()[:RUN_ID_BYTES].hex()}"
    busy = rules.running(plan, watch, run=run, now_mono_s=draft.now.mono_s)
    _set(draft, key, busy)
    if isinstance(plan.target, mesos.CommandInfo):
        # Its time counts from its start, which the launcher tells.
        draft.timer(check_state.timer(key), None)
        draft.do(effects.RunCheck(spec=_spec(draft, task, plan, plan.target, run), cause=task.cause))
    else:
        draft.timer(check_state.timer(key), busy.due_mono_s)
        draft.do(effects.Probe(run=run, target=plan.target, cause=task.cause))


def _spec(draft: Draft, task: Task, plan: Plan, run: mesos.CommandInfo, name: str) -> launcher.LaunchSpec:
    """The task's own container with another command.  Also its user: what a framework may run as whom was asked
    for the task, not for its checks."""
    spec = launch.spec(draft, task)
    executable, argv = launch.program(run)
    output = posixpath.join(task.directory, f"{plan.name.replace(' ', '-')}.log")
    return msgspec.structs.replace(
        spec,
        container_id=name,
        executable=executable,
        argv=argv,
        environment=tuple(sorted({**dict(spec.environment), **environment.of_command(run)}.items())),
        stdout=output,
        stderr=output,
        cgroup=None,
        output_max_bytes=rules.OUTPUT_BYTES_MAX,
        inside=task.container_id,
    )


def started(draft: Draft, run: str) -> None:
    """The process of a command check runs."""
    key, watch = _under_way(draft, run)
    if watch.phase is not Phase.RUNNING:
        return
    _, plan = _of(draft, key)
    busy = rules.running(plan, watch, run=run, now_mono_s=draft.now.mono_s)
    _set(draft, key, busy)
    draft.timer(check_state.timer(key), busy.due_mono_s)


def _time_over(draft: Draft, task: Task, plan: Plan, watch: Watch) -> None:
    """A probe is over at once.  A process is made to end, and its end tells whether it was really too slow."""
    if watch.slot is Slot.PROBE:
        draft.do(effects.StopProbe(run=watch.run))
        verdict = rules.overdue(watch, now_mono_s=draft.now.mono_s)
        _finish(draft, task, plan, watch, rules.timed_out(plan, verdict))
        return
    key = (*task.key, plan.purpose)
    draft.timer(check_state.timer(key), None)
    _set(draft, key, rules.stopping(watch, now_mono_s=draft.now.mono_s))
    draft.do(effects.Destroy(container_id=watch.run))


def not_begun(draft: Draft, run: str, sentence: str) -> None:
    """The launcher would not begin with a run, for reasons of its own; one that nobody waits for does not matter."""
    if run in draft.state.checks.by_run:
        _result(draft, run, Result(verdict=Verdict.VOID, sentence=sentence))


def failed(draft: Draft, run: str, sentence: str) -> None:
    """The command of a check cannot be run."""
    draft.do(effects.Forget(container_id=run))
    _result(draft, run, Result(verdict=Verdict.FAILED, sentence=f"its command cannot be started: {sentence}"))


def ended(draft: Draft, run: str, exited: launcher.Exited) -> None:
    """The process of a command check has ended."""
    draft.do(effects.Forget(container_id=run))
    key, watch = _under_way(draft, run)
    _, plan = _of(draft, key)
    _result(draft, run, rules.of_exit(plan, watch, exited.wait_status, signal.SIGKILL))


def answered(draft: Draft, run: str, answer: probes.Answer) -> None:
    """What came back from a port; nobody waits for it any more where its time was over."""
    key = draft.state.checks.by_run.get(run)
    if key is None:
        return
    _, plan = _of(draft, key)
    assert not isinstance(plan.target, mesos.CommandInfo)
    _result(draft, run, rules.of_answer(plan.target, answer))


def _result(draft: Draft, run: str, result: Result) -> None:
    key, watch = _under_way(draft, run)
    task, plan = _of(draft, key)
    _finish(draft, task, plan, watch, result)


def _finish(draft: Draft, task: Task, plan: Plan, watch: Watch, result: Result) -> None:
    """A run has its result: judge it, tell it if it is news, and set the next one."""
    checks.let_next(draft, watch.slot)
    if plan.purpose is Purpose.HEALTH:
        judged = rules.judge(plan, watch, result, now_mono_s=draft.now.mono_s)
        _rest(draft, (*task.key, plan.purpose), judged.watch)
        _tell_health(draft, task, judged, result)
        if judged.kill:
            launch.kill(draft, task, command.Why.HEALTH, because=rules.doom(plan, result))
    else:
        _rest(draft, (*task.key, plan.purpose), rules.rested(plan, watch, now_mono_s=draft.now.mono_s))
        _tell_check(draft, task, plan, result)


def _rest(draft: Draft, key: check_state.Key, watch: Watch) -> None:
    _set(draft, key, watch)
    draft.timer(check_state.timer(key), watch.due_mono_s)


def _tell_health(draft: Draft, task: Task, judged: rules.Judged, result: Result) -> None:
    last = draft.newest(task.key) or task.status
    told = last.healthy if last is not None else None
    if not rules.worth_telling(judged, told) or not _room(draft, task):
        return
    reason = Reason.REASON_TASK_HEALTH_CHECK_STATUS_UPDATED
    sentence = None if judged.healthy else f"The health check failed: {result.sentence}"
    draft.report(task, command.Report(state=TaskState.RUNNING, reason=reason, healthy=judged.healthy, message=sentence))
    if told is not judged.healthy:
        draft.note_task(task, "is healthy" if judged.healthy else f"failed its health check: {result.sentence}")


def _tell_check(draft: Draft, task: Task, plan: Plan, result: Result) -> None:
    last = draft.newest(task.key) or task.status
    seen = rules.status_of(plan, result)
    told = last.check_status if last is not None else None
    if result.verdict is Verdict.VOID or seen == told or not _room(draft, task):
        return
    draft.report(
        task,
        command.Report(
            state=TaskState.RUNNING,
            reason=Reason.REASON_TASK_CHECK_STATUS_UPDATED,
            healthy=last.healthy if last is not None else None,
            check_status=seen,
            message=result.sentence or None,
        ),
    )


def _room(draft: Draft, task: Task) -> bool:
    """A scheduler that is away for long is not told every change later on, but how it is by then."""
    stream = draft.state.streams.get(task.key)
    return stream is None or len(stream.pending) < rules.UNTOLD_MAX


def _free(draft: Draft, slot: Slot) -> int:
    return draft.state.checks.free(slot) - draft.checks_begun.get(slot, 0)


def _under_way(draft: Draft, run: str) -> tuple[check_state.Key, Watch]:
    key = draft.state.checks.by_run[run]
    return key, draft.state.checks.watches[key]


def _of(draft: Draft, key: check_state.Key) -> tuple[Task, Plan]:
    task = draft.state.tasks[key[:2]]
    plan = rules.plan_of(task.info, key[2])
    assert plan is not None, f"task {task.id} has no {key[2].value} check, and one is watched"
    return task, plan


def _set(draft: Draft, key: check_state.Key, watch: Watch) -> None:
    draft.fact(facts.CheckSet(framework_id=key[0], task_id=key[1], purpose=key[2].value, watch=watch))
