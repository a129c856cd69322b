"""Custom executors: programs of frameworks that run tasks, and speak with the agent by the executor API.

`executor_state` has the table of stages.  Two rules make every crash harmless.  A task is marked as sent
before it is: a restarted agent never gives it out twice, and whether it had arrived the executor tells
when it subscribes again.  An update is acknowledged to the executor once the log holds it; one that
comes again is known by its uuid.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from altiplano.agent import effects, environment, events, facts, isolation, launch, sandbox, updates
from altiplano.agent.draft import Draft
from altiplano.agent.executor_state import LAUNCHED, Executor, Stage
from altiplano.agent.state import Key, Task
from altiplano.agent.state import Stage as TaskStage
from altiplano.executors import command, custom
from altiplano.link import messages
from altiplano.model.tasks import State as TaskState
from altiplano.ports import launcher
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos

HEARTBEAT_S = 1800.0
"""Pause between heartbeats of an executor's stream: rare, since some old clients fail on any."""

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource
Type = api.EventType
Why = custom.Why
Order = tuple[mesos.TaskInfo, bytes]
"""A task, read and as it came."""

OF_TASKS = {
    command.Why.ORDERED: Why.ORDERED,
    command.Why.STOPPING: Why.STOPPING,
    command.Why.UNKEPT: Why.UNKEPT,
    command.Why.REMOVED: Why.REMOVED,
}
"""Why an executor is ended where all tasks of an agent or a framework are."""


# -- arrival


def run(
    draft: Draft,
    framework: mesos.FrameworkInfo,
    info: mesos.ExecutorInfo,
    tasks: Sequence[Order],
    *,
    expected_new: bool | None,
    together: bool = False,
) -> None:
    """Give tasks to an executor, which is started if it does not run.

    `expected_new` is what the master believes: a task for an executor that has ended meanwhile must not start
    another one, which nobody has been charged for.  `together`: the tasks are a group, and are told as one.
    """
    assert framework.id is not None
    executor = draft.state.executors.get((framework.id.value, info.executor_id.value))
    stale = executor is None and expected_new is False
    if stale or (executor is not None and executor.ending is not None):
        sentence = "The executor has ended, or is about to, before the task reached it"
        for task, raw in tasks:
            fresh = launch.receive(draft, framework, task, raw)
            launch.failed(
                draft,
                fresh,
                sentence,
                state=launch.lost_state(framework),
                reason=Reason.REASON_EXECUTOR_TERMINATED,
            )
        if not stale and expected_new:
            tell_ended(draft, framework.id.value, info.executor_id.value, None)
        return
    fresh_executor = executor is None
    if executor is None:
        executor = receive(draft, framework, info)
    name = draft.draw.uuid() if together else ""
    received = [launch.receive(draft, framework, task, raw, executor, group=name) for task, raw in tasks]
    problem = isolation.executor_problem(info) if fresh_executor else None
    if problem is not None:
        failed(draft, executor, f"This agent cannot run the task: {problem}")
    elif fresh_executor:
        _begin(draft, executor, framework)
    else:
        _limit(draft, executor)
        if executor.stream is not None:
            _send(draft, executor, received)


def refuse(
    draft: Draft, framework: mesos.FrameworkInfo, info: mesos.ExecutorInfo, tasks: Sequence[Order], sentence: str
) -> None:
    """The agent takes no tasks: they never reach an executor, and a new one is not started."""
    assert framework.id is not None
    for task, raw in tasks:
        fresh = launch.receive(draft, framework, task, raw)
        state, reason = launch.lost_state(framework), Reason.REASON_AGENT_DISCONNECTED
        launch.failed(draft, fresh, sentence, state=state, reason=reason)
    if (framework.id.value, info.executor_id.value) not in draft.state.executors:
        tell_ended(draft, framework.id.value, info.executor_id.value, None)


def receive(draft: Draft, framework: mesos.FrameworkInfo, info: mesos.ExecutorInfo) -> Executor:
    assert framework.id is not None
    assert draft.state.agent_id is not None
    container_id = draft.draw.uuid()
    received = facts.ExecutorReceived(
        framework_id=framework.id.value,
        executor_id=info.executor_id.value,
        info=msgspec.structs.replace(info, framework_id=framework.id),
        container_id=container_id,
        directory=sandbox.directory(
            draft.node.work_dir, draft.state.agent_id, framework.id.value, info.executor_id.value, container_id
        ),
        received_wall_s=draft.now.wall_s,
        cause=draft.cause,
    )
    draft.fact(received)
    executor = draft.received[received.framework_id, received.executor_id] = Executor(received)
    _note(draft, executor, f"executor {executor.id} is wanted; its container is {container_id}")
    return executor


