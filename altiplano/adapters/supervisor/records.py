"""What the supervisor must not forget: a table of containers, and the file its changes are written to.

Live changes and recovery go through the same `Table.apply`.  The states:

    INTENT --started--> RUNNING --exited--> EXITED --forgotten--> gone
       |---failed-----> FAILED ------------forgotten----------->  gone
       '---dropped---------------------------------------------->  gone   (it was never spawned)

The one thing to know before changing it: at most one container is in INTENT,
since starts are made one after the other and the file is written between.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib

from altiplano.adapters.supervisor import processes
from altiplano.kit import crash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Fact = dict[str, Any]

VERSION = 1
COMPACT_BYTES_MIN = 4 * 1024 * 1024
"""The file is rewritten when it has grown by this much and to twice what it had after the last time."""

RESERVE_BYTES = 64 * 1024
RESERVE_BYTES_PER_TASK = 1024
"""Disk kept ahead of the file's end, so that a full disk refuses starts and never loses the end of a task."""

INTENT, RUNNING, EXITED, FAILED, GONE = "intent", "running", "exited", "failed", "gone"

STEPS = {
    INTENT: {"started": RUNNING, "failed": FAILED, "dropped": GONE},
    RUNNING: {"exited": EXITED, "limits": RUNNING},
    EXITED: {"forgotten": GONE},
    FAILED: {"forgotten": GONE},
    GONE: {},
}


class Record:
    """One container as the file knows it."""

    __slots__ = ("facts", "id", "state")

    def __init__(self, container_id: str) -> None:
        self.id = container_id
        self.state = GONE
        self.facts: Fact = {}

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    @property
    def start_ticks(self) -> int:
        return int(self.facts["start_ticks"])

    @property
    def limits(self) -> dict[str, int | None] | None:
        return self.facts.get("cgroup")

    def outcome(self) -> Fact:
        """The port's form of what became of it."""
        if self.state == FAILED:
            return {"type": "LaunchFailed", "container_id": self.id, "sentence": self.facts["sentence"]}
        if self.state == EXITED:
            return {"type": "Exited", "container_id": self.id, **self.facts["exit"]}
        return self.start()

    def start(self) -> Fact:
        """The answer to its launch, the same for ever."""
        if self.state == FAILED:
            return self.outcome()
        return {
            "type": "Started",
            "container_id": self.id,
            "pid": self.facts["pid"],
            "start_ticks": self.facts["start_ticks"],
            "started_wall_s": self.facts["started_wall_s"],
        }


class Table:
    """All containers not yet forgotten, in the order of their launches."""

    __slots__ = ("records", "running")

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.running = 0

    def apply(self, fact: Fact) -> None:
        """Change the table by one fact; a refused step raises with the container's story."""
        kind, container_id = fact["kind"], fact["id"]
        if kind == "intent":
            assert container_id not in self.records, f"{container_id} is launched a second time"
            record = self.records[container_id] = Record(container_id)
            record.state = INTENT
        else:
            known = self.records.get(container_id)
            assert known is not None, f"{kind} of {container_id}, which nobody launched"
            record = known
            after = STEPS[record.state].get(kind)
            assert after is not None, f"{container_id} is {record.state} and cannot be {kind}: {record.facts}"
            self.running += (after == RUNNING) - (record.state == RUNNING)
            record.state = after
            if after == GONE:
                del self.records[container_id]
                return
        record.facts.update({key: value for key, value in fact.items() if key not in ("kind", "id")})
        if record.state == EXITED:
            # What was needed to watch it is not needed to tell of it.
            for key in ("directory", "stdout", "stderr", "output_max_bytes", "ticks"):
                record.facts.pop(key, None)

    def facts(self) -> Iterable[Fact]:
        """The shortest history that makes the same table."""
        for record in self.records.values():
            early = {key: value for key, value in record.facts.items() if key not in _LATE}
            yield {"kind": "intent", "id": record.id, **early}
            if record.state == FAILED:
                yield {"kind": "failed", "id": record.id, "sentence": record.facts["sentence"]}
            if record.state in (RUNNING, EXITED):
                start = {key: record.facts[key] for key in ("pid", "start_ticks", "started_wall_s")}
                yield {"kind": "started", "id": record.id, **start}
            if record.state == EXITED:
                yield {"kind": "exited", "id": record.id, "exit": record.facts["exit"]}


