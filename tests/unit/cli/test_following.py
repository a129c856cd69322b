"""Output of a task as lines, whatever pieces it comes in."""

from __future__ import annotations

import pytest

from altiplano.cli import following
from altiplano.cli.following import Lines, Said

TEXT = "größe\nsecond\n\nno end".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_whole_and_know_where_they_begin(size: int) -> None:
    told: list[Said] = []
    lines = Lines("stderr", told.append)
    for at in range(0, len(TEXT), size):
        lines.take(TEXT[at : at + size], at + 10)
    assert [(said.offset - 10, said.text) for said in told] == [(0, "größe\n"), (8, "second\n"), (15, "\n")]
    lines.end()
    lines.end()
    assert (told[-1].offset - 10, told[-1].text, told[-1].stream, len(told)) == (16, "no end", "stderr", 4)


def test_a_line_without_an_end_is_told_in_parts() -> None:
    told: list[Said] = []
    lines = Lines("stdout", told.append)
    lines.take(b"x" * (2 * following.LINE_BYTES_MAX + 5), 0)
    lines.end()
    assert [(said.offset, len(said.text)) for said in told] == [
        (0, following.LINE_BYTES_MAX),
        (following.LINE_BYTES_MAX, following.LINE_BYTES_MAX),
        (2 * following.LINE_BYTES_MAX, 5),
    ]


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    told: list[Said] = []
    lines = Lines("stdout", told.append)
    lines.take(b"\xff\xfe\n", 0)
    assert told[0].text == "\ufffd\ufffd\n"
