"""Writes the references that follow from the sources: flags and metrics of master and agent.

`reference.py` writes `docs/reference/flags.md` and `docs/reference/metrics.md`; tests check that they are as this
program would write them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from altiplano.agent import metrics as agent_metrics
from altiplano.agent import settings as agent_settings
from altiplano.engine.histogram import BOUNDS_S
from altiplano.engine.metrics import Metric
from altiplano.master import metrics as master_metrics
from altiplano.master import settings as master_settings

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A default as one would write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


def flags() -> str:
    """The page of flags."""
    master = ((f"`--{o.name.replace('_', '-')}`", shown(o.default), o.help) for o in master_settings.options())
    refused = ((f"`--{name.replace('_', '-')}`", why) for name, why in master_settings.NOT_BUILT.items())
    agent = ((f"`--{f.name}`", shown(f.default), f.help) for f in agent_settings.FLAGS)
    return "\n\n".join(
        [
            "# Flags of master and agent",
            "Names and values are those of Mesos, with dashes: durations as `15secs`, sizes as `2GB`. Each flag is "
            "also a variable, `ALTIPLANO_MASTER_<FLAG>` or `ALTIPLANO_AGENT_<FLAG>` with underscores, and a key of the "
            "configuration file; `altiplano config show` tells where a value came from. Written by "
            "`tools/reference.py`.",
            "## `altiplano master`",
            table(("flag", "default", "meaning"), master),
            "Flags of Mesos that are refused for now, with the sentence they are refused with:",
            table(("flag", "why"), refused),
            "## `altiplano agent`",
            table(("flag", "default", "meaning"), agent),
            "",
        ]
    )


def metrics() -> str:
    """The page of metrics."""
    parts = [
        "# Metrics",
        "Master and agent tell their numbers at `/metrics`, as text for Prometheus (OpenMetrics where it is asked "
        "for), and at `/metrics/snapshot` as JSON under the names of Mesos, in Mesos' units: memory and disk in MiB. "
        "Both want the same credentials as other reads. Counters begin at 0 when a process starts; histograms have "
        f"the buckets {', '.join(f'{bound:g}' for bound in BOUNDS_S)} seconds. Written by `tools/reference.py`.",
    ]
    for title, rows, others in (
        ("Master", master_metrics.ROWS, master_metrics.ONLY_MESOS),
        ("Agent", agent_metrics.ROWS, agent_metrics.ONLY_MESOS),
    ):
        parts += [
            f"## {title}",
            table(("metric", "type", "unit", "labels", "meaning", "in Mesos"), _metric_rows(rows)),
            "Only in `/metrics/snapshot`, since it follows from the above or is always the same here:",
            table(("name", "meaning"), ((f"`{one.name}`", one.help) for one in others)),
        ]
    return "\n\n".join([*parts, ""])


def _metric_rows(rows: Iterable[Metric[Any]]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        labels = " ".join(f"`{label}`" for label in row.labels)
        names = [name.replace("{}", f"<{row.labels[0]}>") if row.labels else name for name in row.mesos]
        yield f"`{row.name}`", row.kind.value, row.unit, labels, row.help, " ".join(f"`{name}`" for name in names)


PAGES: Mapping[str, str] = {"flags.md": flags(), "metrics.md": metrics()}


def main() -> int:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in PAGES.items():
        (REFERENCE / name).write_text(text)
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
