from __future__ import annotations

import uuid

import pytest

from altiplano.model import ids


@pytest.mark.parametrize("made", [uuid.uuid1(), uuid.uuid4(), uuid.uuid5(uuid.NAMESPACE_DNS, "pool.test")])
def test_what_uuid_libraries_make_is_a_uuid(made: uuid.UUID) -> None:
    assert ids.uuid_problem(made.bytes) is None


@pytest.mark.parametrize("made", [b"", b"u" * 15, uuid.uuid4().bytes + b"u", b"\0" * 16, b"\xff" * 16])
def test_bytes_that_no_acknowledgement_could_name_are_none(made: bytes) -> None:
    assert "Not a valid UUID" in (ids.uuid_problem(made) or "")
