"""Stories of flows, told to the core and a world in memory."""

from __future__ import annotations

import pytest

from altiplano.engine.core import Wake
from altiplano.frameworks.flows import core, effects, events, placement, view
from altiplano.frameworks.flows.core import Options
from altiplano.frameworks.flows.effects import What
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.placement import Amount
from altiplano.frameworks.flows.progress import RuleState
from altiplano.model.tasks import State
from altiplano.testing.flows import FlowWorld

DIAMOND = "a: s\n\tx\nb: a\n\tx\nc: a\n\tx\nd: b c\n\tx\n"


def world(text: str = DIAMOND, **fields: object) -> FlowWorld:
    return FlowWorld(text=text, sources=("s",), **fields)  # type: ignore[arg-type]


def reports(flow: FlowWorld, what: What) -> list[effects.Report]:
    return [one for one in flow.done_effects if isinstance(one, effects.Report) and one.what is what]


def ending(flow: FlowWorld) -> str:
    (finish,) = (one for one in flow.done_effects if isinstance(one, effects.Finish))
    return finish.sentence


def until(flow: FlowWorld, *states: tuple[str, RuleState]) -> None:
    """Go on, without ending tasks, until rules are in these states."""
    for _ in range(2_000):
        if all(flow.states()[key] is state for key, state in states):
            return
        if flow.waiting:
            flow.step()
        else:
            assert flow.offer(), f"nothing happens any more: {flow.states()}"
    raise AssertionError(f"never {states}: {flow.states()}")


def settle(flow: FlowWorld) -> None:
    while flow.waiting:
        flow.step()


def test_every_rule_runs_once_after_what_it_needs() -> None:
    flow = world()
    assert flow.run() == 0
    assert flow.ran == ["a", "b", "c", "d"]
    assert ending(flow) == "all 4 rules are done"


def test_independent_rules_share_one_offer() -> None:
    flow = world()
    flow.run()
    launches = [one for one in flow.done_effects if isinstance(one, effects.Launch)]
    assert [len(launch.starts) for launch in launches] == [1, 2, 1]


def test_only_so_many_rules_run_at_one_time_as_was_said() -> None:
    text = "CORES=0.1\n" + "".join(f"f{number}: s\n\tx\n" for number in range(7))
    flow = world(text, options=Options(jobs_max=2))
    most = 0
    for _ in range(1_000):
        most = max(most, len(flow.tasks))
        if flow.core.state.exit_code is not None:
            break
        if flow.waiting:
            flow.step()
        else:
            assert flow.happen(), flow.states()
    assert (most, flow.core.state.exit_code) == (2, 0)
    assert len(flow.ran) == 7


def test_no_offers_are_wanted_while_no_more_rules_may_run() -> None:
    flow = world("a: s\n\tx\nb: s\n\tx\n", options=Options(jobs_max=1))
    until(flow, ("a", RuleState.RUNNING))
    settle(flow)
    assert not flow.subscribed
    flow.end_task(next(iter(flow.tasks)))
    settle(flow)
    assert flow.subscribed


def test_an_empty_workflow_ends_well_without_a_master() -> None:
    flow = world("# nothing\n")
    assert flow.run() == 0
    assert not any(isinstance(one, effects.Connect) for one in flow.done_effects)


def test_local_rules_run_here_and_need_no_master() -> None:
    flow = world("a: s\n\tLOCAL x\nb: a\n\tLOCAL x\n")
    assert flow.run() == 0
    assert flow.ran == ["a", "b"]
    assert not flow.connected


def test_local_rules_share_the_cores_of_the_manager() -> None:
    flow = world("a:\n\tLOCAL x\nb:\n\tLOCAL x\nc:\n\tLOCAL x\n", options=Options(local_cores_milli=2000))
    most = 0
    while flow.core.state.exit_code is None:
        flow.step()
        most = max(most, flow.core.state.local_used_milli)
    assert (most, flow.core.state.exit_code) == (2000, 0)


def test_a_local_rule_larger_than_the_manager_fails_with_numbers() -> None:
    flow = world("CORES=8\na:\n\tLOCAL x\n")
    assert flow.run() == 1
    assert reports(flow, What.FAILED)[0].sentence == "needs 8 cores next to the manager, which has 1 for LOCAL rules"


