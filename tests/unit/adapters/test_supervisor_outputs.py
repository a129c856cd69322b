"""Bounded outputs, with holes and without."""

from __future__ import annotations

import pathlib

import pytest

from altiplano.adapters.supervisor import outputs

BOUND = 64 * 1024


def fill(path: pathlib.Path, size: int) -> bytes:
    data = b"".join(b"%07d\n" % number for number in range(size // 8))
    path.write_bytes(data)
    return data


def test_a_small_file_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "stdout"
    data = fill(path, BOUND)
    assert outputs.trim(str(path), BOUND, lambda _: None) is None
    assert path.read_bytes() == data


def test_holes_keep_offsets_and_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "stdout"
    data = fill(path, 10 * BOUND)
    if outputs.trim(str(path), BOUND, lambda _: None) is not True:
        pytest.skip("this file system has no holes")
    assert path.stat().st_size == len(data)
    assert path.stat().st_blocks * 512 <= BOUND
    assert path.read_bytes()[-BOUND // 2 :] == data[-BOUND // 2 :]


def test_without_holes_the_end_moves_to_the_front_while_the_task_is_stopped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "stdout"
    data = fill(path, 10 * BOUND)
    signals: list[int] = []
    with open(path, "ab") as task:
        assert outputs.trim(str(path), BOUND, signals.append, holes=False) is False
        task.write(b"next line\n")
    assert signals == [19, 18]
    assert path.read_bytes() == data[-BOUND // 2 :] + b"next line\n"


def test_a_link_in_the_place_of_an_output_is_not_followed(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "precious"
    data = fill(target, 10 * BOUND)
    (tmp_path / "stdout").symlink_to(target)
    assert outputs.trim(str(tmp_path / "stdout"), BOUND, lambda _: None, holes=False) is None
    assert target.read_bytes() == data
