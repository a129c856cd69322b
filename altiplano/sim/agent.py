"""A simulated agent: the real core and engine, with twins for launcher, files and link."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, assert_never

from altiplano.agent import effects, events, facts
from altiplano.agent.core import Core
from altiplano.agent.executor_state import Stage
from altiplano.agent.settings import Node
from altiplano.engine.core import Effect
from altiplano.link import messages
from altiplano.link.session import LinkError, Session, Side, StreamBytes
from altiplano.ports import launcher
from altiplano.sim.machine import Machine
from altiplano.sim.process import Process
from altiplano.sim.weather import End
from altiplano.testing.launcher import MemoryLauncher
from altiplano.testing.log import MemoryDisk
from altiplano.wire.messages import executor as api

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

PREPARE_S_MAX = 0.2
"""Making a sandbox takes up to so long."""

GREETING_S_MAX = 30.0
"""A master that does not answer the greeting is given up, as the real shell does."""

AgentEffect = (
    effects.Dial
    | effects.HangUp
    | effects.Say
    | effects.Silence
    | effects.MakeSandbox
    | effects.Fetch
    | effects.CancelPreparing
    | effects.Launch
    | effects.Limit
    | effects.Tell
    | effects.CloseStream
    | effects.Terminate
    | effects.Destroy
    | effects.Forget
    | effects.MeasureDisk
    | effects.RemoveSandbox
    | effects.Exit
)
Frame = str | bytes


class AgentProcess(Process):
    """One life of an agent on a machine that outlives it."""

    def __init__(self, cluster: Cluster, machine: Machine, disk: MemoryDisk, node: Node) -> None:
        super().__init__(cluster, machine.name, disk, registry=False)
        self.machine = machine
        self.core = Core(node)
        self.engine = self.make_engine(self.core, facts.codec(), self._wake)
        self._launcher: MemoryLauncher = machine.connect()
        self._links: dict[int, tuple[End, Session]] = {}
        self._heard_at_s = 0.0
        self._silences: dict[int, float] = {}
        self._streams: dict[str, End] = {}
        self._events = 0
        self._leaving = False

    async def recovered(self) -> None:
        inventory = await self._launcher.inventory()
        boot_id = self.machine.boot_id
        self.post(events.Recovered(cause=self._cause(), seed=self._seed(), inventory=inventory, boot_id=boot_id))
        self.spawn(self._hear_launcher())
        self.cluster.agent_listens(self)

    def order_stop(self, *, with_tasks: bool, for_good: bool) -> None:
        """A person wants the process to end."""
        self.post(events.StopOrdered(cause=self._cause(), seed=self._seed(), with_tasks=with_tasks, for_good=for_good))

    def crash(self, *, silently: bool = False) -> None:
        if self.alive:
            if self._launcher in self.machine.connections:
                self.machine.connections.remove(self._launcher)
            super().crash(silently=silently)

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Say():
                self._say(effect.connection, effect.message)
            case effects.Dial():
                self.spawn(self._dial(effect.connection))
            case effects.HangUp():
                self._drop(effect.connection, "hung up")
            case effects.Silence():
                self._silences[effect.connection] = effect.silence_s
            case effects.Exit():
                self.spawn(self._exit(effect))
            case effects.Tell():
                if (stream := self._streams.get(effect.stream)) is not None:
                    stream.send(effect.event)
            case effects.CloseStream():
                if (stream := self._streams.pop(effect.stream, None)) is not None:
                    stream.ended = lambda _: None
                    stream.close("the agent closed the stream")
            case effects.Limit():
                pass  # Nothing is limited here: scripts use what they say.
            case (
                effects.MakeSandbox()
                | effects.Fetch()
                | effects.CancelPreparing()
                | effects.Launch()
                | effects.Terminate()
                | effects.Destroy()
                | effects.Forget()
                | effects.MeasureDisk()
                | effects.RemoveSandbox()
            ):
                self._work(effect)
            case _:
                raise AssertionError(f"an agent has no effect {type(effect).__name__}")

    # -- machine

    def _work(
        self,
        effect: effects.MakeSandbox
        | effects.Fetch
        | effects.CancelPreparing
        | effects.Launch
        | effects.Terminate
        | effects.Destroy
        | effects.Forget
        | effects.MeasureDisk
        | effects.RemoveSandbox,
    ) -> None:
        match effect:
            case effects.MakeSandbox():
                made = events.SandboxMade(cause=effect.cause, seed=self._seed(), container_id=effect.container_id)
                self.later(self.dice.uniform(0, PREPARE_S_MAX), self.post, made)
            case effects.Fetch():
                took_s = self.dice.uniform(0, PREPARE_S_MAX)
                fetched = events.Fetched(
                    cause=effect.cause,
                    seed=self._seed(),
                    container_id=effect.container_id,
                    files=len(effect.uris),
                    size_bytes=0,
                    took_s=took_s,
                )
                self.later(took_s, self.post, fetched)
            case effects.CancelPreparing():
                pass  # A sandbox that is made for nothing does no harm.
            case effects.Launch():
                self.spawn(self._launch(effect))
            case effects.Terminate():
                self.spawn(self._signal(effect.container_id, signal.SIGTERM))
            case effects.Destroy():
                self.spawn(self._launcher.destroy(effect.container_id))
            case effects.Forget():
                self.spawn(self._forget(effect.container_id))
            case effects.MeasureDisk():
                measured = events.DiskMeasured(cause=self._cause(), seed=self._seed(), used=0.5)
                self.later(0.0, self.post, measured)
            case effects.RemoveSandbox():
                removed = events.SandboxRemoved(
                    cause=self._cause(), seed=self._seed(), container_id=effect.container_id
                )
                self.later(0.0, self.post, removed)
            case _:
                assert_never(effect)

    async def _exit(self, effect: effects.Exit) -> None:
        """End as asked for.  Where the master wants this agent no more, its operator starts one from nothing."""
        if self._leaving:
            return
        self._leaving = True
        if effect.stop_launcher:
            await self._launcher.stop(0.5)
        self.cluster.history.line(f"{self.name} ends: {effect.sentence}")
        self.crash()
        if effect.failed:
            self.cluster.wipe(self.name)

    async def _launch(self, effect: effects.Launch) -> None:
        outcome = await self._launcher.launch(effect.spec)
        self.post(events.LaunchAnswered(cause=effect.cause, seed=self._seed(), outcome=outcome))

    async def _signal(self, container_id: str, number: int) -> None:
        # Where it has ended meanwhile, its end is told by itself.
        with contextlib.suppress(launcher.UnknownContainer):
            await self._launcher.kill(container_id, number, launcher.Scope.CONTAINER)

    async def _forget(self, container_id: str) -> None:
        try:
            await self._launcher.forget(container_id)
        except launcher.LauncherError as error:
            self.cluster.history.line(f"{self.name}: {error}")

    async def _hear_launcher(self) -> None:
        async for event in self._launcher.events():
            match event:
                case launcher.Exited():
                    self.post(events.ContainerExited(cause=self._cause(), seed=self._seed(), exited=event))
                case launcher.Degraded():
                    sentences = event.sentences
                    self.post(events.LauncherDegraded(cause=self._cause(), seed=self._seed(), sentences=sentences))

    # -- custom executors

    def accept_executor(self, end: End, container_id: str) -> None:
        """The program of an executor has connected, to subscribe or to post calls; its token names its container."""
        end.heard = lambda call: self._executor_calls(end, call, container_id)

    def _executor_calls(self, end: End, call: api.Call, container_id: str) -> None:
        """What `altiplano.agent.api.executor` does with a call that is well formed."""
        if not self.alive:
            return
        ids = {"framework_id": call.framework_id.value, "executor_id": call.executor_id.value}
        executor = self.core.state.executors.get((ids["framework_id"], ids["executor_id"]))
        if executor is None or executor.container_id != container_id:
            self.cluster.history.line(f"{self.name} refuses a call of executor {ids['executor_id']}")
            end.close("Executor cannot be found")
        elif call.subscribe is not None:
            self._subscribed(end, call.subscribe, ids)
        elif executor.stage is not Stage.RUNNING:
            self.cluster.history.line(f"{self.name} refuses a call of executor {ids['executor_id']}: not subscribed")
        elif call.update is not None:
            status = call.update.status
            self.post(events.ExecutorUpdated(cause=self._cause(), seed=self._seed(), status=status, **ids))
        elif call.message is not None:
            self.post(events.ExecutorSaid(cause=self._cause(), seed=self._seed(), data=call.message.data, **ids))

    def _subscribed(self, end: End, subscribe: api.CallSubscribe, ids: dict[str, str]) -> None:
        stream = self._cause()
        self._streams[stream] = end

        def left(reason: str) -> None:
            if self._streams.pop(stream, None) is not None:
                self.post(events.ExecutorLeft(cause=stream, seed=self._seed(), stream=stream, **ids))

        end.ended = left
        self.post(
            events.ExecutorSubscribed(
                cause=stream,
                seed=self._seed(),
                stream=stream,
                task_ids=tuple(task.task_id.value for task in subscribe.unacknowledged_tasks),
                updates=tuple(update.status for update in subscribe.unacknowledged_updates),
                **ids,
            )
        )

    # -- link

    async def _dial(self, connection: int) -> None:
        end: End | None = await self.cluster.dial_master(self.name)
        if end is None:
            self._lost(connection, "the master cannot be reached")
            return
        session = Session(Side.AGENT, epoch=self.core.state.epoch)
        self._links[connection] = (end, session)
        end.heard = lambda frame: self._heard(connection, frame)
        end.ended = lambda reason: self._drop(connection, reason)
        self._heard_at_s = asyncio.get_running_loop().time()
        self._silences[connection] = GREETING_S_MAX
        self._watch(connection)
        self.post(events.Connected(cause=self._cause(), seed=self._seed(), connection=connection))

    def _say(self, connection: int, message: messages.FromAgent) -> None:
        link = self._links.get(connection)
        if link is not None:
            if isinstance(message, messages.StatusUpdate) and message.status.uuid is not None:
                task_id, uuid = message.status.task_id.value, message.status.uuid
                self.cluster.history.updating(self.name, message.framework_id, task_id, uuid)
            link[1].send(message)
            self._pump(connection)

    def _pump(self, connection: int) -> None:
        end, session = self._links[connection]
        for frame in session.outgoing():
            end.send(frame)

    def _heard(self, connection: int, frame: Frame) -> None:
        link = self._links.get(connection)
        if link is None:
            return
        self._heard_at_s = asyncio.get_running_loop().time()
        try:
            arrivals = link[1].receive(frame)
        except LinkError as error:
            self._drop(connection, str(error))
            return
        for message in arrivals:
            if isinstance(message, messages.Acknowledge):
                self.cluster.history.acknowledged(message.framework_id, message.task_id, message.uuid)
            elif isinstance(message, messages.ShutdownFramework):
                self.cluster.history.shut(self.name, message.framework_id)
            assert not isinstance(message, StreamBytes), "nobody opens streams in a simulation"
            cause = getattr(message, "cause", "") or self._cause()
            heard = events.Heard(cause=cause, seed=self._seed(), connection=connection, message=message)  # type: ignore[arg-type]  # the peer is a master
            self.post(heard)
        self._pump(connection)

    def _drop(self, connection: int, reason: str) -> None:
        link = self._links.pop(connection, None)
        if link is not None:
            link[0].ended = lambda _: None
            link[0].close(reason)
            self._lost(connection, reason)

    def _lost(self, connection: int, reason: str) -> None:
        self.post(events.LinkLost(cause=self._cause(), seed=self._seed(), connection=connection, sentence=reason))

    def _watch(self, connection: int) -> None:
        """Give a connection up that has been silent for too long."""
        if connection not in self._links:
            return
        silence_s = self._silences[connection]
        left_s = self._heard_at_s + silence_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            self._drop(connection, f"silent for {silence_s:g} s")
        else:
            self.later(left_s, self._watch, connection)

    # -- ids

    def _wake(self, cause: str) -> events.Wake:
        return events.Wake(cause=cause, seed=self._seed())

    def _seed(self) -> bytes:
        return self.dice.randbytes(16)

    def _cause(self) -> str:
        self._events += 1
        return f"{self.name}-{self._events}"
