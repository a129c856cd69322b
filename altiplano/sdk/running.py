"""Runs a framework against a master."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

from altiplano.kit import eventloop
from altiplano.model.time import Instant
from altiplano.sdk import credentials, events, masters
from altiplano.sdk.credentials import Place
from altiplano.sdk.framework import Driver, Framework
from altiplano.sdk.session import Session, SessionEnded, system_now

EVENTS_MAX = 1_000
"""Events that wait for a slow callback before no more is read from the master."""

WEEK_S = 7 * 86_400.0


def run(
    framework: Framework,
    *,
    master: str | None = None,
    token: str | None = None,
    id_file: str | os.PathLike[str] | None = None,
) -> None:
    """Run a framework until it stops or leaves, or Ctrl-C.  Raises SystemExit with a sentence when it cannot go on.

    The master is found as `altiplano.sdk.credentials.find` says.  With an `id_file` the framework
    keeps its id there: interrupted, it leaves its tasks running and takes them up again at its next
    start.  Without one it is new at each start, so it takes its tasks along when it is interrupted.
    """
    try:
        place = credentials.find(master, token=token)
        eventloop.run(serve(framework, place, id_file=id_file))
    except (SessionEnded, masters.AddressRefused, credentials.CredentialsRefused) as error:
        raise SystemExit(f"{framework.name or type(framework).__name__}: {error}") from error


async def serve(framework: Framework, place: Place, *, id_file: str | os.PathLike[str] | None = None) -> None:
    """Run a framework until it stops or leaves, SIGINT and SIGTERM included.  Raises SessionEnded."""
    path = None if id_file is None else Path(id_file)
    if path is not None:
        framework.framework_id = _read_id(path) or framework.framework_id
        framework.failover_timeout_s = max(framework.failover_timeout_s, WEEK_S)
    runner = Runner(framework, place, path)
    loop = asyncio.get_running_loop()
    end = framework.leave if path is not None else framework.stop
    installed = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only the main thread may; elsewhere the embedding program sees to its signals.
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, end)
            installed.append(number)
    try:
        await runner.run()
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


class Runner:
    """One framework on one session, its callbacks called one at a time."""

    def __init__(
        self,
        framework: Framework,
        place: Place,
        id_path: Path | None = None,
        *,
        now: Callable[[], Instant] = system_now,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        """`now` and `fraction` (for the jitter of attempts) are those of the system unless a simulation has its own."""
        self._events: deque[events.SchedulerEvent] = deque()
        self._ring = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._id_path = id_path
        self._ended = False
        self.session = Session(
            framework.info(),
            place,
            self._listen,
            tasks=framework.tasks(),
            room=self._wait_for_room,
            now=now,
            fraction=fraction,
        )
        self._driver = Driver(framework, self.session.perform, self.session.leave)
        self._framework = framework

    async def run(self) -> None:
        """Serve until the framework stops or leaves.  Raises what a callback raised, or SessionEnded."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._call_back())
                await self.session.run()
                self._ended = True
                self._ring.set()
        except BaseExceptionGroup as errors:
            # The group tells the same once more: what a framework's author looks for is the line of the callback.
            raise first_of(errors) from None

    def _listen(self, event: events.SchedulerEvent) -> None:
        if isinstance(event, events.Subscribed) and self._id_path is not None:
            # Before anything can be launched under it: a framework that loses its id loses its tasks.
            _write_id(self._id_path, event.framework_id)
        self._events.append(event)
        self._ring.set()
        if len(self._events) >= EVENTS_MAX:
            self._room.clear()

    async def _wait_for_room(self) -> None:
        await self._room.wait()

    async def _call_back(self) -> None:
        while self._events or not self._ended:
            if not self._events:
                self._ring.clear()
                await self._ring.wait()
                continue
            await self._driver.handle(self._events.popleft())
            if len(self._events) < EVENTS_MAX:
                self._room.set()


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind a group of errors; the others are what it caused."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _read_id(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def _write_id(path: Path, framework_id: str) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w") as file:
        file.write(framework_id + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
