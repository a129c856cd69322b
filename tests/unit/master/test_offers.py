"""Offers as frameworks see them: rules of who gets what when, and what declines mean."""

from __future__ import annotations

from altiplano.engine.core import Wake
from altiplano.link import messages as link_messages
from altiplano.master.offers import TOLD_PER_SLICE
from altiplano.master.state import Config
from altiplano.wire.messages import mesos, scheduler
from tests.unit.master.pool import INTERVAL_S, CallType, Capability, Framework, Pool, value_of


def agents_of(framework: Framework) -> list[str]:
    return sorted(offer.agent_id.value for offer in framework.offers())


def offers_events(framework: Framework) -> list[int]:
    """The sizes of the OFFERS events so far."""
    return [len(event.offers.offers) for event in framework.events() if event.offers is not None]


def test_subscribe_is_answered_by_one_offers_event_with_every_agent():
    pool = Pool()
    agents = [pool.agent() for _ in range(30)]
    framework = pool.framework()
    pool.run()
    assert framework.types() == ["SUBSCRIBED", "OFFERS"]
    assert agents_of(framework) == sorted(agent.id for agent in agents)


def test_revive_is_answered_by_one_offers_event_with_every_agent_that_was_declined():
    pool = Pool()
    for _ in range(5):
        pool.agent()
    framework = pool.framework()
    pool.run()
    framework.decline(*framework.offers(), seconds=1000)
    pool.run(1.0)
    framework.call(CallType.REVIVE)
    pool.run()
    assert offers_events(framework) == [5, 5]


def test_many_frameworks_are_told_in_slices_and_each_in_one_event():
    pool = Pool()
    frameworks = [pool.framework() for _ in range(TOLD_PER_SLICE + 50)]
    for _ in range(2 * len(frameworks)):
        pool.agent("cpus:1;mem:128")
    told = 0
    while told < len(frameworks):
        at_s = pool.core.wake_at()
        pool.clock.advance(max(0.0, at_s - pool.clock.now().mono_s))
        decision = pool.post(Wake(cause="wake"))
        now = sum(1 for effect in decision.effects if getattr(getattr(effect, "event", None), "offers", None))
        assert now <= TOLD_PER_SLICE
        told += now
    assert all(offers_events(framework) == [2] for framework in frameworks)
    assert not pool.state.allocator.running


def test_a_revive_during_a_run_is_answered_by_one_event_after_all_agents_were_looked_at():
    pool = Pool()
    for _ in range(40):
        pool.agent()
    framework = pool.framework()
    pool.run()
    offers = framework.offers()
    framework.decline(*offers[:20], seconds=1000)
    framework.decline(*offers[20:], seconds=0)
    pool.run(INTERVAL_S * 2.5)
    framework.decline(*framework.offers(), seconds=0)
    pool.clock.advance(INTERVAL_S * 2)
    # The run has begun and not ended when the framework revives.
    began = pool.core.state.allocator

    pool.post(Wake(cause="begin"))
    assert began.running
    framework.call(CallType.REVIVE)
    before = len(offers_events(framework))
    pool.run()
    assert offers_events(framework)[before:] == [40]


def test_offers_kept_back_for_a_revive_are_told_also_when_nothing_else_is_left_to_look_at():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    framework.decline(*framework.offers(), seconds=0)
    pool.clock.advance(INTERVAL_S * 2)
    pool.post(Wake(cause="begin"))
    assert pool.core.state.allocator.running
    framework.call(CallType.REVIVE)
    before = len(offers_events(framework))
    pool.run(0.1)
    assert offers_events(framework)[before:] == [1]
    assert not pool.core.state.untold


def test_what_was_declined_stays_away_for_as_long_as_was_asked_then_returns_on_the_beat_all_at_once():
    pool = Pool()
    for _ in range(4):
        pool.agent()
    framework = pool.framework()
    pool.run()
    for offer in framework.offers():
        framework.decline(offer, seconds=1.5)
        pool.run(0.001)
    pool.run(1.45)
    assert framework.offers() == []
    pool.run(INTERVAL_S + 0.05)
    assert offers_events(framework) == [4, 4]


