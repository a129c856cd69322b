"""What the endpoints of a master have in common: reading calls, choosing forms, streaming."""

from __future__ import annotations

from typing import TypeVar

from altiplano.engine import http, streams
from altiplano.engine.streams import EventStream
from altiplano.master.shell import Shell
from altiplano.wire.codec import CODECS, JSON, PROTOBUF, Codec
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)


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


def decode(codec: Codec, kind: type[M], body: bytes, what: str) -> M:
    try:
        return codec.decode(kind, body)
    except WireError as error:
        raise http.Refusal(400, f"Failed to parse body into {what}: {error}") from error


async def respond_message(scope: http.Scope, send: http.Send, codec: Codec, message: Message) -> None:
    await http.respond(send, 200, codec.encode(message), content_type=codec.media_type, scope=scope)


async def stream(
    shell: Shell, receive: http.Receive, send: http.Send, subscribed: EventStream, *, headers: http.Headers = ()
) -> None:
    """Carry a stream until either side ends it, and tell the core."""
    reason = "the stream was given up"
    try:
        reason = await streams.carry(subscribed, receive, send, headers=headers)
    finally:
        shell.left(subscribed, reason)
