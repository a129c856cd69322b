"""What an agent asks of the thing that starts, watches and reaps its tasks.

The one thing to know before changing it: a launcher outlives the agent that
talks to it.  Every request therefore names its container, may be repeated
after a lost connection, and does nothing the second time.  All values can be
written as JSON (`msgspec.json.encode`), since specs are logged.

`altiplano.adapters.supervisor.client` is the real one,
`altiplano.testing.launcher` the twin in memory; both pass
`tests/contracts/test_launcher.py`.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable
from typing import Final, Protocol

import msgspec

SPEC_BYTES_MAX: Final = 128 * 1024
"""Largest JSON form of one `LaunchSpec`; a larger one is answered with `LaunchFailed`."""

CONTAINER_ID_CHARS_MAX: Final = 255
"""A container id names a directory among the cgroups, so it obeys the rules of a file name."""

CPU_PERIOD_US: Final = 100_000
"""The period that `CgroupLimits.cpu_quota_us` is counted in."""


class CgroupLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one container; None leaves that one unlimited."""

    cpu_shares: int | None = None
    """Weight against others where the processor is short; 1024 stands for one CPU."""
    cpu_quota_us: int | None = None
    """Processor time per `CPU_PERIOD_US`; 25,000 is a quarter of one CPU."""
    memory_hard_bytes: int | None = None
    """Above this the kernel kills inside the container."""
    memory_soft_bytes: int | None = None
    """Above this its memory is taken back first where the machine is short."""
    pids_max: int | None = None


class Rlimit(msgspec.Struct, frozen=True, kw_only=True):
    """One resource limit by its POSIX name, e.g. `RLIMIT_NOFILE`; None means infinity."""

    name: str
    soft: int | None
    hard: int | None


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to start one container, and nothing that has to be looked up."""

    container_id: str
    """Unique for ever on this agent; the key that makes `launch` safe to repeat."""
    executable: str
    """A path, or a name that is searched in the PATH of `environment`."""
    argv: tuple[str, ...]
    """With its own first element: `("/bin/sh", "-c", command)` or `("name", "arg")`."""
    environment: tuple[tuple[str, str], ...]
    """The whole of it; nothing is inherited.  The launcher adds `ALTIPLANO_CONTAINER`."""
    directory: str
    """The sandbox: an existing directory, where the program starts."""
    stdout: str
    """Absolute path, opened to append, made where missing."""
    stderr: str
    user: str | None = None
    """Name of a user; None keeps the launcher's own."""
    rlimits: tuple[Rlimit, ...] = ()
    cgroup: CgroupLimits | None = None
    """None: no cgroup is made, and the container's processes are found by other means."""
    output_max_bytes: int | None = None
    """Disk that each of stdout and stderr may hold; the oldest part goes first.  None: no bound."""
    inside: str | None = None
    """A running container that this one belongs to: it is born in its cgroups, which need no `cgroup` then, and does
    not outlive it.  A launch inside one that does not run raises `UnknownContainer`."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The program runs, or ran.  Its end is told by `Exited`, however soon it came."""

    container_id: str
    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: with the pid it names one process of this boot."""
    started_wall_s: float


class LaunchFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing was started and nothing will be under this id; no `Exited` follows."""

    container_id: str
    sentence: str


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The leader of a container has ended and all its other processes were sent SIGKILL."""

    container_id: str
    wait_status: int | None
    """As `os.waitstatus_to_exitcode` takes it; None: it ended while nobody was there to see."""
    started_wall_s: float
    ended_wall_s: float
    oom_killed: bool = False
    memory_limit_bytes: int | None = None
    """The hard limit it had when it ended."""
    memory_peak_bytes: int | None = None
    cpu_s: float | None = None
    limitation: str | None = None
    """A sentence where a limit ended it, or where the status is not known."""


class Degraded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the launcher cannot promise at present, all of it; no sentences: all is well again."""

    sentences: tuple[str, ...]


Outcome = Started | Exited | LaunchFailed
LauncherEvent = Exited | Degraded


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container the launcher knows: until forgotten, whatever became of it."""

    container_id: str
    outcome: Outcome


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a container uses now; a number nobody measures here is None."""

    container_id: str
    measured_wall_s: float
    processes: int
    cpu_user_s: float
    cpu_system_s: float
    memory_rss_bytes: int
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_s: float | None = None