# -- start


def _begin(draft: Draft, executor: Executor, framework: mesos.FrameworkInfo) -> None:
    """Make the sandbox."""
    assert draft.state.agent_id is not None
    draft.fact(facts.ExecutorStepped(**_ids(executor), stage=Stage.SANDBOX.value))
    draft.do(
        effects.MakeSandbox(
            container_id=executor.container_id,
            directory=executor.directory,
            user=isolation.user(draft.node, framework, executor.info.command),
            links=sandbox.links(draft.node.work_dir, draft.state.agent_id, executor.directory),
            cause=executor.cause,
        )
    )


def sandbox_made(draft: Draft, executor: Executor) -> None:
    """Fetch what the command names, or start at once."""
    if executor.stage is not Stage.SANDBOX:
        return
    uris = executor.info.command.uris if executor.info.command is not None else ()
    if not uris:
        _start(draft, executor)
        return
    draft.fact(facts.ExecutorStepped(**_ids(executor), stage=Stage.FETCHING.value))
    draft.do(
        effects.Fetch(
            container_id=executor.container_id,
            directory=executor.directory,
            user=isolation.user(draft.node, _framework(draft, executor), executor.info.command),
            uris=uris,
            cause=executor.cause,
        )
    )


def fetched(draft: Draft, executor: Executor) -> None:
    if executor.stage is Stage.FETCHING:
        _start(draft, executor)


def _start(draft: Draft, executor: Executor) -> None:
    draft.fact(facts.ExecutorLaunching(**_ids(executor)))
    draft.do(effects.Launch(spec=_spec(draft, executor), cause=executor.cause))


def _spec(draft: Draft, executor: Executor) -> launcher.LaunchSpec:
    """Everything the launcher needs."""
    framework, order = _framework(draft, executor), executor.info.command
    assert order is not None
    assert draft.state.agent_id is not None
    executable, argv = launch.program(order)
    return launcher.LaunchSpec(
        container_id=executor.container_id,
        executable=executable,
        argv=argv,
        environment=environment.of_executor(draft.node, draft.state.agent_id, framework, executor),
        directory=executor.directory,
        stdout=posixpath.join(executor.directory, "stdout"),
        stderr=posixpath.join(executor.directory, "stderr"),
        user=isolation.user(draft.node, framework, order),
        rlimits=isolation.rlimits(executor.info.container),
        cgroup=isolation.limits(draft.node, _needs(draft, executor)),
        output_max_bytes=draft.node.output_max_bytes,
    )


def started(draft: Draft, executor: Executor, *, pid: int, started_wall_s: float) -> None:
    """The process runs; now it has to subscribe."""
    if executor.started_wall_s is not None:
        return
    draft.fact(facts.ExecutorStarted(**_ids(executor), pid=pid, started_wall_s=started_wall_s))
    _note(draft, executor, f"executor {executor.id} was started with pid {pid}")
    if executor.ending is not None and executor.ending.deadline_wall_s <= draft.now.wall_s:
        draft.do(effects.Destroy(container_id=executor.container_id))
    elif executor.stage is Stage.STARTING:
        _await_subscription(draft, executor, started_wall_s)
        # Tasks may have come or gone since the launch was ordered.
        _limit(draft, executor)


def _await_subscription(draft: Draft, executor: Executor, started_wall_s: float, *, least_s: float = 0.0) -> None:
    """It has its time from the start on, and at least `least_s` from now."""
    due_mono_s = draft.now.mono_of(started_wall_s + draft.node.registration_timeout_s)
    draft.timer(executor.timer("register"), max(due_mono_s, draft.now.mono_s + least_s))


# -- what the executor says


