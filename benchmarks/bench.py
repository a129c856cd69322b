"""Runs the benchmarks and prints a table.

Each benchmark is a module of this folder with `run() -> Iterable[Measurement]`.  Its figures replace
those of the same name in `results/latest.jsonl`; recorded results lie beside that file.  Figures come from one machine,
shared with others as a rule: compare the columns of a row, not rows of different days.

    python benchmarks/bench.py [--only NAME]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import FIRST_VARIABLE, Measurement, go_first, machine

NAMES = (
    "small_calls",
    "allocation",
    "true_tasks",
    "one_task",
    "exit_to_update",
    "updates",
    "emulated_launches",
    "run_command",
    "sleeping_tasks",
    "flow_graph",
    "data_path",
)
LATEST = Path(__file__).resolve().parent / "results" / "latest.jsonl"


def keep(measurements: list[Measurement]) -> None:
    """Replace the lines of these names."""
    names = {m.name for m in measurements}
    old = LATEST.read_text().splitlines() if LATEST.exists() else []
    lines = [line for line in old if json.loads(line)["name"] not in names]
    LATEST.write_text("\n".join([*lines, *(m.line() for m in measurements)]) + "\n")


def row(m: Measurement) -> str:
    good = m.goal is None or (m.value >= m.goal if m.better == "higher" else m.value <= m.goal)
    goal = "" if m.goal is None else f"{'≥' if m.better == 'higher' else '≤'} {m.goal:g}"
    peer = "" if m.peer is None or m.peer_value is None else f"{m.peer}: {m.peer_value:,.4g}"
    verdict = "" if m.goal is None else "met" if good else "missed"
    return f"{m.name:<26} {m.value:>10,.4g} {m.unit:<12} {goal:>9} {verdict:<7} {peer:<34} {m.note}"


def main() -> int:
    parser = argparse.ArgumentParser(description="run the benchmarks")
    parser.add_argument("--only", choices=NAMES, help="one of them")
    parser.add_argument("--first", action="store_true", help="go before other work of this machine (needs root)")
    arguments = parser.parse_args()
    if arguments.first:
        os.environ[FIRST_VARIABLE] = "1"
        go_first(os.getpid())
    # A benchmark that is cut short ends its pool as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
    for name in [arguments.only] if arguments.only else NAMES:
        measurements = list(importlib.import_module(f"benchmarks.{name}").run())
        keep(measurements)
        for measurement in measurements:
            print(row(measurement), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
