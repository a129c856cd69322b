"""The references name every flag and endpoint there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PATH = re.compile(r'"(/[a-z][\w./()-]*)"')


def test_the_page_of_flags_is_as_the_sources_make_it() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import reference; print(reference.flags(), end='')"],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (REFERENCE / "flags.md").read_text() == made.stdout, "run tools/reference.py"


def documented(part: str) -> set[str]:
    """Paths named in one part of the page of endpoints."""
    page = (REFERENCE / "endpoints.md").read_text()
    text = page.split(f"## {part}", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"`(/[^` ]*)`", text))


@pytest.mark.parametrize(
    ("part", "sources"),
    [
        ("Master", ["altiplano/master/server.py", "altiplano/master/api"]),
        ("Agent", ["altiplano/agent/server.py", "altiplano/agent/api/legacy.py"]),
    ],
)
def test_every_endpoint_is_in_the_reference(part: str, sources: list[str]) -> None:
    files = [
        file for name in sources for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))
    ]
    served = {path for file in files for path in PATH.findall(file.read_text())}
    named = documented(part)
    prefixes = {"/master", "/slave(1)", "/ui/", "/static/", "/agent/", "/files"}
    missing = {path for path in served - prefixes if path not in named and not path.endswith("/")}
    assert not missing, f"endpoints without a line in docs/reference/endpoints.md: {sorted(missing)}"
    assert len(served & named) >= 10
