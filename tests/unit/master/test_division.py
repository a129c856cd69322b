"""Large calls are decided in parts, and nobody can tell from the outcome."""

from __future__ import annotations

import pytest

from altiplano.master import division, events, reconcile
from altiplano.model.resources import EMPTY
from altiplano.wire.messages import mesos, scheduler
from tests.unit.master.pool import CallType, Capability, Framework, Pool

COUNT = 3 * division.TASKS_PER_PART + 1


def large(pool: Pool, framework: Framework, call: scheduler.Call) -> list[int]:
    """Make a call as the shell does; how many facts each part came to."""
    sizes = []
    for part, more in division.parts(call):
        to = pool.next("call")
        event = events.FrameworkCalls(to=to, stream=framework.stream, call=part, cause=to, more=more)
        sizes.append(len(pool.post(event).facts))
    return sizes


def accept(framework: Framework, offers: list[mesos.Offer], *tasks: mesos.TaskInfo) -> scheduler.Call:
    launch = mesos.OfferOperation(
        type=mesos.OfferOperationType.LAUNCH, launch=mesos.OfferOperationLaunch(task_infos=tasks)
    )
    return scheduler.Call(
        type=CallType.ACCEPT,
        framework_id=mesos.FrameworkID(value=framework.id or ""),
        accept=scheduler.CallAccept(offer_ids=tuple(offer.id for offer in offers), operations=(launch,)),
    )


def test_small_calls_are_left_as_they_are():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    call = accept(framework, framework.offers(), framework.task(framework.offer()))
    ((part, more),) = division.parts(call)
    assert (part is call, more) == (True, False)


def test_tasks_of_a_large_accept_are_launched_in_slices_on_what_is_left_of_the_offer():
    pool = Pool()
    pool.agent("cpus:100;mem:10000")
    framework, other = pool.framework(), pool.framework()
    pool.run()
    owner = framework if framework.offers() else other
    offer = owner.offer()
    tasks = [owner.task(offer, "cpus:0.5;mem:32") for _ in range(COUNT)]
    sizes = large(pool, owner, accept(owner, [offer], *tasks))
    assert len(sizes) == 4
    assert max(sizes) <= division.TASKS_PER_PART + 10
    assert len(pool.state.frameworks[owner.id or ""].tasks) == COUNT
    assert not pool.state.frameworks[owner.id or ""].offers
    assert not [event for event in owner.events() if event.rescind is not None]


