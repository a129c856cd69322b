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


def live(
    recorder: Recorder, events: Sequence[Event], core: CountingCore | None = None
) -> tuple[CountingCore, list[Decision | Exception]]:
    """What an engine does with events, without its log."""
    core = core or CountingCore()
    clock = ManualClock()
    decisions: list[Decision | Exception] = []
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


class HeavyCore(CountingCore):
    """Light again when the total is a multiple of 100."""

    pickled = 0

    @property
    def weight(self) -> int:
        return 0 if self.total % 100 == 0 else recorders.WEIGHT_MAX + 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        HeavyCore.pickled += 1
        return super().__reduce_ex__(protocol)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "SEGMENT_BYTES_MAX", 1000)
    monkeypatch.setattr(recorders, "BLOCK_BYTES", 300)
    monkeypatch.setattr(recorders, "INPUTS_PER_LOOK", 10)
    HeavyCore.pickled = 0


def ones(count: int) -> list[Add]:
    return [Add(amount=1, cause=str(number)) for number in range(count)]


@pytest.mark.usefixtures("small")
def test_a_heavy_core_is_written_down_once_and_its_inputs_can_all_be_played(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.directory = str(tmp_path)
    core = HeavyCore()
    core.total = 1
    _, decisions = live(recorder, [Whisper(cause=str(number)) for number in range(1099)], core)
    assert HeavyCore.pickled == 1
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    played = list(play(recorder.dump(), decode))
    assert [decision for _, _, decision in played] == decisions
    assert vars(played[-1][0]) == vars(core)
    saved = Path(recorder.save(str(tmp_path), "bug"))
    assert len(list(play(saved.read_bytes(), decode))) == 1099


@pytest.mark.usefixtures("small")
def test_a_core_that_is_light_again_gets_a_new_base_and_the_file_goes(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.directory = str(tmp_path)
    core, _ = live(recorder, ones(90), HeavyCore())
    assert list(tmp_path.iterdir())
    core.total = 100
    live(recorder, [Whisper(cause="w")] * 30, core)
    assert not list(tmp_path.iterdir())
    assert HeavyCore.pickled >= 2
    assert vars(list(play(recorder.dump(), decode))[-1][0]) == vars(core)


@pytest.mark.usefixtures("small")
def test_a_heavy_core_that_goes_on_for_too_long_pauses_the_recording_until_it_is_light(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recorders, "FILE_BYTES_MAX", 2000)
    recorder = Recorder()
    recorder.directory = str(tmp_path)
    core, _ = live(recorder, ones(99), HeavyCore())
    assert recorder.paused
    assert list(play(recorder.dump(), decode)) == []
    assert not list(tmp_path.iterdir())
    live(recorder, ones(1), core)
    live(recorder, [Whisper(cause="w")] * 30, core)
    assert not recorder.paused
    assert vars(list(play(recorder.dump(), decode))[-1][0]) == vars(core)


@pytest.mark.usefixtures("small")
def test_without_a_place_for_its_inputs_a_heavy_core_pauses_the_recording() -> None:
    recorder = Recorder()
    live(recorder, ones(90), HeavyCore())
    assert recorder.paused


@pytest.mark.usefixtures("small")
def test_a_recording_that_was_cut_off_plays_up_to_there(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.directory = str(tmp_path)
    live(recorder, ones(90), HeavyCore())
    (file,) = tmp_path.iterdir()
    played = list(play(file.read_bytes()[:-5], decode))
    assert 20 < len(played) < 90


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
