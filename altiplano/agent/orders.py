"""What the master asks of a member."""

from __future__ import annotations

import msgspec

from altiplano.agent import executors, facts, groups, isolation, launch, updates
from altiplano.agent.draft import Draft
from altiplano.agent.state import info_of
from altiplano.executors import command, custom
from altiplano.link import messages
from altiplano.model.tasks import State as TaskState
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos

Reason = mesos.TaskStatusReason
Why = command.Why


def run(draft: Draft, order: messages.RunTask) -> None:
    """Launch a task, unless it is here already or cannot be run as it is described."""
    try:
        task = info_of(bytes(order.task))
    except WireError as error:
        broke(draft, order, f"The agent cannot read the task: {error}")
        return
    if _known(draft, order.framework, task):
        return
    know(draft, order.framework)
    if task.executor is not None:
        _run_hosted(draft, order, task, task.executor)
        return
    fresh = launch.receive(draft, order.framework, task, bytes(order.task))
    problem = isolation.problem(task)
    if draft.state.leaving is not None:
        state = launch.lost_state(order.framework)
        reason = Reason.REASON_AGENT_DISCONNECTED
        launch.failed(draft, fresh, "The agent is about to stop", state=state, reason=reason)
    elif problem is not None:
        launch.failed(draft, fresh, f"This agent cannot run the task: {problem}")
    else:
        launch.begin(draft, fresh)


def _run_hosted(draft: Draft, order: messages.RunTask, task: mesos.TaskInfo, executor: mesos.ExecutorInfo) -> None:
    tasks = [(task, bytes(order.task))]
    if draft.state.leaving is not None:
        executors.refuse(draft, order.framework, executor, tasks, "The agent is about to stop")
    else:
        executors.run(draft, order.framework, executor, tasks, expected_new=order.launch_executor)


def run_group(draft: Draft, order: messages.RunTaskGroup) -> None:
    """Launch a group of tasks, all or none."""
    try:
        tasks = [(info_of(bytes(raw)), bytes(raw)) for raw in order.tasks]
    except WireError as error:
        broke(draft, order, f"The agent cannot read a task of the group: {error}")
        return
    executor_id = order.executor.executor_id
    if any(_known(draft, order.framework, task) for task, _ in tasks):
        draft.note(f"a group for executor {executor_id.value} is here already; it is ignored")
        return
    if not all(task.executor is not None and task.executor.executor_id == executor_id for task, _ in tasks):
        broke(draft, order, f"The group is for executor {executor_id.value}, and one of its tasks for another")
        return
    know(draft, order.framework)
    if draft.state.leaving is not None:
        executors.refuse(draft, order.framework, order.executor, tasks, "The agent is about to stop")
    elif order.executor.type is mesos.ExecutorInfoType.DEFAULT:
        groups.run(draft, order.framework, order.executor, tasks)
    else:
        executors.run(draft, order.framework, order.executor, tasks, expected_new=None, together=True)


