"""The life of tasks as a master sees it: updates, acknowledgements, kills, losses; and their executors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from altiplano.link import messages as link_messages
from altiplano.master import facts, infos, reconcile
from altiplano.master.outcome import Outcome
from altiplano.master.state import (
    STATUSES_MAX,
    Agent,
    Executor,
    Framework,
    MasterState,
    Presence,
    Task,
)
from altiplano.model.resources import Resources
from altiplano.model.tasks import STEPS, State
from altiplano.wire.messages import master, mesos, scheduler

Reason = mesos.TaskStatusReason


def updated(out: Outcome, agent: Agent, message: link_messages.StatusUpdate) -> None:
    """An agent tells a state of a task; it repeats that until somebody acknowledges."""
    status = message.status
    framework = out.state.frameworks.get(message.framework_id)
    task_id = status.task_id.value
    if framework is None or framework.presence is Presence.ENDING:
        if out.state.is_over(message.framework_id):
            out.order(agent, link_messages.ShutdownFramework(framework_id=message.framework_id, cause=out.cause))
        out.note(f"an update of task {task_id} is ignored: framework {message.framework_id} is not known", task_id)
        return
    task = framework.tasks.get(task_id)
    # An agent has its say about its own tasks only; a task of the same id may have come after one that it remembers.
    if task is not None and task.agent_id == agent.id:
        state = _latest(task, State(message.latest_state), infos.MODEL_STATES[status.state])
        out.holds(
            facts.TaskUpdated(
                framework_id=framework.id, task_id=task_id, state=state, status=status, reliable=status.uuid is not None
            )
        )
        out.note(_told(status, framework, agent), task_id, framework.id)
        if _is_news(task, status) or state is not task.state:
            _publish(out, task, status, state)
    # A framework that is away hears of it later: the agent goes on telling.
    out.tell(framework, infos.update(status))


def _latest(task: Task, latest: State, told: State) -> State:
    """The state a task has now: what the agent knows newest, unless it has ended before."""
    if task.state.ended and not STEPS[task.state]:
        return task.state
    return latest if latest in STEPS[task.state] or latest is task.state else told


def _told(status: mesos.TaskStatus, framework: Framework, agent: Agent) -> str:
    words = f"{status.state.value} on {agent.info.hostname}"
    if status.reason is not None:
        words += f", {status.reason.value}"
    if status.message:
        words += f": {status.message[:300]}"
    return words if framework.connected else f"{words} (the framework is away and will be told later)"


def _is_news(task: Task, status: mesos.TaskStatus) -> bool:
    """Whether operators are told: of a new state, or of a check; not of what an agent repeats."""
    last = task.statuses[-1] if task.statuses else None
    return (
        last is None
        or last.state is not status.state
        or last.healthy != status.healthy
        or last.check_status != status.check_status
    )


def _publish(out: Outcome, task: Task, status: mesos.TaskStatus, state: State) -> None:
    """Operators hear what was told, and the state that the task has by now: it may be further."""
    if not out.state.operators:
        return
    update = master.EventTaskUpdated(
        framework_id=mesos.FrameworkID(value=task.framework_id), status=status, state=infos.WIRE_STATES[state]
    )
    out.publish(master.Event(type=master.EventType.TASK_UPDATED, task_updated=update))


def acknowledge(out: Outcome, framework: Framework, call: scheduler.CallAcknowledge) -> None:
    """A scheduler has an update: its agent may tell the next one, and an ended task is complete."""
    agent = out.state.agents.get(call.agent_id.value)
    task_id = call.task_id.value
    if agent is None or not agent.connected:
        # The agent tells the update again when it is back, and gets its acknowledgement then.
        return
    out.order(
        agent,
        link_messages.Acknowledge(framework_id=framework.id, task_id=task_id, uuid=call.uuid, cause=out.cause),
    )
    task = framework.tasks.get(task_id)
    if task is None or task.agent_id != agent.id or task.update_uuid != call.uuid:
        return
    if task.update_state is not None and task.update_state.ended:
        out.holds(facts.TaskCompleted(framework_id=framework.id, task_id=task_id))


def kill(out: Outcome, framework: Framework, call: scheduler.CallKill) -> None:
    """Kill a task; what is not known is answered as by reconciliation."""
    task_id = call.task_id.value
    task = framework.tasks.get(task_id)
    if task is None:
        out.note(f"KILL of task {task_id}: it is not known here", task_id, framework.id)
        reconcile.explicit(out, framework, ((task_id, call.agent_id.value if call.agent_id else None),))
        return
    if call.agent_id is not None and call.agent_id.value != task.agent_id:
        out.note(f"KILL is ignored: the task is on {task.agent_id}, not on {call.agent_id.value}", task_id)
        return
    agent = out.state.agents[task.agent_id]
    out.holds(facts.KillAsked(framework_id=framework.id, task_id=task_id, kill_policy=call.kill_policy))
    order_kill(out, agent, task, call.kill_policy)
    when = "" if agent.connected else "; its agent is disconnected and is told when it returns"
    out.note(f"the framework asked to kill it{when}", task_id, framework.id)


def order_kill(out: Outcome, agent: Agent, task: Task, policy: mesos.KillPolicy | None) -> None:
    order = link_messages.KillTask(framework_id=task.framework_id, task_id=task.id, kill_policy=policy, cause=out.cause)
    out.order(agent, order)


def lose(
    out: Outcome,
    task: Task,
    state: State,
    *,
    reason: mesos.TaskStatusReason,
    message: str,
    unreachable_s: float | None = None,
) -> None:
    """A task is over for the master; nobody is going to tell more about it.

    A task that had ended before, but was not acknowledged, keeps its state.
    """
    framework = out.state.frameworks[task.framework_id]
    if not task.state.ended:
        status = infos.status_of(task, state, now=out.now, message=message, reason=reason, unreachable_s=unreachable_s)
        out.holds(facts.TaskUpdated(framework_id=framework.id, task_id=task.id, state=state, status=status))
        out.tell(framework, infos.update(status))
        out.note(f"{state.value}: {message}", task.id, framework.id, task.agent_id)
        _publish(out, task, status, state)
    out.holds(facts.TaskCompleted(framework_id=framework.id, task_id=task.id))


def end_unreachable(out: Outcome, framework: Framework, task: Task, message: str) -> None:
    """An operator says that the agent of an unreachable task will never return, and the task with it."""
    status = infos.status_of(
        task,
        infos.lost_state(framework, State.GONE_BY_OPERATOR),
        now=out.now,
        message=message,
        reason=infos.gone_reason(framework),
    )
    out.holds(facts.UnreachableEnded(framework_id=framework.id, task_id=task.id, status=status))
    out.tell(framework, infos.update(status))
    out.note(f"{status.state.value}: {message}", task.id, framework.id, task.agent_id)
    _publish(out, task, status, infos.MODEL_STATES[status.state])


def came_back(out: Outcome, task: Task, state: State) -> None:
    """The agent of a task is back and knows a newer state of it than was told."""
    if state is not task.state:
        words = "The agent of the task is back"
        reason = Reason.REASON_AGENT_REREGISTERED
        _publish(out, task, infos.status_of(task, state, now=out.now, message=words, reason=reason), state)


def executor_said(out: Outcome, agent: Agent, message: link_messages.ExecutorMessage) -> None:
    framework = out.state.frameworks.get(message.framework_id)
    if framework is not None:
        said = scheduler.EventMessage(
            agent_id=mesos.AgentID(value=agent.id),
            executor_id=mesos.ExecutorID(value=message.executor_id),
            data=message.data,
        )
        out.tell(framework, scheduler.Event(type=scheduler.EventType.MESSAGE, message=said))


def executor_ended(out: Outcome, agent: Agent, message: link_messages.ExecutorEnded) -> None:
    """An executor other than that of a command has ended; the agent tells the ends of its tasks by themselves.

    FAILURE is what Mesos says of every such end, a good one as well: its status is that of wait(2), 0 then.
    """
    framework = out.state.frameworks.get(message.framework_id)
    executor = agent.executors.get((message.framework_id, message.executor_id))
    if executor is not None:
        out.holds(
            facts.ExecutorRemoved(framework_id=message.framework_id, agent_id=agent.id, executor_id=message.executor_id)
        )
    if framework is not None:
        failure = scheduler.EventFailure(
            agent_id=mesos.AgentID(value=agent.id),
            executor_id=mesos.ExecutorID(value=message.executor_id),
            status=message.status,
        )
        out.tell(framework, scheduler.Event(type=scheduler.EventType.FAILURE, failure=failure))
        out.note(f"executor {message.executor_id} ended with wait status {message.status}", framework.id, agent.id)


def shutdown_executor(out: Outcome, framework: Framework, call: scheduler.CallShutdown) -> None:
    agent = out.state.agents.get(call.agent_id.value)
    if agent is not None:
        order = link_messages.ShutdownExecutor(
            framework_id=framework.id, executor_id=call.executor_id.value, cause=out.cause
        )
        out.order(agent, order)


def framework_said(out: Outcome, framework: Framework, call: scheduler.CallMessage) -> None:
    agent = out.state.agents.get(call.agent_id.value)
    if agent is not None:
        order = link_messages.FrameworkMessage(
            framework_id=framework.id, executor_id=call.executor_id.value, data=call.data, cause=out.cause
        )
        out.order(agent, order)


# -- taking facts into the state


def apply_added(state: MasterState, fact: facts.TaskAdded) -> None:
    framework = state.frameworks[fact.framework_id]
    agent = state.agents[fact.agent_id]
    if fact.returned:
        framework.unreachable.pop(fact.task_id, None)
        framework.completed.pop(fact.task_id, None)
    task = Task(
        id=fact.task_id,
        framework_id=fact.framework_id,
        agent_id=fact.agent_id,
        name=fact.name,
        role=fact.role,
        state=fact.state,
        resources=fact.resources,
        info=fact.info,
        executor_id=fact.executor_id,
        statuses=fact.statuses[-STATUSES_MAX:],
        update_state=fact.update_state,
        update_uuid=fact.update_uuid,
        holds=False,
        added_s=fact.at_s,
    )
    framework.tasks[task.id] = task
    agent.tasks[framework.id, task.id] = task
    if not task.state.ended:
        task.holds = True
        _hold(state, framework, agent, task)


def apply_updated(state: MasterState, fact: facts.TaskUpdated) -> None:
    framework = state.frameworks[fact.framework_id]
    task = _renewed(state, framework.tasks[fact.task_id])
    before = task.state
    task.state = fact.state
    state.counts["status_updates"] += fact.reliable
    if fact.status is not None:
        _remember(task, fact.status)
        if fact.reliable:
            task.update_state = infos.MODEL_STATES[fact.status.state]
            task.update_uuid = fact.status.uuid
    elif fact.update_state is not None:
        # Whoever asks is told no newer state than what its agent goes on to tell.
        task.update_state, task.update_uuid = fact.update_state, fact.update_uuid
    if task.state is not before:
        if task.state.ended:
            state.counts[f"tasks_{task.state.value.removeprefix('TASK_').lower()}"] += 1
        if task.state.ended or task.state is State.UNREACHABLE:
            _release(state, framework, task)


def _renewed(state: MasterState, task: Task) -> Task:
    """A copy of a task in its place, to be changed: whoever was shown the task before keeps what it saw."""
    new = copy.copy(task)
    state.frameworks[task.framework_id].tasks[task.id] = new
    state.agents[task.agent_id].tasks[task.framework_id, task.id] = new
    return new


def _remember(task: Task, status: mesos.TaskStatus) -> None:
    """Keep a status, one for each state in a row; what executors attach to it is not the master's."""
    if status.data is not None:
        status = infos.replace(status, data=None)
    statuses = task.statuses
    if statuses and statuses[-1].state is status.state:
        statuses = statuses[:-1]
    task.statuses = (*statuses[1 - STATUSES_MAX :], status)


