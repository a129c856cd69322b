"""How much a process writes into its log, changed for a while as it runs.

Level 0 is what everybody wants to read; level 1 adds events of level `debug`.  Higher levels are taken
for the sake of tools that know those of Mesos, and add nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import structlog

from altiplano.engine import http
from altiplano.model import durations

LEVEL_MAX = 3
"""The highest level that may be asked for."""

SECONDS_MAX = 24 * 3600.0
"""A raised level falls back after this time at the latest: nobody fills a disk by forgetting."""


class Verbosity:
    """The level of one process."""

    def __init__(self) -> None:
        self.level = 0
        self._end: asyncio.TimerHandle | None = None

    def set(self, level: int, seconds: float) -> str | None:
        """Hold a level for some time, in a running event loop; why that is refused, or None."""
        if not 0 <= level <= LEVEL_MAX:
            return f"a logging level is a number from 0 to {LEVEL_MAX}, not {level}"
        if not 0 <= seconds <= SECONDS_MAX:
            return f"a logging level lasts from 0 to {SECONDS_MAX:g} seconds, not {seconds:g}"
        if self._end is not None:
            self._end.cancel()
        self.level = level
        self._end = asyncio.get_running_loop().call_later(seconds, self._over)
        return None

    def _over(self) -> None:
        self.level = 0
        self._end = None

    def filter(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor: drops what the level leaves out."""
        if method == "debug" and self.level < 1:
            raise structlog.DropEvent
        return event


verbosity = Verbosity()
"""That of this process: a process has one log."""


async def toggle_logging(scope: http.Scope, send: http.Send) -> None:
    """`?level=&duration=` sets the logging level for a while; without a level it is shown."""
    query = http.query(scope)
    if "level" not in query:
        await http.respond_text(send, 200, f"{verbosity.level}\n")
        return
    level = query["level"]
    if "duration" not in query:
        raise http.Refusal(400, "say for how long: ?level=1&duration=5mins")
    try:
        seconds = durations.parse_s(query["duration"])
    except ValueError as error:
        raise http.Refusal(400, f"?duration=: {error}") from error
    problem = verbosity.set(int(level) if level.isdecimal() and len(level) < 4 else -1, seconds)
    if problem is not None:
        raise http.Refusal(400, problem)
    await http.respond(send, 200)
