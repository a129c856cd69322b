"""The protobuf form of messages (proto2), derived from the message classes.

For each class an encoder and a decoder are written as Python source and compiled when they are first needed: code
that knows its fields by name is about as fast as copying messages into and out of Google's library, and it is the
only place that knows the layout.  `source` shows what was written for a class.

The decoders are for what every sane encoder writes.  Whatever else the format allows – a message sent in pieces – and
all that it forbids makes them raise `Unusual`, and the body is read again by `protobuf_careful`, which is slow,
complete, and finds the words of a refusal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from altiplano.wire import protobuf_careful, shape
from altiplano.wire.errors import WireError
from altiplano.wire.messages.fields import UINT32_MAX, Message
from altiplano.wire.shape import Field, Kind, Label

M = TypeVar("M", bound=Message)

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIRE_TYPE: Mapping[Kind, int] = {Kind.DOUBLE: FIXED64, Kind.STRING: LENGTH, Kind.BYTES: LENGTH, Kind.MESSAGE: LENGTH}
# Below this, lengths and numbers come ready-made out of a table.
_SHORT = 256
# Up to so many comparisons in a row are as fast as a choice by halves.
_LINEAR_MAX = 5


class Unusual(Exception):
    """The fast decoder has met something that it leaves to the careful one."""


def encode(message: Message) -> bytes:
    """The protobuf form of a message: fields by number, as Google's encoders write them."""
    try:
        data: bytes = _encoder(type(message))(message)
    except (struct.error, UnicodeEncodeError, OverflowError) as error:
        raise WireError(f"{type(message).__name__} cannot be written as protobuf: {error}") from error
    return data


def decode(message: type[M], data: bytes) -> M:
    """The message that `data` holds, or a `WireError` that names the path and the rule.

    Unknown fields are skipped, and an optional field with an unknown enum value is left unset.
    """
    try:
        result: M = _decoder(message)(data, 0, len(data))
        return result
    except (Unusual, IndexError, TypeError, ValueError, struct.error, RecursionError):
        return protobuf_careful.decode(message, data)


def source(message: type[Message]) -> str:
    """The code that reads and writes one message class."""
    return _Encoder(message).source() + "\n\n" + _Decoder(message).source()


