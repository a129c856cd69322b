"""Finding, greeting and losing the master; updates that must not get lost."""

from __future__ import annotations

import itertools

import msgspec

from altiplano.agent import effects, events
from altiplano.link import messages
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import AGENT, FRAMEWORK, MASTER, Agent, framework, of, task


def test_the_first_greeting_reports_nothing_and_has_no_id():
    agent = Agent()
    (dial,) = of(effects.Dial, agent.recover())
    agent.post(events.Connected(cause="up", seed=agent.seed(), connection=dial.connection))
    (hello,) = agent.said()
    assert isinstance(hello, messages.Hello)
    assert hello.agent.id is None
    assert not hello.tasks


def test_a_lost_link_is_dialled_again_after_growing_pauses():
    agent = Agent()
    agent.recover()
    pauses = []
    for _ in range(9):
        agent.lose_link()
        at = agent.core.state.timers.at(("dial",))
        assert at is not None
        pauses.append(at - agent.mono_s)
        agent.advance(at - agent.mono_s)
    assert all(pause <= 60 for pause in pauses)
    assert pauses[0] <= 1 < pauses[-1]


def test_unacknowledged_updates_are_said_again_ever_more_rarely():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run()
    times = []
    for _ in range(200):
        if any(isinstance(e, effects.Say) for e in agent.advance(10)):
            times.append(agent.mono_s)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[:3] == [20, 40, 80]
    assert max(gaps) == 600


def test_after_a_new_greeting_heads_are_said_again_at_once():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run()
    agent.lose_link()
    decision = agent.join()
    updates = [e.message for e in of(effects.Say, decision) if isinstance(e.message, messages.StatusUpdate)]
    assert [update.status.state.value for update in updates] == ["TASK_STARTING"]
    hello = [m for m in agent.said() if isinstance(m, messages.Hello)][-1]
    assert hello.agent.id is not None
    assert hello.agent.id.value == AGENT
    (report,) = hello.tasks
    assert (report.state, report.status_state) == ("TASK_STARTING", "TASK_STARTING")


def test_when_a_framework_has_subscribed_again_its_heads_are_said_again_at_once():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run()
    for known in (False, True):
        back = framework() if known else msgspec.structs.replace(framework(), id=mesos.FrameworkID(value="other"))
        decision = agent.hear(messages.UpdateFramework(framework=back, cause="failover"))
        updates = [e.message for e in of(effects.Say, decision) if isinstance(e.message, messages.StatusUpdate)]
        assert [update.status.state.value for update in updates] == (["TASK_STARTING"] if known else [])


def test_nothing_is_said_while_there_is_no_master():
    agent = Agent()
    agent.up_to_running()
    agent.lose_link()
    before = len(agent.done)
    agent.exited()
    assert not [e for e in agent.done[before:] if isinstance(e, effects.Say)]
    agent.join()
    assert agent.states()[-1] == "FINISHED"


def test_an_older_leadership_is_refused():
    agent = Agent()
    agent.recover()
    agent.join(epoch=5)
    agent.lose_link()
    decision = agent.join(epoch=4)
    assert of(effects.HangUp, decision)
    assert not agent.core.state.member


def test_another_id_voids_the_tasks_of_the_former_one():
    agent = Agent()
    agent.up_to_running()
    agent.lose_link()
    decision = agent.join(agent_id="agent-2")
    assert of(effects.Terminate, decision)
    agent.exited(wait_status=15)
    assert not agent.core.state.tasks
    assert agent.core.state.agent_id == "agent-2"


def test_without_checkpoint_tasks_are_lost_when_the_same_master_comes_back():
    agent = Agent()
    agent.up_to_running(by=framework(checkpoint=False))
    agent.lose_link()
    assert of(effects.Terminate, agent.join())
    agent.exited(wait_status=15)
    assert agent.states()[-1] == "LOST"


def test_without_checkpoint_tasks_survive_the_change_of_the_master():
    agent = Agent()
    agent.up_to_running(by=framework(checkpoint=False))
    agent.lose_link()
    assert not of(effects.Terminate, agent.join(epoch=2))


def test_tasks_of_frameworks_that_are_over_are_ended_on_return():
    agent = Agent()
    agent.up_to_running()
    agent.lose_link()
    assert of(effects.Terminate, agent.join(completed=(FRAMEWORK,)))


def test_an_acknowledgement_that_fits_nothing_is_ignored():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.run()
    decision = agent.hear(messages.Acknowledge(framework_id=FRAMEWORK, task_id="t1", uuid=b"x" * 16))
    assert not decision.facts


