"""Checks and health checks of tasks: when one is due, what its result means, what is told of it.

A health check decides over the life of its task, a plain check only tells what it saw.  Both run again and
again, one run at a time:

    RESTING ──► WAITING ──► RUNNING ──► STOPPING
     ▲  │                   ▲  │           │
     │  └───────────────────┘  │           │
     └─────────────────────────┴───────────┘

It waits while the agent runs as many as it runs at once.  The health of a task steps as `STEPS` says.

The one thing to know before changing it: only what was seen counts.  A run that nobody could judge in time –
the agent was busy, stopped or started anew, the machine was suspended – is void, and says nothing about the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from altiplano.ports import probes
from altiplano.wire.messages import mesos

INTERVAL_S_MIN = 0.1
"""Seconds between the end of a run and the next, whatever a task asks for."""

TIMEOUT_S_MAX = 900.0
"""The longest that one run may take; also where a task asks for no limit."""

SECONDS_MAX = 1e9
"""Delays and intervals beyond this are never reached."""

LATE_S = 0.5
"""Who looks at a timeout so much later has slept himself, and cannot tell whether the task did."""

SPREAD_S_MAX = 10.0
"""A new agent process runs the checks of the tasks it finds once within this time, not all at once."""

UNTOLD_MAX = 16
"""Statuses of one task that wait for its scheduler; results of checks that come on top are told later, the last one."""

OUTPUT_BYTES_MAX = 64 * 1024
"""Disk that the output of a command check may hold; the oldest part goes first."""

STATUS_CODES = range(200, 400)
"""Answers that an HTTP health check takes for health."""


class Purpose(Enum):
    """What a check is for."""

    HEALTH = "health"
    CHECK = "check"


class Slot(Enum):
    """What a run costs: a process, or a socket."""

    COMMAND = "command"
    PROBE = "probe"


AT_ONCE_MAX: Mapping[Slot, int] = MappingProxyType({Slot.COMMAND: 16, Slot.PROBE: 128})
"""Runs of one agent at the same time; who comes on top waits for its turn."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One check, as its task describes it, within the limits above."""

    purpose: Purpose
    target: mesos.CommandInfo | probes.Target
    delay_s: float
    interval_s: float
    timeout_s: float
    grace_s: float = 0.0
    failures_max: int = 1

    @property
    def slot(self) -> Slot:
        return Slot.COMMAND if isinstance(self.target, mesos.CommandInfo) else Slot.PROBE

    @property
    def name(self) -> str:
        """In words.

        >>> Plan(purpose=Purpose.HEALTH, target=probes.Tcp(port=80), delay_s=0, interval_s=1, timeout_s=1).name
        'health check'
        """
        return "health check" if self.purpose is Purpose.HEALTH else "check"


class Phase(Enum):
    """Where a check stands."""

    RESTING = "resting"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"


PHASES: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.RESTING: frozenset({Phase.WAITING, Phase.RUNNING}),
        Phase.WAITING: frozenset({Phase.RUNNING}),
        Phase.RUNNING: frozenset({Phase.RUNNING, Phase.STOPPING, Phase.RESTING}),
        Phase.STOPPING: frozenset({Phase.RESTING}),
    }
)


class Verdict(Enum):
    """What one run came to."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    VOID = "void"
    """Nobody can tell: it came late, or could not be begun."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run.  `value` is the exit code or the status code, where there is one."""

    verdict: Verdict
    value: int | None = None
    sentence: str = ""