_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_LATE = {"pid", "start_ticks", "started_wall_s", "sentence", "exit"}


def encode(fact: Fact) -> bytes:
    """One line: checksum, blank, JSON."""
    text = _json(fact).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(data: bytes) -> tuple[list[Fact], int]:
    """All facts up to the first damaged line, and the length of what is whole."""
    facts: list[Fact] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        line = data[position:end]
        try:
            whole = zlib.crc32(line[9:]) == int(line[:8], 16)
        except ValueError:
            whole = False
        if not whole:
            break
        facts.append(json.loads(line[9:]))
        position = end + 1
    return facts, position


class RecordFile:
    """The table on disk.  `write` survives the death of this process, `sync` that of the machine."""

    def __init__(self, path: str, boot: str) -> None:
        self.path = path
        self.table = Table()
        self.same_life = True
        """Its processes may still be there: nothing was booted since, and the directory is no copy of another."""
        self._descriptor = -1
        self._size = self._size_compact = self._reserved = 0
        self._dirty = False
        self._recover(boot)

    def _recover(self, boot: str) -> None:
        # A directory that was renamed stays the same one, and so does what runs there.
        self._place = os.stat(os.path.dirname(self.path)).st_ino
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        facts, whole = decode(data)
        if facts:
            header, *facts = facts
            if header.get("version") != VERSION:
                raise SystemExit(
                    f"{self.path} has version {header.get('version')} and this supervisor reads {VERSION}; "
                    "end its tasks with the release that wrote it, then remove the file."
                )
            self.same_life = header["boot"] == boot and header.get("place", self._place) == self._place
        for fact in facts:
            self.table.apply(fact)
        # What follows a torn line was never answered for and is cut off, by rewriting where the disk has room.
        self._boot = boot
        try:
            self.compact()
        except OSError:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            os.ftruncate(self._descriptor, whole)
            self._size = self._size_compact = whole

    def reserve(self) -> None:
        """Room for a start and for the ends of all that run.  OSError where the disk is full."""
        needed = self._size + RESERVE_BYTES + RESERVE_BYTES_PER_TASK * self.table.running
        if needed > self._reserved:
            ahead = needed + RESERVE_BYTES + RESERVE_BYTES_PER_TASK * self.table.running
            processes.reserve(self._descriptor, ahead)
            self._reserved = ahead

    def write(self, *facts: Fact) -> None:
        """Hand facts to the kernel and apply them: from here on a kill -9 cannot lose them.

        OSError: neither has happened.
        """
        data = b"".join(map(encode, facts))
        try:
            _write_all(self._descriptor, data)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._dirty = True
        self._size += len(data)
        for fact in facts:
            self.table.apply(fact)

    def sync(self) -> None:
        """Everything written is on the disk afterwards."""
        if self._dirty:
            os.fdatasync(self._descriptor)
            self._dirty = False

    def compact_if_worth(self) -> None:
        if self._size > self._size_compact * 2 and self._size > self._size_compact + COMPACT_BYTES_MIN:
            with contextlib.suppress(OSError):  # the long file serves as well until there is room for a short one
                self.compact()

    def compact(self) -> None:
        """Replace the file by the shortest one that says the same; either the old or the new is there at any time."""
        fresh = f"{self.path}.new"
        data = encode({"version": VERSION, "boot": self._boot, "place": self._place}) + b"".join(
            map(encode, self.table.facts())
        )
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, data)
            os.fdatasync(descriptor)
        except OSError:
            os.close(descriptor)
            os.unlink(fresh)
            raise
        crash.at("compaction_written")
        os.rename(fresh, self.path)
        crash.at("compaction_renamed")
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = self._size_compact = len(data)
        self._reserved = 0
        self._dirty = False


def _write_all(descriptor: int, data: bytes) -> None:
    while data:  # a disk about to be full may take a part
        data = data[os.write(descriptor, data) :]