def apply_completed(state: MasterState, fact: facts.TaskCompleted) -> None:
    framework = state.frameworks[fact.framework_id]
    _complete(state, framework, framework.tasks[fact.task_id])


def apply_unreachable_ended(state: MasterState, fact: facts.UnreachableEnded) -> None:
    framework = state.frameworks[fact.framework_id]
    task = copy.copy(framework.unreachable.pop(fact.task_id))
    _remember(task, fact.status)
    task.state = infos.MODEL_STATES[fact.status.state]
    state.counts[f"tasks_{task.state.name.lower()}"] += 1
    _keep_completed(state, framework, task)


def apply_kill_asked(state: MasterState, fact: facts.KillAsked) -> None:
    task = state.frameworks[fact.framework_id].tasks[fact.task_id]
    task.kill_asked = True
    task.kill_policy = fact.kill_policy


def apply_executor_added(state: MasterState, fact: facts.ExecutorAdded) -> None:
    framework = state.frameworks[fact.framework_id]
    agent = state.agents[fact.agent_id]
    executor = Executor(
        id=fact.executor_id,
        framework_id=fact.framework_id,
        agent_id=fact.agent_id,
        role=fact.role,
        resources=fact.resources,
        info=fact.info,
    )
    framework.executors[agent.id, executor.id] = executor
    agent.executors[framework.id, executor.id] = executor
    _hold(state, framework, agent, executor)


