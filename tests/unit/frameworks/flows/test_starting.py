"""Tasks of an offer: built in slices, sent in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from altiplano.frameworks.flows import effects, events, graph, makeflow, starting
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.placement import amount_of
from altiplano.frameworks.flows.starting import Starter
from altiplano.frameworks.flows.state import FlowState
from altiplano.model.tasks import State
from altiplano.sdk import calls
from altiplano.sdk.offers import Offer
from altiplano.wire.messages import mesos

MANY = 4 * starting.STARTS_PER_SLICE


def offer_of(cpus: float) -> Offer:
    amounts = {"cpus": cpus, "mem": 100_000.0}
    return Offer(
        mesos.Offer(
            id=mesos.OfferID(value="o"),
            framework_id=mesos.FrameworkID(value="f"),
            agent_id=mesos.AgentID(value="a"),
            hostname="h",
            resources=tuple(
                mesos.Resource(name=name, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))
                for name, value in amounts.items()
            ),
        )
    )


class Stage:
    """A starter, and what it asked for and reported."""

    def __init__(self, rules: int) -> None:
        text = "CORES=1\nMEMORY=1\n" + "".join(f"o{n}:\n\ttrue\n" for n in range(rules))
        workflow = makeflow.parse(text, file="w.mf", environment={})
        state = FlowState(graph.join(workflow, exists=lambda _: True, shared_dir=True))
        self.posted: list[events.FlowEvent] = []
        self.asked: list[calls.FrameworkCall] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.starter = Starter(
            state,
            shared_root=Path("/w"),
            empty_fails=False,
            post=self.posted.append,
            ask=self.asked.append,
            spawn=self._spawn,
        )
        self.launch = effects.Launch(
            offer_id="o",
            agent_id="a",
            starts=tuple(
                effects.Start(
                    key=RuleKey(f"o{n}"), task_id=f"run.{n}", amount=amount_of(state.nodes[RuleKey(f"o{n}")].rule.needs)
                )
                for n in range(rules)
            ),
            refuse_s=1.0,
            cause="t",
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawned.append(asyncio.ensure_future(work))

    @property
    def sent(self) -> list[str]:
        """Tasks of the one call that was made."""
        (call,) = self.asked
        assert isinstance(call, calls.Accept)
        assert call.refuse_s == 1.0
        return [task.task_id.value for one in call.operations if one.launch for task in one.launch.task_infos]


async def test_a_few_tasks_leave_at_once() -> None:
    stage = Stage(3)
    stage.starter.launch(offer_of(10), stage.launch)
    assert stage.sent == ["run.0", "run.1", "run.2"]
    assert not stage.spawned
    assert not stage.starter.leave_out("run.1"), "it is to be killed"


async def test_many_tasks_are_built_in_slices_and_sent_in_one_call() -> None:
    stage = Stage(MANY)
    stage.starter.launch(offer_of(MANY), stage.launch)
    turns = 0
    while not stage.asked:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= MANY // starting.STARTS_PER_SLICE
    assert stage.sent == [start.task_id for start in stage.launch.starts]
    assert not stage.posted


@pytest.mark.parametrize("number", [0, MANY - 1])
async def test_a_task_that_is_ended_while_it_is_built_never_leaves(number: int) -> None:
    stage = Stage(MANY)
    stage.starter.launch(offer_of(MANY), stage.launch)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stage.starter.leave_out(f"run.{number}")
    await asyncio.gather(*stage.spawned)
    assert f"run.{number}" not in stage.sent
    assert len(stage.sent) == MANY - 1
    (event,) = stage.posted
    assert isinstance(event, events.TaskChanged)
    assert (event.task_id, event.state) == (f"run.{number}", State.DROPPED)


async def test_what_does_not_fit_and_what_has_no_offer_is_dropped_by_name() -> None:
    stage = Stage(2)
    stage.starter.launch(offer_of(1), stage.launch)
    assert stage.sent == ["run.0"]
    stage.starter.launch(None, stage.launch)
    dropped = [event.task_id for event in stage.posted if isinstance(event, events.TaskChanged)]
    assert dropped == ["run.1", "run.0", "run.1"]
