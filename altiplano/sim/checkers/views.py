"""What operators are shown: each answer fits together, and whoever follows knows what is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from altiplano.model.tasks import State
from altiplano.sim.checkers.quiet import living
from altiplano.sim.history import Checker
from altiplano.wire.messages import master as operator
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

Key = tuple[str, str]


class FitsTogether(Checker):
    """Everything in one GET_STATE is of one moment: no task twice, and what is used is what its tasks hold."""

    promise = "one answer is of one moment"

    def shown(self, state: operator.ResponseGetState) -> None:
        tasks = state.get_tasks.tasks if state.get_tasks is not None else ()
        keys = Counter(_key(task) for task in tasks)
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            self.broken(f"task {twice[0][1]} is shown twice")
        agents = state.get_agents.agents if state.get_agents is not None else ()
        executors = state.get_executors.executors if state.get_executors is not None else ()
        recovered = state.get_agents.recovered_agents if state.get_agents is not None else ()
        known = {one.agent_info.id.value for one in agents if one.agent_info.id is not None}
        known |= {one.id.value for one in recovered if one.id is not None}
        for task in tasks:
            if task.agent_id.value not in known:
                self.broken(f"task {task.task_id.value} is shown on agent {task.agent_id.value}, which is not shown")
        for agent in agents:
            assert agent.agent_info.id is not None
            agent_id = agent.agent_info.id.value
            held = _cpus(r for one in tasks if one.agent_id.value == agent_id and _holds(one) for r in one.resources)
            held += _cpus(r for one in executors if one.agent_id.value == agent_id for r in one.executor_info.resources)
            used = _cpus(agent.allocated_resources)
            if abs(held - used) > 1e-6:
                self.broken(
                    f"agent {agent_id} is shown with {used:g} cpus in use, its tasks and executors hold {held:g}"
                )


class Followed(Checker):
    """An operator who follows the events hears of what is, and in the end knows what is."""

    promise = "whoever follows knows what is"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._tasks: dict[Key, State] = {}
        self._agents: set[str] = set()
        self.follows = False

    def followed(self, event: operator.Event) -> None:
        kinds = operator.EventType
        if event.type is kinds.SUBSCRIBED and event.subscribed is not None and event.subscribed.get_state is not None:
            self._begin(event.subscribed.get_state)
        elif event.type is kinds.TASK_ADDED and event.task_added is not None:
            self._tasks[_key(event.task_added.task)] = _state(event.task_added.task)
        elif event.type is kinds.TASK_UPDATED and event.task_updated is not None:
            told = event.task_updated
            key = (told.framework_id.value, told.status.task_id.value)
            if key not in self._tasks:
                self.broken(f"an operator is told of task {key[1]}, of which it was never told that it is there")
            self._tasks[key] = State(told.state.value)
        elif event.type is kinds.AGENT_ADDED and event.agent_added is not None:
            assert event.agent_added.agent.agent_info.id is not None
            self._agents.add(event.agent_added.agent.agent_info.id.value)
        elif event.type is kinds.AGENT_REMOVED and event.agent_removed is not None:
            agent_id = event.agent_removed.agent_id.value
            if agent_id not in self._agents:
                self.broken(f"an operator is told that agent {agent_id} left, of which it was never told")
            self._agents.discard(agent_id)
        elif event.type is kinds.FRAMEWORK_REMOVED and event.framework_removed is not None:
            framework_id = event.framework_removed.framework_info.id
            assert framework_id is not None
            for key in [key for key in self._tasks if key[0] == framework_id.value]:
                self._tasks[key] = State.KILLED

    def _begin(self, state: operator.ResponseGetState) -> None:
        self.follows = True
        shown = state.get_tasks or operator.ResponseGetTasks()
        whole = (*shown.tasks, *shown.unreachable_tasks, *shown.completed_tasks)
        self._tasks = {_key(task): _state(task) for task in whole}
        agents = state.get_agents or operator.ResponseGetAgents()
        self._agents = {one.agent_info.id.value for one in agents.agents if one.agent_info.id is not None}
        self._agents |= {one.id.value for one in agents.recovered_agents if one.id is not None}

    def at_quiet(self) -> None:
        core = self.cluster.master_core
        if not self.follows or core is None:
            return
        there = living(self.cluster.running())
        heard = {key[1] for key, state in self._tasks.items() if state is State.RUNNING}
        if heard != there:
            self.broken(f"an operator who follows takes {sorted(heard ^ there)} for something else than it is")
        if self._agents != set(core.state.agents):
            wrong = sorted(self._agents ^ set(core.state.agents))
            self.broken(f"an operator who follows is wrong about the agents {wrong}")


def _key(task: mesos.Task) -> Key:
    return task.framework_id.value, task.task_id.value


def _state(task: mesos.Task) -> State:
    return State(task.state.value)


def _holds(task: mesos.Task) -> bool:
    return not _state(task).ended and _state(task) is not State.UNREACHABLE


def _cpus(resources: Iterable[mesos.Resource]) -> float:
    return sum(one.scalar.value for one in resources if one.name == "cpus" and one.scalar is not None)
