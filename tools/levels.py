"""Runs the test levels, each with its share of the time, and says what was left out.

`levels.py --all` is what continuous integration runs; `levels.py unit docs` runs some; `--night` makes loads
larger.  A level is a command; it fails when the command does.  The last lines are a table and one sum.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
PYTEST = [str(BIN / "python"), "-m", "pytest", "-q", "--no-header"]
APT_SECONDS_MAX = 600
UNPACK_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """`share_s`: what it may take on two cores; `commands` run one after another until one fails, at night more."""

    name: str
    what: str
    share_s: int
    commands: Sequence[Sequence[str]]
    at_night: Sequence[Sequence[str]] = ()
    paths: Sequence[str] = ()


def tool(*words: str) -> list[str]:
    return [str(BIN / words[0]), *words[1:]]


SOURCES = ["altiplano", "tests/unit", "tests/stateful", "tools", "benchmarks", "examples"]

LEVELS = (
    Level(
        name="check",
        what="format, lint, types, imports",
        share_s=90,
        commands=[
            tool("ruff", "format", "--check", "--quiet", "."),
            tool("ruff", "check", "--quiet", "."),
            tool("mypy"),
            tool("lint-imports"),
        ],
    ),
    Level(name="unit", what="cores and values", share_s=60, commands=[[*PYTEST, "-n", "2", "tests/unit"]]),
    Level(
        name="stateful",
        what="properties and state machines",
        share_s=90,
        commands=[[*PYTEST, "-n", "2", "tests/stateful"]],
    ),
    Level(name="contracts", what="twins and the real things", share_s=90, commands=[[*PYTEST, "tests/contracts"]]),
    Level(name="sim", what="seeds, faults, checkers", share_s=180, commands=[[*PYTEST, "-s", "tests/sim"]]),
    Level(
        name="integration", what="real processes, kills", share_s=360, commands=[[*PYTEST, "-s", "tests/integration"]]
    ),
    Level(
        name="conformance",
        what="the Mesos v1 suite",
        share_s=240,
        commands=[[str(BIN / "python"), "tools/conformance.py"]],
        at_night=[[str(BIN / "python"), "tools/conformance.py", "--default-interval"]],
        paths=["tests/conformance"],
    ),
    Level(name="compat", what="clients of others", share_s=90, commands=[[*PYTEST, "-s", "tests/compat"]]),
    Level(name="browser", what="the pages in Chromium", share_s=90, commands=[[*PYTEST, "tests/browser"]]),
    Level(name="docs", what="examples, references", share_s=60, commands=[[*PYTEST, "tests/docs"]]),
    Level(name="wheel", what="the wheel in a fresh environment", share_s=60, commands=[[*PYTEST, "tests/wheel"]]),
)

DEBIAN = {
    "busybox": "busybox-static",
    "chromium": "chromium",
    "crun": "crun",
    "curl": "curl",
    "go": "golang-go",
    "runc": "runc",
}
"""Programs that tests use, and the Debian package that brings each."""

UNPACKED = {
    "docker-registry": ("docker-registry", "usr/bin/docker-registry"),
    "promtool": ("prometheus", "usr/bin/promtool"),
}
"""Programs of packages that would start a daemon: only the program is taken, into `KEPT`."""

KEPT = Path.home() / ".cache" / "altiplano" / "bin"

PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/go/bin"))
"""Where they are looked for."""

COUNTS = re.compile(r"(\d+) (passed|failed|error|errors|skipped|xfailed)\b")


def install_debian() -> list[str]:
    """Install the programs that are missing; what could not be installed."""
    missing = {program: package for program, package in DEBIAN.items() if shutil.which(program, path=PLACES) is None}
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing.values()]
        print(f"installing {' '.join(missing.values())}", flush=True)
        for command in (["apt-get", "update", "-qq"], words):
            try:
                subprocess.run(
                    command, env=environment, timeout=APT_SECONDS_MAX, stdout=subprocess.DEVNULL, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                print(f"apt-get failed: {error}", flush=True)
    return [f"{missing[program]} is not installed" for program in missing if shutil.which(program, path=PLACES) is None]


def unpack_debian() -> list[str]:
    """Take programs out of Debian's packages without installing these; what could not be had."""
    problems = []
    for program, (package, member) in UNPACKED.items():
        if shutil.which(program) is None and shutil.which(program, path=str(KEPT)) is None:
            print(f"unpacking {program} of {package}", flush=True)
            try:
                _unpack(package, member, KEPT / program)
            except (OSError, subprocess.SubprocessError) as error:
                problems.append(f"{program} could not be taken out of Debian's {package}: {error}")
    return problems


