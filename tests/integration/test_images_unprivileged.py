"""Images for a user who is nobody: unpacked as his own, and removed by him again."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_images_kill import VICTIM
from test_unprivileged import BECOME_NOBODY, NOBODY, ROOT, interpreter

from altiplano.adapters.images import shelf
from altiplano.testing.image_files import BuiltImage, digest_of, directory, layer, member
from altiplano.testing.registry import TestRegistry

IMAGE = BuiltImage(
    [
        layer(
            [directory("closed", mode=0o000), member("closed/s", b"x", uid=0, mode=0o6755), member("etc/passwd", b"x")]
        ),
        layer([member("etc/.wh.passwd"), member("closed/.wh..wh..opq")]),
    ]
)


@pytest.fixture
def home() -> Iterator[Path]:
    """Outside of pytest's own directory, which is closed to others."""
    path = Path(tempfile.mkdtemp(prefix="altiplano-images-", dir="/var/tmp"))
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become nobody")
async def test_nobody_pulls_and_collects_an_image(home: Path) -> None:
    python = interpreter()
    if python is None:
        pytest.skip("no interpreter of this version that nobody may use")
    environment = {"PYTHONPATH": f"{ROOT}:{Path(pytest.__file__).parents[1]}", "PYTHONDONTWRITEBYTECODE": "1"}
    async with TestRegistry() as registry:
        registry.publish("tool", "1", IMAGE)
        marks = home / "marks"
        marks.mkdir(mode=0o777)
        marks.chmod(0o777)
        words = [*BECOME_NOBODY, python, str(VICTIM), str(home / "store"), f"{registry.host}/tool:1"]
        # First it dies with the image in place, so that we can look; then it collects what it left.
        armed = {"ALTIPLANO_CRASH_POINT": "images.images_after_hold", "ALTIPLANO_CRASH_DIR": str(marks)}
        for more, code in ((armed, -9), ({}, 0)):
            victim = await asyncio.create_subprocess_exec(*words, env={**environment, **more}, cwd="/")
            async with asyncio.timeout(60):
                assert await victim.wait() == code
            if code:
                _look(home / "store")
    assert sorted(str(path.relative_to(home / "store")) for path in (home / "store").rglob("*")) == sorted(
        ["lock", *shelf.PLACES]
    )


def _look(store: Path) -> None:
    base, top = (store / "layers" / digest_of(raw).removeprefix("sha256:") for raw in IMAGE.layers)
    program = (base / "closed/s").stat()
    assert (program.st_uid, stat.S_IMODE(program.st_mode)) == (NOBODY.pw_uid, 0o755)
    hidden = (top / "etc/passwd").lstat()
    assert stat.S_ISCHR(hidden.st_mode)
    assert hidden.st_rdev == 0
    assert os.getxattr(top / "closed", "user.overlay.opaque") == b"y"
