"""An agent that an operator drains: how its tasks end, and what is told of it."""

from __future__ import annotations

import pytest

from altiplano.agent import effects, events
from altiplano.executors import command
from altiplano.link import messages
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import MASTER, Agent, Capability, framework, of, seconds, task
from tests.unit.agent.test_executors import running as with_executor

Reason = mesos.TaskStatusReason
AWARE = Capability.PARTITION_AWARE


def order(agent: Agent, drain: messages.Drain | None) -> list[effects.Terminate]:
    return of(effects.Terminate, agent.hear(messages.DrainChanged(drain=drain)))


def destroyed(agent: Agent, within_s: float) -> bool:
    return any(isinstance(effect, effects.Destroy) for effect in agent.advance(within_s))


@pytest.mark.parametrize(
    ("own_s", "most_s", "grace_s"), [(None, None, 3.0), (None, 1.0, 1.0), (60.0, 10.0, 10.0), (5.0, 10.0, 5.0)]
)
def test_a_task_gets_its_own_grace_or_the_operators_if_that_is_less(
    own_s: float | None, most_s: float | None, grace_s: float
):
    agent = Agent()
    policy = mesos.KillPolicy(grace_period=seconds(own_s)) if own_s is not None else None
    agent.up_to_running(task(kill_policy=policy))
    assert len(order(agent, messages.Drain(max_grace_s=most_s))) == 1
    assert not destroyed(agent, grace_s - 0.1)
    assert destroyed(agent, 0.2)


@pytest.mark.parametrize(
    ("capabilities", "mark_gone", "state"),
    [((), False, "KILLED"), ((), True, "KILLED"), ((AWARE,), False, "KILLED"), ((AWARE,), True, "GONE_BY_OPERATOR")],
)
def test_a_drained_task_is_told_as_killed_and_as_gone_where_the_agent_goes_and_its_framework_knows_the_word(
    capabilities: tuple[mesos.FrameworkInfoCapabilityType, ...], mark_gone: bool, state: str
):
    agent = Agent()
    agent.up_to_running(by=framework(*capabilities))
    order(agent, messages.Drain(mark_gone=mark_gone))
    agent.exited(wait_status=15)
    assert agent.states()[-1] == state
    assert agent.updates()[-1].reason is Reason.REASON_AGENT_DRAINING
    agent.ack()
    assert not agent.core.state.tasks


def test_a_framework_that_wants_to_hear_of_killing_hears_why():
    agent = Agent()
    agent.up_to_running(by=framework(Capability.TASK_KILLING_STATE))
    order(agent, messages.Drain())
    assert agent.states()[-1] == "KILLING"
    assert agent.updates()[-1].reason is Reason.REASON_AGENT_DRAINING


def test_a_task_that_an_executor_kills_is_told_as_drained():
    pool = with_executor(framework(AWARE))
    order(pool, messages.Drain(mark_gone=True))
    again = pool.hear(messages.DrainChanged(drain=messages.Drain(mark_gone=True)))
    assert not again.effects, "who has been told is not told again"
    pool.update(mesos.TaskState.TASK_KILLED)
    assert pool.states()[-1] == "GONE_BY_OPERATOR"
    assert pool.updates()[-1].reason is Reason.REASON_AGENT_DRAINING
    assert pool.core.state.streams, "the end is told until it is acknowledged"


def test_a_drain_is_told_with_the_welcome_and_outlives_the_process_until_a_welcome_without_it():
    agent = Agent()
    agent.up_to_running()
    drain = messages.Drain(max_grace_s=1.0)
    order(agent, drain)
    assert agent.restarted().core.state.drain == drain
    fresh = agent.summarised()
    assert fresh.core.state.drain == drain
    (task_,) = fresh.core.state.tasks.values()
    assert task_.killing is not None
    assert task_.killing.why is command.Why.DRAINING
    agent.lose_link()
    agent.join(epoch=2)
    assert agent.core.state.drain is None, "this master knows of no drain"
    agent.lose_link()
    agent.advance(61.0)
    welcome = messages.Welcome(version=1, epoch=3, agent_id="agent-1", silence_s=30.0, master=MASTER, drain=drain)
    agent.post(events.Connected(cause="up", seed=agent.seed(), connection=agent.core.state.connection))
    agent.hear(welcome)
    assert agent.core.state.drain == drain
