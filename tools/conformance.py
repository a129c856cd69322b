"""Runs the Mesos v1 conformance suite against this checkout.

`tests/conformance-passing.txt` lists what must pass, one test a line, and the skips that are allowed,
each with its reason.  Fewer passes than listed fail the run, and so does any other skip.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "tests" / "conformance"
LIST = ROOT / "tests" / "conformance-passing.txt"
ADAPTER = ROOT / "tests" / "conformance.toml"
AT_A_SHORT_BEAT = {"test_offers::test_two_offers_of_one_agent_can_be_combined"}
"""What cannot pass at the default interval: its task ends before the next beat, says the suite's own page."""

AGAIN_MAX = 3
"""So many failures are tried a second time; more are not chance."""


def listed() -> tuple[set[str], dict[str, str]]:
    """Tests that must pass, and tests that may be skipped with the reason."""
    must, may_skip = set(), {}
    for line in LIST.read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("skip "):
            name, _, reason = line.removeprefix("skip ").partition("  # ")
            may_skip[name.strip()] = reason
        else:
            must.add(line)
    return must, may_skip


def outcomes(report: Path) -> dict[str, str]:
    """Test id -> passed, failed or skipped."""
    result = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        module = (case.get("classname") or "").rsplit(".", 1)[-1]
        name = f"{module}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            result[name] = "failed"
        elif case.find("skipped") is not None:
            result[name] = "skipped"
        else:
            result[name] = "passed"
    return result


def test_path(name: str) -> str:
    """How pytest names a test of the list."""
    return f"tests/{name.replace('::', '.py::', 1)}"


def slow_adapter(directory: Path) -> Path:
    """The adapter without the short beat that the suite asks for: masters keep their default interval."""
    lines = [
        'allocation_interval = ""' if line.startswith("allocation_interval") else line
        for line in ADAPTER.read_text().replace("{dir}", str(ADAPTER.parent)).splitlines()
    ]
    made = directory / "conformance-slow.toml"
    made.write_text("\n".join(lines) + "\n")
    return made


def run(words: list[str], *, default_interval: bool = False) -> dict[str, str]:
    """Run pytest on the suite; test id -> outcome."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        adapter = slow_adapter(Path(directory)) if default_interval else ADAPTER
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:asyncio", "--sut", f"cmd:{adapter}"]
        command += [f"--junitxml={report}", "--timeout", "90", *words]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALTIPLANO_")}
        subprocess.run(command, cwd=SUITE, env=environment, check=False)
        return outcomes(report) if report.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description="run the conformance suite")
    parser.add_argument("--everything", action="store_true", help="also tests that are not listed; only reports")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-k", dest="chosen", help="only tests whose names match, as for pytest")
    parser.add_argument(
        "--default-interval",
        action="store_true",
        help="masters allocate at their default interval, not ten times a second",
    )
    arguments = parser.parse_args()
    must, may_skip = listed()
    if arguments.default_interval:
        must -= AT_A_SHORT_BEAT
    wanted = (
        [] if arguments.everything else sorted(f"tests/{n.replace('::', '.py::', 1)}" for n in must | may_skip.keys())
    )
    jobs = ["-n", str(arguments.jobs), "--dist", "loadscope"]
    choice = ["-k", arguments.chosen] if arguments.chosen else []
    found = run([*jobs, *choice, *wanted], default_interval=arguments.default_interval)
    again = sorted(name for name in must if found.get(name) == "failed")
    if again and len(again) <= AGAIN_MAX and not arguments.everything and not choice:
        # The suite waits for fixed times; on a machine that is busy with other things a test may run out of them.
        print(f"run once more, alone: {', '.join(again)}")
        found |= run([test_path(name) for name in again], default_interval=arguments.default_interval)
    passed = {name for name, outcome in found.items() if outcome == "passed"}
    failed = {name for name, outcome in found.items() if outcome == "failed"}
    skipped = {name for name, outcome in found.items() if outcome == "skipped"}
    print(f"conformance: {len(passed)} passed, {len(skipped)} skipped, {len(failed)} failed; listed {len(must)}")
    if arguments.everything:
        for name in sorted(passed - must):
            print("passes and is not listed:", name)
        for name in sorted(must - passed):
            print("listed and does not pass:", name)
        return 0
    if arguments.chosen:
        return 1 if failed else 0
    bad = sorted(must - passed) + sorted(skipped - may_skip.keys() - must)
    for name in bad:
        print(f"must pass, and is {found.get(name, 'missing')}: {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
