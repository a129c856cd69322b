"""A whole pool in one event loop: a master, agents on machines, schedulers, and what connects them.

A process that ends, for whatever reason, is started again after a while, as an init system does.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Protocol

from altiplano.agent.settings import Node
from altiplano.sim.agent import AgentProcess
from altiplano.sim.checkers import Checker, all_checkers
from altiplano.sim.history import History, Violation
from altiplano.sim.machine import Machine
from altiplano.sim.master import MASTER, MasterProcess, Request
from altiplano.sim.process import Parts
from altiplano.sim.scheduler import SchedulerProcess
from altiplano.sim.weather import End, Weather
from altiplano.sim.workloads import Workload
from altiplano.testing.ids import SeededIds
from altiplano.testing.log import MemoryDisk, MemoryLog, MemoryRegistry
from altiplano.testing.store import MemoryTable
from altiplano.wire import json
from altiplano.wire.messages import mesos, scheduler

RESTART_S_MAX = 6.0
"""A process that ended is back within this time."""

DIAL_S_MAX = 10.0
FLUSH_S_TYPICAL = 0.003
AGENT_CPUS = 4.0
AGENT_MEM_MB = 4096.0


def make_log(disk: MemoryDisk, registry: bool) -> MemoryLog:
    return MemoryRegistry(disk) if registry else MemoryLog(disk)


class Life(Protocol):
    """A process from its start to its end."""

    name: str
    alive: bool
    crash_after_effects: int | None

    @property
    def core(self) -> object | None:
        """What decides in it; None before it has recovered."""
        ...

    def begin(self) -> None: ...

    def crash(self, *, silently: bool = False) -> None: ...


class Cluster:
    """Everything that exists in one simulation."""

    silent_crashes = 1
    """How often nobody is told of a crash, as a weight among faults."""

    def __init__(
        self, seed: int, workload: Workload, *, agents: int = 3, parts: Parts | None = None, check: bool = True
    ) -> None:
        self.seed = seed
        self.workload = workload
        self.check = check
        self.parts = parts or Parts(make_log)
        self.dice = random.Random(f"{seed} cluster")
        self.ids = SeededIds(seed)
        self.weather = Weather(random.Random(f"{seed} weather"))
        self.history = History()
        self.machines = {
            f"agent-{number}": Machine(name=f"agent-{number}", history=self.history, latency_s=0.001)
            for number in range(1, agents + 1)
        }
        self.flush_factor = 1.0
        flushes = random.Random(f"{seed} disks")
        self.disks = {
            name: MemoryDisk(flush_s=lambda: self.flush_factor * flushes.expovariate(1 / FLUSH_S_TYPICAL))
            for name in (MASTER, *self.machines)
        }
        self.tables = {
            name: MemoryTable(flush_s=lambda: self.flush_factor * flushes.expovariate(1 / FLUSH_S_TYPICAL))
            for name in workload.frameworks
        }
        self.processes: dict[str, Life] = {}
        self.checkers: list[Checker] = all_checkers(self)
        self.history.checkers = self.checkers
        self._lives: Counter[str] = Counter()
        self._listening: MasterProcess | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (MASTER, *self.machines, *self.tables)

    def lives(self, name: str) -> int:
        """How many processes of this name there have been."""
        return self._lives[name]

    def start_all(self) -> None:
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        """Start a process, unless it runs."""
        present = self.processes.get(name)
        if present is not None and present.alive:
            return
        self._lives[name] += 1
        self.history.line(f"{name} starts")
        process = self.processes[name] = self.make(name)
        process.begin()

    def make(self, name: str) -> Life:
        """A new process; it begins later."""
        if name == MASTER:
            return MasterProcess(self, self.disks[name])
        if name in self.machines:
            return AgentProcess(self, self.machines[name], self.disks[name], node_of(name))
        return SchedulerProcess(self, name, self.tables[name])

    def broke(self, context: dict[str, Any]) -> None:
        """A callback outside of any task has failed."""
        error = context.get("exception")
        violation = Violation(f"processes do not break: {context['message']}: {error!r}")
        violation.__cause__ = error
        self.history.fail(violation)

    def cut(self, one: str, other: str) -> None:
        """Break all connections between two hosts."""
        self.weather.cut(one, other)

    def hold(self, source: str, target: str) -> None:
        """Let nothing pass in one direction until `release`."""
        self.weather.hold(source, target)

    def release(self, source: str, target: str) -> None:
        self.weather.release(source, target)

    def spoil(self, one: str, other: str, dice: random.Random) -> None:
        """Lose or double what is sent next at each end of the connections between two hosts."""
        for end in self.weather.between(one, other):
            end.spoil(repeat=dice.random() < 0.5)

    def ended(self, process: Any) -> None:
        """A process is gone; the next one comes by itself."""
        if self._listening is process:
            self._listening = None
        asyncio.get_running_loop().call_later(self.dice.uniform(0.05, RESTART_S_MAX), self.start, process.name)

    def listens(self, master: MasterProcess) -> None:
        self._listening = master

    async def dial_master(self, name: str) -> End | None:
        """A link from an agent; None when nobody answers."""
        master = await self._reach(name)
        if master is None:
            return None
        here, there = self.weather.connect(name, MASTER)
        master.accept_link(there)
        return here

    async def connect_master(self, name: str) -> End | None:
        """An HTTP connection from a scheduler; None when nobody answers."""
        master = await self._reach(name)
        if master is None:
            return None
        here, there = self.weather.connect(name, MASTER)

        def request(request: Request) -> None:
            if json.decode(scheduler.Call, request.body).type is scheduler.CallType.SUBSCRIBE:
                master.accept_stream(there, request)
            else:
                master.accept_call(there, request)

        there.heard = request
        return here

    async def _reach(self, name: str) -> MasterProcess | None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + DIAL_S_MAX
        await asyncio.sleep(self.weather.delay_s())
        while self.weather.is_held(name, MASTER) or self.weather.is_held(MASTER, name):
            if loop.time() > deadline_s:
                return None
            await asyncio.sleep(0.5)
        return self._listening


def node_of(name: str) -> Node:
    """The machine of an agent, as it knows it."""
    amounts = {"cpus": AGENT_CPUS, "mem": AGENT_MEM_MB}
    return Node(
        work_dir="/var/lib/altiplano/agent",
        hostname=name,
        ip="10.0.0.1",
        port=5051,
        resources=tuple(
            mesos.Resource(name=what, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=amount))
            for what, amount in amounts.items()
        ),
    )
