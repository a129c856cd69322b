"""Mistakes in what frameworks, executors and operators may ask, planted one at a time: each must be found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from planted import ENDS, ONCE, ORDER, STAYS, TRUE, Plant

from altiplano.agent import events as agent_events
from altiplano.agent import executors as agent_executors
from altiplano.agent import facts as agent_facts
from altiplano.engine.core import Effect
from altiplano.executors import command, custom, group
from altiplano.link import messages
from altiplano.master import answers, core, frameworks, infos, reconcile, tasks
from altiplano.master import effects as master_effects
from altiplano.master import facts as master_facts
from altiplano.model.tasks import State
from altiplano.sim.cluster import make_log
from altiplano.sim.process import Parts

ONE_EXECUTOR = "an executor runs once at a time"
SAID = "a message arrives at most once"
PLACE = "a framework keeps its place as long as it may"
WORDS = "statuses are those of the tables"
MOMENT = "one answer is of one moment"
FOLLOWS = "whoever follows knows what is"
ORPHANS = "nothing outlives its framework"
SUMS = "resources sum up"
ASKS = "reconciliation tells the truth"


# -- custom executors


def gives_up_who_hangs_up(patch: pytest.MonkeyPatch) -> None:
    """An executor whose stream breaks counts as ended, though its process runs on."""

    def left(draft: Any, executor: Any, stream: str) -> None:
        if executor.stream == stream:
            agent_executors._part(draft, executor, executor.ending, None)

    patch.setattr(agent_executors, "left", left)


def does_not_write_down_what_it_sent(patch: pytest.MonkeyPatch) -> None:
    """A task that was given to its executor is given again by the next agent process."""
    patch.setattr(agent_facts.TaskSent, "durable", False)


def drops_what_a_subscription_brings() -> Parts:
    """Updates that an executor brings when it subscribes again are not taken."""

    def change(name: str, process: Any, event: Any) -> Any:
        if isinstance(event, agent_events.ExecutorSubscribed) and event.updates:
            return msgspec.structs.replace(event, updates=())
        return event

    return Parts(make_log, change_event=change)


def takes_a_crash_for_success(patch: pytest.MonkeyPatch) -> None:
    """The tasks of an executor that died are told to have finished."""
    original = custom.ended

    def ended(*arguments: Any, **options: Any) -> command.Report | None:
        report = original(*arguments, **options)
        return None if report is None else msgspec.structs.replace(report, state=State.FINISHED)

    patch.setattr(custom, "ended", ended)


def repeats_messages() -> Parts:
    """The master passes what executors say on twice, now and then."""
    counts = {"messages": 0}

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, master_effects.Send) and effect.event.message is not None:
            counts["messages"] += 1
            if counts["messages"] % 10 == 0:
                return (effect, effect)
        return (effect,)

    return Parts(make_log, change_effects=effects)


def keeps_executors_of_removed_frameworks(patch: pytest.MonkeyPatch) -> None:
    original = agent_executors.shutdown_all

    def shutdown_all(draft: Any, why: command.Why, *, framework_id: str | None = None) -> None:
        if framework_id is None:
            original(draft, why)

    patch.setattr(agent_executors, "shutdown_all", shutdown_all)


# -- groups


def lets_groups_live_on(patch: pytest.MonkeyPatch) -> None:
    """The failure of one task leaves the others of its group alone."""
    patch.setattr(group, "spoils", lambda end: False)


# -- updates and reconciliation


def forgets_acknowledgements(patch: pytest.MonkeyPatch) -> None:
    """Acknowledgements do not reach the agent's log."""
    patch.setattr(agent_facts.StatusAcknowledged, "durable", False)