def test_a_failing_rule_is_tried_again_and_the_others_go_on() -> None:
    flow = world(DIAMOND.replace("b: a\n\tx", "b: a\n\tfail") + "e: s\n\tx\n")
    assert flow.run() == 1
    assert flow.ran.count(RuleKey("b")) == 6
    assert flow.states() == {
        "a": RuleState.DONE,
        "b": RuleState.FAILED,
        "c": RuleState.DONE,
        "d": RuleState.BLOCKED,
        "e": RuleState.DONE,
    }
    assert ending(flow) == "1 of 5 rules failed, 1 not run"
    (failed,) = view.failures(flow.core.state)
    assert failed.why == "its command ended with status 3 (after 6 tries)"
    assert (failed.line, failed.stderr_tail) == (3, "the last words")


def test_the_number_of_tries_can_be_chosen() -> None:
    flow = world("a:\n\tfail\n", options=Options(retries=2))
    assert flow.run() == 1
    assert flow.ran == ["a"] * 3


def test_a_rule_that_does_not_make_its_output_has_failed() -> None:
    flow = world("a:\n\tforget\n", options=Options(retries=0))
    assert flow.run() == 1
    assert reports(flow, What.FAILED)[0].sentence == "it ended well and did not make 'a' (after 1 try)"


def test_a_rule_that_fails_once_and_then_succeeds_is_done() -> None:
    words = iter(["fail", "x"])
    flow = world("a:\n\tx\n", outcome=lambda key, command: next(words))
    assert flow.run() == 0
    assert [report.sentence for report in reports(flow, What.RETRIED)] == ["its command ended with status 3"]


def test_lost_tasks_do_not_count_as_tries() -> None:
    words = iter(["lose"] * 20 + ["x"])
    flow = world("a:\n\tx\n", outcome=lambda key, command: next(words), options=Options(retries=0))
    assert flow.run() == 0
    assert flow.core.state.progress[RuleKey("a")].losses == 20


def test_a_rule_whose_tasks_are_always_lost_is_given_up() -> None:
    flow = world("a:\n\tlose\n")
    assert flow.run() == 1
    assert "100 tasks lost" in reports(flow, What.FAILED)[0].sentence


def test_the_biggest_rules_are_placed_first() -> None:
    agents = {"small": Amount(cpus_milli=1000, mem_mb=1024), "big": Amount(cpus_milli=4000, mem_mb=4096)}
    flow = world(":\n\tx1\n:\n@CORES=4\n\tx2\n", agents=agents)
    assert flow.run() == 0
    assert flow.ran == ["$ x2", "$ x1"]


def test_a_rule_that_no_agent_can_hold_fails_by_name_and_the_rest_runs() -> None:
    flow = world("a:\n\tx\nb:\n@CORES=4\n\tx\nc: b\n\tx\n")
    assert flow.run() == 1
    (failed,) = reports(flow, What.FAILED)
    assert failed.key == "b"
    assert failed.sentence == "no agent can hold it: it needs 4 cpus on one agent; the largest agent has 2 in all"
    assert flow.states() == {"a": RuleState.DONE, "b": RuleState.FAILED, "c": RuleState.BLOCKED}


def test_without_a_list_of_agents_what_was_ever_offered_decides_after_a_while() -> None:
    flow = world("CORES=4\na:\n\tx\n")
    until(flow, ("a", RuleState.READY))
    flow.offer()
    settle(flow)
    flow.waiting.append(events.AgentsListed(cause="t", agents=None))
    settle(flow)
    assert flow.states()["a"] is RuleState.READY
    flow.mono_s += core.BLIND_S
    flow.waiting.append(events.AgentsListed(cause="t", agents=None))
    settle(flow)
    assert "the largest agent has 2 ever free" in reports(flow, What.FAILED)[0].sentence


def test_with_no_agents_at_all_a_rule_waits() -> None:
    flow = world("a:\n\tx\n")
    until(flow, ("a", RuleState.READY))
    flow.waiting.append(events.AgentsListed(cause="t", agents=()))
    settle(flow)
    assert flow.states()["a"] is RuleState.READY


