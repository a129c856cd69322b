"""Durations as Mesos writes them: a number directly followed by a unit, `15secs`, `1.5mins`."""

from __future__ import annotations

import re

_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}
_NS = {unit: round(seconds * 1e9) for unit, seconds in _UNIT_S.items()}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|secs|mins|hrs|days|weeks)")


def parse_s(text: str) -> float:
    """Seconds of a duration such as `15secs`.

    Raises ValueError with a sentence when the text is not one.

    >>> parse_s("1.5mins")
    90.0
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration: write a number and a unit, such as 500ms, 15secs or 10mins")
    return float(match[1]) * _UNIT_S[match[2]]


def format_s(seconds: float) -> str:
    """The duration in the largest unit that divides it.

    >>> format_s(900), format_s(0.25), format_s(90)
    ('15mins', '250ms', '90secs')
    """
    ns = round(seconds * 1e9)
    for unit in ("weeks", "days", "hrs", "mins", "secs", "ms", "us"):
        if ns and ns % _NS[unit] == 0:
            return f"{ns // _NS[unit]}{unit}"
    return f"{ns}ns" if ns else "0secs"