class Health(Enum):
    """What is known of a task."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DOOMED = "doomed"
    """It failed too often, and is killed for it."""


class Turn(Enum):
    """What a run means for the health of its task."""

    PASSED = "passed"
    EXCUSED = "excused"
    """It failed within the grace of a task that was never healthy."""
    FAILED = "failed"
    LAST = "last"
    """It failed as often in a row as the task may."""
    VOID = "void"


STEPS: Mapping[Health, Mapping[Turn, Health]] = MappingProxyType(
    {
        Health.UNKNOWN: {
            Turn.PASSED: Health.HEALTHY,
            Turn.EXCUSED: Health.UNKNOWN,
            Turn.FAILED: Health.UNHEALTHY,
            Turn.LAST: Health.DOOMED,
            Turn.VOID: Health.UNKNOWN,
        },
        Health.HEALTHY: {
            Turn.PASSED: Health.HEALTHY,
            Turn.FAILED: Health.UNHEALTHY,
            Turn.LAST: Health.DOOMED,
            Turn.VOID: Health.HEALTHY,
        },
        Health.UNHEALTHY: {
            Turn.PASSED: Health.HEALTHY,
            Turn.FAILED: Health.UNHEALTHY,
            Turn.LAST: Health.DOOMED,
            Turn.VOID: Health.UNHEALTHY,
        },
        Health.DOOMED: {},
    }
)
"""What a task's health is after a run.  Only one that is unknown can be excused; nothing is run for a doomed one."""

TOLD: Mapping[Turn, bool] = MappingProxyType({Turn.PASSED: True, Turn.FAILED: False, Turn.LAST: False})
"""What `TaskStatus.healthy` says after a run; of the others nothing is said."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """One check of a task that runs, as the agent's process knows it."""

    slot: Slot
    phase: Phase = Phase.RESTING
    run: str = ""
    """Names the run that is under way."""
    due_mono_s: float = 0.0
    """When it is to be run next; of a run that is under way, when its time is over."""
    grace_until_mono_s: float = 0.0
    health: Health = Health.UNKNOWN
    failures: int = 0
    """In a row."""
    overdue: Verdict | None = None
    """How a run is judged that is being stopped."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a run of a health check: `healthy` is to be told unless it was said last, and a failure
    always; `kill` ends the task."""

    watch: Watch
    healthy: bool | None = None
    kill: bool = False


def plans(task: mesos.TaskInfo) -> tuple[Plan, ...]:
    """The checks of a task, the health check first.  What the master would have refused is left out."""
    found = (health_plan(task.health_check), check_plan(task.check))
    return tuple(plan for plan in found if plan is not None)


def plan_of(task: mesos.TaskInfo, purpose: Purpose) -> Plan | None:
    """One check of a task."""
    return health_plan(task.health_check) if purpose is Purpose.HEALTH else check_plan(task.check)


def health_plan(check: mesos.HealthCheck | None) -> Plan | None:
    if check is None:
        return None
    target: mesos.CommandInfo | probes.Target
    kind = mesos.HealthCheckType
    if check.command is not None and check.type in (kind.COMMAND, None):
        target = check.command
    elif check.http is not None and check.type in (kind.HTTP, None):
        target = probes.Http(
            port=check.http.port,
            path=check.http.path or "/",
            scheme=check.http.scheme or "http",
            ipv6=check.http.protocol is mesos.NetworkInfoProtocol.IPv6,
        )
    elif check.tcp is not None and check.type in (kind.TCP, None):
        target = probes.Tcp(port=check.tcp.port, ipv6=check.tcp.protocol is mesos.NetworkInfoProtocol.IPv6)
    else:
        return None
    return Plan(
        purpose=Purpose.HEALTH,
        target=target,
        delay_s=_seconds(check.delay_seconds),
        interval_s=max(INTERVAL_S_MIN, _seconds(check.interval_seconds)),
        timeout_s=_timeout_s(check.timeout_seconds),
        grace_s=_seconds(check.grace_period_seconds),
        failures_max=max(1, check.consecutive_failures),
    )


def check_plan(check: mesos.CheckInfo | None) -> Plan | None:
    if check is None:
        return None
    target: mesos.CommandInfo | probes.Target
    kind = mesos.CheckInfoType
    if check.command is not None and check.type is kind.COMMAND:
        target = check.command.command
    elif check.http is not None and check.type is kind.HTTP:
        target = probes.Http(port=check.http.port, path=check.http.path or "/")
    elif check.tcp is not None and check.type is kind.TCP:
        target = probes.Tcp(port=check.tcp.port)
    else:
        return None
    return Plan(
        purpose=Purpose.CHECK,
        target=target,
        delay_s=_seconds(check.delay_seconds),
        interval_s=max(INTERVAL_S_MIN, _seconds(check.interval_seconds)),
        timeout_s=_timeout_s(check.timeout_seconds),
    )