def test_a_waiting_rule_says_why() -> None:
    flow = world("a:\n@CORES=4\n\tx\nb: a\n\tx\n", agents={"a1": Amount(cpus_milli=2000, mem_mb=4096)})
    state = flow.core.state
    until(flow, ("a", RuleState.READY))
    assert view.waits_for(state, RuleKey("b")) == "needs 'a' from line 1, which is ready"
    settle(flow)
    assert view.waits_for(state, RuleKey("a")) == "no agent has offered anything yet"
    flow.offer()
    settle(flow)
    assert view.waits_for(state, RuleKey("a")) == "needs 4 cpus on one agent; the best agent has 2 free"


def test_what_our_own_rules_use_is_not_told_as_free() -> None:
    flow = world("a:\n@CORES=2\n\tx\nb:\n@CORES=2\n\tx\n")
    until(flow, ("a", RuleState.RUNNING))
    assert view.waits_for(flow.core.state, RuleKey("b")) == "needs 2 cpus on one agent; the best agent has 0 free"


def test_offers_are_suppressed_while_nothing_waits_and_asked_for_again() -> None:
    flow = world("a:\n\tx\nb: a\n\tx\n")
    until(flow, ("a", RuleState.RUNNING))
    assert not flow.subscribed
    flow.end_task("run.1")
    until(flow, ("b", RuleState.READY))
    settle(flow)
    assert flow.subscribed


def test_unused_offers_are_declined() -> None:
    agents = {name: Amount(cpus_milli=1000, mem_mb=1024) for name in ("a1", "a2", "a3")}
    flow = world("a:\n\tx\n", agents=agents)
    flow.run()
    (decline,) = (one for one in flow.done_effects if isinstance(one, effects.Decline))
    assert (len(decline.offer_ids), decline.refuse_s) == (2, core.DECLINE_S)


def test_every_update_is_acknowledged_also_of_unknown_tasks() -> None:
    flow = world("a:\n\tx\n")
    until(flow, ("a", RuleState.RUNNING))
    flow.tell("run.99", State.FINISHED)
    settle(flow)
    assert flow.done_effects[-1] == effects.Acknowledge(update_id="u-run.99")


def test_a_task_of_a_try_that_was_given_up_is_killed_when_it_returns() -> None:
    flow = world("a:\n\tx\n")
    until(flow, ("a", RuleState.RUNNING))
    flow.tell("run.1", State.UNREACHABLE)
    settle(flow)
    flow.tell("run.1", State.RUNNING)
    settle(flow)
    kills = [one for one in flow.done_effects if isinstance(one, effects.KillTask)]
    assert [kill.task_id for kill in kills] == ["run.1", "run.1"]


def test_a_rule_that_runs_longer_than_its_wall_time_is_killed_and_has_failed() -> None:
    flow = world("a:\n@WALL_TIME=60\n\tx\n", options=Options(retries=0))
    until(flow, ("a", RuleState.RUNNING))
    assert flow.core.wake_at() == flow.mono_s + 60
    flow.mono_s += 61
    flow.waiting.append(Wake(cause="t"))
    settle(flow)
    assert flow.core.state.exit_code == 1
    assert reports(flow, What.FAILED)[0].sentence == "it ran longer than its wall time of 60 s (after 1 try)"


def test_an_interrupted_run_kills_its_tasks_and_ends() -> None:
    flow = world()
    until(flow, ("a", RuleState.RUNNING))
    flow.waiting.append(events.Interrupted(cause="t", sentence="Ctrl-C"))
    assert flow.run() == 130
    assert set(flow.states().values()) == {RuleState.ABORTED}
    assert not flow.tasks


def test_an_interruption_waits_only_so_long_for_tasks_to_end() -> None:
    flow = world()
    until(flow, ("a", RuleState.RUNNING))
    flow.tasks.clear()
    flow.waiting.append(events.Interrupted(cause="t", sentence="Ctrl-C"))
    settle(flow)
    assert flow.core.state.exit_code is None
    assert flow.core.wake_at() == flow.mono_s + core.ABORT_S_MAX
    assert flow.run() == 130


# Going on after a restart


def test_a_finished_run_has_nothing_left_to_do() -> None:
    flow = world()
    flow.run()
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "b", "c", "d"]
    assert len(reports(flow, What.KEPT)) == 4