def broke(draft: Draft, order: messages.RunTask | messages.RunTaskGroup, sentence: str) -> None:
    """An order came to nothing: each of its tasks is told as never started, so that nobody waits for it.

    The tasks may be what cannot be read, so no more is taken from them than their ids.
    """
    framework_id = order.framework.id.value if order.framework.id is not None else ""
    for raw in order.tasks if isinstance(order, messages.RunTaskGroup) else (order.task,):
        try:
            named = msgspec.json.decode(raw, type=_Named)
        except msgspec.DecodeError as error:
            draft.note(f"{sentence}; not even its id can be read: {error}", framework_id)
            continue
        key = (framework_id, named.task_id.value)
        draft.note(f"task {key[1]} was not started: {sentence}", *reversed(key))
        if framework_id and key not in draft.state.tasks and key not in draft.state.streams:
            draft.queue(key, _never_started(draft, order.framework, named, sentence))
    executor_id = _new_executor(order)
    if executor_id is not None and (framework_id, executor_id) not in draft.state.executors:
        executors.tell_ended(draft, framework_id, executor_id, None)


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a task as is needed to tell its end."""

    task_id: mesos.TaskID


def _never_started(draft: Draft, framework: mesos.FrameworkInfo, task: _Named, sentence: str) -> mesos.TaskStatus:
    return mesos.TaskStatus(
        task_id=task.task_id,
        state=mesos.TaskState[launch.lost_state(framework).value],
        message=sentence,
        agent_id=mesos.AgentID(value=draft.state.agent_id or ""),
        timestamp=draft.now.wall_s,
        source=mesos.TaskStatusSource.SOURCE_AGENT,
        reason=Reason.REASON_CONTAINER_LAUNCH_FAILED,
        uuid=draft.draw.uuid_bytes(),
    )


def _new_executor(order: messages.RunTask | messages.RunTaskGroup) -> str | None:
    """The executor that the master counts on and that will not come."""
    if isinstance(order, messages.RunTaskGroup):
        return order.executor.executor_id.value
    if not order.launch_executor:
        return None
    try:
        return msgspec.json.decode(order.task, type=_Hosted).executor.executor_id.value
    except msgspec.DecodeError:
        return None


class _HostedBy(msgspec.Struct, frozen=True, kw_only=True):
    executor_id: mesos.ExecutorID


class _Hosted(msgspec.Struct, frozen=True, kw_only=True):
    executor: _HostedBy


def kill(draft: Draft, order: messages.KillTask) -> None:
    """End a task; one that is not here is reported as lost."""
    key = (order.framework_id, order.task_id)
    task = draft.state.tasks.get(key)
    if task is not None:
        executors.kill(draft, task, Why.ORDERED, policy=order.kill_policy)
        return
    if key in draft.state.streams:
        return
    framework = draft.state.frameworks.get(order.framework_id)
    state = launch.lost_state(framework) if framework is not None else TaskState.LOST
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value=order.task_id),
        state=mesos.TaskState[state.value],
        message="Cannot kill the task: this agent does not have it",
        agent_id=mesos.AgentID(value=draft.state.agent_id or ""),
        timestamp=draft.now.wall_s,
        source=mesos.TaskStatusSource.SOURCE_AGENT,
        reason=Reason.REASON_EXECUTOR_TERMINATED,
        uuid=draft.draw.uuid_bytes(),
    )
    draft.queue(key, status)
    draft.note(f"was asked to kill task {order.task_id}, which is not here", order.task_id, order.framework_id)


def acknowledge(draft: Draft, order: messages.Acknowledge) -> None:
    """The scheduler has the head of a stream.  After the last one of an ended task nothing remains to be said."""
    key = (order.framework_id, order.task_id)
    stream = draft.state.streams.get(key)
    if stream is None or stream.head.uuid != order.uuid:
        draft.note(
            f"an acknowledgement for task {order.task_id} fits no update that waits for one; it is ignored",
            order.task_id,
        )
        return
    draft.acknowledged(key)
    task = draft.state.tasks.get(key)
    if task is not None and task.ended is not None and updates.acknowledged(stream) is None:
        draft.fact(facts.TaskForgotten(framework_id=key[0], task_id=key[1]))


def shutdown_framework(draft: Draft, framework_id: str) -> None:
    """End everything of a framework that is gone, and say nothing more about it."""
    tasks = draft.state.tasks_of(framework_id)
    executors.shutdown_all(draft, Why.REMOVED, framework_id=framework_id)
    for task in tasks:
        executors.kill(draft, task, Why.REMOVED)
    for key in draft.state.streams:
        if key[0] == framework_id and key not in draft.state.tasks:
            draft.dropped.add(key)
            draft.fact(facts.StreamDropped(framework_id=key[0], task_id=key[1]))
    if tasks:
        draft.note(f"framework {framework_id} is gone; its {len(tasks)} tasks are ended", framework_id)


def shutdown_executor(draft: Draft, order: messages.ShutdownExecutor) -> None:
    """A command task is its own executor, by the same id."""
    executor = draft.state.executors.get((order.framework_id, order.executor_id))
    if executor is not None and executor.built_in:
        groups.shutdown(draft, executor)
        return
    if executor is not None:
        executors.shutdown(draft, executor, custom.Why.ORDERED)
        return
    task = draft.state.tasks.get((order.framework_id, order.executor_id))
    if task is not None and task.executor_id == order.executor_id and not task.hosted:
        launch.kill(draft, task, Why.ORDERED)


def update_framework(draft: Draft, framework: mesos.FrameworkInfo) -> None:
    """The framework has subscribed again or describes itself anew: what it has not acknowledged is said again at once.

    A new master drops updates of frameworks that are not back yet; after a failover they would all wait for
    their next turn, many seconds later.
    """
    if framework.id is not None and framework.id.value in draft.state.frameworks:
        know(draft, framework)
        draft.send_heads(framework.id.value)


def know(draft: Draft, framework: mesos.FrameworkInfo) -> None:
    """Remember the description of a framework, if it is new or has changed."""
    assert framework.id is not None
    if draft.state.frameworks.get(framework.id.value) != framework:
        draft.fact(facts.FrameworkKnown(framework=framework))
        draft.known[framework.id.value] = framework


def _known(draft: Draft, framework: mesos.FrameworkInfo, task: mesos.TaskInfo) -> bool:
    if framework.id is None:
        draft.note(f"the master sent task {task.task_id.value} without the id of its framework", task.task_id.value)
        return True
    return (framework.id.value, task.task_id.value) in draft.state.tasks
