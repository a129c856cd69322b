"""What an agent knows of one custom executor.

    received ──► sandbox ──► fetching ──► starting ──► registering ──► running
                    └──────────────────────▲ └──────────────────────────▲

`received`, `starting`, `registering` and `running` are durable.  `running` means that it has subscribed
once, not that it listens now: that is `stream`.  That it is to end is kept beside the stage (`ending`),
since this may happen in any of them.  An executor that has ended is forgotten at once; its tasks stay
until their ends are acknowledged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from altiplano.agent import facts
from altiplano.engine.core import Fact
from altiplano.executors import custom
from altiplano.wire.messages import mesos

Key = tuple[str, str]
"""Framework id, executor id."""

UUIDS_MAX = 1024
"""Updates of one executor that are remembered: one of them that comes again is acknowledged and nothing more."""


class Stage(Enum):
    """How far an executor has come."""

    RECEIVED = "received"
    SANDBOX = "sandbox"
    FETCHING = "fetching"
    STARTING = "starting"
    REGISTERING = "registering"
    RUNNING = "running"


STEPS: Mapping[Stage, frozenset[Stage]] = {
    Stage.RECEIVED: frozenset({Stage.SANDBOX}),
    Stage.SANDBOX: frozenset({Stage.FETCHING, Stage.STARTING}),
    Stage.FETCHING: frozenset({Stage.STARTING}),
    # A quick executor subscribes before the launcher has answered.
    Stage.STARTING: frozenset({Stage.REGISTERING, Stage.RUNNING}),
    Stage.REGISTERING: frozenset({Stage.RUNNING}),
    Stage.RUNNING: frozenset(),
}

LAUNCHED = frozenset({Stage.STARTING, Stage.REGISTERING, Stage.RUNNING})
"""Stages in which the launcher may have processes of the executor."""

TIMERS = ("register", "reregister", "shutdown", "heartbeat")


class Executor:
    """A custom executor, from the arrival of its first task to its end."""

    __slots__ = (
        "cause",
        "container_id",
        "directory",
        "ending",
        "framework_id",
        "info",
        "pid",
        "received_wall_s",
        "stage",
        "started_wall_s",
        "stream",
        "task_ids",
        "uuids",
    )

    def __init__(self, fact: facts.ExecutorReceived) -> None:
        self.framework_id = fact.framework_id
        self.info: mesos.ExecutorInfo = fact.info
        self.container_id = fact.container_id
        self.directory = fact.directory
        self.received_wall_s = fact.received_wall_s
        self.cause = fact.cause
        self.stage = Stage.RECEIVED
        self.pid = 0
        self.started_wall_s: float | None = None
        self.ending: custom.Ending | None = None
        self.stream: str | None = None
        """The stream of its events, while it listens."""
        self.task_ids: dict[str, None] = {}
        """Its tasks that have not ended, in the order in which they came."""
        self.uuids: OrderedDict[bytes, None] = OrderedDict()

    @property
    def id(self) -> str:
        return self.info.executor_id.value

    @property
    def key(self) -> Key:
        return self.framework_id, self.id

    @property
    def built_in(self) -> bool:
        """It is the executor of task groups, which is no process."""
        return self.info.type is mesos.ExecutorInfoType.DEFAULT

    @property
    def silent(self) -> bool:
        """Whether nobody wants to hear of it: only its processes remain to be ended."""
        return self.ending is not None and self.ending.why is custom.Why.REMOVED

    def timer(self, kind: str) -> tuple[str, ...]:
        assert kind in TIMERS
        return (kind, *self.key)

    def remember(self, uuid: bytes) -> None:
        """An update with this uuid is in its stream."""
        self.uuids[uuid] = None
        if len(self.uuids) > UUIDS_MAX:
            self.uuids.popitem(last=False)

    def apply(self, fact: facts.ExecutorFact) -> None:
        match fact:
            case facts.ExecutorStepped():
                self._step(Stage(fact.stage))
            case facts.ExecutorLaunching():
                if self.stage is Stage.RECEIVED:
                    # In a recovery the stages in between, which are not durable, are missing.
                    self._step(Stage.SANDBOX)
                self._step(Stage.STARTING)
            case facts.ExecutorStarted():
                self.pid, self.started_wall_s = fact.pid, fact.started_wall_s
                if self.stage is Stage.STARTING:
                    self._step(Stage.REGISTERING)
            case facts.ExecutorJoined():
                self._step(Stage.RUNNING)
            case facts.ExecutorConnected():
                self.stream = fact.stream
            case facts.ExecutorDisconnected():
                self.stream = None
            case facts.ExecutorEnding():
                self.ending = fact.ending
            case facts.UpdatesSeen():
                for uuid in fact.uuids:
                    self.remember(uuid)
            case _:
                raise AssertionError(f"an executor cannot apply {type(fact).__name__}")

    def _step(self, stage: Stage) -> None:
        assert stage in STEPS[self.stage], f"executor {self.id} ({self.cause}) cannot go from {self.stage} to {stage}"
        self.stage = stage

    def summary(self) -> Iterable[Fact]:
        """Durable facts that lead to the durable part of this state."""
        framework_id, executor_id = self.key
        yield facts.ExecutorReceived(
            framework_id=framework_id,
            executor_id=executor_id,
            info=self.info,
            container_id=self.container_id,
            directory=self.directory,
            received_wall_s=self.received_wall_s,
            cause=self.cause,
        )
        if self.stage in LAUNCHED:
            yield facts.ExecutorLaunching(framework_id=framework_id, executor_id=executor_id)
        if self.started_wall_s is not None:
            yield facts.ExecutorStarted(
                framework_id=framework_id,
                executor_id=executor_id,
                pid=self.pid,
                started_wall_s=self.started_wall_s,
            )
        if self.stage is Stage.RUNNING:
            yield facts.ExecutorJoined(framework_id=framework_id, executor_id=executor_id)
        if self.ending is not None:
            yield facts.ExecutorEnding(framework_id=framework_id, executor_id=executor_id, ending=self.ending)
        if self.uuids:
            yield facts.UpdatesSeen(framework_id=framework_id, executor_id=executor_id, uuids=tuple(self.uuids))


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An executor that is no more, as it is shown; `task_ids` are found among the completed tasks by container."""

    info: mesos.ExecutorInfo
    framework_id: str
    container_id: str
    directory: str