def test_a_killed_manager_finds_its_running_tasks_again() -> None:
    flow = world()
    until(flow, ("a", RuleState.RUNNING))
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "b", "c", "d"]


def test_inputs_that_were_asked_for_while_nobody_served_them_cost_the_rule_no_try() -> None:
    flow = world(options=Options(retries=0))
    until(flow, ("a", RuleState.LAUNCHED))
    flow.kill()
    settle(flow)
    flow.tasks.clear()
    flow.tell("run.1", State.FAILED, began=False)
    assert flow.run() == 0
    assert flow.core.state.progress[RuleKey("a")].losses == 1


def test_inputs_that_cannot_be_fetched_from_a_run_that_serves_them_cost_a_try() -> None:
    flow = world(options=Options(retries=0))
    until(flow, ("a", RuleState.LAUNCHED))
    flow.tasks.clear()
    flow.tell("run.1", State.FAILED, began=False)
    assert flow.run() == 1


def test_a_resumed_task_whose_command_fails_has_failed() -> None:
    flow = world(options=Options(retries=0))
    until(flow, ("a", RuleState.RUNNING))
    flow.kill()
    settle(flow)
    flow.tasks.clear()
    flow.tell("run.1", State.FAILED, exit_status=1)
    assert flow.run() == 1


def test_what_an_offer_cannot_start_at_once_comes_back_at_once() -> None:
    rules = placement.LAUNCHES_MAX + 7
    text = "CORES=0.001\nMEMORY=1\n" + "".join(f"o{n}:\n\tx\n" for n in range(rules))
    flow = world(text, agents={"a1": Amount(cpus_milli=rules * 2, mem_mb=rules * 2)})
    until(flow, *((f"o{n}", RuleState.RUNNING) for n in range(rules)))
    launches = [one for one in flow.done_effects if isinstance(one, effects.Launch)]
    assert [len(one.starts) for one in launches] == [placement.LAUNCHES_MAX, 7]
    assert [one.refuse_s for one in launches] == [0.0, core.DECLINE_S]


def test_a_task_that_vanished_meanwhile_runs_again_under_another_id() -> None:
    flow = world()
    until(flow, ("a", RuleState.RUNNING))
    flow.tasks.clear()
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "a", "b", "c", "d"]
    assert flow.core.state.launches == 5


def test_a_resumed_run_tries_failed_rules_again() -> None:
    flow = world(DIAMOND.replace("b: a\n\tx", "b: a\n\tfail"), options=Options(retries=0))
    assert flow.run() == 1
    flow.outcome = lambda key, command: "x"
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "b", "c", "b", "d"]


def test_a_resumed_run_goes_on_after_an_interruption() -> None:
    flow = world()
    until(flow, ("a", RuleState.RUNNING))
    flow.waiting.append(events.Interrupted(cause="t", sentence="Ctrl-C"))
    flow.run()
    flow.kill()
    assert flow.run() == 0


def test_a_missing_output_is_made_again_with_all_that_follows() -> None:
    flow = world()
    flow.run()
    del flow.files["b"]
    flow.kill()
    assert flow.run() == 0
    assert flow.ran[4:] == ["b", "d"]


def test_an_output_changed_by_hand_makes_again_what_needs_it_and_only_once() -> None:
    flow = world()
    flow.run()
    flow.write("b")
    flow.kill()
    flow.run()
    flow.kill()
    assert flow.run() == 0
    assert flow.ran[4:] == ["d"]


def test_a_changed_source_or_command_makes_nothing_again_unless_asked() -> None:
    flow = world()
    flow.run()
    flow.write("s")
    flow.text = DIAMOND.replace("c: a\n\tx", "c: a\n\ty")
    flow.kill()
    flow.run()
    assert len(flow.ran) == 4
    flow.options = Options(rerun_changed=True)
    flow.kill()
    assert flow.run() == 0
    assert flow.ran[4:] == ["a", "b", "c", "d"]


def test_a_rule_added_anywhere_runs_alone() -> None:
    flow = world()
    flow.run()
    flow.text = "new: s\n\tx\n" + DIAMOND
    flow.kill()
    assert flow.run() == 0
    assert flow.ran[4:] == ["new"]


