"""ACCEPT: what a framework does with offers."""

from __future__ import annotations

import msgspec

from altiplano.link import messages as link_messages
from altiplano.master import facts, infos, offers, validation, view
from altiplano.master.outcome import Outcome
from altiplano.master.state import Agent, Framework, Offer
from altiplano.model import values
from altiplano.model.resources import EMPTY, Resources
from altiplano.model.tasks import State
from altiplano.wire import json
from altiplano.wire.messages import master, mesos, scheduler

Reason = mesos.TaskStatusReason
Type = mesos.OfferOperationType


class Account:
    """What is left of accepted offers, and what was launched on them so far in one call."""

    def __init__(self, agent: Agent, role: str, left: Resources) -> None:
        self.agent = agent
        self.role = role
        self.left = left
        self.task_ids: set[str] = set()
        self.executors: dict[str, mesos.ExecutorInfo] = {}


def accept(out: Outcome, framework: Framework, call: scheduler.CallAccept, *, more: bool = False) -> None:
    """Use offers.  If one of them is not valid all are given back, and all tasks are lost.

    `more`: other parts of the call follow, and find what is left in the first of the offers.
    """
    named = [offer_id.value for offer_id in call.offer_ids]
    found = [framework.offers[offer_id] for offer_id in dict.fromkeys(named) if offer_id in framework.offers]
    problem = _offers_problem(out, framework, named, found)
    out.holds(*(facts.OfferEnded(offer_id=offer.id) for offer in found))
    if problem is not None:
        _refuse_all(out, framework, call, problem)
        return
    agent = out.state.agents[found[0].agent_id]
    account = Account(agent, found[0].role, sum((offer.resources for offer in found), EMPTY))
    for operation in call.operations:
        _operate(out, framework, operation, account)
    if more:
        left = offers.resource_messages(account.left, account.role, framework)
        message = infos.replace(found[0].message, resources=left)
        out.holds(facts.OfferKept(offer=message, role=account.role, resources=account.left))
    else:
        offers.refuse(out, framework.id, account.role, agent.id, account.left, call.filters)


def _offers_problem(out: Outcome, framework: Framework, named: list[str], found: list[Offer]) -> str | None:
    if not named:
        return "No offers specified"
    if len(set(named)) < len(named):
        return "An offer is named twice"
    valid = {offer.id for offer in found}
    for offer_id in named:
        if offer_id not in valid:
            if offer_id in out.state.offers:
                return f"Offer {offer_id} is not of framework {framework.id}"
            return f"Offer {offer_id} is no longer valid"
    if len({offer.agent_id for offer in found}) > 1:
        return "Aggregated offers belong to several agents: use offers of one agent in a call"
    if len({offer.role for offer in found}) > 1:
        return "Aggregated offers are allocated to several roles: use offers of one role in a call"
    return None


def _refuse_all(out: Outcome, framework: Framework, call: scheduler.CallAccept, problem: str) -> None:
    state = infos.lost_state(framework, State.DROPPED)
    for operation in call.operations:
        for task in _tasks_of(operation):
            _tell_refused(
                out,
                framework,
                task,
                state,
                Reason.REASON_INVALID_OFFERS,
                f"Task launched with invalid offers: {problem}",
            )
        if operation.type not in (Type.LAUNCH, Type.LAUNCH_GROUP):
            _operation_failed(out, framework, operation, f"Operation attempted with invalid offers: {problem}")
    out.note(f"ACCEPT is refused: {problem}", framework.id)


def _tasks_of(operation: mesos.OfferOperation) -> tuple[mesos.TaskInfo, ...]:
    if operation.type is Type.LAUNCH and operation.launch is not None:
        return operation.launch.task_infos
    if operation.type is Type.LAUNCH_GROUP and operation.launch_group is not None:
        return operation.launch_group.task_group.tasks
    return ()


def _operate(out: Outcome, framework: Framework, operation: mesos.OfferOperation, account: Account) -> None:
    if operation.type is Type.LAUNCH and operation.launch is not None:
        _launch(out, framework, operation, account)
    elif operation.type is Type.LAUNCH_GROUP and operation.launch_group is not None:
        _launch_group(out, framework, operation, operation.launch_group, account)
    else:
        what = operation.type.value if operation.type is not None else "an operation without type"
        _operation_failed(out, framework, operation, f"{what} is not among the operations of this master")


