"""Tables, amounts and times as people read them; JSON for programs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """One JSON value on stdout, indented."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_json_line(value: Any) -> None:
    """One JSON value on a line of its own, at once: for what goes on coming."""
    import msgspec

    click.echo(msgspec.json.encode(value))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Columns as wide as their widest cell; `empty` is said where there are no rows."""
    lines = [list(row) for row in rows]
    if not lines:
        click.echo(empty, err=True)
        return
    widths = [max(len(line[i]) for line in [list(head), *lines]) for i in range(len(head))]
    for line in [list(head), *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Name and value, one a line; empty values are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def amount(value: float) -> str:
    return f"{value:g}"


def mb(value: float) -> str:
    """Megabytes in the unit that reads best."""
    return f"{value / 1024:.1f} GB" if value >= 1024 else f"{value:g} MB"


def span(seconds: float) -> str:
    """How long, roughly.

    >>> span(5), span(125), span(8000), span(200000)
    ('5 s', '2 min', '2 h', '2 d')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86400:.0f} d"


def duration(seconds: float) -> str:
    """How long, to what a reader compares: a short time to the hundredth.

    >>> duration(0.004), duration(12.345), duration(754), duration(8054)
    ('0.00 s', '12.35 s', '12 min 34 s', '2 h 14 min')
    """
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(size_bytes: int | None) -> str:
    """Bytes in the unit that reads best; empty where nobody knows.

    >>> size(740 * 1024), size(12_345_678), size(None)
    ('0.7 MB', '11.8 MB', '')
    """
    if size_bytes is None:
        return ""
    megabytes = size_bytes / (1 << 20)
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.1f} MB"


def clock(wall_s: float) -> str:
    """A time of this day with milliseconds, with the date where it is another day's."""
    there = time.localtime(wall_s)
    text = time.strftime("%H:%M:%S", there) + f".{int(wall_s % 1 * 1000):03d}"
    return text if time.localtime()[:3] == there[:3] else time.strftime("%Y-%m-%d ", there) + text
