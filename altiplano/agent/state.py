"""What an agent knows.  `State.apply` alone changes it, one fact at a time.

                ┌──────────────────────────────────┐
                │                                  ▼
            received ──► sandbox ──► fetching ──► starting ──► running ──► killing
                │           │            │            │           │           │
                ├───────────┴────────────┴────────────┴─────┬─────┴───────────┘
                │                                           ▼
                └──► sent ─────────────────────────────►  ended

A task whose command names no files is starting at once, and its sandbox is made on the way.

A task of a custom executor waits as `received` until the executor listens, then it is `sent`; what becomes
of it the executor tells (`executor_state`).

`received`, `starting`, `running`, `killing`, `sent` and `ended` are durable.  A process that finds a task in
another stage takes it up again at `received`: making a sandbox and fetching may be repeated.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from altiplano.agent import check_state, executor_state, facts, updates
from altiplano.agent.executor_state import Executor
from altiplano.agent.timers import Timers
from altiplano.engine.core import Fact
from altiplano.executors import command
from altiplano.link import messages
from altiplano.model.tasks import State as TaskState
from altiplano.model.tasks import may_step
from altiplano.wire import json
from altiplano.wire.messages import mesos

Key = tuple[str, str]
"""Framework id, task id."""

COMPLETED_PER_FRAMEWORK_MAX = 150
"""Ended tasks of one framework that are shown."""

FRAMEWORKS_IDLE_MAX = 50
"""Frameworks without a task that are shown."""

INFOS_REMEMBERED = 16
"""Tasks that need not be read again."""

SANDBOXES_MAX = 100_000
"""Sandboxes of ended tasks that are kept; the oldest go first."""


class Stage(Enum):
    """How far a task has come on this agent."""

    RECEIVED = "received"
    SANDBOX = "sandbox"
    FETCHING = "fetching"
    STARTING = "starting"
    RUNNING = "running"
    KILLING = "killing"
    SENT = "sent"
    ENDED = "ended"


STEPS: Mapping[Stage, frozenset[Stage]] = {
    Stage.RECEIVED: frozenset({Stage.SANDBOX, Stage.STARTING, Stage.SENT, Stage.ENDED}),
    Stage.SENT: frozenset({Stage.ENDED}),
    Stage.SANDBOX: frozenset({Stage.FETCHING, Stage.ENDED}),
    Stage.FETCHING: frozenset({Stage.STARTING, Stage.ENDED}),
    Stage.STARTING: frozenset({Stage.RUNNING, Stage.ENDED}),
    Stage.RUNNING: frozenset({Stage.KILLING, Stage.ENDED}),
    Stage.KILLING: frozenset({Stage.KILLING, Stage.ENDED}),
    Stage.ENDED: frozenset(),
}

LAUNCHED = frozenset({Stage.STARTING, Stage.RUNNING, Stage.KILLING})
"""Stages in which the launcher may have processes of the task."""


class Link(Enum):
    """Where the agent stands with its master."""

    OFFLINE = "offline"
    DIALLING = "dialling"
    GREETED = "greeted"
    MEMBER = "member"


LINK_STEPS: Mapping[Link, frozenset[Link]] = {
    Link.OFFLINE: frozenset({Link.DIALLING}),
    Link.DIALLING: frozenset({Link.GREETED, Link.OFFLINE}),
    Link.GREETED: frozenset({Link.MEMBER, Link.OFFLINE}),
    Link.MEMBER: frozenset({Link.OFFLINE}),
}


@functools.lru_cache(INFOS_REMEMBERED)
def info_of(raw: bytes) -> mesos.TaskInfo:
    """Read a task.  An order, its draft and its fact ask in one breath, and the answer cannot change."""
    return json.decode(mesos.TaskInfo, raw)


class Task:
    """A task that this agent answers for."""

    __slots__ = (
        "cause",
        "container_id",
        "directory",
        "ended",
        "executor_id",
        "framework_id",
        "group",
        "grouped",
        "hosted",
        "info",
        "kill",
        "killing",
        "pid",
        "raw",
        "received_wall_s",
        "stage",
        "started_wall_s",
        "state",
        "status",
    )

    def __init__(self, fact: facts.TaskReceived) -> None:
        self.framework_id = fact.framework_id
        self.raw = bytes(fact.task)
        self.info = info_of(self.raw)
        executor = self.info.executor
        self.grouped = executor is not None and executor.type is mesos.ExecutorInfoType.DEFAULT
        """The built-in executor of groups runs it, in a container of its own."""
        self.hosted = executor is not None and not self.grouped
        """A custom executor runs it: container and sandbox are the executor's."""
        self.group = fact.group
        self.executor_id = executor.executor_id.value if executor is not None else self.id
        self.container_id = fact.container_id
        self.directory = fact.directory
        self.received_wall_s = fact.received_wall_s
        self.cause = fact.cause
        self.stage = Stage.RECEIVED
        self.kill: facts.KillSent | None = None
        self.state = TaskState.STAGING
        self.status: mesos.TaskStatus | None = None
        self.pid = 0
        self.started_wall_s: float | None = None
        self.killing: command.Killing | None = None
        self.ended: facts.ContainerEnded | None = None

    @property
    def id(self) -> str:
        return self.info.task_id.value

    @property
    def key(self) -> Key:
        return self.framework_id, self.id

    @property
    def executor_key(self) -> executor_state.Key:
        return self.framework_id, self.executor_id

    @property
    def ran(self) -> bool:
        return self.started_wall_s is not None

    def step(self, stage: Stage) -> None:
        assert stage in STEPS[self.stage], f"task {self.id} ({self.cause}) cannot go from {self.stage} to {stage}"
        self.stage = stage