def test_between_two_parts_what_is_left_is_nobody_elses():
    pool = Pool()
    pool.agent("cpus:100;mem:10000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    call = accept(framework, [offer], *(framework.task(offer, "cpus:0.5;mem:32") for _ in range(COUNT)))
    (part, more), *rest = division.parts(call)
    to = pool.next("call")
    pool.post(events.FrameworkCalls(to=to, stream=framework.stream, call=part, cause=to, more=more))
    other = pool.framework()
    pool.run(5.0)
    assert not other.offers()
    assert str(pool.state.offers[offer.id.value].resources) == "cpus:90; mem:9360"
    for part, more in rest:
        to = pool.next("call")
        pool.post(events.FrameworkCalls(to=to, stream=framework.stream, call=part, cause=to, more=more))
    pool.run(5.0)
    assert other.offers()


def test_tasks_beyond_what_an_offer_holds_are_refused_in_every_part():
    pool = Pool()
    pool.agent("cpus:5;mem:10000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    large(
        pool,
        framework,
        accept(framework, [offer], *(framework.task(offer, "cpus:0.5;mem:32") for _ in range(COUNT))),
    )
    assert len(pool.state.frameworks[framework.id or ""].tasks) == 10
    refused = [status for status in framework.updates() if status.state is mesos.TaskState.TASK_ERROR]
    assert len(refused) == COUNT - 10
    assert pool.state.allocator.members[offer.agent_id.value].free is not EMPTY


def test_tasks_of_the_parts_after_a_lost_agent_are_dropped():
    pool = Pool()
    agent = pool.agent("cpus:100;mem:10000")
    framework = pool.framework(capabilities=(Capability.PARTITION_AWARE,))
    pool.run()
    offer = framework.offer()
    call = accept(framework, [offer], *(framework.task(offer, "cpus:0.5;mem:32") for _ in range(COUNT)))
    for number, (part, more) in enumerate(division.parts(call)):
        if number == 1:
            agent.cut()
        to = pool.next("call")
        pool.post(events.FrameworkCalls(to=to, stream=framework.stream, call=part, cause=to, more=more))
    dropped = [status for status in framework.updates() if status.state is mesos.TaskState.TASK_DROPPED]
    assert len(dropped) == COUNT - division.TASKS_PER_PART


def test_a_group_is_never_cut():
    executor = mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="e"))
    task = mesos.TaskInfo(name="t", task_id=mesos.TaskID(value="t"), agent_id=mesos.AgentID(value="a"))
    group = mesos.OfferOperation(
        type=mesos.OfferOperationType.LAUNCH_GROUP,
        launch_group=mesos.OfferOperationLaunchGroup(
            executor=executor, task_group=mesos.TaskGroupInfo(tasks=(task,) * (division.TASKS_PER_PART + 5))
        ),
    )
    call = scheduler.Call(
        type=CallType.ACCEPT,
        framework_id=mesos.FrameworkID(value="f"),
        accept=scheduler.CallAccept(offer_ids=(mesos.OfferID(value="o"),), operations=(group, group)),
    )
    assert [part.accept.operations for part, _ in division.parts(call) if part.accept] == [(group,), (group,)]


@pytest.mark.parametrize("count", [1, division.OFFERS_PER_PART, division.OFFERS_PER_PART + 1, 1000])
def test_every_offer_of_a_decline_is_in_one_part(count: int):
    offer_ids = tuple(mesos.OfferID(value=f"o{number}") for number in range(count))
    call = scheduler.Call(
        type=CallType.DECLINE,
        framework_id=mesos.FrameworkID(value="f"),
        decline=scheduler.CallDecline(offer_ids=offer_ids, filters=mesos.Filters(refuse_seconds=7.0)),
    )
    parts = [(part.decline, more) for part, more in division.parts(call) if part.decline is not None]
    assert sum((decline.offer_ids for decline, _ in parts), ()) == offer_ids
    assert all(decline.filters == mesos.Filters(refuse_seconds=7.0) for decline, _ in parts)
    assert [more for _, more in parts] == [True] * (len(parts) - 1) + [False]


def test_all_tasks_of_a_framework_are_told_in_slices_each_as_it_stands_then():
    pool = Pool()
    agent = pool.agent("cpus:200;mem:100000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    count = 2 * reconcile.TASKS_PER_SLICE + 50
    tasks = [framework.task(offer, "cpus:0.1;mem:32") for _ in range(count)]
    framework.launch(offer, *tasks)
    framework.call(CallType.RECONCILE, reconcile=scheduler.CallReconcile())
    assert len(framework.updates()) == reconcile.TASKS_PER_SLICE
    last = tasks[-1].task_id.value
    agent.update(framework.id or "", last, "TASK_RUNNING")
    pool.run()
    assert {status.task_id.value for status in framework.updates()} == {task.task_id.value for task in tasks}
    assert framework.updates(last)[-1].state is mesos.TaskState.TASK_RUNNING
    assert not pool.state.reconciling


def test_a_framework_that_leaves_is_told_nothing_more():
    pool = Pool()
    pool.agent("cpus:200;mem:100000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    framework.launch(offer, *(framework.task(offer, "cpus:0.1;mem:32") for _ in range(reconcile.TASKS_PER_SLICE + 1)))
    framework.call(CallType.RECONCILE, reconcile=scheduler.CallReconcile())
    framework.close()
    assert not pool.state.reconciling
    pool.run()
