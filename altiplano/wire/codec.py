"""The form that two peers have agreed on, chosen by media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from altiplano.kit import recordio
from altiplano.wire import json, protobuf
from altiplano.wire.messages.fields import Message

M = TypeVar("M", bound=Message)


class Decode(Protocol):
    """Reads a message of the given class, or raises `WireError`."""

    def __call__(self, message: type[M], data: bytes, /) -> M: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One form of messages: its name in `Content-Type` and `Accept`, and how it is written and read."""

    media_type: str
    encode: Callable[[Message], bytes]
    decode: Decode

    def record(self, message: Message) -> bytes:
        """A message as it stands in a stream."""
        return recordio.record(self.encode(message))


JSON = Codec(media_type="application/json", encode=json.encode, decode=json.decode)
PROTOBUF = Codec(media_type="application/x-protobuf", encode=protobuf.encode, decode=protobuf.decode)

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (JSON, PROTOBUF)}
