"""The way of a task through this agent, from its arrival to its end.

Each function is one step: it looks at the task, adds facts and effects to the decision, and returns.
`state.STEPS` is the table of stages.  The rule that makes every crash harmless: the launcher is asked
only after the log holds that the task is ours, and it starts a container id at most once for ever.
"""

from __future__ import annotations

import posixpath

import msgspec

from altiplano.agent import checks, effects, environment, facts, isolation, sandbox
from altiplano.agent.draft import Draft
from altiplano.agent.executor_state import Executor
from altiplano.agent.state import LAUNCHED, Stage, Task
from altiplano.executors import command, custom
from altiplano.model.tasks import State as TaskState
from altiplano.ports import launcher
from altiplano.wire.messages import mesos

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource
Why = command.Why


def receive(
    draft: Draft,
    framework: mesos.FrameworkInfo,
    task: mesos.TaskInfo,
    raw: bytes,
    executor: Executor | None = None,
    *,
    group: str = "",
) -> Task:
    """The agent answers for a task from now on.  A task of a custom executor is in its container, one of a group
    has its own, with a sandbox within that of the executor."""
    assert framework.id is not None
    assert draft.state.agent_id is not None
    if executor is not None and executor.built_in:
        container_id = draft.draw.uuid()
        directory = sandbox.nested(executor.directory, container_id)
    elif executor is not None:
        container_id, directory = executor.container_id, executor.directory
    else:
        container_id = draft.draw.uuid()
        runs_in = task.executor.executor_id.value if task.executor is not None else task.task_id.value
        directory = sandbox.directory(
            draft.node.work_dir, draft.state.agent_id, framework.id.value, runs_in, container_id
        )
    received = facts.TaskReceived(
        framework_id=framework.id.value,
        task_id=task.task_id.value,
        task=msgspec.Raw(raw),
        container_id=container_id,
        directory=directory,
        received_wall_s=draft.now.wall_s,
        cause=draft.cause,
        group=group,
    )
    draft.fact(received)
    fresh = draft.fresh[received.framework_id, received.task_id] = Task(received)
    draft.note_task(fresh, f"task {fresh.id} arrived; its container is {container_id}")
    return fresh


def begin(draft: Draft, task: Task) -> None:
    """Start a task that was received; where its command names files, make the sandbox for them first."""
    assert task.stage is Stage.RECEIVED
    if not _uris(task):
        start(draft, task)
        return
    draft.fact(facts.SandboxBegun(framework_id=task.framework_id, task_id=task.id))
    draft.do(_make_sandbox(draft, task))


def _make_sandbox(draft: Draft, task: Task) -> effects.MakeSandbox:
    assert draft.state.agent_id is not None
    return effects.MakeSandbox(
        container_id=task.container_id,
        directory=task.directory,
        user=isolation.user(draft.node, draft.framework(task.framework_id), task.info.command),
        links=sandbox.links(draft.node.work_dir, draft.state.agent_id, task.directory, task.id),
        cause=task.cause,
    )


def _uris(task: Task) -> tuple[mesos.CommandInfoURI, ...]:
    return task.info.command.uris if task.info.command is not None else ()


def sandbox_made(draft: Draft, task: Task) -> None:
    """Fetch what the command names."""
    if task.stage is not Stage.SANDBOX:
        return
    draft.fact(facts.FetchBegun(framework_id=task.framework_id, task_id=task.id))
    draft.do(
        effects.Fetch(
            container_id=task.container_id,
            directory=task.directory,
            user=isolation.user(draft.node, draft.framework(task.framework_id), task.info.command),
            uris=_uris(task),
            cause=task.cause,
        )
    )


def fetched(draft: Draft, task: Task, *, files: int, size_bytes: int, took_s: float) -> None:
    if task.stage is not Stage.FETCHING:
        return
    plural = "file" if files == 1 else "files"
    draft.note_task(task, f"fetched {files} {plural} ({size_bytes} bytes) in {took_s:.1f} s")
    start(draft, task)


