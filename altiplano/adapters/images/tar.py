"""Reads tar streams that nobody vouches for.

The standard library's reader believes sizes it finds (a header may ask it for gigabytes of memory, older
ones for an endless loop), so layers are read by this one: it goes forward only, holds one block of data at a
time, and every length is checked before it is used.  Understood are the old format, ustar, GNU (long names,
base-256 numbers, sparse files) and pax (paths, sizes, times, owners, extended attributes, sparse files 0.0
to 1.0); anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

BLOCK_BYTES: Final = 512
HEADER_BYTES_MAX: Final = 1024 * 1024
"""Longest name, and longest set of pax attributes, of one entry."""
EXTENSIONS_MAX: Final = 8
"""Headers of one entry, its own included."""
EXTENTS_MAX: Final = 65536
"""Pieces of one sparse file."""
PATH_BYTES_MAX: Final = 4095
NUMBER_MAX: Final = 2**62

FILE, LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"

Read = Callable[[int], bytes]
"""Up to so many bytes of the stream; none at its end."""


class TarError(Exception):
    """The stream is no tar file, or one with parts that are not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member.  `name` and `target` are as written: whoever uses them checks where they lead."""

    kind: bytes
    name: bytes
    target: bytes = b""
    size_bytes: int = 0
    """Of the file when unpacked, holes included."""
    stored_bytes: int = 0
    """Of its data in the stream, a sparse file's map not included."""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    major: int = 0
    minor: int = 0
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    extents: tuple[tuple[int, int], ...] | None = None
    """Of a sparse file: (offset, length) of each piece of data, in order and apart."""


