"""What a framework runs, and what becomes of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from altiplano.model.ids import id_problem
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos


class TaskRefused(ValueError):
    """A description of a task cannot be right, whatever the offer."""


def new_task_id() -> str:
    """An id that no task has had."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One program to run, and what it needs.

    A `command` that is a text is run by `/bin/sh -c`; one that is a sequence is a program with its
    arguments.  `mem` and `disk` are in MB.  `ports` says how many host ports the task wants: it
    finds them in `PORT0`, `PORT1` and so on.  `image` names a container image.  What has no field
    here goes into `info`, a message whose other fields are kept.
    """

    command: str | Sequence[str] = ""
    id: str = field(default_factory=new_task_id)
    name: str = ""
    cpus: float = 1.0
    mem: float = 128.0
    disk: float = 0.0
    gpus: float = 0.0
    ports: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    uris: Sequence[str | mesos.CommandInfoURI] = ()
    user: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    kill_grace_s: float | None = None
    runtime_s_max: float | None = None
    executor: mesos.ExecutorInfo | None = None
    """A program of our own that runs tasks; the command is then its affair."""
    health_check: mesos.HealthCheck | None = None
    info: mesos.TaskInfo | None = None

    def __post_init__(self) -> None:
        if problem := id_problem(self.id):
            raise TaskRefused(f"task '{self.id}' cannot have this id: {problem}")
        for name, amount in self.needs.items():
            if not 0 <= amount < 1e9:
                raise TaskRefused(f"task '{self.id}' asks for {amount:g} {name}: ask for a number that is not negative")
        if not self.command and self.executor is None and self.image is None and self.info is None:
            raise TaskRefused(f"task '{self.id}' has nothing to run: give it a command, an executor or an image")

    @property
    def needs(self) -> dict[str, float]:
        """Amounts by the name of their resource."""
        return {"cpus": self.cpus, "mem": self.mem, "disk": self.disk, "gpus": self.gpus, "ports": self.ports}

    def message(self, agent_id: str, resources: tuple[mesos.Resource, ...], ports: Sequence[int]) -> mesos.TaskInfo:
        """The task as the master gets it, placed on an agent with resources of an offer."""
        kept = {} if self.info is None else {f: getattr(self.info, f) for f in self.info.__struct_fields__}
        own: dict[str, object] = {
            "name": self.name or kept.get("name") or self.id,
            "task_id": mesos.TaskID(value=self.id),
            "agent_id": mesos.AgentID(value=agent_id),
            "resources": resources,
            "command": self._command(ports) if self.executor is None else None,
            "executor": self.executor,
            "container": self._container(),
            "labels": _labels(self.labels),
            "data": self.data,
            "health_check": self.health_check,
            "kill_policy": None,
            "max_completion_time": None,
        }
        if self.kill_grace_s is not None:
            own["kill_policy"] = mesos.KillPolicy(grace_period=_duration(self.kill_grace_s))
        if self.runtime_s_max is not None:
            own["max_completion_time"] = _duration(self.runtime_s_max)
        return mesos.TaskInfo(**{**kept, **{name: value for name, value in own.items() if value is not None}})

    def _command(self, ports: Sequence[int]) -> mesos.CommandInfo | None:
        if self.info is not None and not self.command:
            return None
        variables = {f"PORT{i}": str(port) for i, port in enumerate(ports)} | dict(self.env)
        environment = mesos.Environment(
            variables=tuple(mesos.EnvironmentVariable(name=name, value=value) for name, value in variables.items())
        )
        uris = tuple(uri if isinstance(uri, mesos.CommandInfoURI) else _uri(uri) for uri in self.uris)
        shell = isinstance(self.command, str) and bool(self.command)
        words = (self.command,) if isinstance(self.command, str) else tuple(self.command)
        return mesos.CommandInfo(
            # Without a shell the arguments begin with the name of the program itself: wire.md#commandinfo
            value=words[0] or None if words else None,
            arguments=() if shell or words == ("",) else words,
            shell=shell,
            uris=uris,
            user=self.user,
            environment=environment if variables else None,
        )

    def _container(self) -> mesos.ContainerInfo | None:
        if self.image is None:
            return None
        image = mesos.Image(type=mesos.ImageType.DOCKER, docker=mesos.ImageDocker(name=self.image))
        return mesos.ContainerInfo(type=mesos.ContainerInfoType.MESOS, mesos=mesos.ContainerInfoMesosInfo(image=image))


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A new state of a task, in the words of a framework; `message` holds all the rest."""

    task_id: str
    state: State
    agent_id: str | None
    sentence: str
    reason: str
    """Such as `CONTAINER_LIMITATION_MEMORY`; empty where none was given."""
    source: str
    """`MASTER`, `AGENT` or `EXECUTOR`."""
    healthy: bool | None
    wall_s: float | None
    reliable: bool
    """It came from the agent and is repeated until acknowledged."""
    message: mesos.TaskStatus

    @property
    def ended(self) -> bool:
        """Whether the task holds no resources any more and will not run again."""
        return self.state.ended

    @property
    def succeeded(self) -> bool:
        return self.state is State.FINISHED

    @classmethod
    def of(cls, message: mesos.TaskStatus) -> Status:
        return cls(
            task_id=message.task_id.value,
            state=State(message.state.value),
            agent_id=None if message.agent_id is None else message.agent_id.value,
            sentence=message.message or "",
            reason="" if message.reason is None else message.reason.value.removeprefix("REASON_"),
            source="" if message.source is None else message.source.value.removeprefix("SOURCE_"),
            healthy=message.healthy,
            wall_s=message.timestamp,
            reliable=message.uuid is not None,
            message=message,
        )


def _duration(seconds: float) -> mesos.DurationInfo:
    return mesos.DurationInfo(nanoseconds=round(seconds * 1e9))


def _labels(labels: Mapping[str, str]) -> mesos.Labels | None:
    if not labels:
        return None
    return mesos.Labels(labels=tuple(mesos.Label(key=key, value=value) for key, value in labels.items()))


def _uri(text: str) -> mesos.CommandInfoURI:
    return mesos.CommandInfoURI(value=text)
