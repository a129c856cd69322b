"""What a new process does with what an earlier one of the same agent left behind.

The log says what the agent had promised; the launcher's inventory says what became of it.

| log says                    | launcher says | then                                                     |
|-----------------------------|---------------|----------------------------------------------------------|
| received, starting          | nothing       | started now; if its kill was ordered told as killed,     |
|                             |               | else after a reboot as lost or dropped                   |
| received, starting, running | running       | taken up again                                           |
| received, starting, running | ended         | its true end is told                                     |
| starting                    | refused       | the failure is told                                      |
| running, killing            | nothing       | ended, nobody knows how                                  |
| killing                     | running       | SIGTERM again, SIGKILL at the deadline that was promised |
| ended, or nothing           | anything      | ended if it runs, and forgotten                          |

Custom executors and their tasks: the same table, and one line more.  An executor that runs has some time
to subscribe again, with what it knows of its tasks (`executors`).

Tasks of frameworks that do not checkpoint are killed and told as lost, as frameworks written for
Mesos expect.
"""

from __future__ import annotations

from altiplano.agent import checks, effects, events, executors, facts, launch, membership
from altiplano.agent.draft import Draft
from altiplano.agent.state import LAUNCHED, Stage, Task
from altiplano.executors import command
from altiplano.ports import launcher
from altiplano.wire.messages import mesos

DISK = ("disk",)
Reason = mesos.TaskStatusReason
Why = command.Why


def recover(draft: Draft, event: events.Recovered) -> None:
    """The first decision of a process."""
    draft.fact(facts.ProcessBegun())
    rebooted = draft.state.boot_id not in (None, event.boot_id)
    if draft.state.boot_id != event.boot_id:
        draft.fact(facts.Booted(boot_id=event.boot_id))
    outcomes = {container.container_id: container.outcome for container in event.inventory}
    for container_id, outcome in outcomes.items():
        _unclaimed(draft, container_id, outcome)
    for task in list(draft.state.tasks.values()):
        if task.stage is not Stage.ENDED and not task.hosted:
            _take_up(draft, task, outcomes.get(task.container_id), rebooted=rebooted)
    for executor in list(draft.state.executors.values()):
        if not executor.built_in:
            executors.take_up(draft, executor, outcomes.get(executor.container_id), rebooted=rebooted)
    running = sum(isinstance(outcome, launcher.Started) for outcome in outcomes.values())
    if draft.state.tasks or outcomes:
        draft.note(
            f"the agent is back; it answers for {len(draft.state.tasks)} tasks, and {running} containers are running"
        )
    draft.timer(DISK, draft.now.mono_s + draft.node.disk_watch_s)
    membership.dial(draft)


def _unclaimed(draft: Draft, container_id: str, outcome: launcher.Outcome) -> None:
    """A container that no unfinished task or executor belongs to."""
    task = draft.state.task_of(container_id)
    if task is not None and task.stage is not Stage.ENDED:
        return
    if draft.state.executor_of(container_id) is not None:
        return
    if isinstance(outcome, launcher.Started):
        draft.note(f"container {container_id} belongs to no task of this agent and is ended", container_id)
        draft.do(effects.Destroy(container_id=container_id))
    else:
        draft.do(effects.Forget(container_id=container_id))


def _take_up(draft: Draft, task: Task, outcome: launcher.Outcome | None, *, rebooted: bool) -> None:
    if not draft.state.frameworks[task.framework_id].checkpoint and task.killing is None:
        _give_up(draft, task, outcome)
        return
    match outcome:
        case None:
            _unknown(draft, task, rebooted=rebooted)
        case launcher.Started():
            _reattach(draft, task, outcome)
        case launcher.Exited():
            launch.ended(draft, task, outcome)
        case launcher.LaunchFailed():
            launch.failed(draft, task, f"Failed to launch container: {outcome.sentence}")


def _give_up(draft: Draft, task: Task, outcome: launcher.Outcome | None) -> None:
    """The framework does not checkpoint: its tasks do not outlive the agent process."""
    if isinstance(outcome, launcher.Started):
        if task.stage not in LAUNCHED:
            draft.fact(facts.ContainerLaunching(framework_id=task.framework_id, task_id=task.id))
        if task.stage is not Stage.RUNNING:
            _mark_started(draft, task, outcome)
        killing = command.Killing(why=Why.UNKEPT, since_wall_s=draft.now.wall_s, deadline_wall_s=draft.now.wall_s)
        draft.fact(facts.KillOrdered(framework_id=task.framework_id, task_id=task.id, killing=killing))
        draft.do(effects.Destroy(container_id=task.container_id))
        draft.note_task(task, "is being killed because its framework does not checkpoint, and the agent was restarted")
        return
    if outcome is not None:
        draft.do(effects.Forget(container_id=task.container_id))
    launch.failed(
        draft,
        task,
        "The agent was restarted, and the framework does not checkpoint",
        state=command.ENDS[Why.UNKEPT].state,
        reason=Reason.REASON_AGENT_RESTARTED,
    )


def _unknown(draft: Draft, task: Task, *, rebooted: bool) -> None:
    """The launcher has never heard of the container, or has lost it with the machine."""
    if task.stage in (Stage.RUNNING, Stage.KILLING):
        launch.gone(draft, task)
    elif task.killing is not None:
        # Whoever asked for its end is told that it was killed: that it is lost would have it launched again.
        launch.killed_unstarted(draft, task, task.killing.why)
    elif rebooted:
        launch.failed(
            draft,
            task,
            "The machine was restarted before the command was started",
            state=launch.lost_state(draft.framework(task.framework_id)),
            reason=Reason.REASON_AGENT_RESTARTED,
        )
    elif task.stage is Stage.STARTING:
        launch.order(draft, task)
    else:
        launch.begin(draft, task)


def _reattach(draft: Draft, task: Task, outcome: launcher.Started) -> None:
    """It runs: report it if nobody knows yet, and set its deadlines again."""
    if task.stage not in LAUNCHED:
        draft.fact(facts.ContainerLaunching(framework_id=task.framework_id, task_id=task.id))
        draft.report(task, command.launching())
    if task.stage not in (Stage.RUNNING, Stage.KILLING):
        _mark_started(draft, task, outcome)
        if task.killing is None:
            draft.report(task, command.running(), pid=outcome.pid)
    launch.watch_completion(draft, task, outcome.started_wall_s)
    if task.killing is None:
        checks.begin(draft, task, outcome.started_wall_s, again=True)
    else:
        draft.do(effects.Terminate(container_id=task.container_id))
        deadline_s, since_s = task.killing.deadline_wall_s, task.killing.since_wall_s
        draft.timer(("kill", *task.key), draft.now.mono_of(deadline_s, within_s=deadline_s - since_s))
    draft.note_task(task, f"is taken up again by a new agent process; its pid is {outcome.pid}")


def _mark_started(draft: Draft, task: Task, outcome: launcher.Started) -> None:
    draft.fact(
        facts.TaskStarted(
            framework_id=task.framework_id,
            task_id=task.id,
            pid=outcome.pid,
            started_wall_s=outcome.started_wall_s,
        )
    )


def disown(draft: Draft, container_id: str) -> None:
    """A container of no task has ended; its task may have been forgotten meanwhile."""
    draft.do(effects.Forget(container_id=container_id))
