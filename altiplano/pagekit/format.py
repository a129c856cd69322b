"""Numbers, sizes and times as people read them: the filters of all templates.

Everything here is pure; whoever needs "now" passes it.
"""

from __future__ import annotations

import datetime
import math

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
JUST_NOW_S = 2.0
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float | None) -> str:
    """A number of bytes.

    >>> size(0), size(1536), size(32 * 2**30)
    ('0 B', '1.5 KiB', '32 GiB')
    """
    if count is None:
        return "–"
    amount, unit = float(count), 0
    while abs(amount) >= 1024 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{_short(amount) if unit else int(amount)} {_SIZES[unit]}"


def megabytes(milli: int | None) -> str:
    """Thousandths of a megabyte, as Mesos counts memory and disk.

    >>> megabytes(512_000), megabytes(1_048_576_000)
    ('512 MiB', '1 TiB')
    """
    if milli is None:
        return "–"
    if milli == 0:
        return "0"
    return size(milli / 1000 * 2**20)


def cpus(milli: int | None) -> str:
    """Thousandths of a cpu.

    >>> cpus(500), cpus(3000), cpus(1234567)
    ('0.5', '3', '1,235')
    """
    if milli is None:
        return "–"
    return f"{milli / 1000:,.0f}" if milli >= 100_000 else _short(milli / 1000)


def _short(amount: float) -> str:
    """At most three digits that count, without trailing zeros."""
    digits = 0 if abs(amount) >= 100 else 1 if abs(amount) >= 10 else 2
    text = f"{amount:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(number: int) -> str:
    """
    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def percent(part: float, whole: float) -> str:
    """A share; anything above nothing is at least "<1 %", anything below all at most "99 %".

    >>> percent(1, 3), percent(1, 1000), percent(999, 1000), percent(0, 0)
    ('33 %', '<1 %', '99 %', '–')
    """
    if whole <= 0:
        return "–"
    share = part / whole * 100
    if 0 < share < 1:
        return "<1 %"
    return f"{math.floor(share)} %" if 99 <= share < 100 else f"{share:.0f} %"


def ratio(part: float, whole: float) -> float:
    """Per cent with one decimal, between 0 and 100: what bars are drawn from."""
    return round(min(max(part / whole, 0.0), 1.0) * 100, 1) if whole > 0 else 0.0


def duration(seconds: float | None) -> str:
    """How long something takes, in its two largest units.

    >>> duration(0.21), duration(42), duration(125), duration(7500), duration(200_000)
    ('0.2 s', '42 s', '2 min 5 s', '2 h 5 min', '2 d 7 h')
    """
    if seconds is None:
        return "–"
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for unit_s, unit, next_s, below in ((DAY_S, "d", HOUR_S, "h"), (HOUR_S, "h", 60, "min"), (MINUTE_S, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // next_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def ago(then: float | None, now: float) -> str:
    """When something was, seen from now; a little in the future counts as now, for clocks differ.

    >>> ago(100, 101), ago(100, 142), ago(100, 100 + 7500), ago(400, 100)
    ('just now', '42 s ago', '2 h ago', 'in 5 min')
    """
    if then is None:
        return "–"
    distance = now - then
    if abs(distance) < JUST_NOW_S:
        return "just now"
    seconds = abs(distance)
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            text = f"{int(seconds // unit_s)} {unit}"
            break
    else:
        text = f"{int(seconds)} s"
    return f"{text} ago" if distance > 0 else f"in {text}"


def absolute(wall_s: float | None) -> str:
    """
    >>> absolute(0)
    '1970-01-01 00:00:00 UTC'
    """
    if wall_s is None:
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(wall_s, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{wall_s:.0f} s after 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(wall_s: float | None) -> str:
    """
    >>> clock(3661)
    '01:01:01'
    """
    return absolute(wall_s)[11:19]


def short_id(text: str, keep: int = 12) -> str:
    """An id in few signs: its end, where ids made by us and by Mesos differ.

    >>> short_id("8f3b2a1c-7f6e-4a6b-9d35-2b1f0a7c4e11-0003"), short_id("web.1")
    ('…4e11-0003', 'web.1')
    """
    return text if len(text) <= keep else "…" + text[-(keep - 3) :]


def plural(number: int, one: str, many: str = "") -> str:
    """
    >>> plural(1, "task"), plural(1200, "task"), plural(0, "agency", "agencies")
    ('1 task', '1,200 tasks', '0 agencies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


FILTERS = {
    "size": size,
    "megabytes": megabytes,
    "cpus": cpus,
    "count": count,
    "duration": duration,
    "absolute": absolute,
    "clock": clock,
    "short_id": short_id,
    "plural": plural,
}
