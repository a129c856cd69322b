from __future__ import annotations

import pytest

from altiplano.kit import recordio

STREAM = recordio.record(b"abc") + recordio.record(b"\n12\n") + recordio.record(b"x" * 1000)
RECORDS = [b"abc", b"\n12\n", b"x" * 1000]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000, len(STREAM)])
def test_records_come_out_whole_however_the_stream_is_cut(size: int) -> None:
    decoder = recordio.Decoder()
    found = [one for start in range(0, len(STREAM), size) for one in decoder.feed(STREAM[start : start + size])]
    assert found == RECORDS
    assert decoder.pending_bytes == 0


def test_a_stream_that_was_cut_off_leaves_bytes_behind() -> None:
    decoder = recordio.Decoder()
    assert decoder.feed(b"10\n") == []
    assert decoder.pending_bytes > 0


@pytest.mark.parametrize(
    "data", [b"0\n", b"01\na", b"\n", b" 3\nabc", b"3\r\nabc", b"-3\nabc", b"x", b"+3\n", b"1" * 20, b"9" * 19 + b"\n"]
)
def test_a_bad_length_is_refused_at_once_and_for_ever(data: bytes) -> None:
    decoder = recordio.Decoder()
    with pytest.raises(recordio.RecordError):
        decoder.feed(data)
    with pytest.raises(recordio.RecordError):
        decoder.feed(b"3\nabc")


def test_a_record_may_be_as_large_as_the_limit_and_no_larger() -> None:
    decoder = recordio.Decoder(record_size_max_bytes=3)
    assert decoder.feed(b"3\nabc") == [b"abc"]
    with pytest.raises(recordio.RecordError, match="at most 3 bytes, but this one has 4"):
        decoder.feed(b"4\n")


def test_an_empty_record_is_not_written() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        recordio.record(b"")
