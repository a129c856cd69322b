"""Live pages: one stream per viewer that says "changed", and nothing about what.

A page that hears it fetches itself anew and morphs what it shows.  So there is one way in which a page
comes to be, whether it is opened or has changed, and a viewer that missed everything, through sleep or a
restart of the server, is right again after one fetch.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

INTERVAL_S = 0.5
"""A viewer hears of changes at most this often."""

TICK_S = 15.0
"""Without changes a viewer is still told to look again, as ages of things go on."""

VIEWERS_MAX = 512


class TooManyViewers(Exception):
    """This server keeps no more live pages: close some, or reload by hand."""


class Pulse:
    """Turns a counter that grows with every change into streams of marks.

    `version` is cheap and without effect (the position of an engine's log, say).  A mark also names this
    start of the process, as counters of two starts tell nothing about each other.
    """

    def __init__(self, version: Callable[[], int], *, interval_s: float = INTERVAL_S, tick_s: float = TICK_S) -> None:
        self._version = version
        self._start = secrets.token_hex(4)
        self._interval_s = interval_s
        self._tick_s = tick_s
        self._viewers = 0

    def mark(self, version: int | None = None) -> str:
        """Names the state of `version`; without it the present one."""
        return f"{self._start}-{self._version() if version is None else version}"

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events for one viewer: the mark at once, at changes, and at ticks.

        Raises TooManyViewers before the first event.
        """
        if self._viewers >= VIEWERS_MAX:
            raise TooManyViewers
        self._viewers += 1
        try:
            loop = asyncio.get_running_loop()
            said, tick = "", 0.0
            while True:
                mark = self.mark()
                if mark != said:
                    yield f"event: changed\ndata: {mark}\n\n".encode()
                    said, tick = mark, loop.time() + self._tick_s
                elif loop.time() >= tick:
                    yield b"event: tick\ndata: .\n\n"
                    tick = loop.time() + self._tick_s
                # The owner cannot tell us of changes without knowing of pages, and comparing two integers
                # twice a second costs less than such a tie would.
                await asyncio.sleep(self._interval_s)
        finally:
            self._viewers -= 1
