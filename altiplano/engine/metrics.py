"""Numbers for monitors: one table per process, from which everything that names them is made.

A row says what a number is called, what it means and where it comes from.  `/metrics` (Prometheus, or OpenMetrics
where it is asked for), `/metrics/snapshot` (the names of Mesos) and `docs/reference/metrics.md` are made of the rows,
so none of them can know a number that the others do not.

Nothing is counted twice for monitors: rows read what the process counts anyway.  Only times need something of their
own, a `Histogram`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeAlias, TypeVar

import psutil

import altiplano
from altiplano.engine.histogram import Histogram
from altiplano.engine.loop import Engine

S = TypeVar("S")

Labels: TypeAlias = tuple[str, ...]
Reading: TypeAlias = float | Mapping[Labels, float] | Histogram
Numbers: TypeAlias = Mapping[tuple[str, Labels], float]
"""What was read, by the name of the metric and the values of its labels."""


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Generic[S]):
    """One row: a number, or several that differ in `labels`.

    `mesos`: the names it has in `/metrics/snapshot`, with `{}` for the value of the first label, which must be one of
    `mesos_of` if that is given; the number there is `mesos_factor` times ours.
    """

    name: str
    kind: Kind
    help: str
    read: Callable[[S], Reading]
    labels: Labels = ()
    mesos: tuple[str, ...] = ()
    mesos_of: frozenset[str] | None = None
    mesos_factor: float = 1.0

    @property
    def unit(self) -> str:
        """The unit in the name: base units only, as Prometheus wants it."""
        name = self.name.removesuffix("_total")
        return next((unit for unit in UNITS if name.endswith(f"_{unit}")), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MesosNumber:
    """A number that only monitors of Mesos ask for: it follows from others, or is always the same here."""

    name: str
    help: str
    read: Callable[[Numbers], float]


UNITS: Final = ("seconds", "bytes", "ratio")


def plain(name: str, help: str, read: Callable[[S], Reading], *labels: str, mesos: tuple[str, ...] = ()) -> Metric[S]:
    """A number that goes up and down."""
    return Metric(name=name, kind=Kind.GAUGE, help=help, read=read, labels=labels, mesos=mesos)


def counter(name: str, help: str, read: Callable[[S], Reading], *labels: str, mesos: tuple[str, ...] = ()) -> Metric[S]:
    """A number that only grows while the process lives."""
    assert name.endswith("_total"), f"the name of a counter ends in _total, {name} does not"
    return Metric(name=name, kind=Kind.COUNTER, help=help, read=read, labels=labels, mesos=mesos)


def histogram(name: str, help: str, read: Callable[[S], Reading]) -> Metric[S]:
    return Metric(name=name, kind=Kind.HISTOGRAM, help=help, read=read)


def numbers(rows: Iterable[Metric[S]], source: S) -> dict[tuple[str, Labels], float]:
    """All that is no histogram, read."""
    found: dict[tuple[str, Labels], float] = {}
    for row in rows:
        reading = row.read(source)
        if isinstance(reading, Mapping):
            found.update({(row.name, labels): value for labels, value in reading.items()})
        elif not isinstance(reading, Histogram):
            found[row.name, ()] = reading
    return found


def snapshot(rows: Iterable[Metric[S]], others: Iterable[MesosNumber], source: S) -> dict[str, float]:
    """All numbers that have a name in Mesos, by it."""
    rows = tuple(rows)
    read = numbers(rows, source)
    shown: dict[str, float] = {}
    named = {row.name: row for row in rows if row.mesos}
    for (name, labels), value in read.items():
        row = named.get(name)
        if row is not None and (row.mesos_of is None or labels[0] in row.mesos_of):
            for template in row.mesos:
                shown[template.format(*labels)] = float(value * row.mesos_factor)
    for one in others:
        shown[one.name] = float(one.read(read))
    return shown


def exposed(rows: Iterable[Metric[S]], source: S, accept: str) -> tuple[bytes, str]:
    """All numbers as text in the form that is accepted, and its content type."""
    # Loaded by who scrapes: an agent that nobody asks is a megabyte smaller, and starts sooner.
    from altiplano.engine import exposition

    return exposition.exposed(rows, source, accept)


def of_engine(part: str, engine: Callable[[S], Engine[Any]]) -> list[Metric[S]]:
    """What every process with an engine counts."""
    begin = f"altiplano_{part}_engine"
    return [
        counter(f"{begin}_events_total", "Events that the core has decided.", lambda s: engine(s).statistics.events),
        plain(f"{begin}_events_waiting", "Events that wait for the core.", lambda s: engine(s).waiting),
        counter(f"{begin}_facts_total", "Facts that the core has applied.", lambda s: engine(s).statistics.facts),
        counter(f"{begin}_records_total", "Facts that were written down.", lambda s: engine(s).statistics.records),
        counter(f"{begin}_effects_total", "Effects that were carried out.", lambda s: engine(s).statistics.effects),
        counter(f"{begin}_bugs_total", "Events that failed by a fault of ours.", lambda s: engine(s).statistics.bugs),
        counter(
            f"{begin}_slices_total", "Turns of the loop that decided events.", lambda s: engine(s).statistics.slices
        ),
        counter(f"{begin}_compactions_total", "Compactions of the log.", lambda s: engine(s).statistics.compactions),
        plain(
            f"{begin}_recorder_paused",
            "1 while the flight recorder keeps nothing: the state is large, and its file full or not there.",
            lambda s: float(engine(s).recorder.paused),
        ),
        histogram(
            f"{begin}_wait_seconds",
            "Time for which an event waits for the core; one at a time is followed.",
            lambda s: engine(s).statistics.wait,
        ),
        histogram(
            f"{begin}_slice_seconds",
            "Time for which a slice of events holds the loop.",
            lambda s: engine(s).statistics.slice,
        ),
        histogram(
            f"{begin}_commit_seconds",
            "Time from a fact to its being durable; one commit at a time is followed.",
            lambda s: engine(s).statistics.commit,
        ),
    ]


def of_process(part: str) -> list[Metric[S]]:
    """What every process and its machine have.  Names of processes are those that every exporter uses."""
    process = psutil.Process()
    facts = (altiplano.__version__, platform.python_version())
    return [
        plain(
            f"altiplano_{part}_build_info",
            "Always 1; the labels say what runs.",
            lambda _: {facts: 1.0},
            "version",
            "python",
        ),
        counter(
            "process_cpu_seconds_total", "Processor time used by the process.", lambda _: sum(process.cpu_times()[:2])
        ),
        plain("process_resident_memory_bytes", "Memory that the process holds.", lambda _: process.memory_info().rss),
        plain("process_open_fds", "Open files and connections of the process.", lambda _: process.num_fds()),
        plain("process_start_time_seconds", "Start of the process, as a Unix time.", lambda _: process.create_time()),
        plain(
            "altiplano_machine_cpus",
            "Processors of the machine.",
            lambda _: psutil.cpu_count() or 1,
            mesos=("system/cpus_total",),
        ),
        plain(
            "altiplano_machine_load",
            "Processes that run or wait to run on the machine, on average of so many minutes.",
            lambda _: {(str(n),): load for n, load in zip((1, 5, 15), psutil.getloadavg(), strict=True)},
            "minutes",
            mesos=("system/load_{}min",),
        ),
        plain(
            "altiplano_machine_memory_bytes",
            "Memory of the machine, in all.",
            lambda _: psutil.virtual_memory().total,
            mesos=("system/mem_total_bytes",),
        ),
        plain(
            "altiplano_machine_memory_free_bytes",
            "Memory of the machine that can still be given to processes.",
            lambda _: psutil.virtual_memory().available,
            mesos=("system/mem_free_bytes",),
        ),
    ]
