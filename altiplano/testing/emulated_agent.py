"""The twin of an agent: what one says on the link, without any process behind it.

Pure: it takes what the master says, the time and its own timers, and returns acts.  A task goes through the
steps of a table (`Behaviour`); everything else – one update in flight per task, repeated until it is
acknowledged, the greeting that reports all there is, what becomes of the tasks of frameworks that do not
checkpoint – is as `docs/wire.md` has it.  The contract that it shares with the real agent is
`tests/contracts/test_agent.py`.

What a twin holds is bounded: `TASKS_MAX` tasks, each with its description and at most as many statuses as its
table has steps, and two for a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from altiplano.agent import updates
from altiplano.executors import command, custom
from altiplano.link import messages
from altiplano.model import tasks as task_states
from altiplano.model.tasks import State
from altiplano.model.time import Instant
from altiplano.ports.ids import Ids
from altiplano.wire import json
from altiplano.wire.messages import mesos

TASKS_MAX = 20_000
"""Tasks of one agent; what comes beyond is told as lost."""

PORT = 5051
"""Where a twin says that it listens; nobody does."""

Key = tuple[str, str]
"""A framework's id, then a task's or an executor's."""

Timer = tuple[str, str, str]
"""`step`, `resend` or `executor`, and the key of what it is about."""

_Why = command.Why
_KILLING = mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE
_Reason = mesos.TaskStatusReason
_Source = mesos.TaskStatusSource