def subscribed(draft: Draft, executor: Executor, event: events.ExecutorSubscribed) -> None:
    """It listens: tell it who it is, take what it has to say, and give it what waits.

    Where it cannot run yet, the call is the last one of an earlier executor with the same id.
    """
    if executor.stage not in LAUNCHED:
        draft.do(effects.CloseStream(stream=event.stream))
        _note(draft, executor, f"a call of an earlier executor {executor.id} comes too late and is ignored")
        return
    for kind in ("register", "reregister"):
        draft.timer(executor.timer(kind), None)
    if executor.stream is not None:
        draft.do(effects.CloseStream(stream=executor.stream))
        draft.fact(facts.ExecutorDisconnected(**_ids(executor)))
    if executor.ending is not None:
        draft.do(
            effects.Tell(stream=event.stream, event=api.Event(type=Type.SHUTDOWN)),
            effects.CloseStream(stream=event.stream),
        )
        return
    first = executor.stage is not Stage.RUNNING
    if first:
        draft.fact(facts.ExecutorJoined(**_ids(executor)))
    draft.fact(facts.ExecutorConnected(**_ids(executor), stream=event.stream))
    draft.joined[executor.key] = event.stream
    draft.timer(executor.timer("heartbeat"), draft.now.mono_s + HEARTBEAT_S)
    welcome = api.EventSubscribed(
        executor_info=executor.info,
        framework_info=_framework(draft, executor),
        agent_info=draft.agent_info(),
        container_id=mesos.ContainerID(value=executor.container_id),
    )
    _tell(draft, executor, api.Event(type=Type.SUBSCRIBED, subscribed=welcome))
    _note(draft, executor, f"executor {executor.id} has subscribed{'' if first else ' again'}")
    # mesos-go's executors keep these in a map and list them in any order; what else was said of a task came before
    # its end.
    for status in sorted(event.updates, key=lambda status: updates.state_of(status).ended):
        updated(draft, executor, status)
    _settle(draft, executor, {*event.task_ids, *(status.task_id.value for status in event.updates)})
    living = _living(draft, executor)
    for task in living:
        if task.kill is not None:
            _tell_kill(draft, executor, task, task.kill.policy)
    _send(draft, executor, [task for task in living if task.stage is TaskStage.RECEIVED])
    if first and not _living(draft, executor):
        shutdown(draft, executor, Why.IDLE)


def _settle(draft: Draft, executor: Executor, known: set[str]) -> None:
    """Tasks that were sent and that the executor has never heard of are lost: they are not sent twice."""
    for task in _living(draft, executor):
        if task.stage is TaskStage.SENT and task.state is TaskState.STAGING and task.id not in known:
            launch.failed(
                draft,
                task,
                "The task was sent while the agent or the executor's connection broke, and did not arrive",
                state=launch.lost_state(_framework(draft, executor)),
                reason=Reason.REASON_AGENT_RESTARTED,
            )


def updated(draft: Draft, executor: Executor, status: mesos.TaskStatus) -> None:
    """Take an update into the stream of its task; it is acknowledged once that is durable."""
    key: Key = (executor.framework_id, status.task_id.value)
    uuid = status.uuid
    assert uuid is not None
    task = draft.state.tasks.get(key)
    if _is_of_another(executor, task or _completed_task(draft, key)):
        sentence = f"an earlier executor {executor.id} tells of task {key[1]}, whose end is known; it is ignored"
        _note(draft, executor, sentence)
        return
    if task is not None and task.executor_key != executor.key:
        sentence = f"executor {executor.id} tells of task {task.id}, which is not its own; it is ignored"
        _note(draft, executor, sentence)
        return
    if executor.silent:
        # Nobody wants to hear of it, and its tasks are forgotten: a stream of theirs would never end.
        pass
    elif _was_given_up(task) and not updates.state_of(status).ended:
        assert task is not None
        # It was told to be lost, and turns up: it must not go on.
        _note(
            draft, executor, f"executor {executor.id} tells of task {task.id}, which has ended; it is told to kill it"
        )
        _tell_kill(draft, executor, task, None)
    elif _is_late(draft, key, task, status):
        # An update that failed to arrive is sent again, and what was said after it may have overtaken it.
        _note(
            draft,
            executor,
            f"executor {executor.id} tells {status.state.value} of task {key[1]} after its end; it is ignored",
        )
    elif uuid not in executor.uuids and uuid not in draft.uuids:
        draft.uuids.add(uuid)
        ends = task is not None and task.stage is not TaskStage.ENDED and key not in draft.ended
        if ends and updates.state_of(status).ended:
            draft.ended.add(key)
            draft.fact(
                facts.ContainerEnded(framework_id=key[0], task_id=key[1], ran=True, ended_wall_s=draft.now.wall_s)
            )
            _limit(draft, executor)
        draft.queue(key, _completed(draft, executor, status))
        if task is not None:
            draft.note_task(task, f"its executor tells {status.state.value}")
    acknowledged = api.EventAcknowledged(task_id=status.task_id, uuid=uuid)
    _tell(draft, executor, api.Event(type=Type.ACKNOWLEDGED, acknowledged=acknowledged))