def test_a_decline_for_nothing_still_holds_for_one_interval():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    framework.decline(framework.offer(), seconds=0)
    pool.run(INTERVAL_S * 0.5)
    assert framework.offers() == []
    pool.run(INTERVAL_S * 2)
    assert len(framework.offers()) == 1


def test_without_filters_a_decline_refuses_for_five_seconds():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    framework.decline(framework.offer())
    pool.run(4.9)
    assert framework.offers() == []
    pool.run(0.3)
    assert len(framework.offers()) == 1


def test_others_get_at_once_what_one_declined_for_long():
    pool = Pool()
    pool.agent()
    first = pool.framework()
    pool.run()
    second = pool.framework()
    pool.run()
    first.decline(first.offer(), seconds=1000)
    pool.run()
    assert (len(first.offers()), len(second.offers())) == (0, 1)


def test_more_than_was_declined_is_offered_at_once():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    task = framework.task(offer, "cpus:4;mem:1024")
    framework.launch(offer, task, seconds=1000)
    pool.run(1.0)
    assert framework.offers() == []
    agent.update(framework.id, task.task_id.value, "TASK_FINISHED")
    pool.run()
    assert value_of(framework.offer().resources).scalar("cpus") == 8000


def test_a_short_decline_does_not_change_whose_turn_it_is():
    pool = Pool()
    for _ in range(4):
        pool.agent("cpus:2;mem:1024")
    first = pool.framework()
    pool.run()
    second = pool.framework()
    pool.run()
    for offer in first.offers():
        first.decline(offer, seconds=0)
        pool.run(0.005)
    assert (len(first.offers()), len(second.offers())) == (0, 2)
    pool.run(INTERVAL_S * 2)
    assert (len(first.offers()), len(second.offers())) == (2, 2)


def test_waiting_frameworks_get_different_agents_whole():
    pool = Pool()
    frameworks = [pool.framework() for _ in range(3)]
    pool.run()
    for _ in range(3):
        pool.agent()
    pool.run()
    assert [len(framework.offers()) for framework in frameworks] == [1, 1, 1]
    assert all(value_of(one.offer().resources).scalar("cpus") == 8000 for one in frameworks)


def test_an_agent_is_split_when_fewer_agents_are_free_than_frameworks_wait():
    pool = Pool()
    frameworks = [pool.framework() for _ in range(4)]
    pool.run()
    pool.agent()
    pool.run()
    parts = [value_of(framework.offer().resources) for framework in frameworks]
    assert [part.scalar("cpus") for part in parts] == [2000] * 4
    ports = [port for part in parts for begin, end in part.ranges("ports") for port in range(begin, end + 1)]
    assert sorted(ports) == list(range(31000, 31100))


def test_a_framework_that_holds_more_than_its_share_does_not_split_what_becomes_free():
    pool = Pool()
    agents = [pool.agent("cpus:2;mem:1024") for _ in range(4)]
    rich = pool.framework()
    pool.run()
    for offer in rich.offers():
        rich.launch(offer, rich.task(offer, "cpus:2;mem:1024"))
    poor = pool.framework()
    pool.run()
    framework_id, task_id = sorted(pool.state.agents[agents[0].id].tasks)[0]
    agents[0].update(framework_id, task_id, "TASK_FINISHED")
    pool.run()
    assert rich.offers() == []
    assert value_of(poor.offer().resources).scalar("cpus") == 2000


def test_a_lone_framework_gets_the_whole_agent():
    pool = Pool()
    for framework in [pool.framework() for _ in range(2)]:
        framework.call(CallType.SUPPRESS)
    framework = pool.framework()
    pool.agent()
    pool.run()
    assert value_of(framework.offer().resources).scalar("cpus") == 8000


