"""Bodies with limits, content negotiation, whole answers."""

from __future__ import annotations

import gzip
import socket
from typing import Any

import pytest

from altiplano.engine import http


def scope_of(**headers: str) -> dict[str, Any]:
    return {"type": "http", "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]}


def receiver(*parts: bytes) -> http.Receive:
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return receive


async def test_a_body_in_parts_is_put_together() -> None:
    assert await http.read_body(scope_of(), receiver(b"ab", b"", b"cd")) == b"abcd"


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 6)])
async def test_a_body_beyond_the_limit_is_refused_with_the_limit(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(http.Refusal, match="longer than 10 bytes") as refusal:
        await http.read_body(scope_of(), receiver(*parts), limit_bytes=10)
    assert refusal.value.status == 413


async def test_a_compressed_body_is_opened() -> None:
    body = await http.read_body(scope_of(content_encoding="gzip"), receiver(gzip.compress(b"plain")))
    assert body == b"plain"


async def test_a_small_body_that_opens_into_a_huge_one_is_refused() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(http.Refusal) as refusal:
        await http.read_body(scope_of(content_encoding="gzip"), receiver(bomb), limit_bytes=100_000)
    assert refusal.value.status == 413


@pytest.mark.parametrize("data", [b"", b"junk", gzip.compress(b"cut off", mtime=0)[:-4]])
async def test_a_broken_compressed_body_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(http.Refusal) as refusal:
        await http.read_body(scope_of(content_encoding="gzip"), receiver(data))
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, True),
        ("application/json", True),
        ("application/*", True),
        ("*/*", True),
        ("text/html, application/json;q=0.1", True),
        ("application/json;q=0", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_accept_is_read_as_mesos_reads_it(accept: str | None, wanted: bool) -> None:
    assert http.accepts(accept, "application/json") is wanted


async def test_a_large_answer_is_compressed_only_for_clients_that_take_it() -> None:
    for encoding in ("gzip", ""):
        sent: list[Any] = []

        async def send(event: Any, sent: list[Any] = sent) -> None:
            sent.append(event)

        await http.respond(send, 200, b"y" * 5000, content_type="text/plain", scope=scope_of(accept_encoding=encoding))
        names = dict(sent[0]["headers"])
        body = sent[1]["body"]
        assert int(names[b"content-length"]) == len(body)
        assert (gzip.decompress(body) if encoding else body) == b"y" * 5000


def test_a_busy_port_is_told_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(http.CannotListen, match="in use by another process"):
            http.listen("127.0.0.1", taken.getsockname()[1])
