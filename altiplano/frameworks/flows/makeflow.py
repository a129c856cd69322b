"""Reads the make-like workflow language: text in, `Workflow` out, and nothing else.

The language is the one users of Makeflow write (docs/flows.md tells it in full).  The one thing to
know before changing this file: a value is expanded where it is defined, and a rule sees the values
that hold at its own line.  Exports may stand below the rules they reach, so tables keep every value
a name ever had together with the number of the first rule that sees it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from altiplano.frameworks.flows.lexer import Mark, Reader, split_value, unquote
from altiplano.frameworks.flows.workflow import (
    CORES_DEFAULT_MILLI,
    DEFAULT_CATEGORY,
    FileUse,
    Kind,
    Needs,
    Problem,
    Rule,
    Workflow,
    WorkflowError,
)

FILE_BYTES_MAX = 64 * 1024 * 1024
"""A workflow file above this many bytes is refused."""

PROBLEMS_MAX = 100
"""Problems reported for one file; what follows is left out."""

_EMPTY = re.compile(r"[ \t]*(?:#[^\n]*)?\n")
_INDENTED = re.compile(r"[ \t]+")
_ASSIGNMENT = re.compile(r"(@?)([A-Za-z0-9_]+)[ \t]*(\+?)=")
_EXPORT = re.compile(r"export(?=[ \t])(?![ \t]*:)")
_DIRECTIVE = re.compile(r"\.[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = re.compile(r"(LOCAL|MAKEFLOW)(?:[ \t]+|$)")
_NAME = re.compile(r"[A-Za-z0-9_]+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+)([KMGTP]?)B?")
_SIZE_STEPS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}

_RESOURCES = {"CORES": "cores", "MEMORY": "MB", "DISK": "MB", "GPUS": "GPUs", "WALL_TIME": "seconds"}
"""Variables with a meaning, and what their number counts."""

_MAKEFLOW_WORDS = ("CATEGORY", "CORES", "MEMORY", "DISK", "WALL_TIME", "MPI_PROCESSES", "MODE")
_MODES = ("FIXED", "MIN_WASTE", "MAX_THROUGHPUT")


class _Table:
    """Values of variables, each with the number of the first rule that sees it."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[list[int], list[str]]] = {}

    def set(self, name: str, value: str, *, rule: int) -> None:
        numbers, values = self._values.setdefault(name, ([], []))
        if numbers and numbers[-1] == rule:
            values[-1] = value
        else:
            numbers.append(rule)
            values.append(value)

    def get(self, name: str, *, rule: int) -> str | None:
        found = self._values.get(name)
        if found is None:
            return None
        place = bisect_right(found[0], rule)
        return found[1][place - 1] if place else None


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A rule whose head has been read and whose command has not, or whose exports are not known yet."""

    number: int
    line: int
    category: str
    outputs: list[FileUse]
    inputs: list[FileUse]
    own: _Table = field(default_factory=_Table)
    kind: Kind = Kind.REMOTE
    command: str = ""


def parse(text: str, *, file: str, environment: Mapping[str, str]) -> Workflow:
    """The workflow that `text` describes.

    Raises WorkflowError with every problem that can be told from the text alone.
    """
    return _Parser(text, file, environment).parse()


def decode(content: bytes, *, file: str) -> str:
    """The text of a workflow file.  Bytes that are not UTF-8 survive as file names (surrogates)."""
    if len(content) > FILE_BYTES_MAX:
        limit = FILE_BYTES_MAX // 2**20
        raise WorkflowError([Problem(file, 1, f"the file is larger than {limit} MiB: split it with nested MAKEFLOW")])
    return content.decode("utf-8", "surrogateescape")


class _Parser:
    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.file = file
        self.environment = environment
        self.general = _Table()
        self.categories: dict[str, _Table] = {DEFAULT_CATEGORY: self.general}
        self.category = DEFAULT_CATEGORY
        self.exports: dict[str, int] = {}
        self.defined: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.mode = ""
        self.umbrella_spec = ""
        self.drafts: list[_Draft] = []
        self.open: _Draft | None = None
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unknown: list[tuple[int, str]] = []
        self.reader = Reader(text, lookup=self.lookup, report=self.report, missing=self.missing)

    # What the reader asks and tells.

    def report(self, line: int, sentence: str) -> None:
        self.problems.append(Problem(self.file, line, sentence))

    def warn(self, line: int, sentence: str) -> None:
        self.warnings.append(Problem(self.file, line, sentence))

    def missing(self, line: int, name: str) -> None:
        # Told at the end, when it is known whether the name is defined further down.
        self.unknown.append((line, name))

    def lookup(self, name: str) -> str | None:
        return self.value_for(self.open, name)

    def value_for(self, draft: _Draft | None, name: str) -> str | None:
        """The value a rule sees: its own, its category's, the general one, the environment's."""
        rule = draft.number if draft else len(self.drafts)
        category = draft.category if draft else self.category
        tables = [self.categories[category], self.general]
        if draft:
            tables.insert(0, draft.own)
        for table in tables:
            value = table.get(name, rule=rule)
            if value is not None:
                return value
        return self.environment.get(name)

    # Lines.

    def parse(self) -> Workflow:
        reader = self.reader
        while not reader.ended and len(self.problems) < PROBLEMS_MAX:
            if reader.match(_EMPTY):
                reader.skip_line()
            elif reader.match(_INDENTED):
                self.command()
            elif assignment := reader.match(_ASSIGNMENT):
                self.assignment(assignment)
            elif directive := reader.match(_DIRECTIVE):
                self.directive(directive)
            elif export := reader.match(_EXPORT):
                self.export(export)
            else:
                self.head()
        self.require_command()
        rules = tuple(self.finish(draft) for draft in self.drafts)
        for line, name in self.unknown:
            later = self.defined.get(name)
            why = f"it is defined on line {later}, below" if later and later >= line else "not even in the environment"
            self.report(line, f"the variable {name} is not defined here, {why}")
        if self.problems:
            raise WorkflowError(self.problems)
        return Workflow(
            file=self.file,
            rules=rules,
            sizes=self.sizes,
            mode=self.mode,
            umbrella_spec=self.umbrella_spec,
            declared_inputs=self.boundary("MAKEFLOW_INPUTS"),
            declared_outputs=self.boundary("MAKEFLOW_OUTPUTS"),
            warnings=tuple(self.warnings),
        )

    def require_command(self) -> None:
        if self.open is not None:
            self.report(self.open.line, "this rule has no command: the line below it must begin with a TAB or a blank")
            self.open = None

    def assignment(self, found: re.Match[str]) -> None:
        reader, line = self.reader, self.reader.line
        local, name, append = found.groups()
        reader.at = found.end()
        value = reader.read_text()
        self.defined.setdefault(name, line)
        if self.open is None and local:
            self.report(line, f"@{name} belongs between a rule's head and its command")
        elif self.open is not None:
            before = self.value_for(self.open, name) if append else None
            self.define(self.open.own, name, value if before is None else f"{before} {value}", line)
        elif append:
            before = self.general.get(name, rule=len(self.drafts))
            if before is None:
                before = self.environment.get(name)
            # Appending within a category changes the value of all.
            self.define(self.general, name, value if before is None else f"{before} {value}", line)
        else:
            self.define(self.categories[self.category], name, value, line)

    def define(self, table: _Table, name: str, value: str, line: int) -> None:
        if name in ("CATEGORY", "SYMBOL"):
            self.enter_category(unquote(value), line)
        else:
            if name in _RESOURCES:
                self.amount(name, value, line)
            table.set(name, value, rule=self.open.number if self.open else len(self.drafts))

    def enter_category(self, category: str, line: int) -> None:
        if not category:
            self.report(line, "CATEGORY needs a name")
            return
        self.categories.setdefault(category, _Table())
        if self.open is not None:
            self.open.category = category
        else:
            self.category = category

    def export(self, found: re.Match[str]) -> None:
        reader, line = self.reader, self.reader.line
        reader.at = found.end()
        reader.skip_blanks()
        if self.open is not None:
            self.report(line, "export stands before a rule's head, not between head and command")
            reader.skip_line()
        elif assignment := reader.match(_ASSIGNMENT):
            self.exports.setdefault(assignment[2], line)
            self.assignment(assignment)
        else:
            for name in reader.read_text().split():
                if _NAME.fullmatch(name):
                    self.exports.setdefault(name, line)
                else:
                    self.report(line, f"'{name}' cannot be the name of a variable to export")

    def directive(self, found: re.Match[str]) -> None:
        reader, line, word = self.reader, self.reader.line, found[0]
        reader.at = found.end()
        if self.open is not None:
            self.report(line, f"{word} may not stand between a rule's head and its command; write @NAME=value there")
            reader.skip_line()
            return
        words = reader.read_text().split()
        match word, words:
            case ".MAKEFLOW", ["CATEGORY", category]:
                self.enter_category(unquote(category), line)
            case ".MAKEFLOW", ["MODE", mode] if mode in _MODES:
                self.mode = mode
            case ".MAKEFLOW", ["MPI_PROCESSES", value]:
                if not _NUMBER.fullmatch(value):
                    self.report(line, f"MPI_PROCESSES counts processes; '{value}' is no number")
                self.warn(line, "MPI_PROCESSES is read and changes nothing: say CORES for what one agent shall give")
            case ".MAKEFLOW", [name, value] if name in _MAKEFLOW_WORDS and name in _RESOURCES:
                if value.startswith(('"', "'")):
                    self.report(line, f".MAKEFLOW {name} takes a plain number, without quotes")
                else:
                    self.define(self.categories[self.category], name, value, line)
                    self.defined.setdefault(name, line)
            case ".MAKEFLOW", _:
                self.report(
                    line,
                    f".MAKEFLOW is followed by one of {', '.join(_MAKEFLOW_WORDS)} and one value "
                    f"(MODE: {', '.join(_MODES)}), not by '{' '.join(words)}'",
                )
            case ".SIZE", [name, size] if _SIZE.fullmatch(size):
                number, unit = _SIZE.fullmatch(size).groups()  # type: ignore[union-attr]  # the guard matched
                self.sizes[unquote(name)] = int(number) * 1024 ** _SIZE_STEPS[unit]
            case ".SIZE", _:
                self.report(line, ".SIZE is followed by a file and its bytes, as in '.SIZE data.bin 10K'")
            case ".UMBRELLA", ["SPEC", spec]:
                self.umbrella_spec = unquote(spec)
                self.warn(line, ".UMBRELLA is read and changes nothing: commands run as they are")
            case ".UMBRELLA", _:
                self.report(line, ".UMBRELLA is followed by SPEC and a file")
            case _:
                self.report(
                    line,
                    f"{word} is no directive (there are .MAKEFLOW, .SIZE and .UMBRELLA); "
                    f"a file of this name is written ./{word} or in quotes",
                )

    # Rules.

    def head(self) -> None:
        self.require_command()
        reader, line, shown = self.reader, self.reader.line, self.reader.rest_of_line()
        items = reader.read_list()
        if Mark.COLON not in items:
            self.report(line, f"'{shown}' is neither a variable (NAME=value) nor a rule (outputs : inputs)")
            return
        colon = items.index(Mark.COLON)
        if Mark.COLON in items[colon + 1 :]:
            self.report(line, "a rule has one ':'; a file name with ':' in it must be quoted, as in 'a:b'")
            items = items[: colon + 1]
        self.open = _Draft(
            number=len(self.drafts),
            line=line,
            category=self.category,
            outputs=self.files(items[:colon], line),
            inputs=self.files(items[colon + 1 :], line),
        )

    def files(self, items: list[str | Mark], line: int) -> list[FileUse]:
        """The files of one list, each once, in order."""
        uses: dict[FileUse, None] = {}
        place = 0
        while place < len(items):
            name = items[place]
            remote = (
                items[place + 2] if items[place + 1 : place + 2] == [Mark.ARROW] and place + 2 < len(items) else None
            )
            if not isinstance(name, str):
                self.report(line, "'->' stands between two names: 'name here->name there'")
                place += 1
                continue
            if items[place + 1 : place + 2] == [Mark.ARROW]:
                if not isinstance(remote, str):
                    self.report(line, f"'{name}->' is not followed by the name on the agent")
                    return list(uses)
                place += 2
            place += 1
            for part in (name, remote):
                if isinstance(part, str) and (part.startswith("-") or not part):
                    shown = f"'{part}' begins with a dash, which no file name may" if part else "a file name is empty"
                    self.report(line, f"{shown}; write ./{part}" if part else shown)
            uses[FileUse(local=name, remote=remote if isinstance(remote, str) else name)] = None
        return list(uses)

    def command(self) -> None:
        reader, line, draft = self.reader, self.reader.line, self.open
        if draft is None:
            what = "a second command line: a rule has one; join them with ';' or a backslash at the line's end"
            first = "a command without a rule above it (only commands begin with a TAB or a blank)"
            self.report(line, what if self.drafts else first)
            reader.skip_line()
            return
        self.prefixes(draft, reader.read_text(), line)
        self.drafts.append(draft)
        self.open = None

    def prefixes(self, draft: _Draft, command: str, line: int) -> None:
        """Take LOCAL and MAKEFLOW off the command, wherever they came from."""
        while found := _PREFIX.match(command):
            command = command[found.end() :]
            draft.kind = Kind.LOCAL if found[1] == "LOCAL" else Kind.NESTED
            if found[1] == "MAKEFLOW":
                self.nested(draft, command, line)
                return
        if draft.kind is Kind.LOCAL and not command:
            self.report(line, "LOCAL is followed by a command")
        draft.command = command
        if unquote(self.value_for(draft, "BATCH_LOCAL") or "") == "1":
            draft.kind = Kind.LOCAL
        if draft.kind is Kind.LOCAL:
            for use in (*draft.outputs, *draft.inputs):
                if use.renamed:
                    self.report(
                        draft.line, f"'{use.local}->{use.remote}': a LOCAL rule cannot rename files, it runs among them"
                    )

    def nested(self, draft: _Draft, rest: str, line: int) -> None:
        pieces = split_value(rest)
        name = "".join(piece for piece in pieces if isinstance(piece, str))
        if not name or len(pieces) != sum(isinstance(piece, str) for piece in pieces):
            self.report(line, f"MAKEFLOW is followed by one workflow file and nothing else, not by '{rest}'")
        draft.command = name
        use = FileUse(local=name, remote=name)
        if name and all(known.local != name for known in draft.inputs):
            draft.inputs.append(use)

    def finish(self, draft: _Draft) -> Rule:
        needs = self.needs(draft)
        exports = [
            (name, unquote(value)) for name in self.exports if (value := self.value_for(draft, name)) is not None
        ]
        own = {"CORES": _plain(needs.cores_milli or CORES_DEFAULT_MILLI)}
        own["OMP_NUM_THREADS"] = own["CORES"]
        if draft.category != DEFAULT_CATEGORY:
            own["CATEGORY"] = draft.category
        if needs.mem_mb:
            own["MEMORY"] = str(needs.mem_mb)
        if needs.disk_mb:
            own["DISK"] = str(needs.disk_mb)
        options = unquote(self.value_for(draft, "BATCH_OPTIONS") or "")
        if options:
            self.warn(draft.line, "BATCH_OPTIONS is read and changes nothing: no batch system stands behind this pool")
        return Rule(
            number=draft.number,
            line=draft.line,
            outputs=tuple(draft.outputs),
            inputs=tuple(draft.inputs),
            command=draft.command,
            kind=draft.kind,
            category=draft.category,
            needs=needs,
            environment=tuple({**dict(exports), **own}.items()),
            exports=tuple(exports),
            batch_options=options,
        )

    # Numbers.

    def needs(self, draft: _Draft) -> Needs:
        def asked(name: str) -> float | None:
            value = self.value_for(draft, name)
            # Values of the file were judged where they are defined; only the environment's are new here.
            known = any(table.get(name, rule=draft.number) is not None for table in self.tables(draft))
            return None if value is None else self.amount(name, value, None if known else draft.line) or None

        cores, mem, disk, gpus, wall = (asked(name) for name in ("CORES", "MEMORY", "DISK", "GPUS", "WALL_TIME"))
        return Needs(
            cores_milli=None if cores is None else max(1, round(cores * 1000)),
            mem_mb=None if mem is None else math.ceil(mem),
            disk_mb=None if disk is None else math.ceil(disk),
            gpus=None if gpus is None else math.ceil(gpus),
            wall_time_s=None if wall is None else math.ceil(wall),
        )

    def tables(self, draft: _Draft) -> tuple[_Table, ...]:
        return (draft.own, self.categories[draft.category], self.general)

    def amount(self, name: str, value: str, line: int | None) -> float | None:
        """The number a special variable holds; None, and a problem if there is a line to name, for another text."""
        text = unquote(value).strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            if line is not None:
                self.report(line, f"{name} counts {_RESOURCES[name]}, as a plain number; '{text}' is none")
            return None
        return float(text)

    def boundary(self, name: str) -> tuple[str, ...] | None:
        value = self.general.get(name, rule=len(self.drafts))
        if value is None:
            return None
        return tuple(unquote(value).split())


def _plain(milli: int) -> str:
    """1/1000 as people write them.

    >>> _plain(2000), _plain(1500)
    ('2', '1.5')
    """
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli / 1000:g}"
