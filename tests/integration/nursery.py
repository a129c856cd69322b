"""Starts masters and agents as forks of one process that has imported them: a death then costs milliseconds.

Each is still a process of its own, with its own session, files and environment; only the imports are
shared.  Asked through stdin: a line `[number, words, environment, log]`; answered through stdout:
`[number, "pid", pid]` at its start, `[number, "status", wait_status]` at its end.  When stdin is
closed, all that still runs is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NoReturn


class Child:
    """One process."""

    def __init__(self, pid: int, end: asyncio.Future[int]) -> None:
        self.pid = pid
        self._end = end

    @property
    def alive(self) -> bool:
        return not self._end.done()

    async def wait(self) -> int:
        """Its exit status; that of a killed one is negative."""
        return os.waitstatus_to_exitcode(await asyncio.shield(self._end))


class Nursery:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._pids: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}

    async def start(self, words: Sequence[str], environment: Mapping[str, str], log: str) -> Child:
        """Run `altiplano` with these words."""
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        pid, end = self._pids[number], self._ends[number] = loop.create_future(), loop.create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, list(words), dict(environment), log]).encode() + b"\n")
        return Child(await pid, end)

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, what, value = json.loads(line)
            (self._pids if what == "pid" else self._ends)[number].set_result(value)


@contextlib.asynccontextmanager
async def open_nursery() -> AsyncIterator[Nursery]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    made = Nursery(process)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


def main() -> None:
    """The nursery's own process: one thread, so that it may fork."""
    import aiohttp  # noqa: F401

    import altiplano.agent.daemon
    import altiplano.cli.main
    import altiplano.master.server  # noqa: F401

    gc.freeze()
    waker, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    numbers: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0, waker], [], [])
        if waker in ready:
            os.read(waker, 4096)
        while numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            say(numbers.pop(pid), "status", status)
        if 0 in ready:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                number, words, environment, log = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    grow_up(words, environment, log)
                numbers[pid] = number
                say(number, "pid", pid)
    for pid in numbers:
        os.kill(pid, signal.SIGKILL)


def say(number: int, what: str, value: int) -> None:
    os.write(1, json.dumps([number, what, value]).encode() + b"\n")


def grow_up(words: list[str], environment: dict[str, str], log: str) -> NoReturn:
    """Become a process like any other that was started with these words."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
            os.dup2(source, target)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(environment)
        from altiplano.cli import main as command_line

        command_line.main(words)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
