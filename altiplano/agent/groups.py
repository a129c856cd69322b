"""Task groups under the built-in executor: tasks with containers of their own that live and die together.

The executor is no process: it is known as long as one of its tasks lives, and shows up where a custom
executor would.  What follows from the end of a task is decided after every event, in `settle`.
"""

from __future__ import annotations

from collections.abc import Sequence

from altiplano.agent import executors, isolation, launch, updates
from altiplano.agent.draft import Draft
from altiplano.agent.executor_state import Executor
from altiplano.agent.executors import Order
from altiplano.agent.state import Stage, Task
from altiplano.executors import command, group
from altiplano.wire.messages import mesos

Why = command.Why


def run(draft: Draft, framework: mesos.FrameworkInfo, info: mesos.ExecutorInfo, tasks: Sequence[Order]) -> None:
    """Start all tasks of a group, or none."""
    assert framework.id is not None
    executor = draft.state.executors.get((framework.id.value, info.executor_id.value))
    if executor is None:
        executor = executors.receive(draft, framework, info)
    name = draft.draw.uuid()
    received = [launch.receive(draft, framework, task, raw, executor, group=name) for task, raw in tasks]
    problems = [problem for task, _ in tasks if (problem := isolation.problem(task)) is not None]
    for task in received:
        if problems:
            launch.failed(draft, task, f"This agent cannot run the group: {problems[0]}")
        else:
            launch.begin(draft, task)


def settle(draft: Draft) -> None:
    """After an event: kill what the ends of this decision spoil, and let executors without a living task go."""
    if not draft.ended:
        return
    done, spoiled = 0, set[str]()
    while len(draft.ended) > done:
        # A kill may end a task at once, which may be another reason to kill.
        done = len(draft.ended)
        for key in sorted(draft.ended):
            task = draft.state.tasks.get(key) or draft.fresh.get(key)
            end = draft.newest(key)
            if task is None or end is None or not task.grouped or task.group in spoiled:
                continue
            if group.spoils(updates.state_of(end)):
                spoiled.add(task.group)
                _spoil(draft, task)
    for executor in (*draft.state.executors.values(), *draft.received.values()):
        if executor.built_in and executor.key not in draft.parted and not _living(draft, executor):
            status = group.wait_status(spoiled=_spoiled(draft, executor))
            executors.go(draft, executor, status, draft.now.wall_s)


def _spoiled(draft: Draft, executor: Executor) -> bool:
    """Whether the last task of an executor, ending by this decision, did not end well."""
    ends = [
        draft.newest(key)
        for key in draft.ended
        if (task := draft.state.tasks.get(key) or draft.fresh.get(key)) is not None
        and task.executor_key == executor.key
    ]
    return any(end is None or group.spoils(updates.state_of(end)) for end in ends)


def _spoil(draft: Draft, ended: Task) -> None:
    for task in (*draft.state.tasks_of(ended.framework_id), *draft.fresh.values()):
        if task.group == ended.group and task.key not in draft.ended and task.stage is not Stage.ENDED:
            launch.kill(draft, task, Why.GROUP)


def shutdown(draft: Draft, executor: Executor) -> None:
    """End all tasks of the executor; it ends with the last."""
    for task in _living(draft, executor):
        launch.kill(draft, task, Why.ORDERED)


def _living(draft: Draft, executor: Executor) -> list[Task]:
    known = [draft.state.tasks[executor.framework_id, task_id] for task_id in executor.task_ids]
    fresh = [task for task in draft.fresh.values() if task.executor_key == executor.key]
    return [task for task in (*known, *fresh) if task.key not in draft.ended]
