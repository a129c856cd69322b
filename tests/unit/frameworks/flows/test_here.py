"""LOCAL commands, as real processes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from altiplano.frameworks.flows import here
from altiplano.frameworks.flows.here import Local

WAIT_S_MAX = 30.0
ENVIRONMENT = {"PATH": os.environ["PATH"]}


async def until_there(path: Path) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not path.exists():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while alive(pid):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)])
async def test_the_status_is_that_of_the_command(tmp_path: Path, command: str, status: int) -> None:
    assert (await Local(command, tmp_path, ENVIRONMENT).wait())[0] == status


async def test_it_runs_in_the_directory_with_the_environment_and_without_input(tmp_path: Path) -> None:
    command = 'pwd > place; echo "$COLOUR" > colour; cat > input'
    status, tail = await Local(command, tmp_path, ENVIRONMENT | {"COLOUR": "blue"}).wait()
    assert (status, tail) == (0, "")
    assert (tmp_path / "place").read_text().strip() == str(tmp_path)
    assert (tmp_path / "colour").read_text() == "blue\n"
    assert (tmp_path / "input").read_text() == ""


async def test_of_a_failure_the_end_of_what_it_wrote_is_kept(tmp_path: Path) -> None:
    status, tail = await Local("seq 10000; echo the end >&2; exit 1", tmp_path, ENVIRONMENT).wait()
    assert status == 1
    assert tail.endswith("10000\nthe end\n")
    assert len(tail) == here.TAIL_BYTES


async def test_what_it_left_in_the_background_ends_with_it(tmp_path: Path) -> None:
    await Local("sleep 60 & echo $! > pid", tmp_path, ENVIRONMENT).wait()
    await until_gone(int((tmp_path / "pid").read_text()))


async def test_killing_lets_the_command_clean_up(tmp_path: Path) -> None:
    local = Local(
        "trap 'echo cleaned > note; exit 3' TERM; touch begun; while :; do sleep 0.1; done", tmp_path, ENVIRONMENT
    )
    await until_there(tmp_path / "begun")
    local.kill()
    status, _ = await local.wait()
    assert status == 3
    assert (tmp_path / "note").read_text() == "cleaned\n"


async def test_a_command_that_ignores_the_request_is_ended_at_once_when_asked(tmp_path: Path) -> None:
    local = Local("trap '' TERM; touch begun; while :; do sleep 0.1; done", tmp_path, ENVIRONMENT)
    await until_there(tmp_path / "begun")
    local.kill()
    local.end()
    assert (await local.wait())[0] == -9


async def test_a_killed_manager_takes_the_command_and_all_its_children_along(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys; from pathlib import Path; from altiplano.frameworks.flows.here import Local\n"
        "local = Local('sleep 60 & echo $! > child; wait', Path(sys.argv[1]), dict(os.environ))\n"
        "asyncio.run(local.wait())"
    )
    manager = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path))
    await until_there(tmp_path / "child")
    async with asyncio.timeout(WAIT_S_MAX):
        while not (text := (tmp_path / "child").read_text()):
            await asyncio.sleep(0.01)
    manager.kill()
    await manager.wait()
    await until_gone(int(text))
