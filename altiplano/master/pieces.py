"""Large answers as trees, written piece by piece.

An answer with 100,000 tasks takes a while to write, and the loop has other work; so an answer is a tree
whose leaves are sequences of records, and writing it is an iterator: each step writes some records, and
whoever drives it lets the loop breathe in between.  The records do not change meanwhile
(`altiplano.master.snapshot`), so writing a tree twice gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from altiplano.wire import json, protobuf, shape
from altiplano.wire.messages.fields import Message

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Rows:
    """A list of records.  `encode` writes some as JSON, `message` makes one a message for the protobuf form."""

    items: Sequence[Any]
    encode: Callable[[Sequence[Any]], Iterable[bytes]]
    message: Callable[[Any], Message] | None = None
    per_piece: int = 50


@dataclass(frozen=True, slots=True)
class Objects:
    """A list of objects that hold lists themselves."""

    items: Sequence[Any]
    tree: Callable[[Any], Tree]


@dataclass(frozen=True, slots=True)
class Tree:
    """An object: what is small about it, and the fields that are not.  `kind` is its message, if it is one."""

    head: Any
    fields: tuple[tuple[str, Tree | Rows | Objects], ...] = ()
    kind: type[Message] | None = None


def messages(rows: Sequence[Any], message: Callable[[Any], Message], per_piece: int = 50) -> Rows:
    """Records that are written as messages."""
    return Rows(
        items=rows,
        encode=lambda some: [json.encode(message(one)) for one in some],
        message=message,
        per_piece=per_piece,
    )


def objects(rows: Sequence[Any], shown: Callable[[Any], Any], per_piece: int = 50) -> Rows:
    """Records that are written as whatever `shown` makes of them."""
    return Rows(items=rows, encode=lambda some: [_encoder.encode(shown(one)) for one in some], per_piece=per_piece)


def to_json(node: Tree) -> Iterator[bytes]:
    """The JSON form of a tree."""
    head = json.encode(node.head) if isinstance(node.head, Message) else _encoder.encode(node.head)
    yield head[:-1]
    comma = b"" if head == b"{}" else b","
    for name, value in node.fields:
        yield b'%b"%b":' % (comma, name.encode())
        comma = b","
        match value:
            case Tree():
                yield from to_json(value)
            case Rows():
                yield from _json_rows(value)
            case Objects():
                separator = b"["
                for one in value.items:
                    yield separator
                    yield from to_json(value.tree(one))
                    separator = b","
                yield b"]" if value.items else b"[]"
    yield b"}"


def _json_rows(rows: Rows) -> Iterator[bytes]:
    separator = b"["
    for start in range(0, len(rows.items), rows.per_piece):
        yield separator + b",".join(rows.encode(rows.items[start : start + rows.per_piece]))
        separator = b","
    yield b"]" if rows.items else b"[]"


def to_protobuf(node: Tree) -> Iterator[bytes]:
    """The protobuf form of a tree of messages.  Empty pieces come while a length is not known yet."""
    assert node.kind is not None, "only messages have a protobuf form"
    if node.head is not None:
        yield protobuf.encode(node.head)
    numbers = {field.name: field.number for field in shape.fields_of(node.kind)}
    for name, value in node.fields:
        tag = protobuf.varint(numbers[name] << 3 | protobuf.LENGTH)
        match value:
            case Tree():
                held = []
                for piece in to_protobuf(value):
                    held.append(piece)
                    yield b""
                yield tag + protobuf.varint(sum(map(len, held)))
                yield from held
            case Rows():
                assert value.message is not None, f"{name} has no protobuf form"
                for start in range(0, len(value.items), value.per_piece):
                    yield b"".join(
                        tag + protobuf.varint(len(data)) + data
                        for data in map(
                            protobuf.encode, map(value.message, value.items[start : start + value.per_piece])
                        )
                    )
            case Objects():
                raise AssertionError(f"{name} has no protobuf form")
