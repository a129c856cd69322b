"""What the endpoints of a master have in common: reading calls, choosing forms, streaming."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from altiplano.engine import http, streams
from altiplano.engine.connection import SMALL_BODY_BYTES
from altiplano.engine.streams import EventStream
from altiplano.master.shell import Shell
from altiplano.wire import extent, lists
from altiplano.wire.codec import CODECS, JSON, PROTOBUF, Codec
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)

CALL_BYTES_MAX = 32 * 1024 * 1024
"""Size of one call, also after decompression."""

ELEMENTS_MAX = 1_000_000
"""Objects, lists and values in one call."""

ELEMENTS_AT_ONCE = 100_000
"""Elements of a JSON text that are read in one go; reading so many takes as long as one slice of the loop may.
Beyond it only the long lists of a call are read, in pieces."""

REST_BYTES_MAX = 1024 * 1024
"""What such a call may have besides its long lists."""

READING_MAX = 1
"""Large calls that are read at the same time: while a thread reads, the event loop waits for the interpreter."""

REST_FACTOR = 3.0
"""For so many times as long as a large call was read none is, so that the loop has most of the interpreter's time."""

REST_S_MAX = 1.0

LARGE_CALLS_BYTES_MAX = 128 * 1024 * 1024
"""What the bodies of all large calls on their way may have together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm(Generic[M]):
    """The calls of one API: their class, its name in sentences, what every call must fulfil, and its long lists."""

    message: type[M]
    name: str
    check: Callable[[M], None]
    lists: tuple[lists.Path, ...] = ()


def require_post(scope: http.Scope) -> None:
    if scope["method"] != "POST":
        raise http.Refusal(
            405, f"Expecting one of {{ 'POST' }}, but received '{scope['method']}'", headers=((b"allow", b"POST"),)
        )


def require_ready(shell: Shell) -> None:
    if not shell.ready:
        raise http.Refusal(503, "Master has not finished recovery")


def content_codec(scope: http.Scope) -> Codec:
    """The form of a request's body, by its Content-Type; parameters and case do not matter."""
    text = http.header(scope, b"content-type")
    if text is None:
        raise http.Refusal(400, "Expecting 'Content-Type' to be present")
    codec = CODECS.get(text) or CODECS.get(text.partition(";")[0].strip().lower())
    if codec is None:
        raise http.Refusal(
            415, f"Expecting 'Content-Type' of {JSON.media_type} or {PROTOBUF.media_type}, but received '{text}'"
        )
    return codec


def answer_codec(scope: http.Scope) -> Codec:
    """The form of the answer, by the Accept header; JSON where the client leaves it open."""
    accept = _accept(scope)
    for codec in (JSON, PROTOBUF):
        if http.accepts(accept, codec.media_type):
            return codec
    raise http.Refusal(
        406, f"Expecting 'Accept' to allow {JSON.media_type} or {PROTOBUF.media_type}, but received '{accept}'"
    )


def _accept(scope: http.Scope) -> str | None:
    # Go clients send the header twice.
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == b"accept"]
    return ",".join(values) if values else None


async def read_call(scope: http.Scope, receive: http.Receive, codec: Codec, form: CallForm[M], *, room: Room) -> M:
    """The valid call in the body of a request; a large one is read beside the loop, and few of those at a time."""
    length = _length(scope)
    if length is not None and length <= SMALL_BODY_BYTES:
        return small_call(codec, form, await http.read_body(scope, receive, limit_bytes=CALL_BYTES_MAX))
    if length is not None and length > CALL_BYTES_MAX:
        raise http.Refusal(413, f"the body is longer than {CALL_BYTES_MAX} bytes, the limit of one call")
    with room.share() as share:
        body = await http.read_body(scope, share.metered(receive), limit_bytes=CALL_BYTES_MAX)
        async with room.reading():
            return await asyncio.to_thread(large_call, codec, form, body)