def _is_of_another(executor: Executor, task: Task | None) -> bool:
    """Whether a task has ended with an earlier executor of the same id, whose last call may be still under way."""
    return task is not None and task.stage is TaskStage.ENDED and task.container_id != executor.container_id


def _was_given_up(task: Task | None) -> bool:
    """Whether the agent has told the end of a task, not its executor."""
    if task is None or task.stage is not TaskStage.ENDED or task.status is None:
        return False
    return task.status.source is Source.SOURCE_AGENT


def _is_late(draft: Draft, key: Key, task: Task | None, status: mesos.TaskStatus) -> bool:
    """Whether a task's end was told before this; nothing comes behind an end."""
    if task is None:
        return _completed_task(draft, key) is not None
    return (task.stage is TaskStage.ENDED or key in draft.ended) and not updates.state_of(status).ended


def _completed_task(draft: Draft, key: Key) -> Task | None:
    """A task whose end is known and was acknowledged."""
    return next((task for task in reversed(draft.state.completed.get(key[0], ())) if task.id == key[1]), None)


def _completed(draft: Draft, executor: Executor, status: mesos.TaskStatus) -> mesos.TaskStatus:
    """A status with what the agent knows better: ids, time, container."""
    ours = draft.container_status(executor.container_id, executor.pid)
    drain = draft.state.drain
    if drain is not None:
        status = custom.drained(status, draft.framework(executor.framework_id), mark_gone=drain.mark_gone)
    theirs = status.container_status
    if theirs is not None:
        ours = msgspec.structs.replace(
            theirs,
            container_id=theirs.container_id or ours.container_id,
            executor_pid=theirs.executor_pid or ours.executor_pid,
            network_infos=theirs.network_infos or ours.network_infos,
        )
    return msgspec.structs.replace(
        status,
        agent_id=mesos.AgentID(value=draft.state.agent_id or ""),
        executor_id=executor.info.executor_id,
        timestamp=draft.now.wall_s if status.timestamp is None else status.timestamp,
        container_status=ours,
    )


def said(draft: Draft, executor: Executor, data: bytes) -> None:
    """Pass a message on to the scheduler, at most once."""
    if draft.member and not executor.silent:
        draft.say(
            messages.ExecutorMessage(
                framework_id=executor.framework_id, executor_id=executor.id, data=data, cause=draft.cause
            )
        )


def left(draft: Draft, executor: Executor, stream: str) -> None:
    """Its stream has ended.  It may come back; if its process ends, the launcher tells."""
    if executor.stream == stream:
        draft.fact(facts.ExecutorDisconnected(**_ids(executor)))
        draft.timer(executor.timer("heartbeat"), None)


# -- what the executor is told


def message(draft: Draft, framework_id: str, executor_id: str, data: bytes) -> None:
    """A message of the scheduler, at most once."""
    executor = draft.state.executors.get((framework_id, executor_id))
    if executor is not None and executor.stream is not None:
        _tell(draft, executor, api.Event(type=Type.MESSAGE, message=api.EventMessage(data=data)))
    else:
        reason = "it does not listen" if executor is not None else "no such executor runs here"
        draft.note(f"a message to executor {executor_id} is dropped: {reason}", executor_id, framework_id)


def kill(draft: Draft, task: Task, why: command.Why, *, policy: mesos.KillPolicy | None = None) -> None:
    """Somebody wants a task to end, in a container of its own or within an executor."""
    if not task.hosted:
        launch.kill(draft, task, why, policy=policy)
    elif task.key in draft.ended:
        pass
    elif task.stage is TaskStage.ENDED:
        if why is command.Why.REMOVED:
            launch.forget(draft, task)
    elif why is command.Why.REMOVED:
        launch.end(draft, task, None, ran=task.stage is TaskStage.SENT)
    elif why in (command.Why.ORDERED, command.Why.DRAINING, command.Why.DRAINING_FOR_GOOD):
        _kill_ordered(draft, task, why, policy)


