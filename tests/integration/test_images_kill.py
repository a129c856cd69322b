"""kill -9 at every step of a pull and of a collection: afterwards an image is whole, or there is none."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from altiplano.adapters.images import shelf
from altiplano.adapters.images.store import LocalImages, Settings
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.kit import crash
from altiplano.model.images import parse
from altiplano.testing.image_files import BuiltImage, layer, member
from altiplano.testing.registry import TestRegistry

VICTIM = Path(__file__).parent / "images_victim.py"
CONTENT = os.urandom(2_000_000)
IMAGE = BuiltImage(
    [
        layer([member(f"base/{number}", CONTENT[number * 2000 : number * 2000 + 2000]) for number in range(1000)]),
        layer([member("top", CONTENT)]),
    ],
    run={"Cmd": ["/top"]},
)
DELAYS_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""After the store is open: from the first request to the last sync, on a quiet machine and on a busy one."""


@pytest.fixture
async def registry() -> AsyncIterator[TestRegistry]:
    async with TestRegistry() as registry:
        registry.publish("tool", "1", IMAGE)
        yield registry


async def _start(root: Path, registry: TestRegistry, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(VICTIM), str(root), f"{registry.host}/tool:1"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )


async def _check(root: Path, registry: TestRegistry) -> None:
    """What is there is whole, nothing else is, and all goes on from here."""
    store = LocalImages(str(root), Settings(), clock=SystemClock(), ids=SystemIds())
    await store.open()
    try:
        stored = await store.stored()
        assert len(stored) <= 1
        for one in stored:
            _check_whole(one.image.layers)
        assert set((await store.holders()).values()) <= {one.image.id for one in stored}
        assert list((root / "incoming").iterdir()) == []
        assert {str(path) for path in (root / "layers").iterdir()} == {
            path for one in stored for path in one.image.layers
        }
        image = await store.pull(parse(f"{registry.host}/tool:1"), holder="after")
        _check_whole(image.layers)
        for holder in await store.holders():
            await store.release(holder)
        await store.collect(size_bytes_max=0, age_s_max=0.0)
    finally:
        await store.close()
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == sorted(["lock", *shelf.PLACES])


def _check_whole(layers: tuple[str, ...]) -> None:
    base, top = (Path(path) for path in layers)
    assert b"".join((base / f"base/{number}").read_bytes() for number in range(1000)) == CONTENT
    assert (top / "top").read_bytes() == CONTENT


async def _none_left(root: Path) -> None:
    """Whoever unpacked for the victim ends by itself."""
    async with asyncio.timeout(20):
        while any(
            process.info["cwd"] and process.info["cwd"].startswith(str(root))
            for process in psutil.process_iter(["cwd"])
        ):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("point", shelf.POINTS)
async def test_killed_at_a_named_point_it_leaves_all_or_nothing(
    tmp_path: Path, registry: TestRegistry, point: str
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    root = tmp_path / "store"
    victim = await _start(root, registry, **{crash.POINT_VARIABLE: f"images.{point}", crash.MARKS_VARIABLE: str(marks)})
    async with asyncio.timeout(60):
        await victim.communicate()
    assert victim.returncode == -9
    assert os.listdir(marks) == [f"images.{point}"]
    await _check(root, registry)
    await _none_left(root)


@pytest.mark.parametrize("delay_s", DELAYS_S)
async def test_killed_at_any_moment_it_leaves_all_or_nothing(
    tmp_path: Path, registry: TestRegistry, delay_s: float
) -> None:
    root = tmp_path / "store"
    victim = await _start(root, registry)
    assert victim.stdout is not None
    async with asyncio.timeout(60):
        assert await victim.stdout.readline() == b"open\n"
        await asyncio.sleep(delay_s)
        if victim.returncode is None:
            victim.kill()
        await victim.communicate()
    await _check(root, registry)
    await _none_left(root)