def test_suppressed_roles_get_nothing_and_keep_what_they_have():
    pool = Pool()
    pool.agent()
    framework = pool.framework(roles=("a", "b"))
    pool.run()
    role = framework.offer().allocation_info.role
    framework.call(CallType.SUPPRESS, suppress=scheduler.CallSuppress(roles=(role,)))
    assert len(framework.offers()) == 1
    framework.decline(framework.offer(), seconds=0)
    pool.run()
    assert framework.offer().allocation_info.role == ({"a", "b"} - {role}).pop()


def test_one_wrong_role_spoils_a_revive():
    pool = Pool()
    pool.agent()
    framework = pool.framework(suppressed=("*",))
    revive = scheduler.CallRevive(roles=("*", "other"))
    assert framework.call(CallType.REVIVE, revive=revive).status == 202
    pool.run()
    assert framework.offers() == []
    assert any("other" in note for note in pool.notes(framework.id))


def test_roles_share_by_their_weights():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, weights=(("heavy", 3.0),)))
    heavy, light = pool.framework(roles=("heavy",)), pool.framework(roles=("light",))
    pool.run()
    for _ in range(8):
        pool.agent()
    pool.run()
    assert (len(heavy.offers()), len(light.offers())) == (6, 2)


def test_an_unused_offer_is_rescinded_after_its_timeout():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, offer_timeout_s=2.0))
    pool.agent()
    framework = pool.framework()
    pool.run(1.9)
    assert framework.types() == ["SUBSCRIBED", "OFFERS"]
    pool.run(0.2)
    assert framework.types()[2] == "RESCIND"


def test_others_get_what_timed_out_though_they_hold_more():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, offer_timeout_s=2.0))
    agents = [pool.agent("cpus:2;mem:1024") for _ in range(2)]
    worker = pool.framework()
    pool.run()
    offer = worker.offers()[0]
    worker.launch(offer, worker.task(offer, "cpus:2;mem:1024"))
    worker.decline(*worker.offers(), seconds=0.5)
    hoarder = pool.framework()
    pool.run(1.5)
    assert (len(worker.offers()), len(hoarder.offers())) == (0, 1)
    pool.run(1.0)
    assert (len(worker.offers()), len(hoarder.offers())) == (1, 0)
    assert len(agents) == 2


def test_offers_time_out_by_their_own_age():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, offer_timeout_s=2.0))
    pool.agent()
    framework = pool.framework()
    pool.run(1.0)
    pool.agent()
    pool.run(0.95)
    assert framework.types() == ["SUBSCRIBED", "OFFERS", "OFFERS"]
    pool.run(0.1)
    assert framework.types()[3:] == ["RESCIND"]
    pool.run(1.0)
    assert framework.types()[3:] == ["RESCIND", "OFFERS", "RESCIND"]


def test_offers_of_reserved_resources_do_not_time_out():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, offer_timeout_s=2.0))
    pool.agent("cpus:4;mem:1024;cpus(a):2")
    framework = pool.framework(roles=("a",))
    pool.run(5.0)
    assert framework.types() == ["SUBSCRIBED", "OFFERS"]


def test_an_agent_is_kept_for_a_framework_that_declines_it_shortly_for_three_beats_only():
    pool = Pool()
    pool.agent("cpus:1;mem:128")
    eager = pool.framework()
    pool.run()
    eager.start()
    fickle = pool.framework()
    pool.agent("cpus:1.5;mem:200")
    pool.run()
    for _ in range(3):
        fickle.decline(fickle.offer(), seconds=0)
        pool.run(INTERVAL_S * 2)
        assert (len(fickle.offers()), len(eager.offers())) == (1, 0)
    fickle.decline(fickle.offer(), seconds=0)
    pool.run()
    assert (len(fickle.offers()), len(eager.offers())) == (0, 1)


