"""The master's HTTP side, asked without sockets: order of checks, streams, older endpoints, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from altiplano.adapters.system import SystemClock
from altiplano.engine import http, streams
from altiplano.kit import recordio
from altiplano.master import shell as shells
from altiplano.master.server import Router, Server
from altiplano.master.settings import Settings
from altiplano.master.shell import Shell
from altiplano.master.state import Config
from altiplano.testing.ids import SeededIds
from altiplano.testing.log import MemoryDisk, MemoryRegistry
from altiplano.wire import json, protobuf
from altiplano.wire.codec import JSON
from altiplano.wire.messages import master, mesos, scheduler

SCHEDULER = "/api/v1/scheduler"
AS_JSON = {"content-type": "application/json", "accept": "application/json"}
INFO = mesos.FrameworkInfo(user="root", name="test", failover_timeout=60.0)


class Request:
    """One request under way."""

    def __init__(self, app: http.App, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._bodies = [{"type": "http.request", "body": body, "more_body": False}]
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._bodies:
            return self._bodies.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
        self._changed.set()

    async def until(self, text: bytes) -> None:
        """Wait until the answer holds a text."""
        async with asyncio.timeout(10):
            while text not in self.body:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self._gone.set()
        await self.task


class World:
    def __init__(self, disk: MemoryDisk) -> None:
        self.shell = Shell(Config(), registry=MemoryRegistry(disk), clock=SystemClock(), ids=SeededIds(), check=True)
        self.app = Router(self.shell, Settings())

    async def ask(
        self, method: str, path: str, body: bytes | master.Call | scheduler.Call = b"", **headers: str
    ) -> Request:
        data = body if isinstance(body, bytes) else json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(self.app, method, path, named, data)
        async with asyncio.timeout(10):
            await request.task
        return request

    async def post(self, call: master.Call | scheduler.Call, path: str = SCHEDULER, **headers: str) -> Request:
        return await self.ask(
            "POST", path, call, **{name.replace("-", "_"): v for name, v in AS_JSON.items()} | headers
        )

    async def subscribe(self, info: mesos.FrameworkInfo = INFO, **headers: str) -> Request:
        call = scheduler.Call(type=scheduler.CallType.SUBSCRIBE, subscribe=scheduler.CallSubscribe(framework_info=info))
        request = Request(self.app, "POST", SCHEDULER, AS_JSON | headers, json.encode(call))
        await request.until(b"HEARTBEAT" if not headers else b"\n")
        return request


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(MemoryDisk())
    await made.shell.start()
    running = asyncio.create_task(made.shell.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def events_of(request: Request) -> list[scheduler.Event]:
    return [json.decode(scheduler.Event, record) for record in recordio.Decoder().feed(request.body)]


async def test_a_subscription_is_a_stream_of_the_asked_type_with_an_id(world: World):
    request = await world.subscribe()
    assert (request.status, request.headers["content-type"]) == (200, "application/json")
    assert "content-length" not in request.headers
    assert [event.type.value for event in events_of(request)] == ["SUBSCRIBED", "HEARTBEAT"]
    framework_id = events_of(request)[0].subscribed.framework_id
    call = scheduler.Call(type=scheduler.CallType.REVIVE, framework_id=framework_id)
    accepted = await world.post(call, mesos_stream_id=request.headers["mesos-stream-id"])
    assert (accepted.status, accepted.body, accepted.headers["content-length"]) == (202, b"", "0")
    await request.close()
    refused = await world.post(call, mesos_stream_id=request.headers["mesos-stream-id"])
    assert (refused.status, refused.body) == (403, b"Framework is not subscribed")


async def test_a_subscription_may_be_in_protobuf_while_its_call_is_json(world: World):
    request = await world.subscribe(accept="application/x-protobuf")
    assert request.headers["content-type"] == "application/x-protobuf"
    (first, *_) = recordio.Decoder().feed(request.body)
    assert protobuf.decode(scheduler.Event, first).type is scheduler.EventType.SUBSCRIBED
    await request.close()


@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "words"),
    [
        ("GET", {}, b"", 405, "POST"),
        ("POST", {}, b"", 400, "Content-Type"),
        ("POST", {"content_type": "text/plain"}, b"", 415, "text/plain"),
        ("POST", {"content_type": "application/json"}, b"{not", 400, "Failed to parse body"),
        ("POST", {"content_type": "application/json; charset=utf-8"}, b"{}", 400, "'type'"),
        ("POST", {"content_type": "application/json"}, b'{"type":"SUBSCRIBE"}', 400, "'subscribe'"),
        ("POST", {"content_type": "application/json"}, b'{"type":"REVIVE"}', 400, "'framework_id'"),
        (
            "POST",
            {"content_type": "application/json"},
            b'{"type":"REVIVE","framework_id":{"value":"x"}}',
            400,
            "Framework cannot be found",
        ),
    ],
)
async def test_bad_requests_are_refused_in_order_with_a_sentence(
    world: World, method: str, headers: dict[str, str], body: bytes, status: int, words: str
):
    answer = await world.ask(method, SCHEDULER, body, **headers)
    assert answer.status == status
    assert words in answer.body.decode()


async def test_a_client_that_takes_neither_form_gets_406(world: World):
    call = scheduler.Call(type=scheduler.CallType.SUBSCRIBE, subscribe=scheduler.CallSubscribe(framework_info=INFO))
    assert (await world.post(call, accept="text/html")).status == 406
    assert (await world.post(call, mesos_stream_id="x")).status == 400


async def test_before_recovery_calls_wait_with_503_and_health_answers():
    world = World(MemoryDisk())
    assert (await world.post(master.Call(type=master.CallType.GET_HEALTH), "/api/v1")).status == 503
    assert (await world.ask("GET", "/state")).status == 503
    assert (await world.ask("GET", "/health")).status == 200
    assert (await world.ask("GET", "/master/version")).status == 200


async def test_operators_read_in_both_forms(world: World):
    call = master.Call(type=master.CallType.GET_MASTER)
    answer = await world.post(call, "/master/api/v1")
    info = json.decode(master.Response, answer.body).get_master.master_info
    assert info.version == "1.11.0"
    answer = await world.post(call, "/api/v1", accept="application/x-protobuf")
    assert protobuf.decode(master.Response, answer.body).get_master.master_info == info
    answer = await world.post(master.Call(type=master.CallType.GET_VERSION), "/api/v1")
    assert set(msgspec.json.decode(answer.body)["get_version"]["version_info"]) == {"version", "altiplano_version"}


async def test_every_read_of_the_operator_api_answers_with_its_own_type(world: World):
    for kind in ("GET_HEALTH", "GET_FLAGS", "GET_STATE", "GET_AGENTS", "GET_FRAMEWORKS", "GET_EXECUTORS", "GET_TASKS",
                 "GET_OPERATIONS", "GET_ROLES", "GET_WEIGHTS"):  # fmt: skip
        answer = await world.post(master.Call(type=master.CallType[kind]), "/api/v1")
        assert answer.status == 200
        assert json.decode(master.Response, answer.body).type.value == kind
    metrics = master.Call(type=master.CallType.GET_METRICS, get_metrics=master.CallGetMetrics())
    assert b"master/elected" in (await world.post(metrics, "/api/v1")).body
    assert (await world.post(master.Call(type=master.CallType.GET_METRICS), "/api/v1")).status == 400


async def test_older_endpoints_answer_with_and_without_prefix_and_suffix(world: World):
    for path in ("/state", "/master/state", "/state.json", "/state-summary", "/slaves", "/frameworks", "/tasks",
                 "/roles", "/weights", "/flags", "/metrics/snapshot", "/journal?subject=x"):  # fmt: skip
        answer = await world.ask("GET", path)
        assert answer.status == 200, path
        msgspec.json.decode(answer.body)
    assert (await world.ask("GET", "/state?jsonp=fn")).body.startswith(b"fn({")
    assert (await world.ask("GET", "/state?jsonp=alert(1)//")).status == 400
    redirect = await world.ask("GET", "/redirect")
    assert (redirect.status, redirect.headers["location"]) == (307, "//127.0.0.1:5050")
    assert (await world.ask("GET", "/no/such/thing")).status == 404
    assert (await world.ask("POST", "/state")).status == 405


async def test_metrics_are_readable_by_prometheus(world: World):
    request = await world.subscribe(msgspec.structs.replace(INFO, role='odd"role'))
    answer = await world.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if not line.startswith("#"))
    assert lines['altiplano_master_frameworks{state="connected"}'] == "1.0"
    assert lines['altiplano_master_role_dominant_share_ratio{role="odd\\"role"}'] == "0.0"
    assert lines['altiplano_master_calls_total{type="SUBSCRIBE"}'] == "1.0"
    await request.close()


async def test_an_agent_that_is_not_here_cannot_be_asked_through_the_master(world: World):
    answer = await world.ask("GET", "/agent/nobody/state")
    assert (answer.status, answer.body) == (404, b"No agent found with ID nobody")


async def test_teardown_takes_the_older_form(world: World):
    request = await world.subscribe()
    framework_id = events_of(request)[0].subscribed.framework_id.value
    assert (await world.ask("POST", "/teardown", b"frameworkId=" + framework_id.encode())).status == 200
    async with asyncio.timeout(10):
        await request.task
    assert (await world.ask("POST", "/teardown", b"frameworkId=nobody")).status == 400
    assert (await world.ask("POST", "/teardown", b"")).status == 400


async def test_a_subscriber_that_does_not_read_is_cut_off_with_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "STREAM_BYTES_MAX", 100)
    stream = streams.EventStream("s", JSON)
    assert stream.put(b"x" * 90)
    assert not stream.put(b"x" * 20)
    assert "reads too slowly" in (stream.cut_because or "")
    assert [chunk async for chunk in stream.chunks()] == []


async def test_offers_that_are_too_large_for_one_record_are_divided(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shells, "OFFERS_BYTES_MAX", 400)
    offers = tuple(
        mesos.Offer(
            id=mesos.OfferID(value=f"o{number}"),
            framework_id=mesos.FrameworkID(value="f"),
            agent_id=mesos.AgentID(value="a"),
            hostname="h",
        )
        for number in range(9)
    )
    event = scheduler.Event(type=scheduler.EventType.OFFERS, offers=scheduler.EventOffers(offers=offers))
    records = b"".join(shells._records(JSON, event))
    events = [json.decode(scheduler.Event, record) for record in recordio.Decoder().feed(records)]
    assert len(events) > 1
    assert tuple(offer for one in events for offer in one.offers.offers) == offers


async def test_a_bug_costs_its_call_a_500_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch):
    request = await world.subscribe()
    framework_id = events_of(request)[0].subscribed.framework_id
    stream = request.headers["mesos-stream-id"]
    call = scheduler.Call(type=scheduler.CallType.REVIVE, framework_id=framework_id)
    with monkeypatch.context() as broken:
        broken.setattr("altiplano.master.frameworks.revive", lambda *_: 1 / 0)
        assert (await world.post(call, mesos_stream_id=stream)).status == 500
    assert (await world.post(call, mesos_stream_id=stream)).status == 202
    await request.close()


class GatedRegistry(MemoryRegistry):
    """A registry that is read only once the test lets it."""

    gate: asyncio.Event

    async def recover(self) -> tuple[bytes | None, Sequence[bytes]]:
        await self.gate.wait()
        return await super().recover()


async def test_nobody_is_answered_before_the_master_is_in_office(tmp_path: pathlib.Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = GatedRegistry(MemoryDisk())
    registry.gate = asyncio.Event()
    serving = asyncio.create_task(
        Server(Settings(ip="127.0.0.1", port=port, work_dir=str(tmp_path)), registry=registry).run()
    )
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = asyncio.create_task(reader.readline())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not answer.done()
    registry.gate.set()
    assert b"200" in await answer
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    writer.close()


async def test_weights_are_put_as_a_list(world: World):
    put = await world.ask("PUT", "/weights", b'[{"role":"a","weight":1.5}]')
    read = await world.ask("GET", "/weights")
    assert (put.status, msgspec.json.decode(read.body)) == (200, [{"role": "a", "weight": 1.5}])
    assert (await world.ask("PUT", "/weights", b'{"role":')).status == 400
    assert (await world.ask("PUT", "/weights", b'[{"role":"a","weight":-1}]')).status == 400


async def test_the_logging_level_is_toggled_for_a_while(world: World):
    assert (await world.ask("GET", "/logging/toggle")).body == b"0\n"
    assert (await world.ask("GET", "/logging/toggle?level=1")).status == 400
    assert (await world.ask("GET", "/logging/toggle?level=9&duration=1mins")).status == 400
    assert (await world.ask("GET", "/logging/toggle?level=1&duration=1mins")).status == 200
    assert (await world.ask("GET", "/logging/toggle")).body == b"1\n"
    level = mesos.DurationInfo(nanoseconds=0)
    call = master.CallSetLoggingLevel(level=0, duration=level)
    body = master.Call(type=master.CallType.SET_LOGGING_LEVEL, set_logging_level=call)
    assert (await world.ask("POST", "/api/v1", body, content_type="application/json")).status == 200
    assert (await world.ask("GET", "/logging/toggle")).body == b"0\n"


async def test_when_too_much_waits_for_all_subscribers_the_one_most_behind_is_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("altiplano.engine.streams.STREAMS_BYTES_MAX", 1000)
    shell = world.shell
    slow, slower = shell.follow(JSON), shell.follow(JSON)
    shell._put(slow, b"x" * 300)
    shell._put(slower, b"x" * 600)
    assert (slow.cut_because, slower.cut_because) == (None, None)
    shell._put(slow, b"x" * 200)
    assert slow.cut_because is None
    assert "all subscribers" in (slower.cut_because or "")
