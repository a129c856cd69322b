"""RecordIO, the framing of all streams of the Mesos v1 API.

A record is its size in bytes as a decimal number, a line feed, and that many bytes.  How a stream is cut into chunks
on its way means nothing, so the decoder keeps what it has until a record is whole.
"""

from __future__ import annotations

# The largest record that Go clients accept.
RECORD_SIZE_MAX_BYTES = 4 * 1024 * 1024
# A 64 bit number has twenty digits, which clients already refuse.
LENGTH_DIGITS_MAX = 20


class RecordError(ValueError):
    """A stream is not in RecordIO format; where it goes on cannot be known."""


def record(data: bytes) -> bytes:
    """`data` as one record; an empty one is refused, since its readers take it for a broken stream.

    >>> record(b"abc")
    b'3\\nabc'
    """
    if not data:
        raise ValueError("a record has at least one byte")
    return b"%d\n%b" % (len(data), data)


class Decoder:
    """Takes a stream apart into records, however it arrives.

    >>> decoder = Decoder()
    >>> decoder.feed(b"3\\nab"), decoder.feed(b"c1\\nd2")
    ([], [b'abc', b'd'])
    """

    def __init__(self, *, record_size_max_bytes: int = RECORD_SIZE_MAX_BYTES) -> None:
        self._record_size_max_bytes = record_size_max_bytes
        self._buffer = bytearray()
        self._size: int | None = None
        self._error: RecordError | None = None

    @property
    def pending_bytes(self) -> int:
        """How many bytes of a record that is not whole yet are held; a stream that ends with some was cut off."""
        return len(self._buffer) + (self._size is not None)

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes.

        Raises `RecordError` at the first bad length, and at every call from then on.
        Records that were complete before it are lost with it: the peer is broken.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        records = []
        pos = 0
        try:
            while True:
                if self._size is None:
                    end = self._buffer.find(b"\n", pos, pos + LENGTH_DIGITS_MAX)
                    if end < 0:
                        self._check_unfinished_length(bytes(self._buffer[pos : pos + LENGTH_DIGITS_MAX]))
                        break
                    self._size = self._length(bytes(self._buffer[pos:end]))
                    pos = end + 1
                if len(self._buffer) - pos < self._size:
                    break
                records.append(bytes(self._buffer[pos : pos + self._size]))
                pos += self._size
                self._size = None
        except RecordError as error:
            self._error = error
            self._buffer.clear()
            raise
        del self._buffer[:pos]
        return records

    def _length(self, digits: bytes) -> int:
        if not digits.isdigit():
            raise RecordError(f"a record starts with its size in decimal digits and a line feed, not with {digits!r}")
        if digits.startswith(b"0"):
            raise RecordError(
                f"the size of a record is written without leading zeros and is never 0, but is {digits!r}"
            )
        size = int(digits)
        if size > self._record_size_max_bytes:
            raise RecordError(f"a record has at most {self._record_size_max_bytes} bytes, but this one has {size}")
        return size

    def _check_unfinished_length(self, digits: bytes) -> None:
        """Refuses at once what cannot become a length, so that a peer cannot make us wait for a line feed."""
        if digits:
            self._length(digits)
        if len(digits) == LENGTH_DIGITS_MAX:
            raise RecordError(f"the size of a record has fewer than {LENGTH_DIGITS_MAX} digits, but is {digits!r}")
