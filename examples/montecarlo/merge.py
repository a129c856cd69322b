"""Add up the parts of one tune.

    merge.py --output monash.json part1.json part2.json ...

Parts must be of one tune and binning, and no seed may appear twice: the same collisions counted
twice would look like smaller errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SUMMED = ("events", "central_sum", "central_square_sum")
SUMMED_BY_BIN = ("eta_counts", "eta_square_counts", "multiplicity")
SAME = ("tune", "energy_gev", "eta_edges", "central_eta")


def merge(parts: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The sum of the parts; SystemExit with the reason if they do not belong together."""
    first_name, first = parts[0]
    total = json.loads(json.dumps(first))
    for name, part in parts[1:]:
        for key in SAME:
            if part[key] != first[key]:
                raise SystemExit(f"merge.py: {name} differs from {first_name} in '{key}', so they cannot be added")
        twice = set(total["seeds"]) & set(part["seeds"])
        if twice:
            raise SystemExit(f"merge.py: {name} brings seed {min(twice)} again; its events are already counted")
        total["seeds"] = sorted(total["seeds"] + part["seeds"])
        for key in SUMMED:
            total[key] += part[key]
        for key in SUMMED_BY_BIN:
            total[key] = [a + b for a, b in zip(total[key], part[key], strict=True)]
    return dict(total)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("parts", type=Path, nargs="+")
    options = parser.parse_args()
    total = merge([(str(path), json.loads(path.read_text())) for path in options.parts])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(total) + "\n")
    print(f"{options.output}: {total['events']} events from {len(options.parts)} parts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
