"""Flows at the host of frameworks: what a run registers, what its log says, what is kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from altiplano.engine import http
from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.frameworks.flows import facts, graph, keeping, makeflow, registration, transactions
from altiplano.frameworks.flows.graph import Graph, RuleKey
from altiplano.frameworks.flows.hosted import Flows
from altiplano.frameworks.flows.keeping import Store
from altiplano.frameworks.flows.pages.picture import FlowHead, FlowPicture, RulePicture
from altiplano.frameworks.flows.progress import RuleState
from altiplano.frameworks.flows.registration import NotRegistered
from altiplano.frameworks.flows.tail import Tail
from altiplano.frameworks.host import Context
from altiplano.sdk.credentials import Place

TEXT = "a: s\n\tcp s a\nb: a\n\tcp a b\n"
CODEC: FactCodec[Fact] = FactCodec(facts.DURABLE_TYPES, version=facts.VERSION)
BEGAN = facts.RunBegan(run_id="flow-1", file="Makeflow", wall_s=1.0)
A, B = RuleKey("a"), RuleKey("b")


def made(key: RuleKey, at: float) -> list[Fact]:
    """A rule from its start to its end."""
    task = f"flow-1.{int(at)}"
    return [
        facts.RuleLaunched(key=key, task_id=task, agent_id="x", hostname="host", wall_s=at, cause="t"),
        facts.RuleEndedWell(key=key, wall_s=at + 1, cause="t"),
        facts.RuleDone(key=key, outputs={}, inputs={}, command_hash="", wall_s=at + 1, cause="t"),
    ]


def line_of(*some: Fact) -> bytes:
    return transactions._line([CODEC.encode(fact) for fact in some])


def graph_of(text: str = TEXT) -> Graph:
    return graph.join(makeflow.parse(text, file="Makeflow", environment={}), exists=lambda name: True, shared_dir=False)


class Run:
    """A run as its host sees it: a log that it has locked, and what it says."""

    def __init__(self, directory: Path, run_id: str = "flow-1") -> None:
        self.path = directory / f"{run_id}.altiplanolog"
        self.path.write_bytes(transactions.FORM + b" 0\n")
        self.graph = graph_of()
        self.head = registration.Head(
            run_id=run_id, file="Makeflow", directory=str(directory), log=str(self.path), url="http://127.0.0.1:2/"
        )
        self._lock = os.open(self.path, os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @property
    def said(self) -> bytes:
        return b"".join(registration.pieces(self.head, self.graph.nodes.values()))

    def write(self, *some: Fact) -> None:
        with self.path.open("ab") as stream:
            stream.write(line_of(*some))

    def end(self) -> None:
        os.close(self._lock)


async def ask(flows: Flows, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    said: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    scope: http.Scope = {"type": "http", "path": path, "method": method, "headers": [], "query_string": b""}
    await flows(scope, receive, send)
    return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


@asynccontextmanager
async def host(directory: Path, store: Store | None = None) -> AsyncIterator[Flows]:
    directory.mkdir(exist_ok=True)
    flows = Flows(
        Context(place=Place(masters=("http://127.0.0.1:5050",)), directory=directory, url="http://h/flows/"),
        store=store,
    )
    opened = asyncio.Event()
    running = asyncio.create_task(flows.run(opened.set))
    await opened.wait()
    try:
        yield flows
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def heads(flows: Flows) -> dict[str, FlowHead]:
    status, body = await ask(flows, "GET", "/api/v1/flows")
    assert status == 200
    return {head.id: head for head in msgspec.json.decode(body, type=list[FlowHead])}


async def register(flows: Flows, run: Run) -> None:
    assert await ask(flows, "PUT", f"/api/v1/flows/{run.head.run_id}", run.said) == (204, b"")


async def look(flows: Flows, run: Run) -> None:
    assert await ask(flows, "POST", f"/api/v1/flows/{run.head.run_id}/look") == (204, b"")


async def test_a_registered_flow_is_what_its_log_says(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(BEGAN, *made(A, 5))
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
        head = (await heads(flows))["flow-1"]
        assert (head.word, head.done, head.total, head.started_s) == ("running", 1, 2, 5.0)
        run.write(*made(B, 9), facts.RunEnded(exit_code=0, wall_s=10))
        await look(flows, run)
        head = (await heads(flows))["flow-1"]
        assert (head.word, head.done, head.ended_s) == ("done", 2, 10.0)
    run.end()


async def test_what_was_kept_is_there_when_log_and_host_are_gone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(BEGAN, *made(A, 5), facts.RuleFailed(key=B, why="too cold", wall_s=9, cause="t"))
    run.write(facts.StderrKept(key=B, text="brr"), facts.RunEnded(exit_code=1, wall_s=10))
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
        await look(flows, run)
    run.end()
    run.path.unlink()
    async with host(tmp_path / "kept") as flows:
        picture = await flows.find("flow-1")
        assert picture is not None
        assert (picture.word, [rule.state for rule in picture.rules]) == ("failed", [RuleState.DONE, RuleState.FAILED])
        assert (picture.rules[1].why, picture.rules[1].stderr_tail) == ("too cold", "brr")
        assert (await heads(flows))["flow-1"] == picture.head
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["flow-1.page"]


async def test_a_flow_that_runs_is_followed_again_by_the_next_host(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(BEGAN)
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
    run.write(*made(A, 5))
    async with host(tmp_path / "kept") as flows:
        assert ((await heads(flows))["flow-1"].word, (await heads(flows))["flow-1"].done) == ("running", 1)
    run.end()


async def test_a_log_that_no_process_has_is_a_flow_broken_off(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(BEGAN, *made(A, 5))
    run.end()
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
        for _ in range(4):
            await flows._look("flow-1")
        head = (await heads(flows))["flow-1"]
        assert (head.word, head.goes_on, head.done) == ("broken off", False, 1)


async def test_a_compacted_log_is_read_anew(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write(BEGAN, *made(A, 5))
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
        beside = tmp_path / "new"
        beside.write_bytes(transactions.FORM + b" 0\n" + line_of(BEGAN, *made(A, 5)) + line_of(*made(B, 7)))
        beside.replace(run.path)
        await look(flows, run)
        assert (await heads(flows))["flow-1"].done == 2
    run.end()


async def test_a_log_that_makes_no_sense_costs_its_own_page_only(tmp_path: Path) -> None:
    run, other = Run(tmp_path), Run(tmp_path, "flow-2")
    run.write(BEGAN)
    other.write(facts.RunBegan(run_id="flow-2", file="Makeflow", wall_s=1.0))
    async with host(tmp_path / "kept") as flows:
        await register(flows, run)
        await register(flows, other)
        run.write(*made(A, 5)[2:])
        await look(flows, run)
        other.write(*made(A, 5))
        await look(flows, other)
        found = await heads(flows)
        assert (found["flow-1"].word, found["flow-2"].done) == ("broken off", 1)
    run.end()
    other.end()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"nonsense\n", "do not describe a flow"),
        (b'{"run_id":"../x","file":"","directory":"","log":"","url":""}\n', "is no id of a run"),
        (b'{"form":7,"run_id":"x","file":"","directory":"","log":"","url":""}\n', "this is 7"),
        (b'{"run_id":"other","file":"","directory":"","log":"/x","url":""}\n', "was sent for 'x'"),
    ],
)
async def test_what_describes_no_flow_is_refused_with_a_sentence(tmp_path: Path, body: bytes, words: str) -> None:
    async with host(tmp_path / "kept") as flows:
        status, text = await ask(flows, "PUT", "/api/v1/flows/x", body)
        assert status == 422
        assert words in text.decode()
        assert not await heads(flows)


async def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    async with host(tmp_path / "kept") as flows:
        status, text = await ask(flows, "GET", "/api/v1/flows/never")
        assert (status, b"no flow has the id 'never'" in text) == (404, True)
        status, text = await ask(flows, "DELETE", "/api/v1/flows/never")
        assert (status, b"nothing is here" in text) == (404, True)


def test_a_rule_that_needs_one_that_is_not_described_is_refused() -> None:
    head = registration.Head(run_id="x", file="", directory="", log="", url="")
    with pytest.raises(NotRegistered, match="rule 'b' needs 'a'"):
        registration.read(b"".join(registration.pieces(head, [graph_of().nodes[B]])))


def page(run_id: str, ended_s: float = 1.0) -> FlowPicture:
    rule = RulePicture(key="a", title="a", state=RuleState.DONE, started_s=ended_s - 1, ended_s=ended_s)
    return FlowPicture(id=run_id, title="Makeflow", exit_code=0, ended_s=ended_s, rules=(rule,))


def test_the_oldest_leave_when_there_are_too_many(tmp_path: Path) -> None:
    store = Store(tmp_path, kept_max=2)
    assert store.keep(page("one")) == []
    assert store.keep(page("two")) == []
    assert store.keep(page("one")) == []
    assert store.keep(page("three")) == ["two"]
    assert store.read("two") is None
    assert store.read("one") == page("one")


def test_the_oldest_leave_when_they_take_too_much_disk_but_never_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path, kept_bytes_max=1)
    assert store.keep(page("one")) == []
    assert store.keep(page("two")) == ["one"]
    assert list(Store(tmp_path).load()) == ["two"]


def test_a_page_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    Store(tmp_path).keep(page("one"))
    (tmp_path / "two.page").write_text("{torn")
    assert list(Store(tmp_path).load()) == ["one"]
    assert (tmp_path / "two.damaged").exists()


def test_a_tail_gives_each_record_once_and_no_half_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    content = transactions.FORM + b" 0\n" + transactions._line([b"1 {}"]) + transactions._line([b"1 {a}", b"1 {b}"])
    path.write_bytes(b"")
    tail = Tail(path)
    found: list[bytes] = []
    for end in range(len(content) + 1):
        path.write_bytes(content[:end]) if end == 0 else _append(path, content[end - 1 : end])
        found += tail.read()[1]
    assert found == [b"1 {}", b"1 {a}", b"1 {b}"]
    assert tail.read() == (False, [])
    assert not tail.behind


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def test_files_of_flows_are_for_their_owner_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.register("one", b"x")
    store.keep(page("one"))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert keeping.KEPT_MAX > 0
