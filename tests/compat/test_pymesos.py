"""pymesos, as it is on PyPI: its scheduler and its executor, in JSON, through all that may be killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import foreign
import pytest

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "compat" / "pymesos"
TASKS = 100
SETUP_S_MAX = 600.0
RUN_S_MAX = 120.0


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of an environment with pymesos."""
    made = subprocess.run(
        ["sh", str(HERE / "setup_pymesos.sh"), str(CACHE), sys.executable],
        capture_output=True,
        text=True,
        timeout=SETUP_S_MAX,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"an environment with pymesos cannot be made here: {made.stderr[-500:]}")
    return str(CACHE / "bin" / "python")


def begin(python: str, pool: foreign.Pool) -> subprocess.Popen[bytes]:
    words = (pool.master, str(TASKS), str(HERE / "pymesos_executor.py"), str(pool.ran))
    return pool.run("scheduler", python, str(HERE / "pymesos_scheduler.py"), *words)


def test_a_hundred_tasks_run_to_their_end(python: str, pool: foreign.Pool) -> None:
    assert begin(python, pool).wait(RUN_S_MAX) == 0, pool.story()
    foreign.assert_all_finished_once(pool, TASKS)


def test_a_hundred_tasks_run_to_their_end_although_master_and_agent_are_killed(python: str, pool: foreign.Pool) -> None:
    seed = int(os.environ.get("ALTIPLANO_SEED") or random.randrange(2**32))
    scheduler = begin(python, pool)
    pool.kill_in_turn(random.Random(seed))
    assert scheduler.wait(RUN_S_MAX) == 0, f"seed {seed}: {pool.story()}"
    foreign.assert_each_finished_once_in_the_end(pool, TASKS, f"seed {seed}")