def begun(plan: Plan, *, started_mono_s: float, healthy: bool | None) -> Watch:
    """The watch over a task that was started at a moment; `healthy` is what was told of it last."""
    known = {None: Health.UNKNOWN, True: Health.HEALTHY, False: Health.UNHEALTHY}
    return Watch(
        slot=plan.slot,
        due_mono_s=started_mono_s + plan.delay_s,
        grace_until_mono_s=started_mono_s + plan.grace_s,
        health=known[healthy],
    )


def resumed(plan: Plan, watch: Watch, *, now_mono_s: float, fraction: float) -> Watch:
    """The same in a new process: runs that were due meanwhile are spread over some time.  `fraction` is in [0, 1)."""
    spread_s = fraction * min(plan.interval_s, SPREAD_S_MAX)
    return msgspec.structs.replace(watch, due_mono_s=max(watch.due_mono_s, now_mono_s + spread_s))


def waiting(watch: Watch) -> Watch:
    return _step(watch, Phase.WAITING)


def running(plan: Plan, watch: Watch, *, run: str, now_mono_s: float) -> Watch:
    """A run begins, or the process of one does: its time counts from there."""
    return msgspec.structs.replace(_step(watch, Phase.RUNNING), run=run, due_mono_s=now_mono_s + plan.timeout_s)


def late(watch: Watch, *, now_mono_s: float) -> bool:
    """Whether nobody was there to see that the time of a run was over."""
    return now_mono_s - watch.due_mono_s > LATE_S


def overdue(watch: Watch, *, now_mono_s: float) -> Verdict:
    """How a run is judged whose time is over."""
    return Verdict.VOID if late(watch, now_mono_s=now_mono_s) else Verdict.TIMED_OUT


def stopping(watch: Watch, *, now_mono_s: float) -> Watch:
    """The time of a process is over: it is made to end."""
    verdict = overdue(watch, now_mono_s=now_mono_s)
    return msgspec.structs.replace(_step(watch, Phase.STOPPING), overdue=verdict)


def timed_out(plan: Plan, verdict: Verdict) -> Result:
    return Result(verdict=verdict, sentence=f"it took longer than {plan.timeout_s:g} s")


def of_exit(plan: Plan, watch: Watch, wait_status: int | None, killed: int) -> Result:
    """What the end of a check's process means.  `killed` is the signal by which it is made to end.

    One that ended by itself while it was about to be stopped has ended.
    """
    if wait_status is None:
        return Result(verdict=Verdict.VOID, sentence="its process ended while nobody was there to see how")
    number = wait_status & 0x7F
    if number:
        if number == killed and watch.overdue is not None:
            return timed_out(plan, watch.overdue)
        return Result(verdict=Verdict.FAILED, sentence=f"its command was ended by signal {number}")
    code = wait_status >> 8 & 0xFF
    if code:
        return Result(verdict=Verdict.FAILED, value=code, sentence=f"its command exited with status {code}")
    return Result(verdict=Verdict.PASSED, value=0)


def of_answer(target: probes.Target, answer: probes.Answer) -> Result:
    """What the answer at a port means."""
    if isinstance(target, probes.Tcp):
        return Result(verdict=Verdict.PASSED if answer.connected else Verdict.FAILED, sentence=answer.sentence)
    if answer.status_code is None:
        return Result(verdict=Verdict.FAILED, sentence=answer.sentence)
    if answer.status_code in STATUS_CODES:
        return Result(verdict=Verdict.PASSED, value=answer.status_code)
    sentence = f"{target.url} answered with status {answer.status_code}"
    return Result(verdict=Verdict.FAILED, value=answer.status_code, sentence=sentence)