def test_a_ping_is_answered_and_a_forgotten_registration_dialled_anew():
    agent = Agent()
    agent.recover()
    agent.join()
    assert [type(e.message) for e in of(effects.Say, agent.hear(messages.Ping()))] == [messages.Pong]
    assert of(effects.HangUp, agent.hear(messages.Ping(connected=False)))


def test_a_final_refusal_stops_the_process_and_leaves_the_tasks():
    agent = Agent()
    agent.up_to_running()
    decision = agent.hear(messages.Refused(sentence="this machine is under maintenance", final=True))
    exit_ = of(effects.Exit, decision)[0]
    assert exit_.failed
    assert not exit_.stop_launcher
    assert "maintenance" in exit_.sentence


def test_a_removed_agent_ends_its_tasks_and_then_itself():
    agent = Agent()
    agent.up_to_running()
    decision = agent.hear(messages.ShutdownAgent(sentence="an operator marked it gone"))
    assert of(effects.Terminate, decision)
    assert not of(effects.Exit, decision)
    assert of(effects.Exit, agent.exited(wait_status=15))


def test_who_takes_its_tasks_along_is_not_made_to_leave_them_by_a_later_order():
    agent = Agent()
    agent.up_to_running()
    assert of(effects.Terminate, agent.post(events.StopOrdered(cause="x", seed=agent.seed(), for_good=True)))
    assert not of(effects.Exit, agent.post(events.StopOrdered(cause="x", seed=agent.seed())))
    (exit_,) = of(effects.Exit, agent.exited(wait_status=15))
    assert exit_.stop_launcher


def test_sigterm_leaves_the_tasks():
    agent = Agent()
    agent.up_to_running()
    (exit_,) = of(effects.Exit, agent.post(events.StopOrdered(cause="x", seed=agent.seed())))
    assert (exit_.failed, exit_.stop_launcher) == (False, False)


def test_stopping_with_tasks_tells_their_ends_first():
    agent = Agent()
    agent.up_to_running()
    assert of(effects.Terminate, agent.post(events.StopOrdered(cause="x", seed=agent.seed(), with_tasks=True)))
    assert not of(effects.Exit, agent.exited(wait_status=15))
    assert agent.states()[-1] == "KILLED"
    (exit_,) = of(effects.Exit, agent.ack())
    assert exit_.stop_launcher


def test_stopping_with_tasks_where_there_are_none_is_at_once():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.post(events.StopOrdered(cause="x", seed=agent.seed(), with_tasks=True))
    assert [type(effect) for effect in agent.advance(0.0)] == [effects.Exit]


def test_a_removed_agent_without_tasks_ends_at_once():
    agent = Agent()
    agent.recover()
    agent.join()
    agent.hear(messages.ShutdownAgent(sentence="an operator marked it gone"))
    assert effects.Exit in [type(effect) for effect in agent.advance(0.0)]


def test_leaving_for_good_says_goodbye_and_gives_up_the_id():
    agent = Agent()
    agent.up_to_running()
    decision = agent.post(events.StopOrdered(cause="x", seed=agent.seed(), for_good=True))
    assert messages.Goodbye in [type(e.message) for e in of(effects.Say, decision)]
    assert of(effects.Exit, agent.exited(wait_status=15))
    assert agent.restarted().core.state.agent_id is None


def test_messages_of_an_older_connection_are_not_heard():
    agent = Agent()
    agent.recover()
    agent.join()
    stale = events.Heard(
        cause="x",
        seed=agent.seed(),
        connection=agent.core.state.connection - 1,
        message=messages.KillTask(framework_id=FRAMEWORK, task_id="t1"),
    )
    assert not agent.post(stale).effects


def test_orders_before_the_welcome_are_not_carried_out():
    agent = Agent()
    agent.recover()
    agent.post(events.Connected(cause="up", seed=agent.seed(), connection=1))
    agent.run()
    assert not agent.core.state.tasks
    assert agent.hear(messages.Welcome(version=1, epoch=1, agent_id=AGENT, silence_s=3, master=MASTER)).facts


def test_orders_that_were_under_way_when_the_agent_said_good_bye_are_ignored():
    agent = Agent()
    agent.up_to_running()
    agent.post(events.StopOrdered(cause="x", seed=agent.seed(), for_good=True))
    agent.run(task("t2"))
    agent.kill("t3")
    assert {key[1] for key in agent.core.state.tasks} == {"t1"}
    assert not agent.core.state.streams