def start(draft: Draft, task: Task) -> None:
    """Ask the launcher for the container."""
    draft.fact(facts.ContainerLaunching(framework_id=task.framework_id, task_id=task.id))
    if task.state is TaskState.STAGING:
        draft.report(task, command.launching())
    order(draft, task)


def order(draft: Draft, task: Task) -> None:
    """Have the container started.  Its sandbox is there if files were fetched into it, else it is made with it."""
    made_first = None if _uris(task) else _make_sandbox(draft, task)
    draft.do(effects.Launch(spec=spec(draft, task), cause=task.cause, sandbox=made_first))


def spec(draft: Draft, task: Task) -> launcher.LaunchSpec:
    """Everything the launcher needs.  The same task gives the same container, also after a restart."""
    framework, run = draft.framework(task.framework_id), task.info.command
    assert run is not None
    assert draft.state.agent_id is not None
    executable, argv = program(run)
    return launcher.LaunchSpec(
        container_id=task.container_id,
        executable=executable,
        argv=argv,
        environment=environment.of_task(draft.node, draft.state.agent_id, framework, task),
        directory=task.directory,
        stdout=posixpath.join(task.directory, "stdout"),
        stderr=posixpath.join(task.directory, "stderr"),
        user=isolation.user(draft.node, framework, run),
        rlimits=isolation.rlimits(task.info.container),
        cgroup=isolation.limits(draft.node, (task.info,)),
        output_max_bytes=draft.node.output_max_bytes,
    )


def program(order: mesos.CommandInfo) -> tuple[str, tuple[str, ...]]:
    """The executable and the arguments of a command."""
    if order.shell:
        return "/bin/sh", ("/bin/sh", "-c", order.value or "")
    return order.value or "", order.arguments or (order.value or "",)


def started(draft: Draft, task: Task, *, pid: int, started_wall_s: float) -> None:
    """The command runs; a kill that came meanwhile is carried out now."""
    if task.stage is not Stage.STARTING:
        return
    draft.fact(
        facts.TaskStarted(framework_id=task.framework_id, task_id=task.id, pid=pid, started_wall_s=started_wall_s)
    )
    draft.note_task(task, f"started with pid {pid}")
    if task.killing is not None:
        # A grace that was over before the start has had its SIGKILL, which found nobody.
        late = task.killing.deadline_wall_s <= draft.now.wall_s
        end_it = effects.Destroy if late else effects.Terminate
        draft.do(end_it(container_id=task.container_id))
        return
    draft.report(task, command.running(), pid=pid)
    watch_completion(draft, task, started_wall_s)
    checks.begin(draft, task, started_wall_s)


def watch_completion(draft: Draft, task: Task, started_wall_s: float) -> None:
    """Wake up when the task's time is over, if it has a limit."""
    completion_s = plan_of(draft, task).completion_s
    if completion_s is not None:
        draft.timer(("completion", *task.key), draft.now.mono_of(started_wall_s + completion_s))


def failed(
    draft: Draft,
    task: Task,
    sentence: str,
    *,
    state: TaskState = TaskState.FAILED,
    reason: Reason = Reason.REASON_CONTAINER_LAUNCH_FAILED,
) -> None:
    """The task ends without having run."""
    if task.stage is Stage.ENDED:
        return
    if task.stage is Stage.STARTING:
        draft.do(effects.Forget(container_id=task.container_id))
    silent = task.killing is not None and task.killing.why is Why.REMOVED
    report = command.Report(state=state, source=Source.SOURCE_AGENT, reason=reason, message=sentence)
    end(draft, task, None if silent else report, ran=False)
    draft.note_task(task, f"did not start: {sentence}")


