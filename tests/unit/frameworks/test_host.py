"""The process in which `altiplano up` runs frameworks."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from altiplano.engine import http
from altiplano.frameworks.host import Context, Host, Room
from altiplano.sdk.credentials import Place

MODULE = "a_framework_of_the_test"


class Guest:
    """A hosted framework that answers with the path it was asked for."""

    starts = 0
    fails = False

    def __init__(self, context: Context) -> None:
        self.context = context

    async def run(self, opened: Callable[[], None]) -> None:
        type(self).starts += 1
        if self.fails:
            raise LookupError("its store is broken")
        opened()
        await asyncio.Event().wait()

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await http.respond_text(send, 200, f"{scope['root_path']} {scope['path']}")


@pytest.fixture
def _module() -> Iterator[None]:
    module = types.ModuleType(MODULE)
    module.hosted = Guest  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    Guest.starts, Guest.fails = 0, False
    yield
    del sys.modules[MODULE]


async def ask(host: Host, path: str) -> tuple[int, str]:
    said: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    await host({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send)
    return said[0]["status"], said[1]["body"].decode()


async def asked(directory: Path, *paths: str) -> list[tuple[int, str]]:
    context = Context(place=Place(masters=("http://m:5050",)), directory=directory / "guest", url="http://h/guest/")
    room = Room("guest", MODULE, context)
    async with asyncio.TaskGroup() as group:
        host = Host({"guest": room}, group)
        answers = [await ask(host, path) for path in paths]
        await room.end()
    return answers


@pytest.mark.usefixtures("_module")
async def test_the_first_request_starts_a_framework_and_the_next_finds_it(tmp_path: Path) -> None:
    answers = await asked(tmp_path, "/frameworks", "/guest/a/b", "/guest", "/")
    assert answers == [
        (200, '{"guest":"not used yet"}'),
        (200, "/guest /a/b"),
        (200, "/guest /"),
        (200, '{"guest":"running"}'),
    ]
    assert Guest.starts == 1
    assert (tmp_path / "guest").is_dir()


@pytest.mark.usefixtures("_module")
async def test_one_that_fails_says_why_and_costs_the_others_nothing(tmp_path: Path) -> None:
    Guest.fails = True
    (status, text), (health, _) = await asked(tmp_path, "/guest/", "/health")
    assert status == 503
    assert "framework guest does not run: LookupError: its store is broken" in text
    assert health == 200


@pytest.mark.usefixtures("_module")
async def test_what_lives_nowhere_is_a_sentence(tmp_path: Path) -> None:
    ((status, text),) = await asked(tmp_path, "/nobody")
    assert (status, text) == (404, "no framework lives at '/nobody'; there are /guest")
