from __future__ import annotations

import uuid

import pytest

from altiplano.model import ids


@pytest.mark.parametrize("version", [1, 3, 4, 5])
def test_what_uuid_libraries_make_is_a_uuid(version: int) -> None:
    assert ids.uuid_problem(uuid.UUID(int=2**127 - 1, version=version).bytes) is None


@pytest.mark.parametrize("made", [b"", b"u" * 15, b"u" * 16, b"u" * 17, b"\0" * 16, b"\xff" * 16])
def test_bytes_that_no_acknowledgement_could_name_are_none(made: bytes) -> None:
    assert "Not a valid UUID" in (ids.uuid_problem(made) or "")