def apply_executor_removed(state: MasterState, fact: facts.ExecutorRemoved) -> None:
    framework = state.frameworks[fact.framework_id]
    _drop_executor(state, framework, framework.executors[fact.agent_id, fact.executor_id])


def apply_end_of(
    state: MasterState, framework: Framework, task_ids: Iterable[str], executors: Iterable[tuple[str, str]]
) -> None:
    """Some of what a framework had is gone with it; the tasks are remembered as killed."""
    for task_id in task_ids:
        task = framework.tasks[task_id]
        if not task.state.ended:
            task = copy.copy(task)
            task.state = State.KILLED
            state.counts["tasks_killed"] += 1
        _complete(state, framework, task)
    for key in executors:
        _drop_executor(state, framework, framework.executors[key])


def _complete(state: MasterState, framework: Framework, task: Task) -> None:
    _release(state, framework, task)
    del framework.tasks[task.id]
    agent = state.agents[task.agent_id]
    del agent.tasks[framework.id, task.id]
    if agent.draining and not agent.tasks:
        state.emptied[agent.id] = None
    _keep_completed(state, framework, task)


def _keep_completed(state: MasterState, framework: Framework, task: Task) -> None:
    if task.state is State.UNREACHABLE:
        ring, most = framework.unreachable, state.config.unreachable_tasks_max
    else:
        ring, most = framework.completed, state.config.completed_tasks_max
    ring.pop(task.id, None)
    ring[task.id] = task
    while len(ring) > most:
        ring.popitem(last=False)


