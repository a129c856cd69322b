"""Writes the references that follow from the sources: the flags of master and agent.

`reference.py` writes `docs/reference/flags.md`; a test checks that it is as this program
would write it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from altiplano.agent import settings as agent_settings
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


PAGES: Mapping[str, str] = {"flags.md": flags()}


def main() -> int:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in PAGES.items():
        (REFERENCE / name).write_text(text)
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
