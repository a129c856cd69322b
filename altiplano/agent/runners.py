"""What has a container: each command task, which is its own executor, and each custom executor, in one form to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from altiplano.agent import executor_state
from altiplano.agent.executor_state import Ended, Executor
from altiplano.agent.state import LAUNCHED, Stage, State, Task
from altiplano.wire.messages import mesos


class Runner(msgspec.Struct, frozen=True, kw_only=True):
    """An executor, living or ended."""

    info: mesos.ExecutorInfo
    framework_id: str
    container_id: str
    directory: str
    pid: int
    launched: bool
    """The launcher may have processes of it."""
    registering: bool
    ending: bool
    hosts: bool
    """It is a custom executor, whose own resources come on top of those of its tasks."""
    tasks: tuple[Task, ...]

    @property
    def id(self) -> str:
        return self.info.executor_id.value

    @property
    def name(self) -> str:
        return self.info.name or ""

    @property
    def resources(self) -> tuple[mesos.Resource, ...]:
        """What the container was given: the executor's own and those of its living tasks."""
        living = (task.info.resources for task in self.tasks if task.stage is not Stage.ENDED)
        own = self.info.resources if self.hosts else ()
        return (*own, *(resource for resources in living for resource in resources))


def living(state: State, framework_id: str | None = None) -> Iterator[Runner]:
    """All that have not been forgotten."""
    hosted: dict[str, list[Task]] = {}
    for task in state.tasks.values():
        if framework_id not in (None, task.framework_id):
            continue
        if task.hosted or task.grouped:
            hosted.setdefault(_container(task), []).append(task)
        else:
            yield of(task)
    for executor in state.executors.values():
        if framework_id in (None, executor.framework_id):
            yield of(executor, hosted.get(executor.container_id, ()))


def containers(state: State) -> Iterator[Runner]:
    """What has processes: each of them by its own container."""
    yield from (runner for runner in living(state) if runner.launched)
    yield from (of(task) for task in state.tasks.values() if task.grouped and task.stage in LAUNCHED)


def _container(task: Task) -> str:
    """The container of a task's executor."""
    return task.directory.split("/runs/", 1)[1].split("/", 1)[0] if task.grouped else task.container_id


def completed(state: State, framework_id: str) -> Iterator[Runner]:
    """Those of a framework that have ended, as far as they are remembered."""
    hosted: dict[str, list[Task]] = {}
    for task in (*state.completed.get(framework_id, ()), *state.tasks_of(framework_id)):
        if task.hosted or task.grouped:
            hosted.setdefault(_container(task), []).append(task)
        elif task.key not in state.tasks:
            yield of(task)
    for ended in state.ended_executors.get(framework_id, ()):
        yield of(ended, hosted.get(ended.container_id, ()))


def at(state: State, container_id: str) -> Runner | None:
    """The living one in a container."""
    if (task := state.task_of(container_id)) is not None:
        return of(task)
    executor = state.executor_of(container_id)
    if executor is None:
        return None
    tasks = [task for task in state.tasks_of(executor.framework_id) if task.container_id == container_id]
    return of(executor, tasks)


def of(what: Task | Executor | Ended, tasks: Iterable[Task] = ()) -> Runner:
    match what:
        case Task():
            return Runner(
                info=command_executor(what),
                framework_id=what.framework_id,
                container_id=what.container_id,
                directory=what.directory,
                pid=what.pid,
                launched=what.stage in LAUNCHED,
                registering=what.stage not in (Stage.RUNNING, Stage.KILLING, Stage.ENDED),
                ending=what.stage is Stage.KILLING,
                hosts=False,
                tasks=(what,),
            )
        case Executor():
            return Runner(
                info=what.info,
                framework_id=what.framework_id,
                container_id=what.container_id,
                directory=what.directory,
                pid=what.pid,
                launched=what.stage in executor_state.LAUNCHED,
                registering=what.stage is not executor_state.Stage.RUNNING,
                ending=what.ending is not None,
                hosts=True,
                tasks=tuple(tasks),
            )
        case Ended():
            return Runner(
                info=what.info,
                framework_id=what.framework_id,
                container_id=what.container_id,
                directory=what.directory,
                pid=0,
                launched=False,
                registering=False,
                ending=False,
                hosts=True,
                tasks=tuple(tasks),
            )
        case _:
            assert_never(what)


def command_executor(task: Task) -> mesos.ExecutorInfo:
    """The executor that Mesos would have made up for a command task."""
    return mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value=task.executor_id),
        framework_id=mesos.FrameworkID(value=task.framework_id),
        name=_name(task),
        source=task.id,
        command=task.info.command,
        resources=task.info.resources,
    )


def _name(task: Task) -> str:
    order = task.info.command
    if order is None:
        return f"Command Executor (Task: {task.id})"
    text = f"sh -c '{order.value}'" if order.shell else " ".join(order.arguments) or order.value
    return f"Command Executor (Task: {task.id}) (Command: {text})"
