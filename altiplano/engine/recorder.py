"""The flight recorder: the inputs of a core, bounded, replayable to any moment.

A recording is the whole state of the core at one moment (pickled: it is read only by the program that wrote it, from
its own work directory), its base, and every event since then in its JSON form, with the time at which it was decided.
Playing it again – state, then `decide` and `apply` for every input – gives the same facts and effects, since a core
depends on nothing else.

To write down a state takes as long as it is large.  While it is small a new base is taken when a segment of inputs is
full, and the oldest segment is dropped.  A core that has become large keeps the base it has, and its inputs go to a
file: however large it is, nothing is held up, and what happened since the base can be played.
"""

from __future__ import annotations

import io
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol, runtime_checkable

import msgspec

from altiplano.engine.core import Core, Decision, Event, Fact
from altiplano.model.time import Instant

SEGMENT_BYTES_MAX = 4 * 1024 * 1024
"""Recorded inputs per segment; the input that crosses it is still in."""

SEGMENTS_MAX = 2
RECORDINGS_MAX = 10

WEIGHT_MAX = 1_000
"""Records of a core that are written down in one piece: a few milliseconds.  Before the first input, when nobody waits
yet, a core may be heavier."""

BLOCK_BYTES = 256 * 1024
"""Inputs that go to the file together."""

FILE_BYTES_MAX = 128 * 1024 * 1024
"""Inputs of a heavy core that are kept, some hundreds of thousands.  Beyond them the recording pauses."""

INPUTS_PER_LOOK = 1_000
"""A recording that pauses looks so seldom whether its core has become light again."""


Input = tuple[float, float, bytes]
"""Both clocks at which an event was decided, and the event."""


@runtime_checkable
class Weighed(Protocol):
    """A core that knows how many records it keeps; one that does not is taken to be light."""

    @property
    def weight(self) -> int: ...


class Segment:
    __slots__ = ("inputs", "size_bytes", "state")

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.inputs: list[Input] = []
        self.size_bytes = 0


class Recorder:
    """Keeps the last inputs; `save` writes them down when somebody asks or something breaks.

    `directory`, set by who owns one, is where a heavy core's inputs go.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.paused = False
        self.directory: str | None = None
        self._segments: deque[Segment] = deque(maxlen=SEGMENTS_MAX)
        self._encoder = msgspec.json.Encoder()
        self._file: IO[bytes] | None = None
        self._file_bytes = 0
        self._passed = 0

    def record(self, core: Core[Any], event: Event, at: Instant) -> None:
        """Write down an input, before it is decided."""
        if not self.enabled or (self.paused and not self._goes_on(core)):
            return
        if not self._segments or self._segments[-1].size_bytes > self._room:
            self._make_room(core)
            if self.paused:
                return
        data = self._encoder.encode(event)
        segment = self._segments[-1]
        segment.inputs.append((at.mono_s, at.wall_s, data))
        segment.size_bytes += len(data)

    @property
    def _room(self) -> int:
        return SEGMENT_BYTES_MAX if self._file is None else BLOCK_BYTES

    def _goes_on(self, core: Core[Any]) -> bool:
        self._passed += 1
        self.paused = self._passed % INPUTS_PER_LOOK != 0 or not _is_light(core)
        return not self.paused

    def _make_room(self, core: Core[Any]) -> None:
        if not self._segments or _is_light(core):
            self._leave_file()
            self._segments.append(Segment(pickle.dumps(core, protocol=5)))
            return
        try:
            self._hand_over()
        except OSError:
            # A full disk costs the recording; the process has better uses for what is left.
            self._pause()
        if self._file_bytes > FILE_BYTES_MAX:
            self._pause()

    def _hand_over(self) -> None:
        """Let the inputs in memory go to the file, behind the base they rest on."""
        if self.directory is None:
            self._pause()
            return
        segment = self._segments[-1]
        if self._file is None:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            path = os.path.join(self.directory, f"running-{os.getpid()}.recording")
            self._file = open(path, "wb", opener=_private)  # noqa: SIM115 -- it stays open until the core is light
            pickle.dump(segment.state, self._file, protocol=5)
            self._segments = deque((segment,), maxlen=SEGMENTS_MAX)
            _prune(self.directory)
        pickle.dump(segment.inputs, self._file, protocol=5)
        self._file.flush()
        self._file_bytes += segment.size_bytes
        segment.inputs = []
        segment.size_bytes = 0

    def _pause(self) -> None:
        self.paused = True
        self._leave_file()
        self._segments.clear()

    def _leave_file(self) -> None:
        if self._file is None:
            return
        # The base in memory is worth nothing without the inputs in the file.
        self._segments.clear()
        self._file.close()
        os.unlink(self._file.name)
        self._file = None
        self._file_bytes = 0

    def save(self, directory: str, name: str) -> str:
        """Write the recording down for whoever hunts the bug; the path.  Only the newest RECORDINGS_MAX stay."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, f"{name.replace('/', '_')}.recording")
        if self._file is not None:
            # What is in the file needs no copy.  It goes on growing behind the bug, which does no harm.
            self._hand_over()
            os.link(self._file.name, path)
        else:
            with open(path, "wb", opener=_private) as file:
                file.write(self.dump())
        _prune(directory)
        return path

    def dump(self) -> bytes:
        """The recording as one block of bytes, for `play`."""
        if not self._segments:
            return b""
        before = b""
        if self._file is not None:
            with open(self._file.name, "rb") as file:
                before = file.read()
        blocks = [] if before else [self._segments[0].state]
        return before + b"".join(
            pickle.dumps(part, protocol=5) for part in (*blocks, *(segment.inputs for segment in self._segments))
        )


def _is_light(core: Core[Any]) -> bool:
    return not isinstance(core, Weighed) or core.weight <= WEIGHT_MAX


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prune(directory: str) -> None:
    found = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(directory))
    for _, old in found[:-RECORDINGS_MAX]:
        os.unlink(old)


def play(
    recording: bytes, decoder: Callable[[bytes], Event], *, until: int | None = None
) -> Iterator[tuple[Core[Any], Event, Decision | Exception]]:
    """Play a recording again, from its base; stops after `until` inputs.

    Yields the core after each input, the event, and what was decided: an exception where deciding
    failed, as it did then, and the recording goes on behind it as the process did.
    """
    parts = _parts(recording)
    base = next(parts, None)
    if base is None:
        return
    core: Core[Any] = pickle.loads(base)
    count = 0
    for inputs in parts:
        for mono_s, wall_s, data in inputs:
            if until is not None and count >= until:
                return
            event = decoder(data)
            count += 1
            try:
                decision = core.decide(event, Instant(mono_s=mono_s, wall_s=wall_s))
            except Exception as error:  # a replay shows bugs as they were
                yield core, event, error
                continue
            apply_all(core, decision.facts)
            yield core, event, decision


def _parts(recording: bytes) -> Iterator[Any]:
    """The base, then blocks of inputs.  The last block may be cut off by the end of the process."""
    file = io.BytesIO(recording)
    while file.tell() < len(recording):
        try:
            yield pickle.load(file)
        except (EOFError, pickle.UnpicklingError):
            return


def apply_all(core: Core[Any], facts: tuple[Fact, ...]) -> None:
    for fact in facts:
        core.apply(fact)
