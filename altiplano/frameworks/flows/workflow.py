"""What a workflow file says, as values.

A `Workflow` is the outcome of reading one file: rules in the order of the file, each with all its
variables expanded.  Nothing here knows whether files exist; `graph` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

CORES_DEFAULT_MILLI = 1000
"""What a rule gets that says nothing: one core, in 1/1000."""

MEM_DEFAULT_MB = 512
"""Memory of a rule that names none, in MB.  Mesos refuses tasks without memory; a limit of this size
lets ordinary scripts run, and a rule that needs more has to say so on any system with limits."""

DEFAULT_CATEGORY = "default"
"""The category of rules before the first CATEGORY; its variables are the general ones."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a file: where, and what to do about it."""

    file: str
    line: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.sentence}"


class WorkflowError(Exception):
    """The workflow cannot be run; `problems` holds everything that is wrong, in the order of lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(map(str, self.problems)))


class Kind(Enum):
    """Where a rule's command runs."""

    REMOTE = "remote"
    """On an agent of the pool."""
    LOCAL = "local"
    """In the workflow's directory, next to the manager."""
    NESTED = "nested"
    """Not a command but another workflow file, whose rules run in place of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUse:
    """A file of a rule: its name here, and its name where the command runs."""

    local: str
    remote: str

    @property
    def renamed(self) -> bool:
        return self.local != self.remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a rule asks of one agent; None where it says nothing."""

    cores_milli: int | None = None
    mem_mb: int | None = None
    disk_mb: int | None = None
    gpus: int | None = None
    wall_time_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, numbered from 0 in the order of its file."""

    number: int
    line: int
    outputs: tuple[FileUse, ...]
    inputs: tuple[FileUse, ...]
    command: str
    """What the shell gets; for a nested workflow the name of its file."""
    kind: Kind = Kind.REMOTE
    category: str = DEFAULT_CATEGORY
    needs: Needs = Needs()
    environment: tuple[tuple[str, str], ...] = ()
    """What the command finds in its environment besides what it inherits: exports, then CATEGORY, CORES …"""
    exports: tuple[tuple[str, str], ...] = ()
    batch_options: str = ""

    @property
    def title(self) -> str:
        """How people recognise the rule: by what it makes, else by what it does."""
        if self.outputs:
            more = len(self.outputs) - 1
            return self.outputs[0].local + (f" and {more} more" if more else "")
        return self.command if len(self.command) <= 40 else self.command[:39] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow file, read."""

    file: str
    rules: tuple[Rule, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of files as announced by `.SIZE`."""
    mode: str = ""
    umbrella_spec: str = ""
    declared_inputs: tuple[str, ...] | None = None
    declared_outputs: tuple[str, ...] | None = None
    warnings: tuple[Problem, ...] = ()
    """Things that are read and have no effect here."""
