"""No rule is waived without a reason beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for name in ("altiplano", "benchmarks", "tools", "examples") for path in (ROOT / name).rglob("*.py")
)
BARE = re.compile(
    r"""
    \#\ type:\ ignore(\[[\w,\ -]+\])?\s*$        # a type waived
    | \#\ noqa(:\ [A-Z0-9,\ ]+)?\s*$             # a lint rule waived
    | except\ (Base)?Exception(\ as\ \w+)?:\s*$  # everything caught
    """,
    re.VERBOSE,
)


@pytest.mark.parametrize(
    "line", ["x = y  # type: ignore[attr-defined]", "x()  # noqa: ASYNC110", "    except Exception as e:"]
)
def test_a_waiver_without_a_reason_is_seen(line: str) -> None:
    assert BARE.search(line)
    assert not BARE.search(line + "  # because")


def test_each_waiver_has_its_reason() -> None:
    assert len(SOURCES) > 200, "the sources are not where this test looks"
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BARE.search(line)
    ]
    assert not bare
