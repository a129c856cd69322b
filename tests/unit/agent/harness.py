"""An agent's core by hand: events in, decisions out, time as a number."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from altiplano.agent import core, effects, events, facts, settings
from altiplano.engine.core import Decision, Effect, Fact
from altiplano.link import messages
from altiplano.model.time import Instant
from altiplano.ports import launcher
from altiplano.wire import json
from altiplano.wire.messages import mesos

FRAMEWORK = "framework-1"
AGENT = "agent-1"
WALL_0 = 1_000_000.0
NODE = settings.Node(work_dir="/work", hostname="node1", ip="10.0.0.1", port=5051)
MASTER = mesos.MasterInfo(id="master-1", ip=0, port=5050)
E = TypeVar("E", bound=Effect)
Capability = mesos.FrameworkInfoCapabilityType


def framework(
    *capabilities: mesos.FrameworkInfoCapabilityType, checkpoint: bool = True, user: str = "root"
) -> mesos.FrameworkInfo:
    return mesos.FrameworkInfo(
        user=user,
        name="test",
        id=mesos.FrameworkID(value=FRAMEWORK),
        checkpoint=checkpoint,
        capabilities=tuple(mesos.FrameworkInfoCapability(type=capability) for capability in capabilities),
    )


def task(task_id: str = "t1", value: str = "true", **more: object) -> mesos.TaskInfo:
    resources = tuple(
        mesos.Resource(
            name=name,
            type=mesos.ValueType.SCALAR,
            scalar=mesos.ValueScalar(value=amount),
            allocation_info=mesos.ResourceAllocationInfo(role="dev"),
        )
        for name, amount in (("cpus", 0.5), ("mem", 64.0))
    )
    plain = mesos.TaskInfo(
        name=task_id,
        task_id=mesos.TaskID(value=task_id),
        agent_id=mesos.AgentID(value=AGENT),
        resources=resources,
        command=mesos.CommandInfo(value=value),
    )
    return msgspec.structs.replace(plain, **more)  # type: ignore[arg-type]


def fetching(task_id: str = "t1", **more: object) -> mesos.TaskInfo:
    """A task that needs a file, and therefore its sandbox, before it can be started."""
    uri = mesos.CommandInfoURI(value="http://example/x")
    return task(task_id, command=mesos.CommandInfo(value="true", uris=(uri,)), **more)


def seconds(amount: float) -> mesos.DurationInfo:
    return mesos.DurationInfo(nanoseconds=round(amount * 1e9))


class Agent:
    """A core with its time, the facts it has made durable, and all it has done."""

    def __init__(self, node: settings.Node = NODE) -> None:
        self.node = node
        self.core = core.Core(node)
        self.mono_s = 100.0
        self.wall_0 = WALL_0
        self.durable: list[bytes] = []
        self.done: list[Effect] = []
        self._codec = facts.codec()
        self._count = 0

    def now(self) -> Instant:
        return Instant(mono_s=self.mono_s, wall_s=self.wall_0 + self.mono_s)

    def post(self, event: core.AgentEvent) -> Decision:
        decision = self.core.decide(event, self.now())
        for fact in decision.facts:
            self.core.apply(fact)
            if fact.durable:
                self.durable.append(self._codec.encode(fact))
        self.core.check()
        self.done += decision.effects
        return decision

    def seed(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(16, "big")

    # -- short forms of events

    def recover(self, *inventory: launcher.Container, boot_id: str = "boot-1") -> Decision:
        return self.post(events.Recovered(cause="start", seed=self.seed(), inventory=inventory, boot_id=boot_id))

    def join(self, *, epoch: int = 1, agent_id: str = AGENT, completed: tuple[str, ...] = ()) -> Decision:
        """From offline to member."""
        if self.core.state.link.value == "offline":
            self.advance(61.0)
        self.post(events.Connected(cause="up", seed=self.seed(), connection=self.core.state.connection))
        return self.hear(
            messages.Welcome(
                version=1, epoch=epoch, agent_id=agent_id, silence_s=30.0, master=MASTER, completed_frameworks=completed
            )
        )

    def hear(self, message: messages.FromMaster) -> Decision:
        return self.post(
            events.Heard(
                cause=message.cause or "heard", seed=self.seed(), connection=self.core.state.connection, message=message
            )
        )

    def lose_link(self) -> Decision:
        connection = self.core.state.connection
        return self.post(events.LinkLost(cause="down", seed=self.seed(), connection=connection, sentence="it broke"))

    def run(self, info: mesos.TaskInfo | None = None, by: mesos.FrameworkInfo | None = None) -> Decision:
        raw = msgspec.Raw(json.encode(info or task()))
        return self.hear(messages.RunTask(framework=by or framework(), task=raw, cause="accept-1"))

    def kill(self, task_id: str = "t1", policy: mesos.KillPolicy | None = None) -> Decision:
        return self.hear(messages.KillTask(framework_id=FRAMEWORK, task_id=task_id, kill_policy=policy, cause="kill-1"))

    def ack(self, task_id: str = "t1") -> Decision:
        uuid = self.core.state.streams[FRAMEWORK, task_id].head.uuid or b""
        return self.hear(messages.Acknowledge(framework_id=FRAMEWORK, task_id=task_id, uuid=uuid))

    def sandbox_made(self, task_id: str = "t1") -> Decision:
        return self.post(events.SandboxMade(cause="x", seed=self.seed(), container_id=self.container(task_id)))

    def fetched(self, task_id: str = "t1") -> Decision:
        return self.post(
            events.Fetched(
                cause="x",
                seed=self.seed(),
                container_id=self.container(task_id),
                files=1,
                size_bytes=10,
                took_s=0.2,
            )
        )

    def prepare_failed(self, sentence: str, task_id: str = "t1") -> Decision:
        return self.post(
            events.PreparingFailed(cause="x", seed=self.seed(), container_id=self.container(task_id), sentence=sentence)
        )

    def started(self, task_id: str = "t1", pid: int = 4711) -> Decision:
        return self.post(events.LaunchAnswered(cause="x", seed=self.seed(), outcome=self.running(task_id, pid)))

    def exited(self, task_id: str = "t1", wait_status: int | None = 0, **more: object) -> Decision:
        return self.post(
            events.ContainerExited(cause="x", seed=self.seed(), exited=self.exit(task_id, wait_status, **more))
        )

    def running(self, task_id: str = "t1", pid: int = 4711) -> launcher.Started:
        return launcher.Started(
            container_id=self.container(task_id), pid=pid, start_ticks=1, started_wall_s=self.now().wall_s
        )

    def exit(self, task_id: str = "t1", wait_status: int | None = 0, **more: object) -> launcher.Exited:
        wall_s = self.now().wall_s
        return launcher.Exited(
            container_id=self.container(task_id),
            wait_status=wait_status,
            started_wall_s=wall_s - 1,
            ended_wall_s=wall_s,
            **more,  # type: ignore[arg-type]
        )

    def advance(self, seconds_: float) -> list[Effect]:
        """Let time pass, with every wake on the way; the effects of it."""
        until, before = self.mono_s + seconds_, len(self.done)
        while (at := self.core.wake_at()) is not None and at <= until:
            self.mono_s = max(self.mono_s, at)
            self.post(events.Wake(cause="wake", seed=self.seed()))
        self.mono_s = until
        return self.done[before:]

    def up_to_running(self, info: mesos.TaskInfo | None = None, by: mesos.FrameworkInfo | None = None) -> None:
        """A member with one task that runs, its updates acknowledged."""
        self.recover()
        self.join()
        self.run(info, by)
        self.started()
        self.ack()
        self.ack()

    # -- looking

    def container(self, task_id: str = "t1") -> str:
        return self.core.state.tasks[FRAMEWORK, task_id].container_id

    def said(self) -> Iterator[messages.FromAgent]:
        for effect in self.done:
            if isinstance(effect, effects.Say):
                yield effect.message

    def updates(self, task_id: str = "t1") -> list[mesos.TaskStatus]:
        """Every status said about a task, repetitions left out."""
        found = {
            message.status.uuid: message.status
            for message in self.said()
            if isinstance(message, messages.StatusUpdate) and message.status.task_id.value == task_id
        }
        return list(found.values())

    def states(self, task_id: str = "t1") -> list[str]:
        return [status.state.value.removeprefix("TASK_") for status in self.updates(task_id)]

    def restarted(self, node: settings.Node | None = None) -> Agent:
        """A new process on the same log."""
        fresh = Agent(node or self.node)
        fresh.mono_s = self.mono_s
        for record in self.durable:
            fact = self._codec.decode(record)
            assert fact is not None
            fresh.core.apply(fact)
        fresh.core.check()
        fresh.durable = list(self.durable)
        fresh._count = self._count + 1000
        return fresh

    def summarised(self) -> Agent:
        """A new process on a snapshot of the log."""
        fresh = Agent(self.node)
        fresh.mono_s = self.mono_s
        facts_: list[Fact] = list(self.core.summary())
        fresh.durable = [self._codec.encode(fact) for fact in facts_]
        for record in fresh.durable:
            fact = self._codec.decode(record)
            assert fact is not None
            fresh.core.apply(fact)
        fresh.core.check()
        fresh._count = self._count + 1000
        return fresh

    def copied(self) -> Agent:
        fresh = self.restarted()
        fresh.core = pickle.loads(pickle.dumps(self.core))
        return fresh


def of(kind: type[E], decision: Decision) -> list[E]:
    return [effect for effect in decision.effects if isinstance(effect, kind)]
