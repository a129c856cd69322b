"""A simulated agent: the real core and engine, with twins for launcher, files and link."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, assert_never

from altiplano.agent import effects, events, facts
from altiplano.agent.core import Core
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
        self._events = 0

    async def recovered(self) -> None:
        inventory = await self._launcher.inventory()
        boot_id = self.machine.boot_id
        self.post(events.Recovered(cause=self._cause(), seed=self._seed(), inventory=inventory, boot_id=boot_id))
        self.spawn(self._hear_launcher())

    def crash(self, *, silently: bool = False) -> None:
        if self.alive:
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
                self.crash()
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