class State:
    """All of it.  Empty at first; the facts of the log bring back what was durable."""

    def __init__(self) -> None:
        self.agent_id: str | None = None
        self.epoch = 0
        self.boot_id: str | None = None
        self.drain: messages.Drain | None = None
        """An operator takes the machine out of use, in this way."""
        self.frameworks: OrderedDict[str, mesos.FrameworkInfo] = OrderedDict()
        self.tasks: dict[Key, Task] = {}
        self.by_container: dict[str, Key] = {}
        self.executors: dict[executor_state.Key, Executor] = {}
        self.executor_by_container: dict[str, executor_state.Key] = {}
        self.ended_executors: dict[str, deque[executor_state.Ended]] = {}
        self.streams: dict[Key, updates.Stream] = {}
        self.kept: OrderedDict[str, facts.SandboxKept] = OrderedDict()
        self.completed: dict[str, deque[Task]] = {}
        self.ended_since_hello: list[Key] = []
        """Executors that the last `Hello` named, and that have ended before the master answered it."""
        self.link = Link.OFFLINE
        self.connection = 0
        self.attempts = 0
        self.master: mesos.MasterInfo | None = None
        self.silence_s = 0.0
        self.registered_wall_s: float | None = None
        self.master_epoch: int | None = None
        self.timers = Timers()
        self.checks = check_state.Checks()
        self.leaving: facts.LeaveOrdered | None = None
        self.degraded: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()
        """Statuses queued by state, and launches that failed, since this process began."""
        self._kept_by_key: dict[Key, list[str]] = {}
        self._held_of: Counter[str] = Counter()
        """Tasks and executors of each framework."""

    # -- reading

    @property
    def member(self) -> bool:
        return self.link is Link.MEMBER

    def task_of(self, container_id: str) -> Task | None:
        """The task that has a container of its own."""
        key = self.by_container.get(container_id)
        return None if key is None else self.tasks[key]

    def executor_of(self, container_id: str) -> Executor | None:
        """The custom executor that runs in a container."""
        key = self.executor_by_container.get(container_id)
        return None if key is None else self.executors[key]

    def latest(self, key: Key) -> TaskState:
        """The state that a task has now; of an unknown one what its stream says last."""
        task = self.tasks.get(key)
        return task.state if task is not None else updates.state_of(self.streams[key].newest)

    def tasks_of(self, framework_id: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.framework_id == framework_id]

    def sandboxes_of(self, key: executor_state.Key) -> list[facts.SandboxKept]:
        """Kept sandboxes of forgotten executors of this name, newest first."""
        return [self.kept[container_id] for container_id in reversed(self._kept_by_key.get(key, ()))]

    def idle_frameworks(self) -> list[str]:
        """Frameworks without a task or executor, oldest first."""
        return [framework_id for framework_id in self.frameworks if framework_id not in self._held_of]

    def busy_frameworks(self) -> list[str]:
        """Frameworks with a task or executor."""
        return [framework_id for framework_id in self.frameworks if framework_id in self._held_of]

    # -- changing

    def apply(self, fact: Fact) -> None:
        match fact:
            case facts.TaskReceived():
                self._received(fact)
            case facts.StatusQueued():
                self._queued(fact)
            case facts.StatusAcknowledged():
                self._acknowledged(fact)
            case facts.StreamDropped():
                self.streams.pop((fact.framework_id, fact.task_id), None)
                self.timers.clear(("resend", fact.framework_id, fact.task_id))
            case facts.TaskForgotten():
                self._forgotten(fact)
            case facts.CheckSet() | facts.CheckDropped():
                self.checks.apply(fact, self.timers)
            case facts.TaskFact():
                self._task(fact)
            case facts.ExecutorReceived():
                self._executor_received(fact)
            case facts.ExecutorForgotten():
                self._executor_forgotten(fact)
            case facts.ExecutorFact():
                self.executors[fact.framework_id, fact.executor_id].apply(fact)
            case facts.SandboxKept():
                self._keep(fact)
            case facts.SandboxGone():
                self._gone(fact.container_id)
            case facts.FrameworkKnown() if fact.framework.id is not None:
                self.frameworks[fact.framework.id.value] = fact.framework
            case facts.FrameworkForgotten():
                self.frameworks.pop(fact.framework_id, None)
                self.completed.pop(fact.framework_id, None)
                self.ended_executors.pop(fact.framework_id, None)
            case _:
                self._self(fact)

    def _self(self, fact: Fact) -> None:
        """Facts about the agent itself."""
        match fact:
            case facts.AgentAdmitted():
                self.agent_id, self.epoch = fact.agent_id, fact.epoch
            case facts.AgentRetired():
                self.agent_id = None
            case facts.DrainSet():
                self.drain = fact.drain
            case facts.Booted():
                self.boot_id = fact.boot_id
            case facts.LinkChanged():
                after = Link(fact.link)
                assert after in LINK_STEPS[self.link], f"the link cannot go from {self.link} to {after}"
                self.link, self.connection, self.attempts = after, fact.connection, fact.attempts
                if after is not Link.MEMBER:
                    self.ended_since_hello.clear()
            case facts.MasterKnown():
                self.master, self.silence_s = fact.master, fact.silence_s
                self.registered_wall_s, self.master_epoch = fact.registered_wall_s, self.epoch
            case facts.TimerSet():
                if fact.at_mono_s is None:
                    self.timers.clear(fact.timer)
                else:
                    self.timers.set(fact.timer, fact.at_mono_s)
            case facts.ProcessBegun():
                self.counts.clear()
            case facts.LeaveOrdered():
                self.leaving = fact
            case facts.DegradedKnown():
                self.degraded = fact.sentences
            case _:
                raise AssertionError(f"an agent cannot apply {type(fact).__name__}")

    def _received(self, fact: facts.TaskReceived) -> None:
        task = Task(fact)
        assert task.key not in self.tasks, f"task {task.id} was received twice"
        self.tasks[task.key] = task
        self._held_of[task.framework_id] += 1
        if not task.hosted:
            self.by_container[task.container_id] = task.key
        if (executor := self._executor_of(task)) is not None:
            executor.task_ids[task.id] = None

    def _executor_of(self, task: Task) -> Executor | None:
        """The executor that a task belongs to; a task that came too late for its executor belongs to none."""
        executor = self.executors.get(task.executor_key)
        if executor is None or not (task.grouped or executor.container_id == task.container_id):
            return None
        return executor if task.grouped or task.hosted else None

    def _task(self, fact: facts.TaskFact) -> None:
        """Facts about a task on its way, or about its stream."""
        key = (fact.framework_id, fact.task_id)
        match fact:
            case facts.UpdateSent():
                self.streams[key] = msgspec.structs.replace(self.streams[key], interval_s=fact.interval_s)
                self.timers.set(("resend", *key), fact.due_mono_s)
            case facts.SandboxBegun():
                self.tasks[key].step(Stage.SANDBOX)
            case facts.FetchBegun():
                self.tasks[key].step(Stage.FETCHING)
            case facts.ContainerLaunching():
                self.tasks[key].step(Stage.STARTING)
            case facts.TaskStarted():
                task = self.tasks[key]
                task.step(Stage.RUNNING)
                task.pid, task.started_wall_s = fact.pid, fact.started_wall_s
                if task.killing is not None:
                    task.step(Stage.KILLING)
            case facts.KillOrdered():
                task = self.tasks[key]
                task.killing = fact.killing
                if task.stage in (Stage.RUNNING, Stage.KILLING):
                    task.step(Stage.KILLING)
            case facts.TaskSent():
                self.tasks[key].step(Stage.SENT)
            case facts.KillSent():
                self.tasks[key].kill = fact
            case facts.ContainerEnded():
                task = self.tasks[key]
                task.step(Stage.ENDED)
                task.ended = fact
                if (executor := self._executor_of(task)) is not None:
                    executor.task_ids.pop(task.id, None)
                self.counts["not launched"] += not fact.ran
                self.timers.clear(("kill", *key))
                self.timers.clear(("completion", *key))
            case _:
                raise AssertionError(f"an agent cannot apply {type(fact).__name__}")

    def _queued(self, fact: facts.StatusQueued) -> None:
        key = (fact.framework_id, fact.task_id)
        self.streams[key] = updates.queued(self.streams.get(key), fact.status)
        task = self.tasks.get(key)
        self.counts[fact.status.state.value] += 1
        if task is not None:
            after = updates.state_of(fact.status)
            possible = may_step(task.state, after)
            # What an executor says is passed on even where it cannot be; the state is kept then.
            assert possible or task.hosted, f"task {task.id} ({task.cause}) cannot go from {task.state} to {after}"
            if possible:
                task.state, task.status = after, fact.status
        self._remember(fact)

    def _remember(self, fact: facts.StatusQueued) -> None:
        """Updates that come from an executor are known again by their uuids."""
        status = fact.status
        if status.executor_id is not None and status.uuid is not None:
            executor = self.executors.get((fact.framework_id, status.executor_id.value))
            if executor is not None and status.source is mesos.TaskStatusSource.SOURCE_EXECUTOR:
                executor.remember(status.uuid)

    def _acknowledged(self, fact: facts.StatusAcknowledged) -> None:
        key = (fact.framework_id, fact.task_id)
        rest = updates.acknowledged(self.streams.pop(key))
        if rest is not None:
            self.streams[key] = rest
        self.timers.clear(("resend", *key))

    def _forgotten(self, fact: facts.TaskForgotten) -> None:
        key = (fact.framework_id, fact.task_id)
        task = self.tasks.pop(key)
        assert task.ended is not None, f"task {task.id} was forgotten before its end"
        self._release(task.framework_id)
        self.completed.setdefault(task.framework_id, deque(maxlen=COMPLETED_PER_FRAMEWORK_MAX)).append(task)
        if not task.hosted:
            del self.by_container[task.container_id]
        if task.hosted or task.grouped:
            # Its sandbox is the executor's, or lies in it.
            return
        self._keep(
            facts.SandboxKept(
                container_id=task.container_id,
                framework_id=task.framework_id,
                executor_id=task.executor_id,
                directory=task.directory,
                ended_wall_s=task.ended.ended_wall_s,
            )
        )

    def _release(self, framework_id: str) -> None:
        self._held_of[framework_id] -= 1
        if not self._held_of[framework_id]:
            del self._held_of[framework_id]

    def _executor_received(self, fact: facts.ExecutorReceived) -> None:
        executor = Executor(fact)
        assert executor.key not in self.executors, f"executor {executor.id} was received twice"
        self.executors[executor.key] = executor
        self.executor_by_container[executor.container_id] = executor.key
        self._held_of[executor.framework_id] += 1

    def _executor_forgotten(self, fact: facts.ExecutorForgotten) -> None:
        executor = self.executors.pop((fact.framework_id, fact.executor_id))
        if self.link is Link.GREETED and not executor.silent:
            self.ended_since_hello.append(executor.key)
        assert not executor.task_ids, f"executor {executor.id} was forgotten before its tasks had ended"
        del self.executor_by_container[executor.container_id]
        self._release(executor.framework_id)
        for kind in executor_state.TIMERS:
            self.timers.clear(executor.timer(kind))
        ended = executor_state.Ended(
            info=executor.info,
            framework_id=executor.framework_id,
            container_id=executor.container_id,
            directory=executor.directory,
        )
        self.ended_executors.setdefault(executor.framework_id, deque(maxlen=COMPLETED_PER_FRAMEWORK_MAX)).append(ended)
        self._keep(
            facts.SandboxKept(
                container_id=executor.container_id,
                framework_id=executor.framework_id,
                executor_id=executor.id,
                directory=executor.directory,
                ended_wall_s=fact.ended_wall_s,
            )
        )

    def _keep(self, kept: facts.SandboxKept) -> None:
        self.kept[kept.container_id] = kept
        self._kept_by_key.setdefault((kept.framework_id, kept.executor_id), []).append(kept.container_id)

    def _gone(self, container_id: str) -> None:
        kept = self.kept.pop(container_id, None)
        if kept is None:
            return
        key = (kept.framework_id, kept.executor_id)
        self._kept_by_key[key].remove(container_id)
        if not self._kept_by_key[key]:
            del self._kept_by_key[key]

    # -- the log's snapshot, and what always holds

    def summary(self) -> Iterable[Fact]:
        """Durable facts that lead an empty state to the durable part of this one."""
        if self.agent_id is not None or self.epoch:
            yield facts.AgentAdmitted(agent_id=self.agent_id or "", epoch=self.epoch)
        if self.agent_id is None and self.epoch:
            yield facts.AgentRetired()
        if self.drain is not None:
            yield facts.DrainSet(drain=self.drain)
        if self.boot_id is not None:
            yield facts.Booted(boot_id=self.boot_id)
        for framework in self.frameworks.values():
            yield facts.FrameworkKnown(framework=framework)
        yield from self.kept.values()
        for executor in self.executors.values():
            yield from executor.summary()
        for task in self.tasks.values():
            yield from self._task_summary(task)
        for key, stream in self.streams.items():
            if key not in self.tasks:
                for status in stream.pending:
                    yield facts.StatusQueued(framework_id=key[0], task_id=key[1], status=status)

    def _task_summary(self, task: Task) -> Iterable[Fact]:
        framework_id, task_id = task.key
        yield facts.TaskReceived(
            framework_id=framework_id,
            task_id=task_id,
            task=msgspec.Raw(task.raw),
            container_id=task.container_id,
            directory=task.directory,
            received_wall_s=task.received_wall_s,
            cause=task.cause,
            group=task.group,
        )
        if task.stage in LAUNCHED or task.ran:
            yield facts.ContainerLaunching(framework_id=framework_id, task_id=task_id)
        stream = self.streams.get(task.key)
        if task.status is not None and (stream is None or (task.hosted and task.status not in stream.pending)):
            # The newest state counts although it is acknowledged: said and taken back in one breath.
            yield facts.StatusQueued(framework_id=framework_id, task_id=task_id, status=task.status)
            yield facts.StatusAcknowledged(framework_id=framework_id, task_id=task_id)
        for status in stream.pending if stream is not None else ():
            yield facts.StatusQueued(framework_id=framework_id, task_id=task_id, status=status)
        if task.started_wall_s is not None:
            yield facts.TaskStarted(
                framework_id=framework_id, task_id=task_id, pid=task.pid, started_wall_s=task.started_wall_s
            )
        if task.killing is not None:
            yield facts.KillOrdered(framework_id=framework_id, task_id=task_id, killing=task.killing)
        if task.hosted and task.stage is not Stage.RECEIVED:
            yield facts.TaskSent(framework_id=framework_id, task_id=task_id)
        if task.kill is not None:
            yield task.kill
        if task.ended is not None:
            yield task.ended

    def check(self) -> None:
        """Assert every invariant."""
        own = {key for key, task in self.tasks.items() if not task.hosted}
        assert set(self.by_container.values()) == own, "containers and tasks do not belong together"
        self._check_executors()
        self.checks.check()
        for *key_, purpose in self.checks.watches:
            task = self.tasks[key_[0], key_[1]]
            assert task.stage is Stage.RUNNING, f"task {task.id} does not run, and its {purpose.value} check does"
        for key, task in self.tasks.items():
            assert task.key == key
            assert task.framework_id in self.frameworks, f"task {task.id} has no framework"
            assert (task.stage is Stage.ENDED) == (task.ended is not None)
            if task.stage is Stage.KILLING:
                assert task.killing is not None
            stream = self.streams.get(key)
            if stream is not None and not task.hosted:
                assert updates.state_of(stream.newest) is task.state, f"the stream of task {task.id} is behind"
            if task.stage is Stage.ENDED and (task.killing is None or task.killing.why is not command.Why.REMOVED):
                assert task.state.ended, f"task {task.id} has ended, and its state {task.state} has not"
        for key, stream in self.streams.items():
            assert stream.pending
            assert not self.member or ("resend", *key) in self.timers, f"nobody will send the update of {key} again"
        assert len(self.kept) == sum(len(runs) for runs in self._kept_by_key.values())

    def _check_executors(self) -> None:
        assert set(self.executor_by_container.values()) == set(self.executors), "containers of executors are mixed up"
        for executor in self.executors.values():
            assert executor.framework_id in self.frameworks, f"executor {executor.id} has no framework"
            assert executor.stream is None or executor.stage is executor_state.Stage.RUNNING
            for task_id in executor.task_ids:
                task = self.tasks[executor.framework_id, task_id]
                assert task.executor_key == executor.key
                assert executor.built_in or task.stage in (Stage.RECEIVED, Stage.SENT)
            assert not executor.built_in or executor.task_ids, f"executor {executor.id} has no task left and stays"
        for task in self.tasks.values():
            if (task.hosted or task.grouped) and task.stage is not Stage.ENDED:
                executor_ = self.executors.get(task.executor_key)
                assert executor_ is not None, f"task {task.id} lives and its executor {task.executor_id} does not"
                assert task.id in executor_.task_ids
