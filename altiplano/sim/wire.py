"""The wire: the shells of production, their HTTP servers and clients, on a network in memory.

Real are the master's shell and its router on uvicorn, the agents' shells with their dialler and their
HTTP server, the agent link on WebSockets, and the SDK's runner and session.  Twins are the logs, the
launcher, files, downloads, clocks and ids.  What runs where is told by context variables: tasks, timers
and connections belong to the process that made them, so a process can die as a whole.

Processes of production have named crash points (`altiplano.kit.crash`).  Here each of them is a line of
the trace, and a place to die.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from altiplano.agent import fetcher
from altiplano.agent import shell as agent_shell
from altiplano.agent.api.access import Access
from altiplano.agent.server import Application
from altiplano.agent.settings import Settings as AgentSettings
from altiplano.engine.http import HttpServer
from altiplano.kit import crash
from altiplano.link import messages, transport
from altiplano.link.session import Arrival, Session, Side
from altiplano.link.transport import Connection
from altiplano.master import shell as master_shell
from altiplano.master.server import Router
from altiplano.master.settings import Settings as MasterSettings
from altiplano.master.state import Config
from altiplano.ports import launcher
from altiplano.ports.log import LogFailed
from altiplano.sdk import calls, events
from altiplano.sdk.credentials import Place
from altiplano.sdk.framework import Framework
from altiplano.sdk.offers import Offer
from altiplano.sdk.running import Runner
from altiplano.sdk.session import SessionEnded
from altiplano.sdk.tasks import Status
from altiplano.sim import cluster, net, run, scheduler
from altiplano.sim import loop as virtual
from altiplano.sim.executor import Program
from altiplano.sim.fence import Fenced, FencedStore
from altiplano.sim.history import Violation
from altiplano.sim.http import HttpCarrier, HttpOperator
from altiplano.sim.loop import VirtualClock
from altiplano.sim.machine import Guest, Machine
from altiplano.sim.master import MASTER
from altiplano.sim.run import Report
from altiplano.sim.workloads.batch import Batch
from altiplano.testing.files import MemoryFiles
from altiplano.testing.ids import SeededIds
from altiplano.testing.launcher import MemoryLauncher
from altiplano.testing.log import MemoryLog, MemoryRegistry
from altiplano.testing.probes import MemoryProbes
from altiplano.wire.messages import master as operator
from altiplano.wire.messages import mesos

MASTER_PORT = 5050
AGENTS = 2
JOBS = 8
"""Of each of two frameworks: a wire run costs several times what a message run does."""

TICK_S = 1.0

LIFE: contextvars.ContextVar[WireLife] = contextvars.ContextVar("LIFE")
"""Whose code is running."""


class Killed(BaseException):
    """Unwinds the code that was running when its process died; nothing may catch it."""


class OwnedTask(asyncio.Task[Any]):
    """A task that knows its process."""

    life: WireLife | None = None


class WireLife:
    """One process from its start to its end: `main` is what it does."""

    def __init__(self, pool: WireCluster, name: str, main: Callable[[WireLife], Coroutine[Any, Any, None]]) -> None:
        self.pool = pool
        self.name = name
        self.alive = True
        self.core: object | None = None
        self.crash_after_effects: int | None = None
        """Crash points that are passed before it dies at one."""
        self.number = pool.lives(name)
        self.dice = random.Random(f"{pool.seed} {name} {self.number}")
        self.ids = SeededIds(f"{pool.seed} {name} {self.number}")
        self.log: MemoryLog | None = None
        self.launcher: MemoryLauncher | None = None
        self.stop: Callable[[bool, bool], None] | None = None
        self._main = main
        # In the order of their start: a set would be walked by addresses, and no two runs would be the same.
        self._tasks: dict[OwnedTask, None] = {}

    def begin(self) -> None:
        context = contextvars.copy_context()
        context.run(net.HOST.set, self.name)
        context.run(LIFE.set, self)
        context.run(asyncio.ensure_future, self._live())

    def order_stop(self, *, with_tasks: bool, for_good: bool) -> None:
        assert self.stop is not None, f"nobody tells {self.name} to stop: it is killed"
        self.stop(with_tasks, for_good)

    def own(self, task: OwnedTask) -> None:
        task.life = self
        self._tasks[task] = None
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[Any]) -> None:
        assert isinstance(task, OwnedTask)
        self._tasks.pop(task, None)

    def passes(self, point: str) -> None:
        """Code of this process is at a crash point."""
        self.pool.history.line(f"{self.name} at {point}")
        if self.crash_after_effects is not None:
            self.crash_after_effects -= 1
            if self.crash_after_effects < 0:
                self.crash()
                raise Killed(point)

    def crash(self, *, silently: bool = False) -> None:
        """Die at once, as by kill -9: connections break or fall silent, what was not flushed is lost in part."""
        if not self.alive:
            return
        flying = self.log.unsynced if self.log is not None else 0
        survive = self.dice.choice((0, 0, flying, self.dice.randint(0, flying)))
        torn = self.dice.random() < 0.3
        self.pool.history.line(f"{self.name} dies; {survive} of {flying} unflushed groups survive, torn {torn}")
        if self.name in self.pool.tables:
            self.pool.history.unsubscribed(self.name)
        self._end(survive=survive, torn=torn, silently=silently)

    def _end(self, *, survive: int = 0, torn: bool = False, silently: bool = False) -> None:
        self.alive = False
        if self.log is not None:
            self.log.crash(survive=survive, torn=torn)
        if self.launcher is not None and self.launcher in self.launcher.machine.connections:
            self.launcher.machine.connections.remove(self.launcher)
        self.pool.net.kill(self.name, silently=silently)
        current = asyncio.current_task()
        for task in list(self._tasks):
            # What is cancelled now runs no further step but its unwinding; the task that dies itself raises.
            if task is not current:
                task.cancel()
        contextvars.Context().run(self.pool.ended, self)

    async def _live(self) -> None:
        try:
            await self._main(self)
        except (LogFailed, SessionEnded, Fenced) as end:
            if self.alive:
                self.pool.history.line(f"{self.name} stops: {end}")
        except asyncio.CancelledError:
            return  # The run is over, or the process is.
        except BaseException as error:  # SystemExit too is an end that no process may have
            if self.alive:
                violation = Violation(f"processes do not break: {self.name}: {error!r}")
                violation.__cause__ = error
                self.pool.history.fail(violation)
        if self.alive:
            self._end()


class WireCluster(cluster.Cluster):
    """A pool whose processes speak HTTP and WebSocket."""

    silent_crashes = 8
    """Half of a connection that stays is what real shells are most likely to wait for."""

    def __init__(self, seed: int, *, check: bool = True) -> None:
        super().__init__(seed, Batch(seed, jobs=JOBS), agents=AGENTS, check=check)
        self.net = net.Net(self.weather.delay_s)
        self.operators = HttpOperator(f"http://{MASTER}:{MASTER_PORT}/api/v1")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual.VirtualLoop)
        loop.net = self.net
        loop.set_task_factory(_own)

    def make(self, name: str) -> WireLife:
        if name == MASTER:
            return WireLife(self, name, self._master)
        return WireLife(self, name, self._agent if name in self.machines else self._framework)

    def broke(self, context: dict[str, Any]) -> None:
        owner = getattr(context.get("task") or context.get("future"), "life", None)
        handle = context.get("handle")
        if owner is None and handle is not None:
            owner = handle._context.get(LIFE)
        # What breaks in a process that is dead breaks nothing.
        if not isinstance(context.get("exception"), Killed) and (owner is None or owner.alive):
            super().broke(context)

    def start_another(self, name: str) -> None:
        """Here two instances have one host, so the first one ends when the second begins."""
        former = self.processes.get(name)
        if former is not None:
            former.crash()
        super().start_another(name)

    def hatch(self, machine: Machine, spec: launcher.LaunchSpec) -> Guest:
        """The program of a custom executor; its tasks and connections are its own, not those of the agent."""
        host = f"{machine.name}/{spec.container_id}"
        context = contextvars.Context()
        context.run(net.HOST.set, host)
        token = dict(spec.environment)["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"]
        carrier = HttpCarrier(f"http://{machine.name}:{cluster.AGENT_PORT}/api/v1/executor", token)
        program = context.run(self.make_program, machine, spec, carrier)
        return WireGuest(self, host, program, context)

    async def operate(self, call: operator.Call) -> tuple[int, bytes] | None:
        return await self.operators.operate(call)

    async def follow(self, heard: Callable[[bytes], None]) -> None:
        await self.operators.follow(heard)

    # -- faults

    def cut(self, one: str, other: str) -> None:
        self.net.cut(one, other)

    def hold(self, source: str, target: str) -> None:
        self.net.hold(source, target)

    def release(self, source: str, target: str) -> None:
        self.net.release(source, target)

    def spoil(self, one: str, other: str, dice: random.Random) -> None:
        """Each piece of an agent's connection is a WebSocket frame, written at once."""
        for end in self.net.between(one, other):
            end.spoil(repeat=dice.random() < 0.5)

    # -- processes

    async def _master(self, life: WireLife) -> None:
        registry = life.log = MemoryRegistry(self.disks[life.name])
        clock = VirtualClock(asyncio.get_running_loop())
        config = Config(hostname=MASTER, port=MASTER_PORT)
        shell = master_shell.Shell(config, registry=registry, clock=clock, ids=life.ids, check=self.check)
        router = Router(shell, MasterSettings())
        server = HttpServer(router, host=MASTER, port=MASTER_PORT, small=router.small)
        await shell.start()
        life.core = shell.core
        await server.start()
        self.history.line("master serves")
        await shell.run()

    async def _agent(self, life: WireLife) -> None:
        machine = self.machines[life.name]
        log = life.log = MemoryLog(self.disks[life.name])
        tasks = life.launcher = machine.connect()
        node = cluster.node_of(life.name)
        app: Application | None = None
        # The cache of names is on the real clock.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(use_dns_cache=False)) as client:

            async def dial(epoch: int) -> Connection:
                connection = await transport.dial(client, f"{MASTER}:{MASTER_PORT}", epoch=epoch, app=app)
                connection.session = _Overheard(life, epoch=epoch)
                return connection

            outside = agent_shell.Outside(
                log=log,
                launcher=tasks,
                files=MemoryFiles(),
                probes=MemoryProbes(),
                fetcher=_NothingToFetch(),
                clock=VirtualClock(asyncio.get_running_loop()),
                ids=life.ids,
                dial=dial,
                boot_id=machine.boot_id,
                disk_used=lambda: 0.5,
            )
            agent = agent_shell.Agent(node, outside, check=self.check)
            settings = AgentSettings(master=f"{MASTER}:{MASTER_PORT}", work_dir=node.work_dir, ip=node.ip)
            app = Application(agent, settings, Access(None, reading=False, writing=False), ())
            life.core = agent.core
            life.stop = lambda with_tasks, for_good: agent.stop(with_tasks=with_tasks, for_good=for_good)
            await HttpServer(app, host=life.name, port=node.port).start()
            ended = await agent.run()
        self.history.line(f"{life.name} ends: {ended.sentence}")
        if ended.failed and life.alive:
            life.crash()
            self.wipe(life.name)

    async def _framework(self, life: WireLife) -> None:
        store = FencedStore(self.tables[life.name], lambda: self.lives(life.name) == life.number)
        inner = self.workload.framework(self, life.name, store)
        info, left = await inner.recover()
        framework = _Adapted(life, inner, info, left)
        runner = Runner(
            framework,
            Place(masters=(f"http://{MASTER}:{MASTER_PORT}",)),
            now=VirtualClock(asyncio.get_running_loop()).now,
            fraction=life.dice.random,
        )
        life.core = runner.session.core
        sentence = ""
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(framework.tick())
            try:
                await runner.run()
            except SessionEnded as end:
                # A SUBSCRIBE that was held up may arrive after its successor and look like another instance.
                self.history.line(f"{life.name}: the session ended: {end}")
                sentence = str(end)
            finally:
                ticking.cancel()
        framework_id = runner.session.core.info.id
        if "removed" in sentence and framework_id is not None:
            self.history.removed(life.name, framework_id.value)
        await inner.finished(sentence)


