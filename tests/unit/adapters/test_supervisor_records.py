"""The supervisor's memory: what is written is what is read, whatever was cut off."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.adapters.supervisor import records

Fact = dict[str, Any]
START = {"pid": 10, "start_ticks": 5, "started_wall_s": 1.5}
EXIT = {"wait_status": 256, "started_wall_s": 1.5, "ended_wall_s": 2.5, "oom_killed": False}


def intent(name: str) -> Fact:
    paths = {"directory": "/d", "stdout": "/o", "stderr": "/e", "output_max_bytes": None, "cgroup": None}
    return {"kind": "intent", "id": name, "ticks": 4, **paths}


def story(name: str, length: int) -> list[Fact]:
    """A life of a container, cut at any step."""
    facts = [
        intent(name),
        {"kind": "started", "id": name, **START},
        {"kind": "exited", "id": name, "exit": EXIT},
        {"kind": "forgotten", "id": name},
    ]
    return facts[:length]


def outcomes(table: records.Table) -> list[tuple[str, str, Fact]]:
    return [(one.id, one.state, one.outcome() if one.state != records.INTENT else {}) for one in table.records.values()]


lives = st.lists(st.integers(min_value=1, max_value=4), max_size=8)


@given(lives)
def test_the_shortest_history_makes_the_same_table(lengths: list[int]) -> None:
    table = records.Table()
    for number, length in enumerate(lengths):
        for fact in story(f"c{number}", length):
            table.apply(fact)
    again = records.Table()
    for fact in table.facts():
        again.apply(fact)
    assert outcomes(again) == outcomes(table)
    assert again.running == table.running == sum(length == 2 for length in lengths)


@given(lives, st.integers(min_value=0, max_value=200))
def test_a_torn_end_costs_only_what_was_torn(lengths: list[int], cut: int) -> None:
    facts = [fact for number, length in enumerate(lengths) for fact in story(f"c{number}", length)]
    data = b"".join(map(records.encode, facts))
    torn = data[: max(0, len(data) - cut)]
    read, whole = records.decode(torn)
    assert read == facts[: len(read)]
    assert torn[whole:].count(b"\n") == 0


def test_a_damaged_line_ends_the_reading() -> None:
    data = bytearray(b"".join(map(records.encode, story("c", 3))))
    data[len(records.encode(intent("c"))) + 12] ^= 1
    read, _ = records.decode(bytes(data))
    assert read == [intent("c")]


@pytest.mark.parametrize(
    ("before", "kind"), [(0, "started"), (1, "exited"), (2, "forgotten"), (2, "failed"), (3, "started"), (3, "limits")]
)
def test_a_step_that_no_container_takes_raises(before: int, kind: str) -> None:
    table = records.Table()
    for fact in story("c", before):
        table.apply(fact)
    with pytest.raises(AssertionError):
        table.apply({"kind": kind, "id": "c"})


def test_every_state_has_its_steps() -> None:
    states = {records.INTENT, records.RUNNING, records.EXITED, records.FAILED, records.GONE}
    assert set(records.STEPS) == states
    assert all(after in states for steps in records.STEPS.values() for after in steps.values())


def test_the_file_is_found_again_and_knows_another_boot(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "records")
    first = records.RecordFile(path, "boot-1")
    for fact in [*story("ended", 3), *story("running", 2), *story("gone", 4)]:
        first.write(fact)
    first.sync()
    second = records.RecordFile(path, "boot-1")
    assert second.same_life
    assert outcomes(second.table) == outcomes(first.table)
    assert not records.RecordFile(path, "boot-2").same_life


def test_a_copied_directory_does_not_own_the_processes_of_the_original_and_a_renamed_one_does(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "first").mkdir()
    first = records.RecordFile(str(tmp_path / "first" / "records"), "boot")
    first.write(*story("running", 2))
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    (tmp_path / "first").rename(tmp_path / "renamed")
    assert not records.RecordFile(str(tmp_path / "copy" / "records"), "boot").same_life
    assert records.RecordFile(str(tmp_path / "renamed" / "records"), "boot").same_life


def test_a_file_of_another_version_is_refused_and_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(records.encode({"version": 99, "boot": "x"}))
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="version 99"):
        records.RecordFile(str(path), "x")
    assert path.read_bytes() == before
