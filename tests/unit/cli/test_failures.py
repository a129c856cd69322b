"""How what went wrong is told."""

from __future__ import annotations

import errno
import os

import pytest

from altiplano.cli import failures


@pytest.mark.parametrize("number", failures.DISK)
def test_a_disk_that_refuses_is_a_sentence_and_no_bug(number: int) -> None:
    failure = failures.translated(OSError(number, os.strerror(number), "/var/lib/pool/token"))
    assert failure is not None
    assert failure.code == failures.FAILED
    assert failure.message == f"/var/lib/pool/token cannot be used: {os.strerror(number)}. {failures.DISK[number]}"


def test_a_disk_may_be_full_without_a_name() -> None:
    failure = failures.translated(OSError(errno.ENOSPC, "No space left on device"))
    assert failure is not None
    assert failure.message.startswith("the disk cannot be used")


def test_other_errors_of_the_system_are_not_excused() -> None:
    assert failures.translated(OSError(errno.EPERM, "a firewall forbids it")) is None
    assert failures.translated(OSError(errno.EBADF, "Bad file descriptor")) is None