def _operation_failed(out: Outcome, framework: Framework, operation: mesos.OfferOperation, message: str) -> None:
    out.note(f"an operation is dropped: {message}", framework.id)
    if operation.id is not None:
        status = mesos.OperationStatus(
            operation_id=operation.id, state=mesos.OperationState.OPERATION_ERROR, message=message
        )
        out.tell(
            framework,
            scheduler.Event(
                type=scheduler.EventType.UPDATE_OPERATION_STATUS,
                update_operation_status=scheduler.EventUpdateOperationStatus(status=status),
            ),
        )


def _launch(out: Outcome, framework: Framework, operation: mesos.OfferOperation, account: Account) -> None:
    """Launch tasks one by one; one that is refused does not hold up the others."""
    for task in _tasks_of(operation):
        problem = "LAUNCH does not support 'operation.id'" if operation.id is not None else None
        problem = problem or _admit(out, framework, task, account)
        if problem is not None:
            _tell_refused(out, framework, task, State.ERROR, Reason.REASON_TASK_INVALID, problem)


def _admit(out: Outcome, framework: Framework, task: mesos.TaskInfo, account: Account) -> str | None:
    """Launch one task, or say why not."""
    if task.task_id.value in account.task_ids:
        return f"Task has duplicate ID: {task.task_id.value}"
    problem = validation.task_problem(task, framework, account.agent) or validation.launch_problem(
        task, framework, account.agent
    )
    if problem is not None:
        return problem
    wants, problem = validation.wants_problem(task)
    if problem is not None:
        return problem
    charge, problem = _executor_charge(framework, task.executor, account)
    if problem is not None:
        return problem
    if (overlap := _overlap(wants, charge)) is not None:
        return overlap
    total = wants + charge
    if not account.left.contains(total):
        return f"Total resources {total} required by task and its executor is more than available {account.left}"
    task = _completed_info(task, framework, account.role)
    info = json.encode(task)
    if (problem := validation.size_problem(info)) is not None:
        return problem
    account.left = account.left - total
    launch_executor = None
    if task.executor is not None:
        launch_executor = _add_executor(out, framework, task.executor, charge, account)
    _add_task(out, framework, task, info, wants, account)
    assert framework.info is not None, f"framework {framework.id} launches without a description"
    order = link_messages.RunTask(
        framework=framework.info,
        task=msgspec.Raw(json.portable(info)),
        launch_executor=launch_executor,
        cause=out.cause,
    )
    out.order(account.agent, order)
    return None


def _executor_charge(
    framework: Framework, executor: mesos.ExecutorInfo | None, account: Account
) -> tuple[Resources, str | None]:
    """What an executor costs: nothing if it runs already."""
    if executor is None:
        return EMPTY, None
    executor_id = executor.executor_id.value
    before = account.executors.get(executor_id)
    if before is not None and not validation.same_executor(before, executor):
        return EMPTY, f"ExecutorInfo differs from that of another task with the same ExecutorID '{executor_id}'"
    if before is not None or (framework.id, executor_id) in account.agent.executors:
        return EMPTY, None
    charge, problem = validation.resources_of(executor.resources)
    return charge, None if problem is None else f"Executor uses invalid resources: {problem}"


def _overlap(a: Resources, b: Resources) -> str | None:
    """Why the ranges and sets of two that run side by side cannot both be had."""
    amounts = dict(a)
    for kind, amount in b:
        mine = amounts.get(kind)
        if isinstance(amount, tuple) and isinstance(mine, tuple):
            if values.ranges_without(mine, amount) != mine:
                return f"Task and its executor both want some of the same {kind.name}"
        elif isinstance(amount, frozenset) and isinstance(mine, frozenset) and amount & mine:
            return f"Task and its executor both want some of the same {kind.name}"
    return None


def _launch_group(
    out: Outcome,
    framework: Framework,
    operation: mesos.OfferOperation,
    group: mesos.OfferOperationLaunchGroup,
    account: Account,
) -> None:
    """Launch all tasks of a group, or none."""
    tasks = group.task_group.tasks
    problem = "LAUNCH_GROUP does not support 'operation.id'" if operation.id is not None else None
    problem = problem or _admit_group(out, framework, group.executor, tasks, account)
    for task in tasks if problem is not None else ():
        assert problem is not None
        _tell_refused(out, framework, task, State.ERROR, Reason.REASON_TASK_GROUP_INVALID, problem)