class WireGuest:
    """The process of a custom executor."""

    def __init__(self, pool: WireCluster, host: str, program: Program, context: contextvars.Context) -> None:
        self._pool = pool
        self._host = host
        self._program = program
        self._context = context

    def begin(self) -> None:
        self._context.copy().run(self._program.begin)

    def die(self) -> None:
        self._context.copy().run(self._program.die)
        self._pool.net.kill(self._host)


class _Overheard(Session):
    """An agent's session; what the master orders is written into the trace."""

    def __init__(self, life: WireLife, *, epoch: int) -> None:
        super().__init__(Side.AGENT, epoch=epoch)
        self._life = life

    def receive(self, frame: str | bytes) -> tuple[Arrival, ...]:
        arrivals = super().receive(frame)
        for message in arrivals:
            self._life.pool.history.line(f"{self._life.name} hears {type(message).__name__}")
            if isinstance(message, messages.Acknowledge) and self._life.alive:
                self._life.pool.history.acknowledged(message.framework_id, message.task_id, message.uuid)
            elif isinstance(message, messages.ShutdownFramework):
                self._life.pool.history.shut(self._life.name, message.framework_id)
        return arrivals

    def send(self, message: messages.AnyMessage) -> None:
        if isinstance(message, messages.StatusUpdate) and message.status.uuid is not None and self._life.alive:
            task_id, uuid = message.status.task_id.value, message.status.uuid
            self._life.pool.history.updating(self._life.name, message.framework_id, task_id, uuid)
        super().send(message)