def kill(draft: Draft, task: Task, why: Why, *, policy: mesos.KillPolicy | None = None, because: str = "") -> None:
    """Somebody wants the task to end.  `because` says more than `why`."""
    if task.stage is Stage.ENDED:
        if why is Why.REMOVED:
            forget(draft, task)
        return
    if task.stage not in LAUNCHED:
        _kill_unlaunched(draft, task, why)
        return
    if why is Why.REMOVED and policy is None:
        policy = _grace(draft.node.shutdown_grace_s)
    kill_ = command.kill(
        plan_of(draft, task), task.killing, why=why, policy=policy, wall_s=draft.now.wall_s, because=because
    )
    if kill_ is None:
        return
    checks.stop(draft, task)
    draft.fact(facts.KillOrdered(framework_id=task.framework_id, task_id=task.id, killing=kill_.killing))
    if why is Why.REMOVED:
        drop_stream(draft, task)
    elif kill_.report is not None:
        draft.report(task, kill_.report)
    draft.timer(("kill", *task.key), draft.now.mono_of(kill_.killing.deadline_wall_s))
    if kill_.terminate and task.stage is not Stage.STARTING:
        draft.do(effects.Terminate(container_id=task.container_id))
    draft.note_task(task, _killed_because(kill_.killing))


def _killed_because(killing: command.Killing) -> str:
    because = {
        Why.ORDERED: "its scheduler or an operator asked for it",
        Why.COMPLETION: "it reached its max_completion_time",
        Why.HEALTH: killing.because,
        Why.STOPPING: "the agent stops together with its tasks",
        Why.GROUP: "another task of its group has failed or was killed",
        Why.UNKEPT: "its framework does not checkpoint, and agent or connection were gone",
        Why.DRAINING: "an operator drains this agent",
        Why.DRAINING_FOR_GOOD: "an operator drains this agent, which will not come back",
        Why.REMOVED: "its framework or this agent was removed",
    }[killing.why]
    grace_s = max(0.0, killing.deadline_wall_s - killing.since_wall_s)
    return f"is being killed because {because}; SIGKILL follows SIGTERM after {grace_s:g} s"


def _kill_unlaunched(draft: Draft, task: Task, why: Why) -> None:
    """Nothing of the task runs yet: it ends here and now."""
    draft.do(effects.CancelPreparing(container_id=task.container_id))
    killed_unstarted(draft, task, why)


def killed_unstarted(draft: Draft, task: Task, why: Why) -> None:
    """The end of a task whose kill was ordered and whose command never ran."""
    if task.stage is Stage.STARTING:
        draft.do(effects.Forget(container_id=task.container_id))
    if why is Why.REMOVED:
        end(draft, task, None, ran=False)
        return
    state = command.ENDS[why].state
    reason = command.ENDS[why].reason or Reason.REASON_TASK_KILLED_DURING_LAUNCH
    report = command.Report(
        state=state, source=Source.SOURCE_AGENT, reason=reason, message="The task ended before its command was started"
    )
    end(draft, task, report, ran=False)
    draft.note_task(task, "was killed before its command was started")


def overdue(draft: Draft, task: Task) -> None:
    """The grace of a kill is over."""
    draft.timer(("kill", *task.key), None)
    if task.stage in LAUNCHED:
        draft.do(effects.Destroy(container_id=task.container_id))
        draft.note_task(task, "did not end within its grace and gets SIGKILL")


def completed_time(draft: Draft, task: Task) -> None:
    """The task's max_completion_time is over."""
    draft.timer(("completion", *task.key), None)
    kill(draft, task, Why.COMPLETION)


