"""Real HTTP clients for what speaks with the pool on the wire: custom executors, and operators.

They are small and unforgiving: whatever is not answered as the API says ends the attempt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp

from altiplano.kit import recordio
from altiplano.sim.executor import Program
from altiplano.wire import json
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import master as operator

ANSWER_S_MAX = 60.0
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
"""What a network may do to a client."""


def _client(answer_s_max: float | None) -> aiohttp.ClientSession:
    # The cache of names is on the real clock.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(use_dns_cache=False), timeout=aiohttp.ClientTimeout(total=answer_s_max)
    )


async def _records(url: str, body: bytes, headers: Mapping[str, str], heard: Callable[[bytes], None]) -> str:
    """Post a call and hand over each record of the answer; why it ended."""
    try:
        async with _client(None) as client, client.post(url, data=body, headers=headers) as response:
            if response.status != 200:
                return f"{response.status} {(await response.text())[:200]}"
            decoder = recordio.Decoder()
            async for chunk in response.content.iter_any():
                for record in decoder.feed(chunk):
                    heard(record)
    except BROKEN as error:
        return repr(error)
    return "the stream has ended"


class HttpCarrier:
    """An executor's stream and calls (`altiplano.sim.executor.Carrier`)."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {**HEADERS, "Authorization": f"Bearer {token}"}
        self._stream: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._calls: deque[api.Call] = deque()

    def open(self, program: Program, call: api.Call) -> None:
        self.close()
        self._stream = asyncio.ensure_future(self._carry(program, call))

    def post(self, call: api.Call) -> None:
        self._calls.append(call)
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send())

    def close(self) -> None:
        current = asyncio.current_task()
        for task in (self._stream, self._sending):
            if task is not None and task is not current:
                task.cancel()
        self._stream = self._sending = None
        self._calls.clear()

    async def _carry(self, program: Program, call: api.Call) -> None:
        reason = "a call broke"
        try:
            reason = await _records(
                self._url,
                json.encode(call),
                self._headers,
                lambda record: program.heard(json.decode(api.Event, record)),
            )
        finally:
            if self._stream is asyncio.current_task():
                program.closed(reason)

    async def _send(self) -> None:
        """Post what waits, one call after the other; one that breaks is lost, and so are those behind it."""
        try:
            async with _client(ANSWER_S_MAX) as client:
                while self._calls:
                    body = json.encode(self._calls.popleft())
                    async with client.post(self._url, data=body, headers=self._headers) as response:
                        text = await response.text()
                        assert "Failed to validate" not in text, f"a call that is well formed is refused: {text}"
        except BROKEN:
            # The agent hears of what is lost when the executor subscribes again.
            if self._stream is not None:
                self._stream.cancel()
            self._calls.clear()
        finally:
            if self._sending is asyncio.current_task():
                self._sending = None


class HttpOperator:
    """The calls of an operator."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def operate(self, call: operator.Call) -> tuple[int, bytes] | None:
        """The answer to a call; None where there was none."""
        try:
            async with (
                _client(ANSWER_S_MAX) as client,
                client.post(self._url, data=json.encode(call), headers=HEADERS) as response,
            ):
                return response.status, await response.read()
        except BROKEN:
            return None

    async def follow(self, heard: Callable[[bytes], None]) -> None:
        """Hear all events; returns when the stream has ended."""
        call = operator.Call(type=operator.CallType.SUBSCRIBE)
        await _records(self._url, json.encode(call), HEADERS, heard)
