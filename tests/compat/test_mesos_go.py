"""mesos-go, as the Go module proxy has it: its scheduler and executor packages, in protobuf, through all that may be
killed.

The two programs in `go/` are ours, the packages they stand on are fetched by Go and are not touched.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import foreign
import pytest

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "compat" / "mesos-go"
PLACES = ("/usr/local/go/bin",)
NO_NETWORK = ("dial tcp", "i/o timeout", "no such host", "403 Forbidden", "module lookup disabled")
"""What Go says when a module cannot be fetched."""

TASKS = 100
BUILD_S_MAX = 600.0
RUN_S_MAX = 100.0


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory with the two programs."""
    go = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))
    if go is None:
        pytest.skip(f"Go is neither in PATH nor in {', '.join(PLACES)}; Debian's package is golang-go")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Without cgo no C compiler is needed; the toolchain that is here is the one that is used.
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    built = subprocess.run(
        [go, "build", "-o", f"{CACHE}/", "./..."],
        cwd=HERE / "go",
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_S_MAX,
        check=False,
    )
    if built.returncode and any(word in built.stderr for word in NO_NETWORK):
        pytest.skip(f"mesos-go cannot be fetched here: {built.stderr[-500:]}")
    assert built.returncode == 0, built.stderr
    return CACHE


def begin(programs: Path, pool: foreign.Pool) -> subprocess.Popen[bytes]:
    words = (pool.master, str(TASKS), str(programs / "executor"), str(pool.ran))
    return pool.run("scheduler", str(programs / "scheduler"), *words)


def test_a_hundred_tasks_run_to_their_end(programs: Path, pool: foreign.Pool) -> None:
    assert begin(programs, pool).wait(RUN_S_MAX) == 0, pool.story()
    foreign.assert_all_finished_once(pool, TASKS)


def test_a_hundred_tasks_run_to_their_end_although_master_and_agent_are_killed(
    programs: Path, pool: foreign.Pool
) -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED") or random.randrange(2**32))
    scheduler = begin(programs, pool)
    pool.kill_in_turn(random.Random(seed))
    assert scheduler.wait(RUN_S_MAX) == 0, f"seed {seed}: {pool.story()}"
    foreign.assert_each_finished_once_in_the_end(pool, TASKS, f"seed {seed}")
    assert "late:" not in pool.story(), f"seed {seed}: {pool.story()}"
