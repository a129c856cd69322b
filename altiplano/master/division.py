"""Large calls in parts, each of which the core decides within a slice of the loop.

A framework that declines ten thousand offers, or launches as many tasks, is right to do so in one call;
the others shall not notice.  Between two parts the loop is free.  What is left of accepted offers
stays on offer to the framework until the last part, so nobody else is given it in between.
"""

from __future__ import annotations

from collections.abc import Iterator

from altiplano.master import infos
from altiplano.wire.messages import mesos, scheduler

Type = scheduler.CallType

OFFERS_PER_PART = 100
"""Offers that are declined in one slice."""

TASKS_PER_PART = 20
"""Tasks that are launched in one slice; operations that launch nothing count as one task each."""

RECONCILED_PER_PART = 200
"""Tasks that are looked up in one slice."""


def parts(call: scheduler.Call) -> Iterator[tuple[scheduler.Call, bool]]:
    """The call itself or its parts, in order, each with whether more follow."""
    match call.type:
        case Type.DECLINE if call.decline is not None and len(call.decline.offer_ids) > OFFERS_PER_PART:
            yield from _decline(call, call.decline)
        case Type.RECONCILE if call.reconcile is not None and len(call.reconcile.tasks) > RECONCILED_PER_PART:
            yield from _reconcile(call, call.reconcile)
        case Type.ACCEPT if call.accept is not None and sum(map(_weight, call.accept.operations)) > TASKS_PER_PART:
            yield from _accept(call, call.accept)
        case _:
            yield call, False


def _decline(call: scheduler.Call, decline: scheduler.CallDecline) -> Iterator[tuple[scheduler.Call, bool]]:
    ids = decline.offer_ids
    for start in range(0, len(ids), OFFERS_PER_PART):
        part = infos.replace(decline, offer_ids=ids[start : start + OFFERS_PER_PART])
        yield infos.replace(call, decline=part), start + OFFERS_PER_PART < len(ids)


def _reconcile(call: scheduler.Call, asked: scheduler.CallReconcile) -> Iterator[tuple[scheduler.Call, bool]]:
    tasks = asked.tasks
    for start in range(0, len(tasks), RECONCILED_PER_PART):
        part = infos.replace(asked, tasks=tasks[start : start + RECONCILED_PER_PART])
        yield infos.replace(call, reconcile=part), start + RECONCILED_PER_PART < len(tasks)


def _accept(call: scheduler.Call, accept: scheduler.CallAccept) -> Iterator[tuple[scheduler.Call, bool]]:
    offer_ids = accept.offer_ids
    groups = list(_operations(accept.operations))
    for number, operations in enumerate(groups, 1):
        part = infos.replace(accept, offer_ids=offer_ids, operations=operations)
        yield infos.replace(call, accept=part), number < len(groups)
        # The first part leaves what it did not use in the first of the offers.
        offer_ids = accept.offer_ids[:1]


def _operations(operations: tuple[mesos.OfferOperation, ...]) -> Iterator[tuple[mesos.OfferOperation, ...]]:
    """The operations in order, cut where a part is full; a task group is never cut."""
    part: list[mesos.OfferOperation] = []
    room = TASKS_PER_PART
    for operation in operations:
        for piece in _pieces(operation):
            if _weight(piece) > room and part:
                yield tuple(part)
                part, room = [], TASKS_PER_PART
            part.append(piece)
            room -= _weight(piece)
    yield tuple(part)


def _pieces(operation: mesos.OfferOperation) -> Iterator[mesos.OfferOperation]:
    if operation.type is not mesos.OfferOperationType.LAUNCH or operation.launch is None:
        yield operation
        return
    tasks = operation.launch.task_infos
    for start in range(0, len(tasks) or 1, TASKS_PER_PART):
        launch = mesos.OfferOperationLaunch(task_infos=tasks[start : start + TASKS_PER_PART])
        yield infos.replace(operation, launch=launch)


def _weight(operation: mesos.OfferOperation) -> int:
    if operation.launch is not None:
        return max(1, len(operation.launch.task_infos))
    if operation.launch_group is not None:
        return max(1, len(operation.launch_group.task_group.tasks))
    return 1
