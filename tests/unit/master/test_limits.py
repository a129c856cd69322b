"""What a client may send has limits, and a refusal names them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from altiplano.engine import http
from altiplano.master import validation
from altiplano.master.api import endpoint
from altiplano.master.outcome import SENTENCE_CHARS_MAX
from altiplano.master.state import Config
from altiplano.wire import extent, lists, protobuf
from altiplano.wire.codec import JSON, PROTOBUF, Codec
from altiplano.wire.messages import mesos, scheduler
from tests.unit.master.pool import CallType, Capability, Pool

LONG = "x" * 256
MULTI_ROLE = (mesos.FrameworkInfoCapability(type=Capability.MULTI_ROLE),)


def framework_info(**changes: Any) -> mesos.FrameworkInfo:
    return mesos.FrameworkInfo(**({"user": "u", "name": "n", "roles": ("a",), "capabilities": MULTI_ROLE} | changes))


@pytest.mark.parametrize(
    ("info", "limit"),
    [
        (framework_info(roles=tuple(f"r{n}" for n in range(10_000))), validation.ROLES_MAX),
        (framework_info(roles=("a/" * 200 + "a",)), 255),
        (framework_info(name="n" * 10_000), validation.NAME_CHARS_MAX),
        (
            framework_info(labels=mesos.Labels(labels=(mesos.Label(key="k", value="v" * 10**6),))),
            validation.FRAMEWORK_BYTES_MAX,
        ),
        (
            framework_info(
                offer_filters={
                    "a": mesos.OfferFilters(
                        min_allocatable_resources=mesos.OfferFiltersMinAllocatableResources(
                            quantities=(
                                mesos.OfferFiltersResourceQuantities(quantities={"cpus": mesos.ValueScalar(value=1.0)}),
                            )
                            * 100
                        )
                    )
                }
            ),
            validation.MINIMUMS_MAX,
        ),
    ],
)
def test_a_description_that_is_too_large_is_refused_with_the_limit(info: mesos.FrameworkInfo, limit: int):
    assert f"{limit}" in (validation.framework_problem(Config(), info, ()) or "")


@pytest.mark.parametrize(
    "call",
    [
        {"type": "KILL", "kill": {"task_id": {"value": LONG}}},
        {"type": "DECLINE", "decline": {"offer_ids": [{"value": "a"}, {"value": LONG}]}},
        {"type": "ACCEPT", "accept": {"offer_ids": [{"value": LONG}]}},
        {"type": "RECONCILE", "reconcile": {"tasks": [{"task_id": {"value": "t"}, "agent_id": {"value": LONG}}]}},
        {"type": "SHUTDOWN", "shutdown": {"executor_id": {"value": LONG}, "agent_id": {"value": "a"}}},
        {"type": "TEARDOWN", "framework_id": {"value": LONG}},
    ],
)
def test_an_id_that_no_id_can_be_spoils_the_call(call: dict[str, Any]):
    message = JSON.decode(scheduler.Call, msgspec.json.encode({"framework_id": {"value": "f"}} | call))
    assert "255" in (validation.call_problem(message) or "")


def task(*resources: mesos.Resource) -> mesos.TaskInfo:
    return mesos.TaskInfo(
        name="t", task_id=mesos.TaskID(value="t"), agent_id=mesos.AgentID(value="a"), resources=resources
    )


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        (
            (
                mesos.Resource(
                    name="ports",
                    type=mesos.ValueType.RANGES,
                    ranges=mesos.ValueRanges(
                        range=tuple(mesos.ValueRange(begin=2 * n, end=2 * n) for n in range(100_000))
                    ),
                ),
            ),
            validation.INTERVALS_MAX,
        ),
        (
            (mesos.Resource(name="cpus", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=0.01)),) * 1000,
            validation.RESOURCES_MAX,
        ),
        (
            (
                mesos.Resource(
                    name="set",
                    type=mesos.ValueType.SET,
                    set=mesos.ValueSet(item=tuple(str(number) for number in range(5000))),
                ),
            ),
            validation.INTERVALS_MAX,
        ),
    ],
)
def test_resources_in_too_many_pieces_are_refused_with_the_limit(resources: tuple[mesos.Resource, ...], limit: int):
    _, problem = validation.wants_problem(task(*resources))
    assert f"the most is {limit}" in (problem or "")


def test_a_task_that_is_too_large_is_an_error_and_the_others_run():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    labels = mesos.Labels(labels=(mesos.Label(key="k", value="v" * validation.TASK_BYTES_MAX),))
    bad, good = framework.task(offer, labels=labels), framework.task(offer)
    framework.launch(offer, bad, good)
    assert set(pool.state.frameworks[framework.id or ""].tasks) == {good.task_id.value}
    assert str(validation.TASK_BYTES_MAX) in (framework.updates(bad.task_id.value)[-1].message or "")


def test_a_refusal_does_not_repeat_all_that_was_sent():
    pool = Pool()
    framework = pool.framework()
    info = mesos.FrameworkInfo(
        user="root", name="n", roles=(" " * 200,) * 500, capabilities=MULTI_ROLE, id=mesos.FrameworkID(value="x")
    )
    reply = framework.call(
        CallType.UPDATE_FRAMEWORK, update_framework=scheduler.CallUpdateFramework(framework_info=info)
    )
    assert (reply.status, len(reply.body) <= SENTENCE_CHARS_MAX) == (400, True)


# -- bodies


def scope(**headers: str) -> http.Scope:
    return {"type": "http", "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]}


def arriving(*parts: bytes) -> http.Receive:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    queue = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(queue)

    return receive


# What a call must fulfil besides has tests of its own.
CALLS = endpoint.CallForm(
    message=scheduler.Call,
    name="scheduler::Call",
    check=lambda call: None,
    lists=(("reconcile", "tasks"), ("decline", "offer_ids")),
)


async def read(body: bytes, room: endpoint.Room, *, sized: bool = True, codec: Codec = JSON) -> scheduler.Call:
    headers = {"content_length": str(len(body))} if sized else {}
    return await endpoint.read_call(scope(**headers), arriving(body[:7], body[7:]), codec, CALLS, room=room)


def declines(count: int, value: str = "o") -> bytes:
    offer_ids = (mesos.OfferID(value=value),) * count
    return JSON.encode(
        scheduler.Call(
            type=CallType.DECLINE,
            framework_id=mesos.FrameworkID(value="f"),
            decline=scheduler.CallDecline(offer_ids=offer_ids),
        )
    )


@pytest.mark.parametrize("sized", [True, False])
async def test_large_calls_are_read_as_small_ones_are(sized: bool):
    room = endpoint.Room()
    for count in (1, 10_000):
        call = await read(declines(count), room, sized=sized)
        assert call.decline is not None
        assert len(call.decline.offer_ids) == count
    assert room.taken_bytes == 0


@pytest.mark.parametrize(
    ("body", "status", "limit"),
    [
        (b" " * (endpoint.CALL_BYTES_MAX + 1), 413, endpoint.CALL_BYTES_MAX),
        (declines(lists.ELEMENTS_MAX + 1), 413, lists.ELEMENTS_MAX),
        (declines(endpoint.ELEMENTS_MAX // 2), 413, endpoint.ELEMENTS_MAX),
        (b'{"accept":{"offer_ids":[' + b"{}," * endpoint.ELEMENTS_AT_ONCE + b"{}]}}", 400, None),
        (b'{"other":' + declines(endpoint.ELEMENTS_AT_ONCE) + b"}", 413, endpoint.REST_BYTES_MAX),
        (b'{"a":' * 50_000, 400, None),
        (b"[" * 90_000, 400, None),
        (b"{" + b'"a":[' * 60_000, 400, None),
        (b'"' + b"x" * 100_000, 400, None),
    ],
)
async def test_bodies_beyond_the_limits_are_refused_and_their_room_comes_back(
    body: bytes, status: int, limit: int | None
):
    room = endpoint.Room()
    with pytest.raises(http.Refusal) as caught:
        await read(body, room, sized=False)
    assert caught.value.status == status
    assert limit is None or str(limit) in caught.value.sentence
    assert room.taken_bytes == 0


async def test_what_stands_in_strings_is_not_counted():
    body = JSON.encode(
        scheduler.Call(
            type=CallType.KILL,
            framework_id=mesos.FrameworkID(value="f"),
            kill=scheduler.CallKill(task_id=mesos.TaskID(value='\\",{' * 200_000)),
        )
    )
    assert extent.json_elements(body, 19) < 20
    assert (await read(body, endpoint.Room())).kill is not None


async def test_large_calls_together_have_a_limit_and_slow_ones_take_no_room_before_they_arrive(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(endpoint, "LARGE_CALLS_BYTES_MAX", 100_000)
    room = endpoint.Room()
    gone = asyncio.Event()

    async def trickle() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    slow = [
        asyncio.create_task(endpoint.read_call(scope(content_length="8000000"), trickle, JSON, CALLS, room=room))
        for _ in range(50)
    ]
    await asyncio.sleep(0)
    assert (await read(declines(3000), room)).decline is not None
    with pytest.raises(http.Refusal) as caught:
        await read(declines(10_000), room)
    assert caught.value.status == 503
    gone.set()
    ended = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(one) for one in ended} == {http.Refusal}
    assert room.taken_bytes == 0


async def test_protobuf_that_nests_without_end_is_refused():
    body = b""
    for _ in range(3000):
        body = b"\x0a" + bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F | 0x80, len(body) >> 14]) + body
    with pytest.raises(http.Refusal) as caught:
        endpoint.decode(PROTOBUF, scheduler.Call, body, "scheduler::Call")
    assert caught.value.status == 400


@pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
async def test_a_hundred_thousand_tasks_are_reconciled_in_one_call(codec: Codec):
    tasks = tuple(
        scheduler.CallReconcileTask(
            task_id=mesos.TaskID(value=f'task-{number} "}},{{"'), agent_id=mesos.AgentID(value=f"agent-{number}")
        )
        for number in range(100_000)
    )
    call = scheduler.Call(
        type=CallType.RECONCILE,
        framework_id=mesos.FrameworkID(value="f"),
        reconcile=scheduler.CallReconcile(tasks=tasks),
    )
    assert await read(codec.encode(call), endpoint.Room(), codec=codec) == call


async def test_a_protobuf_body_has_as_many_elements_at_most_as_one_of_json():
    empty_ids = b"\x0a\x00" * endpoint.ELEMENTS_MAX
    body = b"\x2a" + protobuf.varint(len(empty_ids)) + empty_ids
    with pytest.raises(http.Refusal, match=str(endpoint.ELEMENTS_MAX)) as caught:
        await read(body, endpoint.Room(), codec=PROTOBUF)
    assert caught.value.status == 413