def varint(value: int) -> bytes:
    """A number from 0 to 2**64 - 1 in groups of seven bits, the lowest first."""
    if not 0 <= value < 1 << 64:
        raise OverflowError(f"{value} does not fit into 64 bits without a sign")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int, bits: int) -> bytes:
    """A number with a sign: negative ones count down from 2**64, whatever their size."""
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise OverflowError(f"{value} does not fit into {bits} bits with a sign")
    return varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def rest(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """The value of a varint whose first byte, at `pos - 1`, was `first`; and the position after it."""
    value, shift = first & 0x7F, 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise Unusual
    if value >> 64:
        raise Unusual
    return value, pos


def skip(data: bytes, pos: int, tag: int, end: int) -> int:
    """The position after the value of a field that the decoder does not know."""
    if not tag >> 3 or tag > UINT32_MAX:
        raise Unusual
    wire_type = tag & 7
    if wire_type == VARINT:
        return rest(data, pos + 1, data[pos])[1] if data[pos] > 0x7F else pos + 1
    if wire_type == FIXED64:
        return pos + 8
    if wire_type == FIXED32:
        return pos + 4
    if wire_type != LENGTH:
        raise Unusual
    size = data[pos]
    pos += 1
    if size > 0x7F:
        size, pos = rest(data, pos, size)
    if pos + size > end:
        raise Unusual
    return pos + size


@cache
def _encoder(message: type[Message]) -> Callable[[Any], bytes]:
    return _Encoder(message).compile()


@cache
def _decoder(message: type[Message]) -> Callable[[bytes, int, int], Any]:
    return _Decoder(message).compile()


@cache
def _heads(tag: bytes) -> tuple[bytes, ...]:
    """A tag followed by each short length: half of all bytes of a message are made of these."""
    return tuple(tag + varint(size) for size in range(_SHORT))


_VARINTS = tuple(varint(value) for value in range(_SHORT))


def _tag(field: Field) -> int:
    wire_type = LENGTH if field.label is Label.MAP else _WIRE_TYPE.get(field.kind, VARINT)
    return field.number << 3 | wire_type


class _Writer:
    """Lines of source and the names that they refer to."""

    def __init__(self, message: type[Message]) -> None:
        self.message = message
        self.fields = shape.fields_of(message)
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.depth = 0

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _function(self, name: str, getter: Callable[[type[Message]], Any], message: type[Message]) -> str:
        """A name for the codec of another message, which is compiled when it is first called.

        Message classes refer to themselves and to hundreds of others: compiling all at once would take a second.
        """
        names = self.names

        def first(*args: Any) -> Any:
            names[name] = getter(message)
            return names[name](*args)

        names.setdefault(name, first)
        return name

    def source(self) -> str:
        raise AssertionError("an encoder or decoder says what its source is")

    def compile(self) -> Callable[..., Any]:
        text = self.source()
        exec(compile(text, f"<protobuf codec of {self.message.__name__}>", "exec"), self.names)
        function: Callable[..., Any] = self.names["codec"]
        return function


class _Encoder(_Writer):
    def source(self) -> str:
        self.names |= {"VARINTS": _VARINTS, "varint": varint, "signed": signed, "pack": struct.Struct("<d").pack}
        self.line(0, "def codec(m):")
        self.line(1, "out = []")
        for field in self.fields:
            self._field(field)
        self.line(1, 'return b"".join(out)')
        return "\n".join(self.lines)

    def _field(self, field: Field) -> None:
        match field.label:
            case Label.REQUIRED:
                self.line(1, f"v = m.{field.name}")
                self._value(1, field)
            case Label.OPTIONAL:
                self.line(1, f"v = m.{field.name}")
                self.line(1, "if v is not None:")
                self._value(2, field)
            case Label.REPEATED:
                self.line(1, f"for v in m.{field.name}:")
                self._value(2, field)
            case Label.MAP:
                self.names[f"entry{field.number}"] = _entry_encoder(field)
                self.names[f"HEADS{field.number}"] = _heads(varint(field.number << 3 | LENGTH))
                self.line(1, f"for item in m.{field.name}.items():")
                self.line(2, f"b = entry{field.number}(*item)")
                self._length_and_bytes(2, field.number)

    def _value(self, depth: int, field: Field) -> None:
        number, tag = field.number, varint(_tag(field))
        match field.kind:
            case Kind.STRING | Kind.BYTES | Kind.MESSAGE:
                self.names[f"HEADS{number}"] = _heads(tag)
                made = {Kind.STRING: "v.encode()", Kind.BYTES: "v"}.get(field.kind)
                if made is None:
                    made = self._function(f"encode_{field.type.__name__}", _encoder, field.type) + "(v)"
                self.line(depth, f"b = {made}")
                self._length_and_bytes(depth, number)
            case Kind.DOUBLE:
                self.line(depth, f"out += ({tag!r}, pack(v))")
            case Kind.BOOL:
                self.line(depth, f"out.append({tag + varint(1)!r} if v else {tag + varint(0)!r})")
            case Kind.ENUM:
                short = all(0 <= member.number < _SHORT for member in field.type)  # type: ignore[attr-defined]  # of an ENUM it is our enum
                self.line(depth, f"out += ({tag!r}, {'VARINTS[v.number]' if short else 'signed(v.number, 32)'})")
            case Kind.INT32 | Kind.INT64:
                bits = 32 if field.kind is Kind.INT32 else 64
                self.line(depth, f"out += ({tag!r}, VARINTS[v] if 0 <= v < {_SHORT} else signed(v, {bits}))")
            case Kind.UINT32 | Kind.UINT64:
                self.line(depth, f"out += ({tag!r}, VARINTS[v] if 0 <= v < {_SHORT} else varint(v))")

    def _length_and_bytes(self, depth: int, number: int) -> None:
        tag = varint(number << 3 | LENGTH)
        self.line(depth, "n = len(b)")
        self.line(depth, f"out += (HEADS{number}[n] if n < {_SHORT} else {tag!r} + varint(n), b)")


def _entry_encoder(field: Field) -> Callable[[str, Any], bytes]:
    """Writes one entry of a map: a message of its own with the key as field 1 and the value as field 2."""
    heads = _heads(varint(1 << 3 | LENGTH)), _heads(varint(2 << 3 | LENGTH))
    to_bytes: Callable[[Any], bytes] = _encoder(field.type) if field.kind is Kind.MESSAGE else str.encode

    def write(key: str, value: Any) -> bytes:
        parts = []
        for (first, *_), short, part in ((heads[0], heads[0], key.encode()), (heads[1], heads[1], to_bytes(value))):
            parts.append(short[len(part)] if len(part) < _SHORT else first[:1] + varint(len(part)))
            parts.append(part)
        return b"".join(parts)

    return write


class _Decoder(_Writer):
    """Writes a loop over the fields of one message.

    What is found goes into a dictionary, since most fields of most messages are absent, and the message class itself
    knows their defaults and misses what is required (a TypeError).
    """

    def source(self) -> str:
        self.names |= {
            "rest": rest,
            "skip": skip,
            "Unusual": Unusual,
            "unpack": struct.Struct("<d").unpack_from,
            "Message": self.message,
        }
        self.line(0, "def codec(data, pos, end):")
        self._single()
        gathered = [field for field in self.fields if field.label in (Label.REPEATED, Label.MAP)]
        if gathered:
            self.line(1, "".join(f"f{field.number} = " for field in gathered) + "None")
        self.line(1, "found = {}")
        self.line(1, "while pos < end:")
        self.line(2, "tag = data[pos]")
        self.line(2, "pos += 1")
        self.line(2, "if tag > 127:")
        self.line(3, "tag, pos = rest(data, pos, tag)")
        self._choice(2, sorted(self.fields, key=_tag))
        self.line(1, "if pos != end:")
        self.line(2, "raise Unusual")
        for field in gathered:
            self.line(1, f"if f{field.number} is not None:")
            made = f"tuple(f{field.number})" if field.label is Label.REPEATED else f"f{field.number}"
            self.line(2, f"found['{field.name}'] = {made}")
        self.line(1, "return Message(**found)")
        return "\n".join(self.lines)

    def _single(self) -> None:
        """Most messages are ids, texts and numbers: one field, which needs no loop."""
        if len(self.fields) != 1 or self.fields[0].label not in (Label.REQUIRED, Label.OPTIONAL):
            return
        (field,) = self.fields
        match field.kind:
            case Kind.STRING:
                self.line(
                    1, f"if pos + 2 <= end and data[pos] == {_tag(field)} and data[pos + 1] == end - pos - 2 < 128:"
                )
                self.line(2, f"return Message({field.name}=data[pos + 2:end].decode())")
            case Kind.DOUBLE:
                self.line(1, f"if pos + 9 == end and data[pos] == {_tag(field)}:")
                self.line(2, f"return Message({field.name}=unpack(data, pos + 1)[0])")
            case _:
                pass

    def _choice(self, depth: int, fields: list[Field]) -> None:
        """Finds the field of a tag by halves: messages have up to fifty fields."""
        if len(fields) > _LINEAR_MAX:
            half = len(fields) // 2
            self.line(depth, f"if tag < {_tag(fields[half]) & ~7}:")
            self._choice(depth + 1, fields[:half])
            self.line(depth, "else:")
            self._choice(depth + 1, fields[half:])
            return
        word = "if"
        for field in fields:
            self.line(depth, f"{word} tag == {_tag(field)}:")
            self.depth = depth + 1
            self._field(field)
            word = "elif"
            if field.label is Label.REPEATED and _tag(field) & 7 != LENGTH:
                self.line(depth, f"elif tag == {field.number << 3 | LENGTH}:")
                self.line(depth + 1, "raise Unusual  # packed, which proto2 encoders do only when told to")
        if fields:
            self.line(depth, "else:")
        self.line(depth + 1 if fields else depth, "pos = skip(data, pos, tag, end)")

    def _field(self, field: Field) -> None:
        name = f"f{field.number}"
        add = self._at
        if field.label is Label.MAP:
            self.names[f"entry{field.number}"] = _entry_decoder(field)
            self._length()
            add(0, f"if {name} is None:")
            add(1, f"{name} = {{}}")
            add(0, f"k, v = entry{field.number}(data, pos, stop)")
            add(0, f"{name}[k] = v")
            add(0, "pos = stop")
            return
        repeated = field.label is Label.REPEATED
        if field.kind is Kind.MESSAGE and not repeated:
            add(0, f"if '{field.name}' in found:")
            add(1, "raise Unusual  # a second occurrence is merged into the first")
        expression = self._value(field)
        if repeated:
            add(0, f"if {name} is None:")
            add(1, f"{name} = []")
        store = f"{name}.append(%s)" if repeated else f"found['{field.name}'] = %s"
        if field.kind is Kind.ENUM:
            add(0, f"v = {expression}")
            add(0, "if v is not None:")
            add(1, store % "v")
        else:
            add(0, store % expression)
        if _tag(field) & 7 == LENGTH:
            add(0, "pos = stop")
        if field.kind is Kind.DOUBLE:
            add(0, "pos += 8")
        if field.group is not None:
            for other in self.fields:
                if other.group == field.group and other is not field:
                    add(0, f"found.pop('{other.name}', None)")

    def _value(self, field: Field) -> str:
        """Writes what reads one value, and returns the expression for it."""
        match field.kind:
            case Kind.STRING:
                self._length()
                return "data[pos:stop].decode()"
            case Kind.BYTES:
                self._length()
                return "data[pos:stop]"
            case Kind.MESSAGE:
                self._length()
                return self._function(f"decode_{field.type.__name__}", _decoder, field.type) + "(data, pos, stop)"
            case Kind.DOUBLE:
                return "unpack(data, pos)[0]"
            case Kind.BOOL:
                self._varint("")
                return "n != 0"
            case Kind.ENUM:
                self._varint("n &= 0xFFFFFFFF")
                numbers = {member.number: member for member in field.type}  # type: ignore[attr-defined]  # of an ENUM it is our enum
                self.names[f"ENUM{field.number}"] = numbers.get
                return f"ENUM{field.number}(n)"
            case Kind.UINT32:
                self._varint("n &= 0xFFFFFFFF")
                return "n"
            case Kind.UINT64:
                self._varint("")
                return "n"
            case Kind.INT32:
                self._varint("n = (n + 0x80000000 & 0xFFFFFFFF) - 0x80000000")
                return "n"
            case Kind.INT64:
                self._varint("n = (n + 0x8000000000000000 & 0xFFFFFFFFFFFFFFFF) - 0x8000000000000000")
                return "n"

    def _length(self) -> None:
        self._varint("")
        self._at(0, "stop = pos + n")
        self._at(0, "if stop > end:")
        self._at(1, "raise Unusual")

    def _varint(self, long: str) -> None:
        self._at(0, "n = data[pos]")
        self._at(0, "pos += 1")
        self._at(0, "if n > 127:")
        self._at(1, "n, pos = rest(data, pos, n)")
        if long:
            self._at(1, long)

    def _at(self, deeper: int, text: str) -> None:
        self.line(self.depth + deeper, text)


def _entry_decoder(field: Field) -> Callable[[bytes, int, int], tuple[str, Any]]:
    """Reads one entry of a map; what an entry lacks is the empty string or the empty message."""
    from_bytes: Callable[[bytes, int, int], Any] = _decoder(field.type) if field.kind is Kind.MESSAGE else _text

    def read(data: bytes, pos: int, end: int) -> tuple[str, Any]:
        key, start, stop = "", end, end
        while pos < end:
            tag, size = data[pos], data[pos + 1]
            pos += 2
            if size > 0x7F:
                size, pos = rest(data, pos, size)
            if pos + size > end:
                raise Unusual
            if tag == 1 << 3 | LENGTH:
                key = data[pos : pos + size].decode()
            elif tag == 2 << 3 | LENGTH and start == end:
                start, stop = pos, pos + size
            else:
                raise Unusual
            pos += size
        if pos != end:
            raise Unusual
        return key, from_bytes(data, start, stop)

    return read


def _text(data: bytes, pos: int, end: int) -> str:
    return data[pos:end].decode()