def _kill_ordered(draft: Draft, task: Task, why: command.Why, policy: mesos.KillPolicy | None) -> None:
    executor = draft.state.executors[task.executor_key]
    if task.stage is TaskStage.SENT:
        draft.fact(facts.KillSent(framework_id=task.framework_id, task_id=task.id, policy=policy))
        _tell_kill(draft, executor, task, policy)
        return
    report = command.Report(
        state=command.ENDS[why].state,
        source=Source.SOURCE_AGENT,
        reason=command.ENDS[why].reason or Reason.REASON_TASK_KILLED_DURING_LAUNCH,
        message="The task ended before it was given to its executor",
    )
    for one in _living(draft, executor):
        # A group that was not given away yet ends as a whole.
        if one is task or (task.group and one.group == task.group and one.stage is TaskStage.RECEIVED):
            launch.end(draft, one, report, ran=False)
    if not _living(draft, executor) and executor.stage not in LAUNCHED:
        shutdown(draft, executor, Why.IDLE)


def _tell_kill(draft: Draft, executor: Executor, task: Task, policy: mesos.KillPolicy | None) -> None:
    _tell(
        draft,
        executor,
        api.Event(type=Type.KILL, kill=api.EventKill(task_id=task.info.task_id, kill_policy=policy)),
    )
    draft.note_task(task, "its executor is told to kill it")


def _send(draft: Draft, executor: Executor, tasks: Sequence[Task]) -> None:
    """Give tasks to an executor that listens: a group at once, others one by one."""
    groups: dict[str, list[mesos.TaskInfo]] = {}
    for task in tasks:
        draft.fact(facts.TaskSent(framework_id=task.framework_id, task_id=task.id))
        draft.note_task(task, f"is given to executor {executor.id}")
        if task.group:
            groups.setdefault(task.group, []).append(task.info)
        else:
            _tell(draft, executor, api.Event(type=Type.LAUNCH, launch=api.EventLaunch(task=task.info)))
    for infos in groups.values():
        together = api.EventLaunchGroup(task_group=mesos.TaskGroupInfo(tasks=tuple(infos)))
        _tell(draft, executor, api.Event(type=Type.LAUNCH_GROUP, launch_group=together))


def heartbeat(draft: Draft, executor: Executor) -> None:
    _tell(draft, executor, api.Event(type=Type.HEARTBEAT))
    draft.timer(executor.timer("heartbeat"), draft.now.mono_s + HEARTBEAT_S)


def _tell(draft: Draft, executor: Executor, event: api.Event) -> None:
    stream = draft.joined.get(executor.key, executor.stream)
    if stream is not None:
        draft.do(effects.Tell(stream=stream, event=event))


# -- the end


def shutdown_all(draft: Draft, why: command.Why, *, framework_id: str | None = None) -> None:
    """End all executors, or those of one framework."""
    for executor in list(draft.state.executors.values()):
        # Tasks of groups are ended one by one, and their executor with the last.
        if framework_id in (None, executor.framework_id) and not executor.built_in:
            shutdown(draft, executor, OF_TASKS[why])


def shutdown(draft: Draft, executor: Executor, why: Why) -> None:
    """Ask an executor to end, and make it end after its grace.  A later wish changes nothing but who is told."""
    if executor.key in draft.parted:
        return
    if executor.stage not in LAUNCHED:
        draft.do(effects.CancelPreparing(container_id=executor.container_id))
        _part(draft, executor, custom.Ending(why=why, deadline_wall_s=draft.now.wall_s), None)
        return
    before = executor.ending
    if before is not None:
        if why is Why.REMOVED and not executor.silent:
            removed = custom.Ending(why=why, deadline_wall_s=before.deadline_wall_s)
            draft.fact(facts.ExecutorEnding(**_ids(executor), ending=removed))
        return
    grace_s = 0.0 if why in custom.AT_ONCE else custom.grace_s(executor.info, draft.node.shutdown_grace_s)
    ending = custom.Ending(why=why, deadline_wall_s=draft.now.wall_s + grace_s)
    draft.fact(facts.ExecutorEnding(**_ids(executor), ending=ending))
    _note(draft, executor, f"executor {executor.id} is ended ({why.value}); SIGKILL follows after {grace_s:g} s")
    for kind in ("register", "reregister"):
        draft.timer(executor.timer(kind), None)
    if grace_s:
        _tell(draft, executor, api.Event(type=Type.SHUTDOWN))
        draft.timer(executor.timer("shutdown"), draft.now.mono_of(ending.deadline_wall_s))
    else:
        draft.do(effects.Destroy(container_id=executor.container_id))


