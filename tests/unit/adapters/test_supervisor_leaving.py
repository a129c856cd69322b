"""When a supervisor that nobody stops may go by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from altiplano.adapters.supervisor import processes, server

LONG_S = server.ALONE_S_MAX


@pytest.mark.parametrize("clients", [0, 1])
@pytest.mark.parametrize("directory_there", [True, False])
def test_it_never_leaves_a_container(clients: int, directory_there: bool) -> None:
    assert not server.may_leave(containers=1, clients=clients, alone_s=LONG_S, directory_there=directory_there)


def test_without_containers_it_waits_a_while_for_the_next_agent() -> None:
    assert not server.may_leave(containers=0, clients=0, alone_s=LONG_S - 1, directory_there=True)
    assert server.may_leave(containers=0, clients=0, alone_s=LONG_S, directory_there=True)
    assert not server.may_leave(containers=0, clients=1, alone_s=LONG_S, directory_there=True)


def test_nobody_comes_to_a_directory_that_is_gone() -> None:
    assert server.may_leave(containers=0, clients=0, alone_s=0, directory_there=False)
    assert server.may_leave(containers=0, clients=1, alone_s=0, directory_there=False)


def test_a_path_leads_to_its_file_until_that_is_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    path.parent.mkdir()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        assert processes.leads_to(str(path), descriptor)
        path.rename(tmp_path / "other")
        assert not processes.leads_to(str(path), descriptor)
        path.touch()
        assert not processes.leads_to(str(path), descriptor)
        path.unlink()
        path.parent.rmdir()
        path.parent.touch()
        assert not processes.leads_to(str(path), descriptor)
    finally:
        os.close(descriptor)
