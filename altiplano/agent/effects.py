"""What an agent does."""

from __future__ import annotations

from altiplano.engine.core import Effect
from altiplano.link import messages
from altiplano.ports import launcher, probes
from altiplano.wire.messages import executor, mesos


class Dial(Effect, frozen=True, kw_only=True):
    """Connect to the master; answered by `Connected` or `LinkLost` with this number.

    A master that speaks for an older epoch than `epoch` is not listened to.
    """

    connection: int
    epoch: int


class HangUp(Effect, frozen=True, kw_only=True):
    connection: int


class Say(Effect, frozen=True, kw_only=True):
    """Dropped when the connection is gone: what must not get lost is said again after the next greeting."""

    connection: int
    message: messages.FromAgent


class Silence(Effect, frozen=True, kw_only=True):
    """A connection that brings nothing for so long counts as lost."""

    connection: int
    silence_s: float


class MakeSandbox(Effect, frozen=True, kw_only=True):
    """Answered by `SandboxMade` or `PreparingFailed`."""

    container_id: str
    directory: str
    user: str | None
    links: tuple[tuple[str, str], ...]
    cause: str


class Fetch(Effect, frozen=True, kw_only=True):
    """Answered by `Fetched` or `PreparingFailed`."""

    container_id: str
    directory: str
    user: str | None
    uris: tuple[mesos.CommandInfoURI, ...]
    cause: str


class CancelPreparing(Effect, frozen=True, kw_only=True):
    """No answer is wanted any more."""

    container_id: str


class Launch(Effect, frozen=True, kw_only=True):
    """Answered by `LaunchAnswered`, or by `PreparingFailed` where its sandbox could not be made.

    `sandbox`, if there is one, is made first: a container that waits for nothing else needs no turn of the core
    between the two.
    """

    spec: launcher.LaunchSpec
    cause: str
    sandbox: MakeSandbox | None = None


class RunCheck(Effect, frozen=True, kw_only=True):
    """Start the process of a check inside a container that runs.  Answered by `LaunchAnswered` or `CheckNotBegun`."""

    spec: launcher.LaunchSpec
    cause: str


class Probe(Effect, frozen=True, kw_only=True):
    """Ask a port of this machine.  Answered by `ProbeAnswered`."""

    run: str
    target: probes.Target
    cause: str


class StopProbe(Effect, frozen=True, kw_only=True):
    """No answer is wanted any more."""

    run: str


class Limit(Effect, frozen=True, kw_only=True):
    """New limits for a running container: the tasks in it are others than before.  Answered by `LimitRefused` if at
    all: a container that has ended meanwhile needs none."""

    container_id: str
    limits: launcher.CgroupLimits


class Tell(Effect, frozen=True, kw_only=True):
    """An event for a custom executor; dropped when the stream is gone."""

    stream: str
    event: executor.Event


class CloseStream(Effect, frozen=True, kw_only=True):
    """No more events; those that wait still leave."""

    stream: str


class Terminate(Effect, frozen=True, kw_only=True):
    """SIGTERM to every process of the container."""

    container_id: str


class Destroy(Effect, frozen=True, kw_only=True):
    """SIGKILL to every process of the container."""

    container_id: str


class Forget(Effect, frozen=True, kw_only=True):
    """The outcome is in the agent's log: the launcher may drop its record."""

    container_id: str


class MeasureDisk(Effect, frozen=True, kw_only=True):
    """Answered by `DiskMeasured`."""


class RemoveSandbox(Effect, frozen=True, kw_only=True):
    """Answered by `SandboxRemoved`."""

    container_id: str
    directory: str


class Exit(Effect, frozen=True, kw_only=True):
    """End the process.  `stop_launcher` ends supervisor and keeper too: no task of this agent is left."""

    sentence: str
    failed: bool
    stop_launcher: bool
