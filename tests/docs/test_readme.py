"""What README.md says of the conformance suite is what is listed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_counts_the_conformance_tests_that_must_pass() -> None:
    listed = (ROOT / "tests" / "conformance-passing.txt").read_text().splitlines()
    must = sum(bool(line.strip()) and not line.startswith(("#", "skip ")) for line in listed)
    said = re.search(r"passes (\d+) of (\d+) tests", (ROOT / "README.md").read_text())
    assert said is not None, "README.md no longer says 'passes N of M tests' about tests/conformance"
    assert int(said[1]) == must, f"README.md says {said[1]}, tests/conformance-passing.txt lists {must}: write that"
    assert must <= int(said[2])
