"""A custom executor as its author would write one for the executor API, with scripted tasks.

It keeps what the agent has not acknowledged, updates and tasks, and brings both when it subscribes
again.  Whoever carries its calls is a `Carrier`: a conduit or real HTTP.  Its command says how it
behaves, such as `executor linger=12 crash=30 mute deaf`.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from altiplano.ports import launcher
from altiplano.sim.machine import EXECUTOR, Machine, Run
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos

LEAVE_S = 0.3
"""Between the last words of an executor that was told to end and its exit."""

PAUSE_S_MAX = 0.8
"""Before it dials again; the agent waits for two seconds."""

State = mesos.TaskState
Type = api.CallType


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a hosted task does: the `data` of its TaskInfo."""

    sleep_s: float
    status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How an executor behaves."""

    linger_s: float = 15.0
    """Without a task for so long it ends."""
    crash_s: float | None = None
    """After so long it dies."""
    mute: bool = False
    """It never subscribes."""
    deaf: bool = False
    """It does not end when it is told to."""

    @classmethod
    def read(cls, command: str) -> Manners:
        words = dict(word.partition("=")[::2] for word in command.removeprefix(EXECUTOR).split())
        return cls(
            linger_s=float(words.get("linger", "15")),
            crash_s=float(words["crash"]) if "crash" in words else None,
            mute="mute" in words,
            deaf="deaf" in words,
        )


class Carrier(Protocol):
    """Connects an executor to the agent of its machine."""

    def open(self, program: Program, call: api.Call) -> None:
        """Subscribe; `program.heard` gets the events, `program.closed` the end of the stream, once per `open`."""
        ...

    def post(self, call: api.Call) -> None:
        """Bring a call; it may get lost."""
        ...

    def close(self) -> None:
        """Break all connections."""
        ...


class Program:
    """The process of one executor, from its start to its end."""

    def __init__(
        self, machine: Machine, spec: launcher.LaunchSpec, carrier: Carrier, *, dice: random.Random, patience_s: float
    ) -> None:
        self.machine = machine
        self.container_id = spec.container_id
        self.alive = True
        variables: Mapping[str, str] = dict(spec.environment)
        self._executor_id = mesos.ExecutorID(value=variables["MESOS_EXECUTOR_ID"])
        self._framework_id = mesos.FrameworkID(value=variables["MESOS_FRAMEWORK_ID"])
        self._checkpoint = variables["MESOS_CHECKPOINT"] == "1"
        self._manners = Manners.read(spec.argv[-1])
        self._carrier = carrier
        self._dice = dice
        self._patience_s = patience_s
        self._tasks: dict[str, Run] = {}
        self._new: dict[str, mesos.TaskInfo] = {}
        """Tasks of which no update has been acknowledged."""
        self._updates: dict[bytes, mesos.TaskStatus] = {}
        self._brought: frozenset[bytes] = frozenset()
        self._listening = False
        self._lost_s: float | None = None
        self._idle_since_s = 0.0

    @property
    def name(self) -> str:
        return f"{self.machine.name}/{self._executor_id.value}"

    def begin(self) -> None:
        if self._manners.crash_s is not None:
            self._later(self._manners.crash_s, self._crash)
        if not self._manners.mute:
            self._later(self._dice.uniform(0.01, 0.5), self._subscribe)
            self._rest()

    def die(self) -> None:
        self.alive = False
        self._carrier.close()

    # -- the stream

    def heard(self, event: api.Event) -> None:
        """Take an event."""
        if not self.alive:
            return
        self.machine.history.line(f"{self.name} <- {event.type.value if event.type else None}")
        match event.type:
            case api.EventType.SUBSCRIBED:
                self._listening, self._lost_s = True, None
                for uuid, status in list(self._updates.items()):
                    if uuid not in self._brought:
                        self._post(Type.UPDATE, update=api.CallUpdate(status=status))
            case api.EventType.LAUNCH if event.launch is not None:
                self._launch(event.launch.task)
            case api.EventType.LAUNCH_GROUP if event.launch_group is not None:
                for task in event.launch_group.task_group.tasks:
                    self._launch(task)
            case api.EventType.KILL if event.kill is not None:
                self._kill(event.kill.task_id.value)
            case api.EventType.ACKNOWLEDGED if event.acknowledged is not None:
                self._updates.pop(event.acknowledged.uuid, None)
                self._new.pop(event.acknowledged.task_id.value, None)
            case api.EventType.MESSAGE if event.message is not None:
                self.machine.history.message(self._executor_id.value, event.message.data)
                self._post(Type.MESSAGE, message=api.CallMessage(data=b"re:" + event.message.data))
            case api.EventType.SHUTDOWN if not self._manners.deaf:
                for task_id in list(self._tasks):
                    self._kill(task_id)
                self._later(LEAVE_S, self._exit, 0)
            case _:
                pass

    def closed(self, reason: str) -> None:
        """The stream has ended, or could not be had."""
        if not self.alive:
            return
        self._listening = False
        now_s = asyncio.get_running_loop().time()
        if self._lost_s is None:
            self._lost_s = now_s
        self.machine.history.line(f"{self.name} has lost its agent: {reason}")
        if not self._checkpoint or now_s - self._lost_s > self._patience_s:
            self._exit(1 << 8)
        else:
            self._later(self._dice.uniform(0.02, PAUSE_S_MAX), self._subscribe)

    def _subscribe(self) -> None:
        updates = tuple(api.CallUpdate(status=status) for status in self._updates.values())
        self._brought = frozenset(self._updates)
        subscribe = api.CallSubscribe(unacknowledged_tasks=tuple(self._new.values()), unacknowledged_updates=updates)
        self._carrier.open(self, self._call(Type.SUBSCRIBE, subscribe=subscribe))

    # -- tasks

    def _launch(self, task: mesos.TaskInfo) -> None:
        plan = msgspec.json.decode(task.data or b"", type=Script)
        run = self._tasks[task.task_id.value] = self.machine.begin_hosted(self.container_id, task.task_id.value)
        self._new[task.task_id.value] = task
        if self._dice.random() < 0.5:
            self._tell(run, State.TASK_STARTING)
        self._tell(run, State.TASK_RUNNING)
        self._later(plan.sleep_s, self._finish, run, plan.status)

    def _finish(self, run: Run, status: int) -> None:
        if run.ended_s is None:
            self._end(run, status << 8, State.TASK_FAILED if status else State.TASK_FINISHED)

    def _kill(self, task_id: str) -> None:
        run = self._tasks.get(task_id)
        if run is not None:
            self._end(run, signal.SIGTERM, State.TASK_KILLED)

    def _end(self, run: Run, wait_status: int, state: mesos.TaskState) -> None:
        del self._tasks[run.task_id]
        self._idle_since_s = asyncio.get_running_loop().time()
        self.machine.end_hosted(run, wait_status)
        self._tell(run, state)

    def _tell(self, run: Run, state: mesos.TaskState) -> None:
        uuid = UUID(bytes=self._dice.randbytes(16), version=4).bytes
        status = mesos.TaskStatus(
            task_id=mesos.TaskID(value=run.task_id),
            state=state,
            source=mesos.TaskStatusSource.SOURCE_EXECUTOR,
            executor_id=self._executor_id,
            timestamp=asyncio.get_running_loop().time(),
            uuid=uuid,
        )
        self._updates[uuid] = status
        if self._listening:
            self._post(Type.UPDATE, update=api.CallUpdate(status=status))

    # -- the end

    def _rest(self) -> None:
        """End when there has been nothing to do for long enough."""
        now_s = asyncio.get_running_loop().time()
        idle = not self._tasks and not self._updates and self._listening
        if not idle:
            self._idle_since_s = now_s
        if now_s - self._idle_since_s >= self._manners.linger_s:
            self._exit(0)
        else:
            self._later(1.0, self._rest)

    def _crash(self) -> None:
        self._exit(signal.SIGSEGV)

    def _exit(self, status: int) -> None:
        self.machine.exit(self.container_id, status)

    # -- small things

    def _call(self, kind: api.CallType, **payload: Any) -> api.Call:
        return api.Call(executor_id=self._executor_id, framework_id=self._framework_id, type=kind, **payload)

    def _post(self, kind: api.CallType, **payload: Any) -> None:
        self._carrier.post(self._call(kind, **payload))

    def _later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        def due() -> None:
            if self.alive:
                call(*arguments)

        asyncio.get_running_loop().call_later(delay_s, due)
