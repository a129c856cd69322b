"""What files promise (`altiplano.ports.files.Files`), on the twin and on the file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from altiplano.adapters.files import LocalFiles
from altiplano.ports.files import READ_BYTES_MAX, FilesFailed
from altiplano.testing.files import MemoryFiles


@dataclass
class Machine:
    files: LocalFiles | MemoryFiles
    root: str
    write: Callable[[str, bytes], None]


@pytest.fixture(params=["memory", "disk"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "memory":
        twin = MemoryFiles()
        return Machine(files=twin, root="/work", write=twin.write)

    def write(path: str, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)

    return Machine(files=LocalFiles(), root=str(tmp_path / "work"), write=write)


async def test_a_sandbox_is_made_with_its_parents_and_may_be_made_again(machine: Machine) -> None:
    sandbox = f"{machine.root}/agents/a/runs/1"
    await machine.files.make_sandbox(sandbox, None, ())
    machine.write(f"{sandbox}/stdout", b"kept")
    await machine.files.make_sandbox(sandbox, None, ())
    (entry,) = await machine.files.browse(f"{machine.root}/agents/a/runs")
    assert (entry.path, entry.mode) == (sandbox, "drwxr-x---")
    assert await machine.files.read(f"{sandbox}/stdout", 0, 10) == b"kept"


async def test_links_lead_to_the_newest_run(machine: Machine) -> None:
    runs = f"{machine.root}/runs"
    for run in ("1", "2"):
        await machine.files.make_sandbox(f"{runs}/{run}", None, ((f"{runs}/latest", run),))
        machine.write(f"{runs}/{run}/stdout", run.encode())
    assert await machine.files.read(f"{runs}/latest/stdout", 0, 10) == b"2"


async def test_an_unknown_user_is_refused_by_name(machine: Machine) -> None:
    with pytest.raises(FilesFailed, match="no such user: nobody-here-by-this-name"):
        await machine.files.make_sandbox(f"{machine.root}/s", "nobody-here-by-this-name", ())


async def test_a_directory_lists_its_entries_by_name_and_a_file_itself(machine: Machine) -> None:
    sandbox = f"{machine.root}/s"
    await machine.files.make_sandbox(sandbox, None, ())
    for name in ("stderr", "data", "stdout"):
        machine.write(f"{sandbox}/{name}", name.encode())
    entries = await machine.files.browse(sandbox)
    assert [entry.path for entry in entries] == [f"{sandbox}/{name}" for name in ("data", "stderr", "stdout")]
    assert [entry.size for entry in entries] == [4, 6, 6]
    assert {entry.mode for entry in entries} == {"-rw-r--r--"}
    assert [entry.path for entry in await machine.files.browse(f"{sandbox}/data")] == [f"{sandbox}/data"]


async def test_reading_goes_by_offset_and_ends_empty(machine: Machine) -> None:
    await machine.files.make_sandbox(machine.root, None, ())
    path = f"{machine.root}/stdout"
    machine.write(path, b"hello world")
    assert await machine.files.read(path, 6, 100) == b"world"
    assert await machine.files.read(path, 0, 5) == b"hello"
    assert await machine.files.read(path, 11, 5) == b""
    assert await machine.files.read(path, 500, 5) == b""
    assert await machine.files.read(path, 2**64 - 1, 5) == b""
    assert await machine.files.read(path, 10**30, 5) == b""
    assert await machine.files.size(path) == 11


async def test_one_read_is_bounded(machine: Machine) -> None:
    await machine.files.make_sandbox(machine.root, None, ())
    path = f"{machine.root}/big"
    machine.write(path, bytes(READ_BYTES_MAX + 10))
    assert len(await machine.files.read(path, 0, READ_BYTES_MAX * 2)) == READ_BYTES_MAX


async def test_a_negative_offset_is_refused(machine: Machine) -> None:
    await machine.files.make_sandbox(machine.root, None, ())
    machine.write(f"{machine.root}/f", b"x")
    with pytest.raises(FilesFailed, match="must not be negative"):
        await machine.files.read(f"{machine.root}/f", -1, 1)


async def test_what_is_missing_is_named(machine: Machine) -> None:
    path = f"{machine.root}/missing"
    for attempt in (machine.files.browse(path), machine.files.read(path, 0, 1), machine.files.size(path)):
        with pytest.raises(FilesFailed, match=f"{path}: (?i:no such file)"):
            await attempt


async def test_a_directory_is_not_read(machine: Machine) -> None:
    await machine.files.make_sandbox(machine.root, None, ())
    with pytest.raises(FilesFailed, match="cannot read"):
        await machine.files.read(machine.root, 0, 1)


async def test_a_removed_tree_is_gone_and_may_be_removed_again(machine: Machine) -> None:
    sandbox = f"{machine.root}/s"
    await machine.files.make_sandbox(f"{sandbox}/deep", None, ())
    machine.write(f"{sandbox}/deep/file", b"x")
    await machine.files.remove(sandbox)
    await machine.files.remove(sandbox)
    assert await machine.files.browse(machine.root) == []


async def test_removing_a_tree_follows_no_link_out_of_it(tmp_path: Path) -> None:
    """A task may leave a link to anything."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir()
    (sandbox / "link").symlink_to(outside)
    await LocalFiles().remove(str(sandbox))
    assert (outside / "precious").exists()


async def test_a_pipe_in_a_sandbox_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FilesFailed, match="not an ordinary file"):
        await LocalFiles().read(str(tmp_path / "pipe"), 0, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_sandbox_belongs_to_its_user(tmp_path: Path) -> None:
    sandbox = tmp_path / "s"
    await LocalFiles().make_sandbox(str(sandbox), "nobody", ())
    (entry,) = await LocalFiles().browse(str(tmp_path))
    assert entry.uid == "nobody"
