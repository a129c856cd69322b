"""LOCAL commands: run next to the manager, and never longer than it.

After a kill -9 of the manager the next run starts its LOCAL rules anew, so nothing of the last run
may still write.  A parent-death signal would reach the shell alone and leave its children, and asking
for one needs Python or a tool in every child.  Instead each command runs in a process group of its
own, with a shell beside it that reads from a pipe of ours: when the pipe breaks, however that came,
it kills the whole group.  This costs two small shells and no code between fork and exec.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

TAIL_BYTES = 4096
"""What is kept of a failed command's output: its end."""

GRACE_S = 5.0
"""Time that a command has to end after SIGTERM."""

_GUARD = """
exec 3<&0 </dev/null
trap : TERM
{ trap '' TERM; read -r _ <&3; kill -9 -$$; } >/dev/null 2>&1 &
guard=$!
sh -c "$1" 3<&-
status=$?
kill -9 $guard 2>/dev/null
exit $status
"""


class Local:
    """One command that runs here."""

    def __init__(self, command: str, root: Path, environment: Mapping[str, str]) -> None:
        """Start it.  Raises OSError when the machine has no room for another process."""
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `wait`)
        reading, self._pipe = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", command],
                cwd=root,
                env=dict(environment),
                stdin=reading,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
        except BaseException:  # also when interrupted, nothing stays open
            self._let_go()
            raise
        finally:
            os.close(reading)
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> tuple[int, str]:
        """Its exit status, negative for a signal, and the end of what it wrote."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        handle = os.pidfd_open(self._process.pid)
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
            # Its first process is a zombie until it is waited for, so the group's number is still its own.
            self.end()
            status = self._process.wait()
            return status, self._tail() if status else ""
        finally:
            loop.remove_reader(handle)
            os.close(handle)
            if self._timer is not None:
                self._timer.cancel()
            self._let_go()

    def kill(self) -> None:
        """Ask it to end, and end it when it does not."""
        if self._timer is None:
            self._signal(signal.SIGTERM)
            self._timer = asyncio.get_running_loop().call_later(GRACE_S, self.end)

    def end(self) -> None:
        """End it and all it has started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _tail(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - TAIL_BYTES))
        return self._output.read().decode("utf-8", "replace")

    def _let_go(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._output.close()