def _hold(state: MasterState, framework: Framework, agent: Agent, holder: Task | Executor) -> None:
    agent.used = agent.used + holder.resources
    framework.used = _changed(framework.used, holder.resources, 1)
    state.allocator.allocate(agent.id, framework.id, holder.role, holder.resources)


def _release(state: MasterState, framework: Framework, task: Task) -> None:
    if task.holds:
        task.holds = False
        _unhold(state, framework, task)


def _drop_executor(state: MasterState, framework: Framework, executor: Executor) -> None:
    del framework.executors[executor.agent_id, executor.id]
    del state.agents[executor.agent_id].executors[framework.id, executor.id]
    _unhold(state, framework, executor)


def _unhold(state: MasterState, framework: Framework, holder: Task | Executor) -> None:
    agent = state.agents[holder.agent_id]
    agent.used = agent.used - holder.resources
    framework.used = _changed(framework.used, holder.resources, -1)
    state.allocator.recover(agent.id, framework.id, holder.role, holder.resources)


def _changed(used: Mapping[str, int], held: Resources, sign: int) -> Mapping[str, int]:
    """What a framework uses, as a new mapping: whoever was shown the old one keeps it."""
    amounts = dict(used)
    for name, amount in held.scalars.items():
        amounts[name] = amounts.get(name, 0) + sign * amount
        if not amounts[name]:
            del amounts[name]
    return amounts