def small_call(codec: Codec, form: CallForm[M], body: bytes) -> M:
    """The valid call in a body that is read on the loop."""
    call = decode(codec, form.message, body, form.name)
    form.check(call)
    return call


def _length(scope: http.Scope) -> int | None:
    """How long the body says it is; None if it does not, or is longer once it is unpacked."""
    text = http.header(scope, b"content-length")
    packed = http.header(scope, b"content-encoding")
    return int(text) if text is not None and text.isdecimal() and packed is None else None


class Room:
    """What large calls may take of the memory of a process."""

    def __init__(self) -> None:
        self.taken_bytes = 0
        self._reading = asyncio.Semaphore(READING_MAX)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """The turn to read a large call; the next one comes after a rest, for which nobody here waits."""
        loop = asyncio.get_running_loop()
        await self._reading.acquire()
        begun_s = loop.time()
        try:
            yield
        finally:
            rest_s = min(REST_S_MAX, (loop.time() - begun_s) * REST_FACTOR)
            loop.call_later(rest_s, self._reading.release)

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """The part of one call, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.taken_bytes -= share.size_bytes


class Share:
    """What one call has taken: only what has arrived counts, so whoever sends slowly keeps nobody out."""

    def __init__(self, room: Room) -> None:
        self.size_bytes = 0
        self._room = room

    def metered(self, receive: http.Receive) -> http.Receive:
        async def metered() -> MutableMapping[str, Any]:
            message = await receive()
            size = len(message.get("body", b""))
            self.size_bytes += size
            self._room.taken_bytes += size
            if self._room.taken_bytes > LARGE_CALLS_BYTES_MAX:
                raise http.Refusal(503, "too many large calls are on their way: try again in a moment")
            return message

        return metered


def large_call(codec: Codec, form: CallForm[M], body: bytes) -> M:
    """The valid call in a body that is read on a thread, no part of it in one long go."""
    if codec is not JSON:
        if extent.protobuf_elements(form.message, body, ELEMENTS_MAX) > ELEMENTS_MAX:
            raise _too_many(ELEMENTS_MAX)
        call = decode(codec, form.message, body, form.name)
    elif extent.json_elements(body, ELEMENTS_AT_ONCE) <= ELEMENTS_AT_ONCE:
        call = decode(codec, form.message, body, form.name)
    else:
        call = _with_long_lists(form, body)
    form.check(call)
    return call


def _with_long_lists(form: CallForm[M], body: bytes) -> M:
    if not form.lists:
        raise _too_many(ELEMENTS_AT_ONCE)
    if extent.json_elements(body, ELEMENTS_MAX) > ELEMENTS_MAX:
        raise _too_many(ELEMENTS_MAX)
    try:
        return lists.decode(form.message, body, form.lists, REST_BYTES_MAX)
    except lists.TooMany as error:
        raise http.Refusal(413, str(error)) from error
    except WireError as error:
        raise http.Refusal(400, f"Failed to parse body into {form.name}: {error}") from error


def _too_many(limit: int) -> http.Refusal:
    return http.Refusal(413, f"the call has more than {limit} elements, the limit of one: send several")


def decode(codec: Codec, kind: type[M], body: bytes, what: str) -> M:
    try:
        return codec.decode(kind, body)
    except WireError as error:
        raise http.Refusal(400, f"Failed to parse body into {what}: {error}") from error


class Awaited:
    """A callback for status and text of an answer that somebody awaits."""

    def __init__(self) -> None:
        self._done: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def __call__(self, status: int, text: str) -> None:
        if not self._done.done():
            self._done.set_result((status, text))

    def __await__(self) -> Generator[Any, None, tuple[int, str]]:
        return self._done.__await__()


async def stream(
    shell: Shell, receive: http.Receive, send: http.Send, subscribed: EventStream, *, headers: http.Headers = ()
) -> None:
    """Carry a stream until either side ends it, and tell the core."""
    reason = "the stream was given up"
    try:
        reason = await streams.carry(subscribed, receive, send, headers=headers)
    finally:
        shell.left(subscribed, reason)