class _NothingToFetch:
    """Downloads that are over at once."""

    async def fetch(
        self, uris: tuple[mesos.CommandInfoURI, ...], container_id: str, directory: str, user: str | None
    ) -> fetcher.Fetched:
        return fetcher.Fetched(files=len(uris), size_bytes=0)


class _Adapted(Framework):
    """A workload's framework, as the SDK's users write them."""

    manual_acknowledgement = True

    def __init__(
        self, life: WireLife, inner: scheduler.Framework, info: mesos.FrameworkInfo, left: dict[str, str | None]
    ) -> None:
        self.name = life.name
        self._life = life
        self._inner = inner
        self._info = info
        self._left = left
        self._turn = asyncio.Lock()

    def info(self) -> mesos.FrameworkInfo:
        return self._info

    def tasks(self) -> dict[str, str | None]:
        return self._left

    async def tick(self) -> None:
        """Let the framework look around once a second."""
        while True:
            await asyncio.sleep(TICK_S)
            async with self._turn:
                self._ask_all(await self._inner.tick())

    async def subscribed(self, again: bool) -> None:
        assert self.framework_id is not None
        self._life.pool.history.subscribed(self.name, self.framework_id)
        await self._take(events.Subscribed(cause="", framework_id=self.framework_id, master=MASTER, again=again))

    async def offers(self, offers: list[Offer]) -> None:
        for offer in offers:
            # The workload answers by itself.
            offer.held = True
        await self._take(events.Offered(cause="", offers=tuple(offer.message for offer in offers)))

    async def update(self, status: Status) -> None:
        self._life.pool.history.told(self.name, status.message)
        await self._take(events.Updated(cause="", status=status.message))

    async def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        self._life.pool.history.message(self.name, data)

    def disconnected(self, sentence: str) -> None:
        self._life.pool.history.unsubscribed(self.name)
        self._life.pool.history.line(f"{self.name}: disconnected")

    def refused(self, sentence: str) -> None:
        self._life.pool.history.line(f"{self.name}: refused: {sentence}")

    async def _take(self, event: events.SchedulerEvent) -> None:
        async with self._turn:
            self._ask_all(await self._inner.take(event))

    def _ask_all(self, wanted: list[calls.FrameworkCall]) -> None:
        for call in wanted:
            self.ask(call)


def _own(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    """Tasks belong to the process that makes them."""
    context: contextvars.Context | None = options.get("context")
    life = LIFE.get(None) if context is None else context.get(LIFE)
    task = OwnedTask(work, loop=loop, **options)
    if life is not None:
        life.own(task)
        if not life.alive:
            task.cancel()
    return task


def _visit(point: str) -> None:
    life = LIFE.get(None)
    if life is not None and life.alive:
        life.passes(point)


def run_seed(seed: int, *, faults: bool = True, check: bool = True, without: frozenset[str] = frozenset()) -> Report:
    """Simulate one seed on the wire; `without` names checkers that are switched off."""
    crash.visit(_visit)
    try:
        return virtual.run(
            run.simulate(lambda: WireCluster(seed, check=check), faults=faults, without=without, wire=True)
        )
    finally:
        crash.visit(None)
