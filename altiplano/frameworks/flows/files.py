"""The files of a flow's rules: cleared before a try, looked at after it.

Everything here may wait for a disk and is meant for a thread; calls for different rules may run at
the same time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from altiplano.frameworks.flows import contents
from altiplano.frameworks.flows.contents import Content
from altiplano.frameworks.flows.progress import Stamp
from altiplano.frameworks.flows.workflow import Rule

ASIDE_SUFFIX = ".failed"
"""What a failed try has left of an output is kept under this name, until the next one fails."""

LOOK_AGAIN_S = 0.5
"""After this time an output that is missing on a shared file system is looked for once more: its
client may have remembered that the file was not there."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How the files of a rule are."""

    missing: tuple[str, ...]
    empty: tuple[str, ...]
    stamps: dict[str, Stamp]


class Files:
    """The files below `root`; contents that were hashed once are remembered while they stay the same."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, Content] = {}

    def clear(self, rule: Rule) -> None:
        """Remove what lies where the outputs of a rule go."""
        for use in rule.outputs:
            remove(self._root / use.local)

    def describe(self, name: str) -> Content:
        """A file by what is in it.  Raises ContentError."""
        path = self._root / name
        known = self._known.get(name)
        if known is None or contents.stamp_of(path) != known.stamp:
            known = self._known[name] = contents.describe(path)
        return known

    def look(self, rule: Rule, *, again: bool) -> Look:
        """How outputs and inputs of a rule are now; `again` takes a second look before one is called missing."""
        outputs = self.stamps(use.local for use in rule.outputs)
        if again and None in outputs.values():
            time.sleep(LOOK_AGAIN_S)
            for name in outputs:
                with contextlib.suppress(OSError):
                    # Listing a directory makes a network file system ask its server anew.
                    os.listdir((self._root / name).parent)
            outputs = self.stamps(outputs)
        inputs = self.stamps(use.local for use in rule.inputs)
        return Look(
            missing=tuple(name for name, stamp in outputs.items() if stamp is None),
            empty=tuple(name for name, stamp in outputs.items() if stamp is not None and stamp.size_bytes == 0),
            stamps={name: stamp for name, stamp in {**inputs, **outputs}.items() if stamp is not None},
        )

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp | None]:
        return {name: contents.stamp_of(self._root / name) for name in names}

    def set_aside(self, rule: Rule) -> None:
        """Move what is there of the outputs of a rule out of the way."""
        for use in rule.outputs:
            path = self._root / use.local
            if os.path.lexists(path):
                beside = aside(path)
                remove(beside)
                path.rename(beside)


def aside(path: Path) -> Path:
    """Where what a failed try made of an output is kept."""
    return path.with_name(path.name + ASIDE_SUFFIX)


def remove(path: Path) -> bool:
    """Remove a file, link or directory; whether there was one."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (IsADirectoryError, PermissionError):
        # Linux says EISDIR, other file systems EPERM, when a directory is unlinked.
        if not path.is_dir():
            raise
        shutil.rmtree(path)
    return True
