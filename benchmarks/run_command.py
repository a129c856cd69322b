"""One `altiplano run -- true` from a shell, interpreter start included."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from benchmarks.measure import ALTIPLANO, Measurement, median, pool, wall

ROUNDS = 15


def run() -> Iterable[Measurement]:
    with pool() as running:
        command = [ALTIPLANO, "run", "--master", running.address, "--", "true"]
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}

        def once() -> None:
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)

        once()
        value, spread = median([wall(once) for _ in range(ROUNDS)])
        version = median(
            [
                wall(lambda: subprocess.run([ALTIPLANO, "--version"], env=environment, capture_output=True, check=True))
                for _ in range(5)
            ]
        )
    yield Measurement(
        name="run_command",
        value=value,
        unit="s",
        better="lower",
        goal=0.4,
        peer="altiplano --version",
        peer_value=version[0],
        spread=spread,
    )