class TarReader:
    """Entries of a stream, one after another.  The data of an entry is read before the next is asked for."""

    def __init__(self, read: Read, skip: Callable[[int], None] | None = None) -> None:
        """`skip` leaves out so many bytes where that is cheaper than reading them."""
        self._read_some = read
        self._skip_some = skip
        self._left = 0
        self._padding = 0
        self.offset = 0
        """Bytes taken from the stream so far."""

    def __iter__(self) -> Iterator[Entry]:
        common: dict[str, bytes] = {}
        while True:
            attributes = dict(common)
            long_name = long_target = None
            for _ in range(EXTENSIONS_MAX):
                self._skip()
                block = self._read(BLOCK_BYTES, or_end=True)
                if not block or not block.strip(b"\0"):
                    return
                header = _header(block)
                if header.kind == b"L":
                    long_name = self._text(header.size_bytes)
                elif header.kind == b"K":
                    long_target = self._text(header.size_bytes)
                elif header.kind == b"x":
                    attributes.update(_pax(self._content(header.size_bytes)))
                elif header.kind == b"g":
                    # Attributes for all entries that follow: a later set takes the place of the one before.
                    common = _pax(self._content(header.size_bytes))
                    attributes.update(common)
                else:
                    break
            else:
                raise TarError(f"an entry has more than {EXTENSIONS_MAX} headers")
            yield self._entry(block, header, attributes, long_name, long_target)

    def data(self, bytes_max: int) -> bytes:
        """The next bytes of the entry at hand, at most so many; none at their end."""
        if not self._left:
            return b""
        data = self._read_some(min(bytes_max, self._left))
        if not data:
            raise TarError("the stream ends in the middle of a file")
        self._left -= len(data)
        self.offset += len(data)
        return data

    def _entry(
        self, block: bytes, header: _Header, attributes: dict[str, bytes], name: bytes | None, target: bytes | None
    ) -> Entry:
        kind = header.kind
        if kind in (b"\0", b"7", b"S"):
            kind = FILE
        elif kind not in (FILE, LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO):
            raise TarError(f"an entry of type {kind!r} is not understood")
        path = attributes.get("path", header.name if name is None else name)
        if header.kind == b"\0" and path.endswith(b"/"):
            kind = DIRECTORY
        stored = _decimal(attributes["size"], "size") if "size" in attributes else header.size_bytes
        if kind != FILE:
            # Some writers put a size on links and directories; no data follow, as most readers agree.
            stored = 0
        self._left = stored
        self._padding = -stored % BLOCK_BYTES
        extents: tuple[tuple[int, int], ...] | None = None
        size = stored
        if header.kind == b"S":
            extents, size = self._old_sparse(block)
        elif kind == FILE and any(key.startswith("GNU.sparse.") for key in attributes):
            extents, size = self._pax_sparse(attributes)
            path = attributes.get("GNU.sparse.name", path)
        if extents is not None:
            _check_extents(extents, size, self._left)
        link = attributes.get("linkpath", header.target if target is None else target)
        for text in (path, link):
            if len(text) > PATH_BYTES_MAX or b"\0" in text:
                raise TarError(f"the path {text[:80]!r}… has {len(text)} bytes or holds a zero byte")
        return Entry(
            kind=kind,
            name=path,
            target=link,
            size_bytes=size if kind == FILE else 0,
            stored_bytes=self._left,
            mode=header.mode,
            uid=_decimal(attributes["uid"], "uid") if "uid" in attributes else header.uid,
            gid=_decimal(attributes["gid"], "gid") if "gid" in attributes else header.gid,
            modified_ns=_time_ns(attributes["mtime"]) if "mtime" in attributes else header.modified_s * 10**9,
            major=header.major,
            minor=header.minor,
            attributes={key.removeprefix(_XATTR): value for key, value in attributes.items() if key.startswith(_XATTR)},
            extents=extents,
        )

    def _old_sparse(self, block: bytes) -> tuple[tuple[tuple[int, int], ...], int]:
        """GNU's own type S: four pieces in the header, 21 in each block that may follow."""
        size = _number(block[483:495], "real size")
        extents = _old_extents(block, 386, 4)
        more = block[482]
        while more:
            following = self._read(BLOCK_BYTES)
            extents += _old_extents(following, 0, 21)
            more = following[504]
            if len(extents) > EXTENTS_MAX:
                raise TarError(f"a sparse file has more than {EXTENTS_MAX} pieces")
        return tuple(extents), size

    def _pax_sparse(self, attributes: Mapping[str, bytes]) -> tuple[tuple[tuple[int, int], ...], int]:
        if attributes.get("GNU.sparse.major") == b"1":
            size = _decimal(attributes.get("GNU.sparse.realsize", b""), "real size of a sparse file")
            return self._leading_map(), size
        size = _decimal(attributes.get("GNU.sparse.size", b""), "size of a sparse file")
        text = attributes.get("GNU.sparse.map", b"")
        numbers = [_decimal(number, "sparse map") for number in text.split(b",")] if text else []
        if len(numbers) % 2 or len(numbers) > 2 * EXTENTS_MAX:
            raise TarError("the map of a sparse file is not one of pairs")
        return tuple(zip(numbers[::2], numbers[1::2], strict=True)), size

    def _leading_map(self) -> tuple[tuple[int, int], ...]:
        """Format 1.0: a count, then offsets and lengths, one decimal number a line, padded to a block."""
        numbers: list[int] = []
        wanted = 1
        rest = b""
        while len(numbers) < wanted:
            if self._left < BLOCK_BYTES:
                raise TarError("the map of a sparse file is longer than its data")
            block = self._read(BLOCK_BYTES)
            self._left -= BLOCK_BYTES
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if len(numbers) == wanted:
                    break
                numbers.append(_decimal(line, "sparse map"))
                if len(numbers) == 1:
                    if numbers[0] > EXTENTS_MAX:
                        raise TarError(f"a sparse file has more than {EXTENTS_MAX} pieces")
                    wanted = 1 + 2 * numbers[0]
            if len(rest) > BLOCK_BYTES:
                raise TarError("the map of a sparse file holds no numbers")
        return tuple(zip(numbers[1::2], numbers[2::2], strict=True))

    def _content(self, size: int) -> bytes:
        if size > HEADER_BYTES_MAX:
            raise TarError(f"the attributes of an entry have {size} bytes, at most {HEADER_BYTES_MAX} are read")
        content = self._read(size)
        self._padding = -size % BLOCK_BYTES
        return content

    def _text(self, size: int) -> bytes:
        return self._content(size).partition(b"\0")[0]

    def _skip(self) -> None:
        left, self._left = self._left + self._padding, 0
        self._padding = 0
        if self._skip_some is not None and left:
            self._skip_some(left)
            self.offset += left
            return
        while left:
            # Nothing is lost when the last padding is missing: some writers leave it out.
            data = self._read_some(min(left, 65536))
            if not data:
                return
            left -= len(data)
            self.offset += len(data)

    def _read(self, size: int, *, or_end: bool = False) -> bytes:
        parts = []
        left = size
        while left:
            data = self._read_some(left)
            if not data:
                if or_end and left == size:
                    return b""
                raise TarError("the stream ends in the middle of an entry")
            parts.append(data)
            left -= len(data)
        self.offset += size
        return b"".join(parts)