def _unpack(package: str, member: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as directory:
        # apt would drop its rights for the download, and then could not write into a directory of root's alone.
        fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(fetch, cwd=directory, timeout=UNPACK_SECONDS_MAX, stdout=subprocess.DEVNULL, check=True)
        archive = next(Path(directory).glob("*.deb"))
        extract = ["dpkg-deb", "--extract", str(archive), directory]
        subprocess.run(extract, timeout=UNPACK_SECONDS_MAX, stdout=subprocess.DEVNULL, check=True)
        # In one step, so that an interrupted run leaves no half a program behind.
        os.replace(Path(directory) / member, place)


@dataclass(slots=True)
class Outcome:
    level: Level
    seconds: float
    code: int
    counts: dict[str, int]


def run(level: Level, night: bool) -> Outcome:
    print(f"\n== {level.name}: {level.what}", flush=True)
    environment = dict(os.environ, ALTIPLANO_TEST_NIGHT="1" if night else "", PYTHONHASHSEED="0")
    start = time.monotonic()
    counts: dict[str, int] = {}
    code = 0
    for command in [*level.commands, *(level.at_night if night else ())]:
        code, text = stream(command, environment, limit_s=level.share_s * (20 if night else 4))
        for number, word in COUNTS.findall(text[-4000:]):
            counts[word.rstrip("s") if word == "errors" else word] = int(number)
        if code:
            break
    return Outcome(level, time.monotonic() - start, code, counts)


def stream(command: Sequence[str], environment: dict[str, str], *, limit_s: float) -> tuple[int, str]:
    """Run a command in a session of its own and show what it prints; its exit code and its output."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    lines: list[str] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.alarm(int(limit_s))
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        return process.wait(), "".join(lines)
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def main() -> int:
    parser = argparse.ArgumentParser(description="run the test levels")
    parser.add_argument("names", nargs="*", choices=[*(level.name for level in LEVELS), []], help="levels to run")
    parser.add_argument("--all", action="store_true", help="all levels")
    parser.add_argument("--night", action="store_true", help="larger loads, more seeds")
    arguments = parser.parse_args()
    wanted = [level for level in LEVELS if arguments.all or level.name in arguments.names]
    left_out = (
        install_debian() if any(level.name in ("browser", "compat", "integration", "sim") for level in wanted) else []
    )
    if any(level.name == "docs" for level in wanted):
        left_out += unpack_debian()
    outcomes = [run(level, arguments.night) for level in wanted]
    print("\n   level          seconds   share   passed  failed  skipped")
    for outcome in outcomes:
        name, counts = outcome.level.name, outcome.counts
        failed = counts.get("failed", 0) + counts.get("error", 0)
        mark = "ok" if outcome.code == 0 else "FAILED"
        print(
            f"   {name:<13} {outcome.seconds:8.1f} {outcome.level.share_s:7d} {counts.get('passed', 0):8d}"
            f" {failed:7d} {counts.get('skipped', 0):8d}   {mark}"
        )
    skipped = sum(outcome.counts.get("skipped", 0) for outcome in outcomes)
    if skipped:
        left_out.append(f"{skipped} tests skipped (each says why above)")
    print(f"\nleft out: {'; '.join(left_out) if left_out else 'nothing'}")
    passed = sum(outcome.counts.get("passed", 0) for outcome in outcomes)
    failed = sum(outcome.counts.get("failed", 0) + outcome.counts.get("error", 0) for outcome in outcomes)
    broken = [outcome.level.name for outcome in outcomes if outcome.code]
    failed = max(failed, len(broken))
    if broken:
        print(f"failed levels: {', '.join(broken)}")
    print(f"in all {sum(outcome.seconds for outcome in outcomes):.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
