"""The large answers of the operator API, as trees to be written piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from altiplano.master import pieces, taskrows, view
from altiplano.master.pieces import Rows, Tree
from altiplano.master.snapshot import Snapshot
from altiplano.master.state import Agent, Executor, Task
from altiplano.wire.codec import JSON, Codec
from altiplano.wire.messages import master, mesos

TASKS_PER_PIECE = 100
AGENTS_PER_PIECE = 20
FRAMEWORKS_PER_PIECE = 10

Kind = master.ResponseType


def get_tasks(shot: Snapshot) -> Tree:
    every = shot.every_framework
    return Tree(
        head=master.ResponseGetTasks(),
        kind=master.ResponseGetTasks,
        fields=(
            ("tasks", _tasks([task for one in every for task in one.tasks])),
            ("completed_tasks", _tasks([task for one in every for task in one.completed])),
            ("unreachable_tasks", _tasks([task for one in every for task in one.unreachable])),
        ),
    )


def _tasks(tasks: list[Task]) -> Rows:
    return Rows(items=tasks, encode=taskrows.v1, message=view.task_row, per_piece=TASKS_PER_PIECE)


def get_executors(shot: Snapshot) -> Tree:
    executors = [executor for one in shot.every_framework for executor in one.executors]
    return Tree(
        head=master.ResponseGetExecutors(),
        kind=master.ResponseGetExecutors,
        fields=(("executors", pieces.messages(executors, _executor)),),
    )


def _executor(executor: Executor) -> master.ResponseGetExecutorsExecutor:
    return master.ResponseGetExecutorsExecutor(
        executor_info=executor.info, agent_id=mesos.AgentID(value=executor.agent_id)
    )


def get_frameworks(shot: Snapshot) -> Tree:
    return Tree(
        head=master.ResponseGetFrameworks(),
        kind=master.ResponseGetFrameworks,
        fields=(
            ("frameworks", pieces.messages(shot.frameworks, view.framework_row, FRAMEWORKS_PER_PIECE)),
            ("completed_frameworks", pieces.messages(shot.completed, view.framework_row, FRAMEWORKS_PER_PIECE)),
        ),
    )


def get_agents(shot: Snapshot) -> Tree:
    return Tree(
        head=master.ResponseGetAgents(),
        kind=master.ResponseGetAgents,
        fields=(
            ("agents", pieces.messages(shot.agents, view.agent_row, AGENTS_PER_PIECE)),
            ("recovered_agents", pieces.messages(shot.awaited, _described)),
        ),
    )


def _described(agent: Agent) -> mesos.AgentInfo:
    return agent.info


def get_state(shot: Snapshot) -> Tree:
    return Tree(
        head=master.ResponseGetState(),
        kind=master.ResponseGetState,
        fields=(
            ("get_tasks", get_tasks(shot)),
            ("get_executors", get_executors(shot)),
            ("get_frameworks", get_frameworks(shot)),
            ("get_agents", get_agents(shot)),
        ),
    )


def response(kind: Kind, name: str, tree: Tree) -> Tree:
    """A tree as the answer to a call."""
    return Tree(head=master.Response(type=kind), kind=master.Response, fields=((name, tree),))


def subscribed(shot: Snapshot, heartbeat_s: float) -> Tree:
    """The first event of an operator's stream."""
    inner = Tree(
        head=master.EventSubscribed(heartbeat_interval_seconds=heartbeat_s),
        kind=master.EventSubscribed,
        fields=(("get_state", get_state(shot)),),
    )
    return Tree(head=master.Event(type=master.EventType.SUBSCRIBED), kind=master.Event, fields=(("subscribed", inner),))


def written(codec: Codec, tree: Tree) -> Callable[[], Iterator[bytes]]:
    """Writes a tree in a form, from its beginning each time it is called."""
    write = pieces.to_json if codec is JSON else pieces.to_protobuf
    return lambda: write(tree)
