"""How pages reach the public HTTP APIs: calls to an application in this process, or to another host.

Pages know nothing else of a pool.  What they show is what anybody with the token may ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

import aiohttp
from yarl import URL

from altiplano.engine import http
from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import agent, master
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)

ANSWER_SECONDS_MAX = 30.0
ANSWER_BYTES_MAX = 512 * 1024 * 1024
"""The state of a pool with 100,000 tasks has some hundred megabytes."""

SENTENCE_CHARS_MAX = 500
JSON = "application/json"


class Unanswered(Exception):
    """The API could not be reached, answered too late or not in its form; the text says which."""


class Refused(Exception):
    """The API refused; `status` and the sentence are its own."""

    def __init__(self, status: int, sentence: str, *, location: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.location = location
        """Where a master that does not lead sends its callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Api(Protocol):
    """Carries one request.  Raises Unanswered; a refusal is an answer like others."""

    async def request(self, method: str, path: str, *, body: bytes = b"") -> Answer: ...


async def get(api: Api, path: str) -> bytes:
    """The body of a resource.  Raises Refused or Unanswered."""
    return _good(await api.request("GET", path)).body


async def call(api: Api, message: master.Call) -> master.Response:
    """A call of the master's operator API."""
    return await _call(api, "/api/v1", message, master.Response)


async def call_agent(api: Api, agent_id: str, message: agent.Call) -> agent.Response:
    """A call of an agent's operator API, through the master."""
    return await _call(api, f"/agent/{quoted(agent_id)}/api/v1", message, agent.Response)


async def _call(api: Api, path: str, message: Message, response: type[M]) -> M:
    answer = _good(await api.request("POST", path, body=json.encode(message)))
    try:
        return json.decode(response, answer.body or b"{}")
    except WireError as error:
        raise Unanswered(f"the answer of {path} could not be read: {error}") from error


def _good(answer: Answer) -> Answer:
    if answer.status < 300:
        return answer
    sentence = answer.body[: 4 * SENTENCE_CHARS_MAX].decode("utf-8", "replace").strip()[:SENTENCE_CHARS_MAX]
    raise Refused(answer.status, sentence or f"the answer was {answer.status}", location=answer.headers.get("location"))


def quoted(part: str) -> str:
    """A part of a path; slashes are quoted as well, so that no id can change the path."""
    return quote(part, safe="")


class InProcess:
    """The API as an ASGI application in this process: no socket, no copy through the kernel."""

    def __init__(self, app: http.App, *, host: str = "localhost") -> None:
        self._app = app
        self._host = host

    async def request(self, method: str, path: str, *, body: bytes = b"") -> Answer:
        status, headers, parts, size = 0, {}, [], 0
        pending = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> dict[str, object]:
            if pending:
                return pending.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = int(message["status"])
                for name, value in message.get("headers", ()):
                    headers[name.decode("latin-1").lower()] = value.decode("latin-1")
            elif message["type"] == "http.response.body":
                part = message.get("body", b"")
                assert isinstance(part, bytes | bytearray | memoryview)
                size += len(part)
                if size > ANSWER_BYTES_MAX:
                    raise Unanswered(f"the answer of {path} is longer than {ANSWER_BYTES_MAX} bytes")
                parts.append(bytes(part))

        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._app(_scope(method, path, body, self._host), receive, send)
        except TimeoutError:
            raise Unanswered(f"{path} did not answer within {ANSWER_SECONDS_MAX:g} s") from None
        finally:
            gone.set()
        if status == 0:
            raise Unanswered(f"{path} gave no answer")
        return Answer(status=status, headers=headers, body=b"".join(parts))


def _scope(method: str, path: str, body: bytes, host: str) -> http.Scope:
    raw, _, query = path.partition("?")
    headers = [(b"host", host.encode()), (b"accept", JSON.encode())]
    if body:
        headers += [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(body))]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": (host, 0),
    }


class Remote:
    """The API of another process.  Made and closed inside of a running event loop."""

    def __init__(self, base: str, *, headers: Mapping[str, str] | None = None) -> None:
        self._base = base.rstrip("/")
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        self._session = aiohttp.ClientSession(headers=dict(headers or {}), timeout=timeout)

    async def request(self, method: str, path: str, *, body: bytes = b"") -> Answer:
        headers = {"Accept": JSON} | ({"Content-Type": JSON} if body else {})
        try:
            # The path is sent as it is: aiohttp would decode a quoted slash.
            url = URL(self._base + path, encoded=True)
            async with self._session.request(
                method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                data = await answer.content.read(ANSWER_BYTES_MAX + 1)
                while len(data) <= ANSWER_BYTES_MAX and (more := await answer.content.read(ANSWER_BYTES_MAX)):
                    data += more
                if len(data) > ANSWER_BYTES_MAX:
                    raise Unanswered(f"the answer of {path} is longer than {ANSWER_BYTES_MAX} bytes")
                names = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(status=answer.status, headers=names, body=data)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise Unanswered(f"{self._base} did not answer: {reason}") from error

    async def close(self) -> None:
        await self._session.close()