def test_a_removed_rule_leaves_its_facts_without_harm() -> None:
    flow = world()
    flow.run()
    flow.text = DIAMOND.replace("d: b c\n\tx\n", "")
    flow.kill()
    assert flow.run() == 0
    assert len(flow.ran) == 4


def test_without_the_file_check_missing_outputs_do_not_matter() -> None:
    flow = world(options=Options(file_check=False))
    flow.run()
    del flow.files["b"]
    flow.kill()
    assert flow.run() == 0
    assert len(flow.ran) == 4


def test_a_local_rule_that_ran_during_a_crash_runs_again() -> None:
    flow = world("a:\n\tLOCAL x\n")
    while flow.states()["a"] is not RuleState.RUNNING:
        flow.step()
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "a"]


def test_a_snapshot_leads_to_the_same_state() -> None:
    flow = world(DIAMOND.replace("c: a\n\tx", "c: a\n\tfail"), options=Options(retries=1))
    flow.run()
    before = flow.states()
    flow.log = [flow.codec.encode(fact) for fact in flow.core.summary()]
    flow.open()
    assert flow.states() == before
    assert flow.core.state.launches == len(flow.ran)


# Nested workflows

OUTER = "a: s\n\tx\nb: a\n\tMAKEFLOW inner\nc: b\n\tx\n"
INNER = "i: a\n\tx\nb: i\n\tx\n"


def test_the_rules_of_a_nested_workflow_run_in_place_of_its_rule() -> None:
    flow = world(OUTER, nested={"inner": INNER})
    assert flow.run() == 0
    assert flow.ran == ["a", "b » i", "b » b", "c"]


def test_a_nested_workflow_that_does_not_make_the_output_has_failed() -> None:
    flow = world(OUTER, nested={"inner": "i: a\n\tx\n"})
    assert flow.run() == 1
    assert reports(flow, What.FAILED)[0].sentence == "it ended well and did not make 'b'"


def test_a_failed_rule_inside_fails_the_rule_outside() -> None:
    flow = world(OUTER, nested={"inner": INNER.replace("i: a\n\tx", "i: a\n\tfail")}, options=Options(retries=0))
    assert flow.run() == 1
    assert [report.key for report in reports(flow, What.FAILED)] == ["b » i", "b"]
    assert reports(flow, What.FAILED)[1].sentence == "2 of the 2 rules of its workflow did not end well"
    assert flow.states()["c"] is RuleState.BLOCKED


def test_a_bad_nested_file_fails_its_rule_with_the_line() -> None:
    flow = world(OUTER, nested={"inner": "oops\n"})
    assert flow.run() == 1
    assert reports(flow, What.FAILED)[0].sentence.startswith("inner:1: 'oops' is neither")


def test_an_empty_nested_workflow_is_done_at_once() -> None:
    flow = world(":\n\tMAKEFLOW inner\n", nested={"inner": ""})
    assert flow.run() == 0


def test_workflows_nest_in_nested_ones() -> None:
    flow = world(OUTER, nested={"inner": "b: a\n\tMAKEFLOW core\n", "core": "b: a\n\tx\n"})
    assert flow.run() == 0
    assert flow.ran == ["a", "b » b » b", "c"]


def test_tasks_of_a_nested_workflow_are_found_again_after_a_crash() -> None:
    flow = world(OUTER, nested={"inner": INNER})
    for _ in range(200):
        if any(task.key == "b » i" for task in flow.tasks.values()):
            break
        if flow.waiting:
            flow.step()
        elif not flow.offer():
            flow.end_task(next(iter(flow.tasks)))
    flow.kill()
    assert flow.run() == 0
    assert flow.ran == ["a", "b » i", "b » b", "c"]


@pytest.mark.parametrize("crash_after", range(1, 60, 3))
def test_a_crash_at_any_moment_loses_no_finished_rule(crash_after: int) -> None:
    flow = world(OUTER + "d: c\n\tLOCAL x\n", nested={"inner": INNER})
    for _ in range(crash_after):
        if flow.core.state.exit_code is not None:
            break
        if flow.waiting:
            flow.step()
        else:
            flow.happen()
    done = [key for key, state in flow.states().items() if state is RuleState.DONE and key != "b"]
    count = len(flow.ran)
    flow.kill()
    assert flow.run() == 0
    assert not set(done) & set(flow.ran[count:])