def rested(plan: Plan, watch: Watch, *, now_mono_s: float) -> Watch:
    """A run is over; the next is due after the interval."""
    return msgspec.structs.replace(
        _step(watch, Phase.RESTING), run="", overdue=None, due_mono_s=now_mono_s + plan.interval_s
    )


def judge(plan: Plan, watch: Watch, result: Result, *, now_mono_s: float) -> Judged:
    """What a run of a health check means for its task."""
    turn = _turn(plan, watch, result, now_mono_s=now_mono_s)
    failures = {Turn.PASSED: 0, Turn.FAILED: watch.failures + 1, Turn.LAST: watch.failures + 1}
    after = msgspec.structs.replace(
        rested(plan, watch, now_mono_s=now_mono_s),
        health=STEPS[watch.health][turn],
        failures=failures.get(turn, watch.failures),
    )
    return Judged(watch=after, healthy=TOLD.get(turn), kill=after.health is Health.DOOMED)


def _turn(plan: Plan, watch: Watch, result: Result, *, now_mono_s: float) -> Turn:
    if result.verdict is Verdict.PASSED:
        return Turn.PASSED
    if result.verdict is Verdict.VOID:
        return Turn.VOID
    if watch.health is Health.UNKNOWN and now_mono_s < watch.grace_until_mono_s:
        return Turn.EXCUSED
    return Turn.LAST if watch.failures + 1 >= plan.failures_max else Turn.FAILED


def worth_telling(judged: Judged, told: bool | None) -> bool:
    """Each failure is told, as frameworks written for Mesos expect; health once."""
    return judged.healthy is False or (judged.healthy is True and told is not True)


def status_of(plan: Plan, result: Result | None = None) -> mesos.CheckStatusInfo:
    """What `TaskStatus.check_status` says of a check after a run; before the first, or where a run had no value,
    it names the kind alone."""
    kind = mesos.CheckInfoType
    match plan.target:
        case mesos.CommandInfo():
            code = mesos.CheckStatusInfoCommand(exit_code=result.value if result is not None else None)
            return mesos.CheckStatusInfo(type=kind.COMMAND, command=code)
        case probes.Http():
            page = mesos.CheckStatusInfoHttp(status_code=result.value if result is not None else None)
            return mesos.CheckStatusInfo(type=kind.HTTP, http=page)
        case probes.Tcp():
            known = {Verdict.PASSED: True, Verdict.FAILED: False}
            seen = mesos.CheckStatusInfoTcp(succeeded=known.get(result.verdict) if result is not None else None)
            return mesos.CheckStatusInfo(type=kind.TCP, tcp=seen)


def in_words(info: mesos.CheckStatusInfo | None) -> str:
    """What a check has seen, for people.

    >>> in_words(mesos.CheckStatusInfo(command=mesos.CheckStatusInfoCommand(exit_code=3)))
    'its command exits with 3'
    """
    if info is None:
        return ""
    if info.command is not None and info.command.exit_code is not None:
        return f"its command exits with {info.command.exit_code}"
    if info.http is not None and info.http.status_code is not None:
        return f"its page answers with {info.http.status_code}"
    if info.tcp is not None and info.tcp.succeeded is not None:
        return "its port is open" if info.tcp.succeeded else "its port is closed"
    return "no result"


def doom(plan: Plan, result: Result) -> str:
    """Why a task is killed, for its story and its last status."""
    times = "once" if plan.failures_max == 1 else f"{plan.failures_max} times in a row"
    return f"its health check failed {times}, the last time because {result.sentence}"


def _step(watch: Watch, phase: Phase) -> Watch:
    assert phase in PHASES[watch.phase], f"a check that is {watch.phase.value} cannot be {phase.value}"
    return msgspec.structs.replace(watch, phase=phase)


def _seconds(value: float) -> float:
    """What a task asks for, within limits; what is no number counts as nothing."""
    return min(max(0.0, value), SECONDS_MAX)


def _timeout_s(value: float) -> float:
    asked_s = _seconds(value)
    return min(asked_s, TIMEOUT_S_MAX) if asked_s > 0 else TIMEOUT_S_MAX
