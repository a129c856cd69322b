"""Which directories are an agent's own, and which are copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from altiplano.agent import place


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    folder.mkdir()
    place.take(str(folder))
    place.take(str(folder))
    return folder


def test_a_copy_beside_its_original_is_refused_and_the_original_is_not(original: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(original, tmp_path / "copy")
    for _ in range(2):
        with pytest.raises(place.Copied, match=f"{copy} is a copy of {original}, which is still there"):
            place.take(str(copy))
    place.take(str(original))


def test_a_renamed_directory_is_the_agent_as_before(original: Path, tmp_path: Path) -> None:
    moved = original.rename(tmp_path / "moved")
    place.take(str(moved))
    copy = shutil.copytree(moved, tmp_path / "copy")
    with pytest.raises(place.Copied):
        place.take(str(copy))


def test_a_copy_takes_the_place_of_an_original_that_is_gone(original: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(original, tmp_path / "copy")
    shutil.rmtree(original)
    place.take(str(copy))


def test_a_new_directory_at_the_path_of_a_lost_one_is_not_the_original(original: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(original, tmp_path / "copy")
    original.rename(tmp_path / "elsewhere")
    original.mkdir()
    place.take(str(copy))
