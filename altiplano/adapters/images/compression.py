"""Streams that may be packed: gzip, zstd where a library is there, or plain – told by their first bytes.

The first bytes are asked and not the media type, since archives have none and registries are careless;
what comes out is checked against the digest of the unpacked layer anyway.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from altiplano.adapters.images.tar import Read

CHUNK_BYTES: Final = 256 * 1024
WINDOW_BYTES_MAX: Final = 128 * 1024**2
"""What a zstd stream may make us remember; `zstd --ultra` without `--long` stays below."""

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
SKIPPABLE: Final = b"\x2a\x4d\x18"
"""Bytes 2 to 4 of a frame that holds no data: seekable images begin with one."""


class PackedBadly(Exception):
    """The stream cannot be unpacked."""


try:
    import zstandard
except ImportError:  # pragma: no cover - the tests have it
    zstandard = None  # type: ignore[assignment]  # one name for "there is none"


def unpacked(read: Read) -> Read:
    """The plain stream of one that may be packed; it never gives more than is asked for."""
    first = b""
    while len(first) < 4:
        data = read(CHUNK_BYTES)
        if not data:
            break
        first += data
    rest = _Joined(first, read)
    if first[:2] == GZIP:
        return _Gunzip(rest.read).read
    if first[:4] == ZSTD or first[1:4] == SKIPPABLE:
        return _zstd(rest)
    return rest.read


class _Joined:
    def __init__(self, first: bytes, read: Read) -> None:
        self._first = first
        self._read = read

    def read(self, size: int) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._read(size)


class _Gunzip:
    """Members one after another, as estargz and pigz write them; zeros behind the last are padding."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._packed = b""
        self._member: Any = zlib.decompressobj(wbits=31)
        self._begun = False

    def read(self, size: int) -> bytes:
        while True:
            if not self._packed:
                self._packed = self._read(CHUNK_BYTES)
                if not self._packed:
                    if self._begun:
                        raise PackedBadly("the gzip stream ends too early")
                    return b""
            if not self._begun:
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    continue
                self._begun = True
            try:
                data: bytes = self._member.decompress(self._packed, size)
            except zlib.error as error:
                raise PackedBadly(f"the gzip stream is damaged: {error}") from error
            if self._member.eof:
                self._packed = self._member.unused_data
                self._member = zlib.decompressobj(wbits=31)
                self._begun = False
            else:
                self._packed = self._member.unconsumed_tail
            if data:
                return data


def _zstd(packed: _Joined) -> Read:
    if zstandard is None:
        raise PackedBadly(
            "a layer is packed by zstd, and the Python package zstandard is not installed here: "
            "install it, or push the image with gzip layers"
        )
    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(
        packed,  # type: ignore[arg-type]  # it reads, and asks for nothing else
        read_size=CHUNK_BYTES,
        read_across_frames=True,
    )

    def read(size: int) -> bytes:
        try:
            data: bytes = reader.read(size)
        except zstandard.ZstdError as error:
            raise PackedBadly(f"the zstd stream is damaged: {error}") from error
        return data

    return read