def ended(draft: Draft, task: Task, exited: launcher.Exited) -> None:
    """The launcher tells how the container ended."""
    draft.do(effects.Forget(container_id=task.container_id))
    if task.stage is Stage.ENDED:
        return
    if task.stage is not Stage.RUNNING and task.stage is not Stage.KILLING:
        # The end may overtake the answer to the launch, and a recovery may find the task at any earlier stage.
        if task.stage is not Stage.STARTING:
            draft.fact(facts.ContainerLaunching(framework_id=task.framework_id, task_id=task.id))
        if task.state is TaskState.STAGING and task.killing is None:
            draft.report(task, command.launching())
        draft.fact(
            facts.TaskStarted(
                framework_id=task.framework_id, task_id=task.id, pid=0, started_wall_s=exited.started_wall_s
            )
        )
        if task.killing is None:
            draft.report(task, command.running())
    end(draft, task, _last_report(draft, task, exited), ran=True, exited=exited)
    if exited.wait_status is None:
        draft.note_task(task, exited.limitation or "ended while nobody was there to see how")
    else:
        draft.note_task(task, f"ended: {command.exit_message(exited.wait_status)}" + usage_of(exited))


def usage_of(exited: launcher.Exited) -> str:
    parts = [f"it ran for {max(0.0, exited.ended_wall_s - exited.started_wall_s):.1f} s"]
    if exited.cpu_s is not None:
        parts.append(f"used {exited.cpu_s:.1f} s of cpu time")
    if exited.memory_peak_bytes is not None:
        parts.append(f"and at most {exited.memory_peak_bytes / isolation.MIB:.0f} MB of memory")
    return "; " + ", ".join(parts)


def gone(draft: Draft, task: Task) -> None:
    """The launcher does not know a container that had been started: nobody can tell how it ended."""
    sentence = "The command ended while neither agent nor supervisor was there to see how, for example in a reboot"
    exited = launcher.Exited(
        container_id=task.container_id,
        wait_status=None,
        started_wall_s=task.started_wall_s or draft.now.wall_s,
        ended_wall_s=draft.now.wall_s,
        limitation=sentence,
    )
    ended(draft, task, exited)


def _last_report(draft: Draft, task: Task, exited: launcher.Exited) -> command.Report | None:
    if task.killing is not None and task.killing.why is Why.REMOVED:
        return None
    exit_ = command.Exit(
        wait_status=exited.wait_status,
        oom_killed=exited.oom_killed,
        memory_limit_bytes=exited.memory_limit_bytes,
        memory_peak_bytes=exited.memory_peak_bytes,
        limitation=exited.limitation,
    )
    return command.ended(plan_of(draft, task), task.killing, exit_)


def end(
    draft: Draft, task: Task, report: command.Report | None, *, ran: bool, exited: launcher.Exited | None = None
) -> None:
    """The task will not run again.  Without a report nobody wants to hear of it, and it is forgotten."""
    draft.ended.add(task.key)
    checks.stop(draft, task)
    draft.fact(
        facts.ContainerEnded(
            framework_id=task.framework_id,
            task_id=task.id,
            ran=ran,
            ended_wall_s=exited.ended_wall_s if exited is not None else draft.now.wall_s,
            wait_status=exited.wait_status if exited is not None else None,
            cpu_s=exited.cpu_s if exited is not None else None,
            memory_peak_bytes=exited.memory_peak_bytes if exited is not None else None,
        )
    )
    if report is not None:
        draft.report(task, report)
    else:
        forget(draft, task)


def forget(draft: Draft, task: Task) -> None:
    drop_stream(draft, task)
    draft.fact(facts.TaskForgotten(framework_id=task.framework_id, task_id=task.id))


def drop_stream(draft: Draft, task: Task) -> None:
    """Nothing more is said about the task."""
    draft.dropped.add(task.key)
    draft.fact(facts.StreamDropped(framework_id=task.framework_id, task_id=task.id))


def plan_of(draft: Draft, task: Task) -> command.Plan:
    return command.plan(task.info, draft.framework(task.framework_id))


def lost_state(framework: mesos.FrameworkInfo) -> TaskState:
    """How a task is called that never reached its executor: schedulers that know partitions get the truer word."""
    return TaskState.DROPPED if custom.aware(framework) else TaskState.LOST


def _grace(grace_s: float) -> mesos.KillPolicy:
    return mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=round(grace_s * command.NS_PER_S)))