class Step(msgspec.Struct, frozen=True):
    """A state that a task goes into, `after_s` seconds after the one before."""

    state: State
    after_s: float = 0.0


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a task that nobody kills; a table that ends with RUNNING lets it run for ever."""

    command: tuple[Step, ...] = (Step(State.STARTING), Step(State.RUNNING))
    hosted: tuple[Step, ...] = (Step(State.RUNNING),)
    """Of a task under an executor."""
    executor_start_s: float = 0.0
    """How long an executor takes until it listens."""
    echo: bool = True
    """Executors send back what their scheduler sends them."""

    def __post_init__(self) -> None:
        for table in (self.command, self.hosted):
            before = State.STAGING
            for step in table:
                if not task_states.may_step(before, step.state):
                    raise ValueError(f"a task cannot go from {before.value} to {step.state.value}")
                before = step.state


def running_for(seconds: float | None) -> Behaviour:
    """Tasks that run so long and finish; None: until they are killed."""
    end = () if seconds is None else (Step(State.FINISHED, seconds),)
    plain = Behaviour()
    return msgspec.structs.replace(plain, command=(*plain.command, *end), hosted=(*plain.hosted, *end))


# -- acts


class Say(msgspec.Struct, frozen=True):
    message: messages.FromAgent


class Wake(msgspec.Struct, frozen=True):
    """Call `due` after so many seconds; None: not any more.  A later one for the same timer takes the place of this."""

    timer: Timer
    after_s: float | None


class HangUp(msgspec.Struct, frozen=True):
    """End the connection and dial again."""

    sentence: str


class Listen(msgspec.Struct, frozen=True):
    """The agent is a member: a master that is silent for so long is to be given up."""

    silence_s: float


class Stop(msgspec.Struct, frozen=True):
    """Do not come back."""

    sentence: str


Act = Say | Wake | HangUp | Listen | Stop


class _Task:
    """A task that this agent answers for, until its last update is acknowledged."""

    __slots__ = ("executor_id", "framework_id", "hosted", "id", "raw", "state", "status", "steps", "stream")

    def __init__(self, framework_id: str, id_: str, raw: bytes, executor_id: str, *, hosted: bool) -> None:
        self.framework_id = framework_id
        self.id = id_
        self.raw = raw
        self.executor_id = executor_id
        self.hosted = hosted
        self.state = State.STAGING
        self.steps = 0
        self.status: mesos.TaskStatus | None = None
        self.stream: updates.Stream | None = None

    @property
    def key(self) -> Key:
        return self.framework_id, self.id

    @property
    def executor_key(self) -> Key:
        return self.framework_id, self.executor_id


class _Executor:
    __slots__ = ("info", "listens")

    def __init__(self, info: mesos.ExecutorInfo) -> None:
        self.info = info
        self.listens = False


class Twin:
    """One agent.  Each method that takes an event returns what is to be done, in order."""

    def __init__(self, info: mesos.AgentInfo, behaviour: Behaviour, ids: Ids) -> None:
        self.info = info
        self.behaviour = behaviour
        self.member = False
        self.epoch = 0
        self.launched = 0
        """Tasks that were ordered, ever."""
        self.acknowledged = 0
        self._ids = ids
        self._master_epoch: int | None = None
        """Leadership of the master that this process was a member of last."""
        self._tasks: dict[Key, _Task] = {}
        self._orphans: dict[Key, updates.Stream] = {}
        """Updates of tasks that are not here, as of one that was to be killed and is unknown."""
        self._executors: dict[Key, _Executor] = {}
        self._frameworks: dict[str, mesos.FrameworkInfo] = {}
        self._held: Counter[str] = Counter()
        """Tasks and executors of each framework."""
        self._acts: list[Act] = []
        self._now = Instant(mono_s=0.0, wall_s=0.0)
        self._cause = ""

    @property
    def id(self) -> str | None:
        return self.info.id.value if self.info.id is not None else None

    @property
    def tasks(self) -> dict[Key, State]:
        """The state of every task, with those that ended and are not acknowledged."""
        return {key: task.state for key, task in self._tasks.items()}

    @property
    def executors(self) -> set[Key]:
        return set(self._executors)

    @property
    def running(self) -> int:
        """Tasks that have not ended."""
        return sum(not task.state.ended for task in self._tasks.values())

    def check(self) -> None:
        """What always holds."""
        for task in self._tasks.values():
            assert not (task.state.ended and task.stream is None), f"task {task.id} has ended and is acknowledged"
            assert task.framework_id in self._frameworks, f"task {task.id} is of a framework that is forgotten"
            assert not (task.hosted and not task.state.ended and task.executor_key not in self._executors)
            assert task.stream is None or len(task.stream.pending) <= self._statuses_max(), (
                f"task {task.id} says too much"
            )
        held = Counter(key[0] for key in (*self._tasks, *self._executors))
        assert held == self._held, f"{held} are here, and {self._held} were counted"
        assert set(held) == set(self._frameworks), "a framework is known exactly as long as it has something here"

    def _statuses_max(self) -> int:
        return max(len(self.behaviour.command), len(self.behaviour.hosted)) + 2

    # -- the link

    def connected(self) -> list[Act]:
        """Introduce the agent, with everything it has."""
        self.member = False
        return [Say(self._hello())]

    def disconnected(self) -> None:
        self.member = False

    def restarted(self, now: Instant) -> list[Act]:
        """Another process of the same agent: what does not checkpoint has ended meanwhile."""
        self.member = False
        self._begin(now, "restart")
        self._master_epoch = None
        for framework_id in self._unkept():
            self._end_framework(framework_id, _Why.UNKEPT)
        return self._done()

    def heard(self, message: object, now: Instant) -> list[Act]:
        """What the master says; orders only of one that has welcomed us."""
        self._begin(now, getattr(message, "cause", ""))
        match message:
            case messages.Ping():
                self._say(messages.Pong(cause=message.cause))
                if not message.connected:
                    self._acts.append(HangUp("the master has lost the registration of this agent"))
            case messages.Welcome():
                self._welcome(message)
            case messages.Refused():
                self._acts.append(Stop(message.sentence) if message.final else HangUp(message.sentence))
            case messages.ShutdownAgent():
                for framework_id in list(self._frameworks):
                    self._end_framework(framework_id, _Why.REMOVED)
                self._acts.append(Stop(message.sentence))
            case _ if self.member:
                self._order(message)
        return self._done()

    def _order(self, message: object) -> None:
        match message:
            case messages.RunTask():
                self._run(message.framework, (bytes(message.task),), expected_new=message.launch_executor)
            case messages.RunTaskGroup():
                self._run(message.framework, tuple(map(bytes, message.tasks)), expected_new=None)
            case messages.KillTask():
                self._kill(message)
            case messages.DrainChanged():
                self._drain(message.drain)
            case messages.Acknowledge():
                self._acknowledge(message)
            case messages.ShutdownFramework():
                self._end_framework(message.framework_id, _Why.REMOVED)
            case messages.ShutdownExecutor():
                self._shut((message.framework_id, message.executor_id))
            case messages.UpdateFramework():
                self._update_framework(message.framework)
            case messages.FrameworkMessage():
                executor = self._executors.get((message.framework_id, message.executor_id))
                if executor is not None and executor.listens and self.behaviour.echo:
                    self.executor_says((message.framework_id, message.executor_id), message.data)
            case _:
                pass  # A stream, or what a later master says.

    def _welcome(self, message: messages.Welcome) -> None:
        if message.epoch < self.epoch:
            self._acts.append(HangUp(f"epoch {self.epoch} has been obeyed, the master's is {message.epoch}"))
            return
        former, before = self.id, self._master_epoch
        self.member = True
        self.epoch = self._master_epoch = message.epoch
        self.info = msgspec.structs.replace(self.info, id=mesos.AgentID(value=message.agent_id))
        self._acts.append(Listen(message.silence_s))
        gone = set(self._frameworks) if former not in (None, message.agent_id) else set(message.completed_frameworks)
        for framework_id in gone.intersection(self._frameworks):
            self._end_framework(framework_id, _Why.REMOVED)
        if before == message.epoch:
            # The same master has seen the link break: it has given up the tasks of frameworks that do not checkpoint.
            for framework_id in self._unkept():
                self._end_framework(framework_id, _Why.UNKEPT)
        for key in (*self._tasks, *self._orphans):
            self._say_head(key)
        self._drain(message.drain)

    def _drain(self, drain: messages.Drain | None) -> None:
        for task in list(self._tasks.values()) if drain is not None else ():
            assert drain is not None
            if not task.state.ended:
                gone = drain.mark_gone and custom.aware(self._frameworks[task.framework_id])
                state = State.GONE_BY_OPERATOR if gone else State.KILLED
                self._report(task, command.Report(state=state, reason=_Reason.REASON_AGENT_DRAINING))

    def _hello(self) -> messages.Hello:
        return messages.Hello(
            version=messages.VERSION,
            agent=self.info,
            epoch=self.epoch,
            tasks=tuple(map(_report, self._tasks.values())),
            executors=tuple(
                messages.ExecutorReport(framework_id=framework_id, executor=executor.info)
                for (framework_id, _), executor in self._executors.items()
            ),
            frameworks=tuple(self._frameworks.values()),
            cause=f"hello of {self.info.hostname}",
        )

    # -- orders

    def _run(self, framework: mesos.FrameworkInfo, raws: tuple[bytes, ...], *, expected_new: bool | None) -> None:
        assert framework.id is not None, "a master names the framework of every task"
        framework_id = framework.id.value
        infos = [json.decode(mesos.TaskInfo, raw) for raw in raws]
        if any((framework_id, info.task_id.value) in self._tasks for info in infos):
            return
        self._frameworks[framework_id] = framework
        for info, raw in zip(infos, raws, strict=True):
            self.launched += 1
            executor_id = (info.executor.executor_id if info.executor is not None else info.task_id).value
            task = _Task(framework_id, info.task_id.value, raw, executor_id, hosted=info.executor is not None)
            stale = task.hosted and task.executor_key not in self._executors and expected_new is False
            full = len(self._tasks) >= TASKS_MAX
            self._tasks[task.key] = task
            self._held[framework_id] += 1
            if full or stale:
                self._lose(task, "The executor has ended" if stale else f"This agent has {TASKS_MAX} tasks already")
                continue
            if info.executor is not None:
                self._want_executor(task.executor_key, info.executor, framework.id)
            if not task.hosted or self._executors[task.executor_key].listens:
                self._advance(task)

    def _want_executor(self, key: Key, info: mesos.ExecutorInfo, framework_id: mesos.FrameworkID) -> None:
        if key in self._executors:
            return
        self._held[key[0]] += 1
        self._executors[key] = _Executor(msgspec.structs.replace(info, framework_id=framework_id))
        if self.behaviour.executor_start_s:
            self._acts.append(Wake(("executor", *key), self.behaviour.executor_start_s))
        else:
            self._executors[key].listens = True

    def _kill(self, order: messages.KillTask) -> None:
        key = (order.framework_id, order.task_id)
        task = self._tasks.get(key)
        if task is None:
            self._kill_unknown(key)
        elif not task.state.ended:
            framework = self._frameworks[task.framework_id]
            waits = task.hosted and not self._executors[task.executor_key].listens
            if not waits and any(one.type is _KILLING for one in framework.capabilities):
                self._report(task, command.Report(state=State.KILLING))
            if waits:
                reason = _Reason.REASON_TASK_KILLED_DURING_LAUNCH
                report = command.Report(state=State.KILLED, source=_Source.SOURCE_AGENT, reason=reason)
            else:
                report = command.Report(state=State.KILLED, message="Command terminated with signal Terminated")
            self._report(task, report)

    def _kill_unknown(self, key: Key) -> None:
        if key in self._orphans:
            return
        framework = self._frameworks.get(key[0])
        aware = framework is not None and custom.aware(framework)
        report = command.Report(
            state=State.DROPPED if aware else State.LOST,
            source=_Source.SOURCE_AGENT,
            reason=_Reason.REASON_EXECUTOR_TERMINATED,
            message="Cannot kill the task: this agent does not have it",
        )
        self._orphans[key] = updates.queued(None, self._status(key[1], None, report))
        self._say_head(key)

    def _acknowledge(self, order: messages.Acknowledge) -> None:
        key = (order.framework_id, order.task_id)
        task = self._tasks.get(key)
        stream = self._orphans.get(key) if task is None else task.stream
        if stream is None or stream.head.uuid != order.uuid:
            return
        self.acknowledged += 1
        self._acts.append(Wake(("resend", *key), None))
        rest = updates.acknowledged(stream)
        if task is None:
            self._orphans.pop(key)
            return
        task.stream = rest
        if rest is not None:
            self._say_head(key)
        elif task.state.ended:
            del self._tasks[key]
            self._release(key[0])

    def _update_framework(self, framework: mesos.FrameworkInfo) -> None:
        if framework.id is not None and framework.id.value in self._frameworks:
            self._frameworks[framework.id.value] = framework
            for key in [key for key in self._tasks if key[0] == framework.id.value]:
                self._say_head(key)

    def _shut(self, key: Key) -> None:
        if key in self._executors:
            ending = custom.Ending(why=custom.Why.ORDERED, deadline_wall_s=self._now.wall_s)
            self._end_executor(key, ending, wait_status=0)
        elif (task := self._tasks.get(key)) is not None and not task.hosted and not task.state.ended:
            self._report(task, command.Report(state=State.KILLED, message="Command terminated with signal Terminated"))

    # -- what happens on the machine

    def due(self, timer: Timer, now: Instant) -> list[Act]:
        """A timer that was asked for has come."""
        kind, *rest = timer
        key = (rest[0], rest[1])
        self._begin(now, f"{kind} of {key[1]}")
        if kind == "executor" and (executor := self._executors.get(key)) is not None:
            executor.listens = True
            for waiting in [one for one in self._tasks.values() if one.executor_key == key and not one.state.ended]:
                self._advance(waiting)
        elif kind == "step" and (task := self._tasks.get(key)) is not None and not task.state.ended:
            self._take_step(task)
            self._advance(task)
        elif kind == "resend":
            self._say_head(key)
        return self._done()

    def executor_dies(self, key: Key, now: Instant, *, wait_status: int = 9) -> list[Act]:
        """The program of an executor ends by itself."""
        self._begin(now, f"end of executor {key[1]}")
        self._end_executor(key, None, wait_status=wait_status)
        return self._done()

    def executor_says(self, key: Key, data: bytes) -> None:
        self._say(messages.ExecutorMessage(framework_id=key[0], executor_id=key[1], data=data, cause=self._cause))

    def _advance(self, task: _Task) -> None:
        """Take every step that is due, and ask to be woken for the next."""
        table = self._table(task)
        while task.steps < len(table) and table[task.steps].after_s == 0:
            self._take_step(task)
        if task.steps < len(table):
            self._acts.append(Wake(("step", *task.key), table[task.steps].after_s))

    def _take_step(self, task: _Task) -> None:
        state = self._table(task)[task.steps].state
        task.steps += 1
        message = command.exit_message(0) if state is State.FINISHED else None
        self._report(task, command.Report(state=state, message=message))

    def _table(self, task: _Task) -> tuple[Step, ...]:
        return self.behaviour.hosted if task.hosted else self.behaviour.command

    def _lose(self, task: _Task, sentence: str) -> None:
        aware = custom.aware(self._frameworks[task.framework_id])
        reason = _Reason.REASON_EXECUTOR_TERMINATED
        state = State.DROPPED if aware else State.LOST
        self._report(task, command.Report(state=state, source=_Source.SOURCE_AGENT, reason=reason, message=sentence))

    def _end_executor(self, key: Key, ending: custom.Ending | None, *, wait_status: int) -> None:
        if self._executors.pop(key, None) is None:
            return
        self._acts.append(Wake(("executor", *key), None))
        aware = custom.aware(self._frameworks[key[0]])
        report = custom.ended(ending, command.Exit(wait_status=wait_status), partition_aware=aware)
        for task in [one for one in self._tasks.values() if one.hosted and one.executor_key == key]:
            if not task.state.ended and report is not None:
                self._report(task, report)
        if report is not None:
            self._say(
                messages.ExecutorEnded(framework_id=key[0], executor_id=key[1], status=wait_status, cause=self._cause)
            )
        self._release(key[0])

    def _end_framework(self, framework_id: str, why: command.Why) -> None:
        """End everything of a framework; of one that was REMOVED nobody wants to hear any more."""
        for key in [key for key in self._executors if key[0] == framework_id]:
            ending = custom.Ending(
                why=custom.Why.UNKEPT if why is _Why.UNKEPT else custom.Why.REMOVED, deadline_wall_s=self._now.wall_s
            )
            self._end_executor(key, ending, wait_status=0)
        for key in [key for key in self._tasks if key[0] == framework_id]:
            task = self._tasks[key]
            self._acts.append(Wake(("step", *key), None))
            if why is _Why.REMOVED:
                del self._tasks[key]
                self._release(framework_id)
                self._acts.append(Wake(("resend", *key), None))
            elif not task.state.ended:
                end = command.ENDS[why]
                self._report(task, command.Report(state=end.state, source=end.source, reason=end.reason))
        for key in [key for key in self._orphans if key[0] == framework_id]:
            del self._orphans[key]
            self._acts.append(Wake(("resend", *key), None))

    def _unkept(self) -> list[str]:
        return [framework_id for framework_id, info in self._frameworks.items() if not info.checkpoint]

    def _release(self, framework_id: str) -> None:
        """One task or executor less; a framework that has none here is forgotten."""
        self._held[framework_id] -= 1
        if not self._held[framework_id]:
            del self._held[framework_id], self._frameworks[framework_id]

    # -- updates

    def _report(self, task: _Task, report: command.Report) -> None:
        """Queue a status.  Only the head of a task's statuses is under way."""
        assert task_states.may_step(task.state, report.state), f"{task.id}: {task.state} to {report.state}"
        task.state = report.state
        task.status = self._status(task.id, task.executor_id, report)
        first = task.stream is None
        task.stream = updates.queued(task.stream, task.status)
        if task.state.ended:
            self._acts.append(Wake(("step", *task.key), None))
        if first:
            self._say_head(task.key)

    def _status(self, task_id: str, executor_id: str | None, report: command.Report) -> mesos.TaskStatus:
        return mesos.TaskStatus(
            task_id=mesos.TaskID(value=task_id),
            state=mesos.TaskState[report.state.value],
            message=report.message,
            agent_id=self.info.id,
            timestamp=self._now.wall_s,
            executor_id=mesos.ExecutorID(value=executor_id) if executor_id is not None else None,
            source=report.source,
            reason=report.reason,
            uuid=self._ids.uuid_bytes(),
        )

    def _say_head(self, key: Key) -> None:
        """Say the oldest unacknowledged status of a task, and again by back-off."""
        task = self._tasks.get(key)
        stream = self._orphans.get(key) if task is None else task.stream
        if stream is None or not self.member:
            return
        latest = task.state if task is not None else updates.state_of(stream.head)
        self._say(
            messages.StatusUpdate(framework_id=key[0], status=stream.head, latest_state=latest.value, cause=self._cause)
        )
        self._acts.append(Wake(("resend", *key), stream.interval_s))
        later = msgspec.structs.replace(stream, interval_s=updates.next_interval_s(stream.interval_s))
        if task is None:
            self._orphans[key] = later
        else:
            task.stream = later

    def _say(self, message: messages.FromAgent) -> None:
        """What is said while nobody listens is lost; updates are said again."""
        if self.member or isinstance(message, messages.Pong):
            self._acts.append(Say(message))

    def _begin(self, now: Instant, cause: str) -> None:
        self._now, self._cause = now, cause

    def _done(self) -> list[Act]:
        acts, self._acts = self._acts, []
        return acts


def _report(task: _Task) -> messages.TaskReport:
    head = task.stream.head if task.stream is not None else None
    return messages.TaskReport(
        framework_id=task.framework_id,
        task=msgspec.Raw(task.raw),
        state=task.state.value,
        statuses=(task.status,) if task.status is not None else (),
        status_state=head.state.value if head is not None else None,
        status_uuid=_text(head.uuid) if head is not None else None,
        executor_id=task.executor_id if task.hosted else None,
    )


def _text(uuid: bytes | None) -> str | None:
    """A uuid as the JSON form of a status has it."""
    text: str | None = msgspec.to_builtins(uuid)
    return text


def numbered(
    count: int, resources: tuple[mesos.Resource, ...], attributes: tuple[mesos.Attribute, ...] = ()
) -> Iterator[mesos.AgentInfo]:
    """So many machines of one kind; the attribute `machine_id` of each is its name."""
    for number in range(1, count + 1):
        name = f"emulated-{number}"
        own = mesos.Attribute(name="machine_id", type=mesos.ValueType.TEXT, text=mesos.ValueText(value=name))
        yield mesos.AgentInfo(hostname=name, port=PORT, resources=resources, attributes=(own, *attributes))