def unlimited(draft: Draft, executor: Executor, sentence: str) -> None:
    """Its tasks have changed and its limits could not: it may not go on with those of other tasks."""
    if executor.ending is None and executor.stage in LAUNCHED:
        _note(draft, executor, f"executor {executor.id} cannot be given the limits of its tasks: {sentence}")
        shutdown(draft, executor, Why.UNLIMITED)


def overdue(draft: Draft, executor: Executor) -> None:
    """The grace of a shutdown is over."""
    draft.timer(executor.timer("shutdown"), None)
    draft.do(effects.Destroy(container_id=executor.container_id))


def ended(draft: Draft, executor: Executor, exited: launcher.Exited) -> None:
    """The launcher tells how the executor's process ended: what lived in it ends too."""
    draft.do(effects.Forget(container_id=executor.container_id))
    _part(draft, executor, executor.ending, exited)


def failed(draft: Draft, executor: Executor, sentence: str) -> None:
    """It could not be started, and its tasks end with that."""
    if executor.stage is Stage.STARTING:
        draft.do(effects.Forget(container_id=executor.container_id))
    report = command.Report(
        state=TaskState.FAILED,
        source=Source.SOURCE_AGENT,
        reason=Reason.REASON_CONTAINER_LAUNCH_FAILED,
        message=sentence,
    )
    _end_tasks(draft, executor, None if executor.silent else report)
    go(draft, executor, None, draft.now.wall_s)
    _note(draft, executor, f"executor {executor.id} did not start: {sentence}")


def _part(draft: Draft, executor: Executor, ending: custom.Ending | None, exited: launcher.Exited | None) -> None:
    """The executor has ended.  Every task of it that lives ends too, and is told of unless nobody wants to hear."""
    exit_ = command.Exit(wait_status=None, limitation="it had not been started")
    if exited is not None:
        exit_ = command.Exit(
            wait_status=exited.wait_status,
            oom_killed=exited.oom_killed,
            memory_limit_bytes=exited.memory_limit_bytes,
            memory_peak_bytes=exited.memory_peak_bytes,
            limitation=exited.limitation,
        )
    aware = custom.aware(_framework(draft, executor))
    _end_tasks(draft, executor, custom.ended(ending, exit_, partition_aware=aware))
    silent = ending is not None and ending.why is Why.REMOVED
    go(
        draft,
        executor,
        exited.wait_status if exited is not None else None,
        exited.ended_wall_s if exited is not None else draft.now.wall_s,
        silent=silent,
    )
    used = launch.usage_of(exited) if exited is not None else ""
    _note(draft, executor, f"executor {executor.id} has ended: {custom.how(exit_)}{used}")


def _end_tasks(draft: Draft, executor: Executor, report: command.Report | None) -> None:
    for task in _living(draft, executor):
        launch.end(draft, task, report, ran=task.stage is TaskStage.SENT)


def go(draft: Draft, executor: Executor, wait_status: int | None, ended_wall_s: float, *, silent: bool = False) -> None:
    """The executor is no more."""
    draft.parted.add(executor.key)
    if (stream := draft.joined.get(executor.key, executor.stream)) is not None:
        draft.do(effects.CloseStream(stream=stream))
    draft.fact(facts.ExecutorForgotten(**_ids(executor), ended_wall_s=ended_wall_s))
    if not silent and not executor.silent:
        tell_ended(draft, executor.framework_id, executor.id, wait_status)


def tell_ended(draft: Draft, framework_id: str, executor_id: str, wait_status: int | None) -> None:
    if draft.member:
        status = -1 if wait_status is None else wait_status
        draft.say(
            messages.ExecutorEnded(framework_id=framework_id, executor_id=executor_id, status=status, cause=draft.cause)
        )


# -- a new process of the agent


def take_up(draft: Draft, executor: Executor, outcome: launcher.Outcome | None, *, rebooted: bool) -> None:
    """Compare what the log has of an executor with what became of it."""
    framework = _framework(draft, executor)
    if not framework.checkpoint and executor.ending is None:
        _give_up(draft, executor, outcome)
        return
    match outcome:
        case None:
            _unknown(draft, executor, framework, rebooted=rebooted)
        case launcher.Started():
            _reattach(draft, executor, outcome)
        case launcher.Exited():
            ended(draft, executor, outcome)
        case launcher.LaunchFailed():
            failed(draft, executor, f"Failed to launch container: {outcome.sentence}")


