"""`altiplano doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from altiplano.cli import output
from altiplano.cli.failures import FAILED
from altiplano.cli.options import json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.sdk.credentials import Place

PYTHON_MIN = (3, 11)
DISK_BYTES_MIN = 1024**3
OPEN_FILES_MIN = 4096

GOOD, POOR, BAD = "good", "poor", "bad"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.  `poor` works with less, `bad` does not work."""

    subject: str
    verdict: str
    sentence: str


@click.command(epilog="Example: altiplano doctor --json")
@pool_options
@json_option
def doctor(master: str | None, token_file: str | None, as_json: bool) -> int:
    """Look for what is missing on this machine, and whether the pool answers.

    Ends with 1 if something does not work at all.
    """
    from altiplano.sdk import credentials, masters

    findings = [*machine()]
    try:
        findings += pool(place(master, token_file))
    except (masters.AddressRefused, credentials.CredentialsRefused) as error:
        findings.append(Finding(subject="pool", verdict=BAD, sentence=str(error)))
    if as_json:
        output.print_json(findings)
    else:
        output.print_table(
            ("VERDICT", "SUBJECT", "WHAT WAS FOUND"),
            ((f.verdict.upper(), f.subject, f.sentence) for f in findings),
            "nothing was looked at",
        )
    return FAILED if any(finding.verdict == BAD for finding in findings) else 0


def machine() -> Iterator[Finding]:
    """What an agent on this machine would find."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= PYTHON_MIN
    yield Finding(subject="python", verdict=GOOD if good else BAD, sentence=f"{version}, at least 3.11 is needed")
    yield Finding(subject="system", verdict=GOOD, sentence=f"{platform.system()} {platform.release()}")
    yield _pidfds()
    yield _open_files()
    from altiplano.sdk import credentials

    directory = Path(os.environ.get("ALTIPLANO_WORK_DIR") or credentials.state_directory(os.environ))
    yield _work_directory(directory)
    yield from _agent(directory)


def pool(where: Place) -> Iterator[Finding]:
    """Whether the master answers and takes our credentials."""
    from altiplano.cli.options import ask
    from altiplano.sdk import operator

    try:
        agents = ask(where, lambda o: o.agents())
    except operator.Unreachable as error:
        yield Finding(subject="pool", verdict=POOR, sentence=str(error))
    except operator.OperatorError as error:
        yield Finding(subject="pool", verdict=BAD, sentence=str(error))
    else:
        active = sum(agent.active for agent in agents)
        shown = "with credentials" if where.authorization else "without credentials"
        verdict = GOOD if active else POOR
        sentence = f"{where.masters[0]} answers {shown}; {active} of {len(agents)} machines take tasks"
        yield Finding(subject="pool", verdict=verdict, sentence=sentence)


def _pidfds() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        sentence = f"the kernel has no pidfds ({error.strerror}): an agent needs Linux 5.4 or newer"
        return Finding(subject="pidfd", verdict=BAD, sentence=sentence)
    return Finding(subject="pidfd", verdict=GOOD, sentence="ends of tasks are told by the kernel")


def _agent(directory: Path) -> Iterator[Finding]:
    """The agent's own account, in its words."""
    from altiplano.cli import daemons

    existing = next(path for path in (directory, *directory.parents) if path.exists())
    for sentence in daemons.machine(str(existing), "cgroups" if os.geteuid() == 0 else "posix"):
        lacks = sentence.startswith(("No ", "Not "))
        yield Finding(subject="agent", verdict=POOR if lacks else GOOD, sentence=sentence)


def _open_files() -> Finding:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES_MIN
    sentence = f"{hard} files may be open at once" + (
        "" if good else f"; a master of many agents needs {OPEN_FILES_MIN}"
    )
    return Finding(subject="open files", verdict=GOOD if good else POOR, sentence=sentence)


def _work_directory(directory: Path) -> Finding:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        sentence = f"{directory} cannot be written: choose another with --work-dir"
        return Finding(subject="work directory", verdict=BAD, sentence=sentence)
    free = shutil.disk_usage(existing).free
    sentence = f"{directory}, {free / 1024**3:.1f} GB free"
    return Finding(subject="work directory", verdict=GOOD if free >= DISK_BYTES_MIN else POOR, sentence=sentence)
