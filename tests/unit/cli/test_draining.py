"""What `altiplano agent drain` asks for, and how it tells where a drain stands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from altiplano.cli import draining
from altiplano.cli.draining import Progress
from altiplano.cli.failures import Failure
from altiplano.cli.listing import AgentRow, Amounts
from altiplano.sdk.credentials import Place
from altiplano.sdk.operator import Operator
from altiplano.wire.messages import master, mesos

ROW = AgentRow(
    id="a1",
    hostname="alps1",
    state="active",
    version="1",
    total=Amounts(),
    used=Amounts(),
    attributes={},
    registered_wall_s=None,
)
DRAINING, DRAINED = mesos.DrainState.DRAINING, mesos.DrainState.DRAINED


class Master(Operator):
    """Answers from a script: one pair of drain state and tasks for each look at it, the last one for ever."""

    def __init__(self, *script: tuple[mesos.DrainState | None, Sequence[str]]) -> None:
        super().__init__(Place(masters=("http://127.0.0.1:5050",)))
        self.script = list(script)
        self.calls: list[master.Call] = []

    async def call(self, call: master.Call) -> master.Response:
        self.calls.append(call)
        state, tasks = self.script[0]
        if call.type is master.CallType.GET_AGENTS:
            info = mesos.AgentInfo(hostname="alps1", id=mesos.AgentID(value="a1"))
            drain = mesos.DrainInfo(state=state, config=mesos.DrainConfig()) if state is not None else None
            row = master.ResponseGetAgentsAgent(
                agent_info=info, active=False, version="1", deactivated=True, drain_info=drain
            )
            agents = master.ResponseGetAgents(agents=(row,))
            return master.Response(type=master.ResponseType.GET_AGENTS, get_agents=agents)
        if call.type is master.CallType.GET_TASKS:
            if len(self.script) > 1:
                self.script.pop(0)
            found = tuple(
                mesos.Task(
                    name=task,
                    task_id=mesos.TaskID(value=task),
                    framework_id=mesos.FrameworkID(value="f"),
                    agent_id=mesos.AgentID(value="a1"),
                    state=mesos.TaskState.TASK_RUNNING,
                )
                for task in tasks
            )
            response = master.ResponseGetTasks(tasks=found)
            return master.Response(type=master.ResponseType.GET_TASKS, get_tasks=response)
        return master.Response()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "POLL_S", 0.0)


def test_the_order_carries_the_grace_in_seconds_and_nanoseconds() -> None:
    asked = Master((None, ()))
    asyncio.run(draining.drain(asked, ROW, grace_s=1.5, mark_gone=True))
    (call,) = asked.calls
    assert call.drain_agent is not None
    assert call.drain_agent.max_grace_period == mesos.Duration(seconds=1, nanos=500_000_000)
    assert call.drain_agent.mark_gone


def test_whoever_waits_hears_of_every_change_until_the_agent_is_drained() -> None:
    asked = Master(
        (DRAINING, ("t1", "t2")), (DRAINING, ("t1", "t2")), (DRAINING, ("t2",)), (DRAINING, ()), (DRAINED, ())
    )
    told: list[Progress] = []
    asyncio.run(draining.follow(asked, ROW, told.append))
    assert [draining.sentence(one) for one in told] == [
        "alps1 is draining: 2 tasks left",
        "alps1 is draining: 1 task left",
        "alps1 is draining: no task is left to end",
        "alps1 is drained",
    ]


def test_a_drain_that_somebody_called_off_ends_the_waiting() -> None:
    with pytest.raises(Failure, match="alps1 is deactivated: somebody else"):
        asyncio.run(draining.follow(Master((None, ("t1",))), ROW, lambda _: None))


def test_a_dry_run_says_what_would_end() -> None:
    at = asyncio.run(draining.progress(Master((None, ("t1",))), ROW, dry_run=True))
    assert draining.sentence(at) == "alps1 (a1) is deactivated; a drain would end 1 task"