def _admit_group(
    out: Outcome,
    framework: Framework,
    executor: mesos.ExecutorInfo,
    tasks: tuple[mesos.TaskInfo, ...],
    account: Account,
) -> str | None:
    problem = validation.group_problem(executor, tasks, framework, account.agent)
    if problem is not None:
        return problem
    if double := sorted(account.task_ids & {task.task_id.value for task in tasks}):
        return f"Task has duplicate ID: {double[0]}"
    total, problem = _executor_charge(framework, executor, account)
    charge = total
    wanted: list[Resources] = []
    for task in tasks:
        wants, wrong = validation.wants_problem(task)
        problem = problem or wrong or _overlap(wants, total)
        wanted.append(wants)
        total = total + wants
    if problem is not None:
        return problem
    if not account.left.contains(total):
        return (
            f"Total resources {total} required by the task group and its executor is more than available {account.left}"
        )
    executor = _completed_executor(executor, framework, account.role)
    full = [infos.replace(_completed_info(task, framework, account.role), executor=executor) for task in tasks]
    infos_of = [json.encode(task) for task in full]
    for info in infos_of:
        if (problem := validation.size_problem(info)) is not None:
            return problem
    account.left = account.left - total
    _add_executor(out, framework, executor, charge, account)
    for task, info, wants in zip(full, infos_of, wanted, strict=True):
        _add_task(out, framework, task, info, wants, account)
    assert framework.info is not None, f"framework {framework.id} launches without a description"
    order = link_messages.RunTaskGroup(
        framework=framework.info,
        executor=executor,
        tasks=tuple(msgspec.Raw(json.portable(info)) for info in infos_of),
        cause=out.cause,
    )
    out.order(account.agent, order)
    return None


def _add_executor(
    out: Outcome, framework: Framework, executor: mesos.ExecutorInfo, charge: Resources, account: Account
) -> bool:
    """Count an executor, unless it is there already; whether it is new."""
    executor_id = executor.executor_id.value
    if executor_id in account.executors or (framework.id, executor_id) in account.agent.executors:
        return False
    account.executors[executor_id] = executor
    out.holds(
        facts.ExecutorAdded(
            framework_id=framework.id,
            agent_id=account.agent.id,
            executor_id=executor_id,
            role=account.role,
            resources=charge,
            info=executor,
        )
    )
    return True


def _add_task(
    out: Outcome, framework: Framework, task: mesos.TaskInfo, info: bytes, wants: Resources, account: Account
) -> None:
    task_id = task.task_id.value
    account.task_ids.add(task_id)
    out.holds(
        facts.TaskAdded(
            framework_id=framework.id,
            task_id=task_id,
            agent_id=account.agent.id,
            name=task.name,
            role=account.role,
            state=State.STAGING,
            resources=wants,
            info=info,
            executor_id=task.executor.executor_id.value if task.executor is not None else None,
            at_s=out.now.wall_s,
        )
    )
    out.note(
        f"accepted: {wants} on {account.agent.info.hostname} ({account.agent.id})",
        task_id,
        framework.id,
        account.agent.id,
    )
    if out.state.operators:
        added = master.EventTaskAdded(task=view.task_message(framework.id, task, State.STAGING))
        out.publish(master.Event(type=master.EventType.TASK_ADDED, task_added=added))


def _completed_info(task: mesos.TaskInfo, framework: Framework, role: str) -> mesos.TaskInfo:
    """A TaskInfo with what its sender may leave away filled in."""
    check = task.health_check
    if check is not None and check.type is None:
        check = infos.replace(check, type=validation.implied_health_check_type(check))
    executor = task.executor
    if executor is not None:
        executor = _completed_executor(executor, framework, role)
    return infos.replace(task, resources=_allocated(task.resources, role), health_check=check, executor=executor)


def _completed_executor(executor: mesos.ExecutorInfo, framework: Framework, role: str) -> mesos.ExecutorInfo:
    return infos.replace(
        executor,
        framework_id=mesos.FrameworkID(value=framework.id),
        resources=_allocated(executor.resources, role),
        type=executor.type or mesos.ExecutorInfoType.CUSTOM,
    )


def _allocated(resources: tuple[mesos.Resource, ...], role: str) -> tuple[mesos.Resource, ...]:
    return tuple(
        one
        if one.allocation_info is not None
        else infos.replace(one, allocation_info=mesos.ResourceAllocationInfo(role=role))
        for one in resources
    )


def _tell_refused(
    out: Outcome,
    framework: Framework,
    task: mesos.TaskInfo,
    state: State,
    reason: mesos.TaskStatusReason,
    message: str,
) -> None:
    status = infos.status(
        task.task_id.value,
        state,
        now=out.now,
        message=message,
        reason=reason,
        agent_id=task.agent_id.value,
        executor_id=task.executor.executor_id.value if task.executor is not None else None,
    )
    out.tell(framework, infos.update(status))
    out.note(f"{state.value}: {message}", task.task_id.value, framework.id)
