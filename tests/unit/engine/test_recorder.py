"""The flight recorder: playing it again decides the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from counting import Add, Ask, CountingCore, Events, Fail, Whisper

from altiplano.engine import recorder as recorders
from altiplano.engine.core import Decision, Event
from altiplano.engine.recorder import Recorder, apply_all, play
from altiplano.testing.clock import ManualClock

decode = msgspec.json.Decoder(Events).decode


def live(recorder: Recorder, events: Sequence[Event]) -> tuple[CountingCore, list[Decision | Exception]]:
    """What an engine does with events, without its log."""
    core, clock, decisions = CountingCore(), ManualClock(), []
    for event in events:
        now = clock.advance(0.125)
        recorder.record(core, event, now)
        outcome: Any
        try:
            outcome = core.decide(event, now)  # type: ignore[arg-type]
            apply_all(core, outcome.facts)
        except ZeroDivisionError as error:
            outcome = error
        decisions.append(outcome)
    return core, decisions


EVENTS = [Add(amount=5, cause="1"), Whisper(cause="2"), Ask(cause="3"), Add(amount=2, cause="4"), Ask(cause="5")]


def test_playing_again_gives_the_same_decisions_and_the_same_state() -> None:
    recorder = Recorder()
    core, decisions = live(recorder, EVENTS)
    played = list(play(recorder.dump(), decode))
    assert [event for _, event, _ in played] == EVENTS
    assert [decision for _, _, decision in played] == decisions
    assert vars(played[-1][0]) == vars(core)


def test_a_recording_plays_to_any_moment() -> None:
    recorder = Recorder()
    live(recorder, EVENTS)
    played = list(play(recorder.dump(), decode, until=3))
    assert len(played) == 3
    core = played[-1][0]
    assert isinstance(core, CountingCore)
    assert (core.total, core.heard) == (5, 1)


def test_a_bug_plays_again_and_the_recording_goes_on_behind_it() -> None:
    recorder = Recorder()
    live(recorder, [Add(amount=1, cause="1"), Fail(cause="2"), Ask(cause="3")])
    outcomes = [outcome for _, _, outcome in play(recorder.dump(), decode)]
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert isinstance(outcomes[2], Decision)


def test_a_long_recording_keeps_its_newest_segments_and_starts_from_their_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorders, "SEGMENT_BYTES_MAX", 1000)
    recorder = Recorder()
    core, _ = live(recorder, [Add(amount=1, cause=str(number)) for number in range(500)])
    played = list(play(recorder.dump(), decode))
    assert 5 < len(played) < 50
    assert vars(played[-1][0]) == vars(core)


def test_a_recorder_that_is_off_records_nothing() -> None:
    recorder = Recorder(enabled=False)
    live(recorder, EVENTS)
    assert list(play(recorder.dump(), decode)) == []


def test_a_core_that_has_grown_too_large_to_write_down_pauses_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "STATE_BYTES_MAX", 10)
    recorder = Recorder()
    live(recorder, EVENTS)
    assert recorder.paused
    assert list(play(recorder.dump(), decode)) == []


def test_recordings_are_kept_for_their_owner_only_and_not_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recorders, "RECORDINGS_MAX", 2)
    recorder = Recorder()
    live(recorder, EVENTS)
    directory = tmp_path / "recordings"
    paths = [Path(recorder.save(str(directory), f"cause/{number}")) for number in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert paths[-1].stat().st_mode & 0o777 == 0o600
    assert len(list(play(paths[-1].read_bytes(), decode))) == len(EVENTS)