_XATTR: Final = "SCHILY.xattr."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    kind: bytes
    name: bytes
    target: bytes
    size_bytes: int
    mode: int
    uid: int
    gid: int
    modified_s: int
    major: int
    minor: int


def _header(block: bytes) -> _Header:
    # Some old writers summed signed characters.
    wanted = _number(block[148:156], "checksum")
    bare = block[:148] + b" " * 8 + block[156:]
    if wanted not in (sum(bare), sum(byte - 256 if byte > 127 else byte for byte in bare)):
        raise TarError("the checksum of a header is wrong: this is no tar file, or a damaged one")
    kind = block[156:157]
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    devices = kind in (CHARACTER, BLOCK)
    return _Header(
        kind=kind,
        name=name,
        target=block[157:257].partition(b"\0")[0],
        size_bytes=_number(block[124:136], "size"),
        mode=_number(block[100:108], "mode") & 0o7777,
        uid=_number(block[108:116], "uid"),
        gid=_number(block[116:124], "gid"),
        modified_s=_number(block[136:148], "time", negative=True),
        major=_number(block[329:337], "device") if devices else 0,
        minor=_number(block[337:345], "device") if devices else 0,
    )


def _number(text: bytes, what: str, *, negative: bool = False) -> int:
    """Octal digits, or GNU's binary form, which its first bit tells."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big", signed=True) if text[0] == 0xFF else int.from_bytes(text, "big")
        if text[0] != 0xFF:
            value -= 0x80 << 8 * (len(text) - 1)
    else:
        digits = text.partition(b"\0")[0].strip()
        if not all(48 <= digit <= 55 for digit in digits):
            raise TarError(f"the {what} {digits!r:.40} of an entry is no octal number")
        value = int(digits or b"0", 8)
    if abs(value) > NUMBER_MAX or (value < 0 and not negative):
        raise TarError(f"the {what} {value} of an entry is out of range")
    return value


def _decimal(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) > NUMBER_MAX:
        raise TarError(f"the {what} {text[:40]!r} of an entry is no decimal number up to {NUMBER_MAX}")
    return int(text)


def _time_ns(text: bytes) -> int:
    """Seconds with decimals; more than nine are cut off."""
    whole, _, fraction = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    seconds = _decimal(whole.lstrip(b"-") or b"0", "time")
    if fraction and not fraction.isdigit():
        raise TarError(f"the time {text[:40]!r} of an entry is no number")
    return sign * (seconds * 10**9 + int(fraction[:9].ljust(9, b"0") or b"0"))


def _pax(content: bytes) -> dict[str, bytes]:
    """Records `LENGTH KEY=VALUE\\n`; LENGTH counts the whole record."""
    records: dict[str, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 8)
        digits = content[at:space]
        if space < 0 or not digits.isdigit():
            raise TarError("the attributes of an entry are damaged")
        end = at + int(digits)
        if end > len(content) or end <= space + 2 or content[end - 1 : end] != b"\n":
            raise TarError("the attributes of an entry are damaged")
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise TarError("the attributes of an entry are damaged")
        name = key.decode("utf-8", "surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(value)
        else:
            records[name] = value
        at = end
    if sparse:
        # Format 0.0 repeats two keys; 0.1 writes the same numbers into one.
        records["GNU.sparse.map"] = b",".join(sparse)
    return records


def _old_extents(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    extents = []
    for at in range(start, start + 24 * count, 24):
        if not block[at : at + 24].strip(b"\0"):
            break
        extents.append((_number(block[at : at + 12], "offset"), _number(block[at + 12 : at + 24], "length")))
    return extents


def _check_extents(extents: tuple[tuple[int, int], ...], size: int, stored: int) -> None:
    end = 0
    for offset, length in extents:
        if offset < end:
            raise TarError("the pieces of a sparse file overlap")
        end = offset + length
    if end > size or sum(length for _, length in extents) != stored:
        raise TarError("the pieces of a sparse file do not fit its size")
