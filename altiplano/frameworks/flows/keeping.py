"""The flows of a pool as files: what a run registered, and the page that stays of it.

    RUN.flow    a registration, while its run goes on
    RUN.page    its picture: a line for the flow, then one for each rule

Everything here may wait for a disk and is meant for a thread, one call at a time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from altiplano.frameworks.flows.pages.picture import FlowHead, FlowPicture, RulePicture
from altiplano.frameworks.flows.registration import RUN_ID

KEPT_MAX = 200
"""Flows that have ended and are kept; the oldest leave."""

KEPT_BYTES_MAX = 256 * 1024 * 1024
"""Disk that they may take; the oldest leave, but never the newest."""

REGISTERED, PAGE = ".flow", ".page"


class Store:
    """One directory; files in it are for their owner only."""

    def __init__(self, directory: Path, *, kept_max: int = KEPT_MAX, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._directory = directory
        self._kept_max = kept_max
        self._kept_bytes_max = kept_bytes_max
        self._sizes: dict[str, int] = {}
        """Bytes of each page, the oldest first."""

    def load(self) -> dict[str, FlowHead]:
        """The flows that are kept, the oldest first; a file that cannot be read is put aside."""
        heads: dict[str, FlowHead] = {}
        pages = [path for path in self._directory.glob(f"*{PAGE}") if RUN_ID.fullmatch(path.stem)]
        for path in sorted(pages, key=lambda page: page.stat().st_mtime_ns):
            try:
                with path.open("rb") as stream:
                    heads[path.stem] = msgspec.json.decode(stream.readline(), type=FlowHead)
            except (msgspec.DecodeError, msgspec.ValidationError):
                path.replace(path.with_suffix(".damaged"))
                continue
            self._sizes[path.stem] = path.stat().st_size
        return heads

    def registrations(self) -> dict[str, bytes]:
        """What runs said that went on when this directory was last used."""
        found = sorted(self._directory.glob(f"*{REGISTERED}"))
        return {path.stem: path.read_bytes() for path in found if RUN_ID.fullmatch(path.stem)}

    def register(self, run_id: str, content: bytes) -> None:
        self._write(self._directory / (run_id + REGISTERED), content)

    def unregister(self, run_id: str) -> None:
        (self._directory / (run_id + REGISTERED)).unlink(missing_ok=True)

    def keep(self, picture: FlowPicture) -> list[str]:
        """Keep a flow's page; the ids of those that leave for it."""
        encoder = msgspec.json.Encoder()
        lines = [encoder.encode(picture.head), *map(encoder.encode, picture.rules)]
        content = b"\n".join(lines) + b"\n"
        self._write(self._page(picture.id), content)
        self._sizes.pop(picture.id, None)
        self._sizes[picture.id] = len(content)
        gone = []
        while len(self._sizes) > 1 and self._crowded():
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            self._page(oldest).unlink(missing_ok=True)
            gone.append(oldest)
        return gone

    def read(self, run_id: str) -> FlowPicture | None:
        """The page of a flow; None if it has left."""
        try:
            first, _, rest = self._page(run_id).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        head = msgspec.json.decode(first, type=FlowHead)
        decoder = msgspec.json.Decoder(RulePicture)
        return FlowPicture(
            id=head.id,
            title=head.title,
            directory=head.directory,
            framework_id=head.framework_id,
            exit_code=head.exit_code,
            alive=head.alive,
            own_url=head.own_url,
            started_s=head.started_s,
            ended_s=head.ended_s,
            rules=tuple(map(decoder.decode, rest.splitlines())),
        )

    def _crowded(self) -> bool:
        return len(self._sizes) > self._kept_max or sum(self._sizes.values()) > self._kept_bytes_max

    def _page(self, run_id: str) -> Path:
        return self._directory / (run_id + PAGE)

    def _write(self, path: Path, content: bytes) -> None:
        """Put a whole file in its place, on disk."""
        beside = path.with_name(path.name + ".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
