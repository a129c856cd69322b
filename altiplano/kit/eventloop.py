"""The event loop of a process that serves: uvloop where it is installed, asyncio's own elsewhere.

uvloop costs less per socket, timer and call; nothing here or elsewhere may depend on it.  Programs
that run for a moment use `asyncio.run`, since it loads sooner.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

LOOP_VARIABLE = "ALTIPLANO_LOOP"
"""`asyncio` in this environment variable keeps uvloop out."""

OLDEST_GENERATION_TURNS = 1000
"""Collections of the middle generation before one of everything.

Looking through all that a master of 10,000 tasks knows takes 40 to 75 ms, in which nobody is served, and with
Python's own number, 10, it happens whenever its state grows by a quarter: just when thousands of tasks come back.
What we make is acyclic for the most part, so it is freed without any collection.
"""

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `asyncio.run` does, on the fastest loop there is."""
    # Modules and classes stay for good, so no collection need look at them again.
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, OLDEST_GENERATION_TURNS)
    try:
        with asyncio.Runner(loop_factory=_factory()) as runner:
            return runner.run(work)
    finally:
        # After a Ctrl-C before the first step nobody has awaited it, which Python would tell in a warning.
        work.close()


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get(LOOP_VARIABLE) == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