def answers_with_newer_states(patch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told the newest state, before older updates that nobody acknowledged."""
    original = reconcile._latest

    def latest(out: Any, task: Any) -> Any:
        return original(out, msgspec.structs.replace(task, update_state=None))

    patch.setattr(reconcile, "_latest", latest)


def answers_the_first_half(patch: pytest.MonkeyPatch) -> None:
    """Of all tasks of a framework only the first half is told."""

    def implicit(out: Any, framework: Any) -> None:
        asked = tuple(framework.tasks)
        reconcile._tell(out, framework, asked[: len(asked) // 2])

    patch.setattr(reconcile, "implicit", implicit)


def says_new_words_to_old_frameworks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(infos, "lost_state", lambda framework, aware: aware)


def calls_lost_what_ends_with_its_executor(patch: pytest.MonkeyPatch) -> None:
    """A framework that knows partitions is told LOST where it should be told GONE."""
    ends = {
        why: msgspec.structs.replace(end, aware=None) if why is custom.Why.MISSING else end
        for why, end in custom.ENDS.items()
    }
    patch.setattr(custom, "ENDS", ends)


# -- frameworks that leave


def is_impatient(patch: pytest.MonkeyPatch) -> None:
    """A framework has fifteen seconds to return, whatever it asked for."""
    original = frameworks.await_return

    def await_return(out: Any, framework_id: str, timeout_s: float) -> None:
        original(out, framework_id, min(timeout_s, 15.0))

    patch.setattr(frameworks, "await_return", await_return)


def never_gives_a_framework_up(patch: pytest.MonkeyPatch) -> None:
    """The failover timeout is not enforced."""

    def failover_timeout(out: Any, framework_id: str) -> None:
        out.holds(master_facts.TimerSet(what=frameworks.FAILOVER_TIMER, subject=framework_id, at_s=None))

    patch.setattr(frameworks, "failover_timeout", failover_timeout)


def forgets_deadlines_in_a_restart(patch: pytest.MonkeyPatch) -> None:
    """A master that is restarted waits for ever for the frameworks of its registry."""
    original = core._started

    def started(out: Any, event: Any) -> None:
        original(out, event)
        out._facts = [
            fact
            for fact in out._facts
            if not isinstance(fact, master_facts.TimerSet) or fact.what != frameworks.FAILOVER_TIMER
        ]

    patch.setattr(core, "_started", started)


def keeps_removals_to_itself() -> Parts:
    """Agents are not told that a framework is gone."""

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, master_effects.ToAgent):
            if isinstance(effect.message, messages.ShutdownFramework):
                return ()
            if isinstance(effect.message, messages.Welcome):
                welcome = msgspec.structs.replace(effect.message, completed_frameworks=())
                return (msgspec.structs.replace(effect, message=welcome),)
        return (effect,)

    return Parts(make_log, change_effects=effects)


# -- agents that leave


def only_refuses_gone_agents() -> Parts:
    """A gone agent is sent away, and its tasks go on."""

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, master_effects.ToAgent) and isinstance(effect.message, messages.ShutdownAgent):
            refusal = messages.Refused(sentence=effect.message.sentence, final=True, cause=effect.message.cause)
            return (msgspec.structs.replace(effect, message=refusal),)
        return (effect,)

    return Parts(make_log, change_effects=effects)


def forgets_to_give_back(patch: pytest.MonkeyPatch) -> None:
    """What the executor of a group used stays counted when it has ended."""
    original = tasks.executor_ended

    def executor_ended(out: Any, agent: Any, message: messages.ExecutorEnded) -> None:
        if not message.executor_id.endswith("-group"):
            original(out, agent, message)

    patch.setattr(tasks, "executor_ended", executor_ended)


# -- what operators see


def keeps_news_from_operators() -> Parts:
    """Every seventh event does not reach those who follow."""
    counts = {"events": 0}

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, master_effects.Publish):
            counts["events"] += 1
            if counts["events"] % 7 == 0:
                return ()
        return (effect,)

    return Parts(make_log, change_effects=effects)


def shows_two_moments(patch: pytest.MonkeyPatch) -> None:
    """The executors of an answer are those of another moment: there are none."""
    original = answers.get_executors

    def get_executors(shot: Any) -> Any:
        tree = original(shot)
        return type(tree)(head=tree.head, kind=tree.kind, fields=())

    patch.setattr(answers, "get_executors", get_executors)


PLANTS = (
    Plant(
        name="who hangs up is given up",
        promise=ONE_EXECUTOR,
        patch=gives_up_who_hangs_up,
        blind_to=frozenset({"TrueStatus", "AllowedOrder", "AllowedWords", "NoOrphans", "SoldOnce"}),
    ),
    Plant(name="what was sent is not written down", promise=ONCE, patch=does_not_write_down_what_it_sent),
    Plant(
        name="what a subscription brings is dropped", first_seed=4, promise="", parts=drops_what_a_subscription_brings
    ),
    Plant(name="a crash is taken for success", promise=(TRUE, WORDS), patch=takes_a_crash_for_success),
    Plant(name="messages are repeated", promise=SAID, parts=repeats_messages),
    Plant(
        name="executors of removed frameworks are kept",
        first_seed=9,
        promise=ORPHANS,
        patch=keeps_executors_of_removed_frameworks,
    ),
    Plant(name="groups live on", first_seed=4, promise=ENDS, patch=lets_groups_live_on),
    Plant(name="acknowledgements are forgotten", promise=STAYS, patch=forgets_acknowledgements),
    Plant(name="newer states are answered", first_seed=9, promise=ORDER, patch=answers_with_newer_states),
    Plant(name="the first half is answered", promise=ASKS, patch=answers_the_first_half),
    Plant(name="old frameworks hear new words", promise=WORDS, patch=says_new_words_to_old_frameworks),
    Plant(
        name="what is gone is called lost", first_seed=10, promise=WORDS, patch=calls_lost_what_ends_with_its_executor
    ),
    Plant(name="the master is impatient", promise=PLACE, patch=is_impatient),
    Plant(name="no framework is given up", promise="", patch=never_gives_a_framework_up),
    Plant(name="deadlines are forgotten in a restart", first_seed=9, promise="", patch=forgets_deadlines_in_a_restart),
    Plant(name="removals are kept from agents", promise=(ORPHANS, ENDS), parts=keeps_removals_to_itself),
    Plant(name="gone agents are only refused", first_seed=8, promise=ORPHANS, parts=only_refuses_gone_agents),
    Plant(name="executors do not give back", promise="", patch=forgets_to_give_back),
    Plant(name="operators miss news", promise=FOLLOWS, parts=keeps_news_from_operators),
    Plant(name="an answer is of two moments", promise=MOMENT, patch=shows_two_moments),
)
