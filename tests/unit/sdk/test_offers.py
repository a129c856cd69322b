"""Dividing an offer among tasks."""

from __future__ import annotations

import pytest

from altiplano.sdk.offers import Offer, OfferTooSmall, calls_for
from altiplano.sdk.tasks import Task, TaskRefused
from altiplano.wire.messages import mesos

DEV = mesos.ResourceReservationInfo(type=mesos.ResourceReservationInfoType.DYNAMIC, role="dev")


def scalar(name: str, value: float, *, reserved: bool = False) -> mesos.Resource:
    return mesos.Resource(
        name=name,
        type=mesos.ValueType.SCALAR,
        scalar=mesos.ValueScalar(value=value),
        reservations=(DEV,) if reserved else (),
    )


def ports(*spans: tuple[int, int]) -> mesos.Resource:
    ranges = mesos.ValueRanges(range=tuple(mesos.ValueRange(begin=b, end=e) for b, e in spans))
    return mesos.Resource(name="ports", type=mesos.ValueType.RANGES, ranges=ranges)


def offer(*resources: mesos.Resource) -> Offer:
    return Offer(
        mesos.Offer(
            id=mesos.OfferID(value="o1"),
            framework_id=mesos.FrameworkID(value="fw"),
            agent_id=mesos.AgentID(value="agent-1"),
            hostname="alps1",
            resources=resources,
            attributes=(
                mesos.Attribute(name="rack", type=mesos.ValueType.TEXT, text=mesos.ValueText(value="r1")),
                mesos.Attribute(name="speed", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=2.5)),
            ),
            allocation_info=mesos.ResourceAllocationInfo(role="dev"),
        )
    )


def infos(made: Offer) -> list[mesos.TaskInfo]:
    return [info for op in made.operations if op.launch is not None for info in op.launch.task_infos]


def test_amounts_role_and_attributes_are_plain_values() -> None:
    one = offer(scalar("cpus", 1.5), scalar("cpus", 0.5, reserved=True), scalar("mem", 100), ports((5, 7)))
    assert (one.cpus, one.mem, one.disk, one.role) == (2.0, 100, 0, "dev")
    assert one.ports == ((5, 7),)
    assert one.attributes == {"rack": "r1", "speed": 2.5}


def test_reserved_resources_are_taken_first() -> None:
    one = offer(scalar("cpus", 2), scalar("cpus", 1, reserved=True), scalar("mem", 100))
    one.launch(Task(id="t1", command="true", cpus=1.5, mem=10))
    (info,) = infos(one)
    assert info.resources[:2] == (scalar("cpus", 1, reserved=True), scalar("cpus", 0.5))
    assert one.cpus == 1.5


def test_many_small_tasks_use_an_offer_up_exactly() -> None:
    one = offer(scalar("cpus", 1), scalar("mem", 1000))
    task = Task(id="t", command="true", cpus=0.1, mem=10)
    count = 0
    while one.fits(task):
        one.launch(Task(id=f"t{count}", command="true", cpus=0.1, mem=10))
        count += 1
    assert count == 10
    assert one.cpus == 0


def test_ports_are_taken_from_the_ranges_and_told_in_the_environment() -> None:
    one = offer(scalar("cpus", 1), scalar("mem", 100), ports((31000, 31000), (31005, 31010)))
    one.launch(Task(id="t1", command="serve", cpus=1, mem=10, ports=3, env={"A": "1"}))
    (info,) = infos(one)
    assert info.resources[-1] == ports((31000, 31000), (31005, 31006))
    assert info.command is not None
    assert info.command.environment is not None
    found = {v.name: v.value for v in info.command.environment.variables}
    assert found == {"PORT0": "31000", "PORT1": "31005", "PORT2": "31006", "A": "1"}
    assert one.ports == ((31007, 31010),)


def test_what_does_not_fit_is_refused_with_numbers_and_nothing_is_taken() -> None:
    one = offer(scalar("cpus", 1), scalar("mem", 100))
    big = Task(id="big", command="true", cpus=4, mem=200)
    assert one.lacks(big) == (
        "alps1 is too small: the task needs 4 cpus where 1 are left and 200 mem where 100 are left"
    )
    with pytest.raises(OfferTooSmall):
        one.launch(big)
    assert (one.cpus, one.mem, one.used) == (1, 100, False)


def test_volumes_and_revocable_resources_are_not_taken_by_accident() -> None:
    volume = mesos.Resource(
        name="disk",
        type=mesos.ValueType.SCALAR,
        scalar=mesos.ValueScalar(value=500),
        disk=mesos.ResourceDiskInfo(persistence=mesos.ResourceDiskInfoPersistence(id="v1")),
    )
    spare = mesos.Resource(
        name="cpus",
        type=mesos.ValueType.SCALAR,
        scalar=mesos.ValueScalar(value=8),
        revocable=mesos.ResourceRevocableInfo(),
    )
    one = offer(scalar("cpus", 1), spare, volume)
    assert (one.cpus, one.disk) == (1, 0)


def test_what_is_neither_used_nor_held_is_declined_in_one_call() -> None:
    used, idle, kept = offer(scalar("cpus", 1), scalar("mem", 200)), offer(), offer()
    used.launch(Task(id="t1", command="true", cpus=1, mem=128))
    kept.hold()
    kinds = [type(call).__name__ for call in calls_for([used, idle, kept])]
    assert kinds == ["Accept", "Decline"]


def test_a_command_of_words_runs_without_a_shell() -> None:
    info = Task(id="t", command=["echo", "a b"]).message("agent-1", (), ())
    assert info.command == mesos.CommandInfo(value="echo", arguments=("echo", "a b"), shell=False)


def test_an_image_without_a_command_runs_its_own() -> None:
    info = Task(id="t", image="busybox").message("agent-1", (), ())
    assert info.command == mesos.CommandInfo(shell=False)
    assert info.container is not None


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"id": "a/b", "command": "true"}, "must not contain"),
        ({"id": "t", "command": "true", "cpus": -1}, "not negative"),
        ({"id": "t"}, "nothing to run"),
    ],
)
def test_a_task_that_cannot_be_is_refused_with_a_sentence(fields: dict[str, object], part: str) -> None:
    with pytest.raises(TaskRefused, match=part):
        Task(**fields)  # type: ignore[arg-type]