def refusal(spec: LaunchSpec, text: bytes | None = None) -> str | None:
    """Why a spec cannot be launched anywhere, or None.  `text` is its JSON form, for who has it already."""
    name = spec.container_id
    if not name or len(name.encode()) > CONTAINER_ID_CHARS_MAX or "/" in name or name in (".", ".."):
        return f"The container id {name!r:.300} cannot be a file name of at most 255 bytes."
    if not spec.argv:
        return "The command is empty: argv needs at least the program's own name."
    text = msgspec.json.encode(spec) if text is None else text
    if len(text) > SPEC_BYTES_MAX:
        return f"Command and environment have {len(text)} bytes, at most {SPEC_BYTES_MAX} are possible; use a file."
    if b"\\u0000" in text:
        for part in (spec.executable, *spec.argv, *(part for pair in spec.environment for part in pair)):
            if "\0" in part:
                return f"A zero byte stands in {part!r:.100}; no program can be given one."
    for key, _ in spec.environment:
        if not key or "=" in key:
            return f"The environment variable name {key!r:.100} is empty or holds an equals sign."
    if not all(path.startswith("/") for path in (spec.directory, spec.stdout, spec.stderr)):
        return "Directory, stdout and stderr must be absolute paths."
    return None


class Scope(enum.Enum):
    """Whom a signal reaches."""

    GROUP = "group"
    """The process group that the leader leads."""
    CONTAINER = "container"
    """Every process of the container, whatever session or group it moved to."""


class LauncherError(Exception):
    """The launcher could not do what was asked; the sentence says why."""


class UnknownContainer(LauncherError):
    """No container of that name is running here: it ended, failed, was forgotten, or never was."""


class LaunchRefused(LauncherError):
    """It was not started and never will be by this request, and nothing is remembered of it: no room to record it."""


class LauncherClosed(LauncherError):
    """The launcher was closed or stopped; connect again to use it."""


class Launcher(Protocol):
    """Starts containers, tells their ends, outlives its user.

    All calls may be made at once and are carried out in order.  A lost
    connection is mended inside: a call that was under way is sent again.
    `launch` and `forget`, of which there are very many, may answer by a plain
    future: the caller needs no task to wait in.
    """

    def launch(self, spec: LaunchSpec) -> Awaitable[Started | LaunchFailed]:
        """Start a container.  The same id never starts twice: a second call gets the first answer.

        Raises `LauncherError` where the launcher cannot keep records (a full
        disk): nothing was started, and it may be asked again.
        """
        ...

    async def kill(self, container_id: str, signal_number: int, scope: Scope = Scope.GROUP) -> None:
        """Send a signal.  Raises `UnknownContainer` where the leader no longer runs."""
        ...

    async def destroy(self, container_id: str) -> None:
        """SIGKILL every process of the container; returns when none is left.

        A container that has ended, or that nobody knows, is destroyed already.
        """
        ...

    def forget(self, container_id: str) -> Awaitable[None]:
        """The caller has the outcome in its own durable log: the record and the cgroup go.

        Raises `LauncherError` for a container that still runs.  Unknown ids are forgotten already.
        """
        ...

    async def update(self, container_id: str, limits: CgroupLimits) -> None:
        """Put new limits on a running container that has a cgroup."""
        ...

    async def inventory(self) -> tuple[Container, ...]:
        """Every container not yet forgotten, in the order of their launches."""
        ...

    async def usage(self, container_id: str) -> Usage:
        """Measure a running container.  Raises `UnknownContainer` otherwise."""
        ...

    def events(self) -> AsyncIterator[LauncherEvent]:
        """All ends not yet forgotten, then each new one; and a `Degraded` for each change of that.

        The same end may come twice (after a lost connection).  One reader at a time.
        Ends when the launcher is closed.
        """
        ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """What the launcher cannot promise at present, as sentences."""
        ...

    @property
    def facts(self) -> tuple[str, ...]:
        """What it can do on this machine, as sentences: kinds of cgroup, exit information."""
        ...

    async def close(self) -> None:
        """Leave; containers run on and a later user finds them."""
        ...

    async def stop(self, grace_s: float) -> None:
        """End it all: SIGTERM, `grace_s` seconds, SIGKILL; then the launcher itself leaves.

        Nothing is left afterwards: no process, no cgroup, no socket.  Outcomes stay on disk.
        """
        ...
