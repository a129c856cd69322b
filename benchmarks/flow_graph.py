"""A graph of 200 rules (1 + 99 + 99 + 1), each with an output: `altiplano flow run`, files moved and in place.

Makeflow made the same graph in 1.25-1.29 s with Work Queue and two workers of one core on the machine of the budget, in
0.64-0.73 s with `-T local -j 2`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measure import ALTIPLANO, Measurement, environment, log, median, pool, wall

WIDTH = 99
ROUNDS = 3
RULES = 2 + 2 * WIDTH
MAKEFLOW_S = 1.29


def graph() -> str:
    """One rule, two rows of `WIDTH` below it, and one that gathers."""
    rules = ["first:\n\techo 0 > first\n"]
    rules += [f"a{number}: first\n\tcat first > a{number}\n" for number in range(WIDTH)]
    rules += [f"b{number}: a{number}\n\tcat a{number} > b{number}\n" for number in range(WIDTH)]
    sources = " ".join(f"b{number}" for number in range(WIDTH))
    rules.append(f"last: {sources}\n\tcat {sources} > last\n")
    return "CORES=1\nMEMORY=32\nDISK=1\n" + "\n".join(rules)


def once(address: str, *flags: str) -> float:
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-flow-") as directory:
        path = Path(directory)
        (path / "Makeflow").write_text(graph())
        words = [ALTIPLANO, "flow", "run", "--master", address, *flags, "Makeflow"]
        seconds = wall(
            lambda: subprocess.run(
                words,
                cwd=path,
                env=environment(),
                check=True,
                timeout=120,
                stdout=subprocess.DEVNULL,
                stderr=sys.stderr,
            )
        )
        if (path / "last").read_text() != "0\n" * WIDTH:
            raise SystemExit("the graph's last file is not what it should be")
        return seconds


def beside() -> tuple[str, float] | None:
    """Makeflow itself where it is installed."""
    makeflow = shutil.which("makeflow")
    if makeflow is None:
        return None
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-flow-") as directory:
        (Path(directory) / "Makeflow").write_text(graph())
        words = [makeflow, "-T", "local", "-j", str(os.cpu_count())]
        return "makeflow -T local", wall(
            lambda: subprocess.run(words, cwd=directory, check=True, capture_output=True, timeout=120)
        )


def run() -> Iterable[Measurement]:
    shared, moved = [], []
    with pool() as running:
        for number in range(ROUNDS):
            shared.append(once(running.address, "--shared-dir"))
            moved.append(once(running.address))
            log(f"round {number + 1} of {ROUNDS}: in place {shared[-1]:.2f} s, files moved {moved[-1]:.2f} s")
    peer = beside() or ("Makeflow with Work Queue (recorded), s", MAKEFLOW_S)
    for name, values, goal in (("flow_graph/shared", shared, 2.0), ("flow_graph/moved", moved, None)):
        value, spread = median(values)
        yield Measurement(
            name=name,
            value=value,
            unit="s",
            better="lower",
            goal=goal,
            peer=peer[0],
            peer_value=peer[1],
            spread=spread,
            note=f"{RULES} rules",
        )
