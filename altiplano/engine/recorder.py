"""The flight recorder: the inputs of a core, bounded, replayable to any moment.

A recording is a chain of segments.  Each begins with the whole state of the core at that moment
(pickled: it is read only by the program that wrote it, from its own work directory) and goes on with
every event in its JSON form and the time at which it was decided.  When a segment is full, a new one begins
and the oldest is dropped.  Playing a segment again – state, then `decide` and `apply` for every
line – gives the same facts and effects, since a core depends on nothing else.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from altiplano.engine.core import Core, Decision, Event, Fact
from altiplano.model.time import Instant

SEGMENT_BYTES_MAX = 4 * 1024 * 1024
"""Recorded inputs per segment; the input that crosses it is still in."""

SEGMENTS_MAX = 2
RECORDINGS_MAX = 10

STATE_BYTES_MAX = 1024 * 1024
"""A core whose state is larger is no longer recorded: writing it down would hold up the event loop for longer than
anybody may.  `paused` tells so."""


Input = tuple[float, float, bytes]
"""Both clocks at which an event was decided, and the event."""


class Segment:
    __slots__ = ("inputs", "size_bytes", "state")

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.inputs: list[Input] = []
        self.size_bytes = 0


class Recorder:
    """Keeps the last segments in memory; `dump` writes them down when somebody asks or something breaks."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.paused = False
        self._segments: deque[Segment] = deque(maxlen=SEGMENTS_MAX)
        self._encoder = msgspec.json.Encoder()

    def record(self, core: Core[Any], event: Event, at: Instant) -> None:
        """Write down an input, before it is decided."""
        if not self.enabled or self.paused:
            return
        if not self._segments or self._segments[-1].size_bytes > SEGMENT_BYTES_MAX:
            state = pickle.dumps(core, protocol=5)
            if len(state) > STATE_BYTES_MAX:
                self.paused = True
                self._segments.clear()
                return
            self._segments.append(Segment(state))
        data = self._encoder.encode(event)
        segment = self._segments[-1]
        segment.inputs.append((at.mono_s, at.wall_s, data))
        segment.size_bytes += len(data)

    def save(self, directory: str, name: str) -> str:
        """Write the recording down for whoever hunts the bug; the path.  Only the newest RECORDINGS_MAX stay."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, f"{name.replace('/', '_')}.recording")
        with open(path, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(self.dump())
        found = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(directory))
        for _, old in found[:-RECORDINGS_MAX]:
            os.unlink(old)
        return path

    def dump(self) -> bytes:
        """The recording as one block of bytes, for `play`."""
        return pickle.dumps([(segment.state, segment.inputs) for segment in self._segments], protocol=5)


def play(
    recording: bytes, decoder: Callable[[bytes], Event], *, until: int | None = None
) -> Iterator[tuple[Core[Any], Event, Decision | Exception]]:
    """Play a recording again, from its oldest state; stops after `until` inputs.

    Yields the core after each input, the event, and what was decided: an exception where deciding
    failed, as it did then, and the recording goes on behind it as the process did.
    """
    segments: list[tuple[bytes, list[Input]]] = pickle.loads(recording)
    if not segments:
        return
    core: Core[Any] = pickle.loads(segments[0][0])
    count = 0
    for _, inputs in segments:
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


def apply_all(core: Core[Any], facts: tuple[Fact, ...]) -> None:
    for fact in facts:
        core.apply(fact)