def _give_up(draft: Draft, executor: Executor, outcome: launcher.Outcome | None) -> None:
    """The framework does not checkpoint: its executors do not outlive the agent process."""
    ending = custom.Ending(why=Why.UNKEPT, deadline_wall_s=draft.now.wall_s)
    if isinstance(outcome, launcher.Started):
        _mark_started(draft, executor, outcome)
        draft.fact(facts.ExecutorEnding(**_ids(executor), ending=ending))
        draft.do(effects.Destroy(container_id=executor.container_id))
        return
    if outcome is not None:
        draft.do(effects.Forget(container_id=executor.container_id))
    _part(draft, executor, ending, outcome if isinstance(outcome, launcher.Exited) else None)


def _unknown(draft: Draft, executor: Executor, framework: mesos.FrameworkInfo, *, rebooted: bool) -> None:
    """The launcher has never heard of the container, or has lost it with the machine."""
    if executor.stage in (Stage.REGISTERING, Stage.RUNNING) or (rebooted and executor.stage is Stage.STARTING):
        gone = launcher.Exited(
            container_id=executor.container_id,
            wait_status=None,
            started_wall_s=executor.started_wall_s or draft.now.wall_s,
            ended_wall_s=draft.now.wall_s,
            limitation="neither agent nor supervisor was there to see how, for example in a reboot",
        )
        _part(draft, executor, executor.ending, gone)
    elif executor.ending is not None:
        _part(draft, executor, executor.ending, None)
    elif executor.stage is Stage.STARTING:
        draft.do(effects.Launch(spec=_spec(draft, executor), cause=executor.cause))
    else:
        _begin(draft, executor, framework)


def _reattach(draft: Draft, executor: Executor, outcome: launcher.Started) -> None:
    """It runs: it has some time to subscribe again, or for the first time."""
    _mark_started(draft, executor, outcome)
    if executor.ending is not None:
        grace_s = custom.grace_s(executor.info, draft.node.shutdown_grace_s)
        at_s = draft.now.mono_of(executor.ending.deadline_wall_s, within_s=grace_s)
        draft.timer(executor.timer("shutdown"), at_s)
    elif executor.stage is Stage.RUNNING:
        draft.timer(executor.timer("reregister"), draft.now.mono_s + draft.node.reregistration_timeout_s)
    else:
        least_s = draft.node.reregistration_timeout_s
        _await_subscription(draft, executor, outcome.started_wall_s, least_s=least_s)
    _note(draft, executor, f"executor {executor.id} is taken up again by a new agent process; its pid is {outcome.pid}")


def _mark_started(draft: Draft, executor: Executor, outcome: launcher.Started) -> None:
    if executor.stage not in LAUNCHED:
        draft.fact(facts.ExecutorLaunching(**_ids(executor)))
    if executor.started_wall_s is None:
        draft.fact(facts.ExecutorStarted(**_ids(executor), pid=outcome.pid, started_wall_s=outcome.started_wall_s))


# -- small things


def _living(draft: Draft, executor: Executor) -> list[Task]:
    """Tasks of an executor that have not ended, those of this decision included."""
    known = [draft.state.tasks[executor.framework_id, task_id] for task_id in executor.task_ids]
    fresh = [task for task in draft.fresh.values() if task.container_id == executor.container_id]
    return [task for task in (*known, *fresh) if task.key not in draft.ended]


def _needs(draft: Draft, executor: Executor) -> list[isolation.Need]:
    """Who shares the container: the executor and its living tasks."""
    return [executor.info, *(task.info for task in _living(draft, executor))]


def _limit(draft: Draft, executor: Executor) -> None:
    """The tasks of a running executor are others than before, and so are its limits."""
    limits = isolation.limits(draft.node, _needs(draft, executor)) if executor.stage in LAUNCHED else None
    if limits is not None:
        draft.do(effects.Limit(container_id=executor.container_id, limits=limits))


def _framework(draft: Draft, executor: Executor) -> mesos.FrameworkInfo:
    return draft.framework(executor.framework_id)


def _ids(executor: Executor) -> dict[str, str]:
    return {"framework_id": executor.framework_id, "executor_id": executor.id}


def _note(draft: Draft, executor: Executor, sentence: str) -> None:
    draft.note(sentence, executor.id, executor.framework_id, executor.container_id, cause=executor.cause)