def test_a_framework_that_declined_two_parts_is_offered_a_whole_agent():
    pool = Pool()
    large, small = pool.framework(), pool.framework()
    pool.run()
    pool.agent()
    pool.run()
    sizes = []
    for _ in range(3):
        for framework in (large, small):
            if framework.offers():
                sizes.append((framework is large, value_of(framework.offer().resources).scalar("cpus")))
        large.decline(*large.offers(), seconds=1.0)
        small.decline(*small.offers(), seconds=1.0)
        pool.run(1.0 + INTERVAL_S * 2)
    assert sizes == [(True, 4000), (False, 4000), (True, 4000), (False, 4000), (True, 8000)]


def test_what_one_may_not_have_of_an_agent_goes_to_the_next():
    pool = Pool()
    plain, owner = pool.framework(roles=("a-first",)), pool.framework(roles=("owner",))
    pool.run()
    pool.agent("cpus:4;mem:1024;cpus(owner):2")
    pool.run()
    assert value_of(plain.offer().resources).scalar("cpus") == 2000
    owned = value_of(owner.offer().resources)
    assert (owned.scalar("cpus"), owned.reserved("owner").scalar("cpus")) == (4000, 2000)


def test_agents_with_gpus_go_to_frameworks_that_want_gpus_only():
    pool = Pool()
    plain = pool.framework()
    pool.agent("cpus:4;mem:1024;gpus:2")
    pool.run()
    assert plain.offers() == []
    able = pool.framework(capabilities=(Capability.GPU_RESOURCES,))
    pool.run()
    assert value_of(able.offer().resources).scalar("gpus") == 2000


def test_crumbs_are_not_offered():
    pool = Pool()
    pool.agent("cpus:0.005;mem:16;disk:100")
    framework = pool.framework()
    pool.run(1.0)
    assert framework.offers() == []


def test_an_event_about_one_agent_looks_at_that_agent_only():
    pool = Pool()
    agents = [pool.agent() for _ in range(50)]
    framework = pool.framework()
    pool.run()
    framework.decline(*framework.offers()[1:], seconds=1000)
    pool.run()
    offer = framework.offers()[0]
    task = framework.task(offer)
    framework.launch(offer, task, seconds=1000)
    pool.run(1.0)
    before = pool.state.allocator.visits
    agent = next(one for one in agents if one.id == offer.agent_id.value)
    agent.update(framework.id, task.task_id.value, "TASK_FINISHED")
    pool.run()
    assert pool.state.allocator.visits - before == 1


def test_an_idle_master_does_not_wake():
    pool = Pool()
    pool.framework(suppressed=("*",))
    pool.run(1.0)
    assert pool.core.wake_at() == pool.state.timers.next_s()
    assert pool.core.wake_at() > pool.clock.now().mono_s + 1.0


def test_offers_name_the_custom_executors_of_their_framework():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    executor = mesos.ExecutorInfo(
        type=mesos.ExecutorInfoType.CUSTOM,
        executor_id=mesos.ExecutorID(value="x1"),
        command=mesos.CommandInfo(value="run"),
    )
    framework.start(executor=executor, command=None)
    pool.run(INTERVAL_S * 3)
    assert [one.value for one in framework.offer().executor_ids] == ["x1"]


def test_a_decline_of_unknown_or_foreign_offers_is_passed_over():
    pool = Pool()
    pool.agent()
    first = pool.framework()
    pool.run()
    second = pool.framework()
    second.decline(first.offer(), seconds=0)
    assert len(first.offers()) == 1


def test_offers_of_a_broken_link_are_rescinded_and_come_again():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    agent.cut()
    pool.run()
    assert framework.types()[2:] == ["RESCIND"]
    agent.hello()
    pool.run()
    assert agent.heard(link_messages.Welcome)[0].agent_id == agent.id
    assert framework.types()[3:] == ["OFFERS"]
