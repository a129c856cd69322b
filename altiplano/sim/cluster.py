"""A whole pool in one event loop: a master, agents on machines, schedulers, and what connects them.

A process that ends, for whatever reason, is started again after a while, as an init system does.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from altiplano.agent.settings import Node
from altiplano.master.core import Core as MasterCore
from altiplano.ports import launcher
from altiplano.sim.agent import AgentProcess
from altiplano.sim.checkers import Checker, all_checkers
from altiplano.sim.conduits import ConduitCarrier
from altiplano.sim.executor import Carrier, Program
from altiplano.sim.history import History, Violation
from altiplano.sim.loop import START_MONO_S
from altiplano.sim.machine import Guest, Machine, Run, programs
from altiplano.sim.master import MASTER, MasterProcess, Request
from altiplano.sim.process import Parts
from altiplano.sim.scheduler import SchedulerProcess
from altiplano.sim.weather import End, Weather
from altiplano.sim.workloads import Workload
from altiplano.testing.clock import START_WALL_S
from altiplano.testing.ids import SeededIds
from altiplano.testing.log import MemoryDisk, MemoryLog, MemoryRegistry
from altiplano.testing.store import MemoryTable
from altiplano.wire import json
from altiplano.wire.messages import master as operator
from altiplano.wire.messages import mesos, scheduler

RESTART_S_MAX = 6.0
"""A process that ended is back within this time."""

OVERLAP_S_MAX = 25.0
"""For so long two instances of one framework may run."""

DIAL_S_MAX = 10.0
FLUSH_S_TYPICAL = 0.003
AGENT_CPUS = 4.0
AGENT_MEM_MB = 4096.0
AGENT_DISK_MB = 10_000.0
AGENT_PORT = 5051
EXECUTOR_SECRET = b"the same in all seeds"
"""Signs the tokens of executors: without them a late call of a dead one may be taken for one of its successor."""

OPERATOR = "operator"
EXECUTOR_PATIENCE_S = 900.0
"""For so long an executor looks for its agent, as MESOS_RECOVERY_TIMEOUT says."""


def make_log(disk: MemoryDisk, registry: bool) -> MemoryLog:
    return MemoryRegistry(disk) if registry else MemoryLog(disk)


@dataclass(slots=True)
class Asked:
    """What people have asked for and nobody else may do: checkers want to know who is to blame."""

    gone: dict[str, float] = field(default_factory=dict)
    """Agents marked gone, by the time of the first call."""
    torn: dict[str, float] = field(default_factory=dict)
    """Frameworks torn down, by the time of the first call."""
    stopped: set[str] = field(default_factory=set)
    """Machines whose agent was told to end with its tasks."""
    parted: set[str] = field(default_factory=set)
    """Machines whose agent was told to leave for good."""


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

    def order_stop(self, *, with_tasks: bool, for_good: bool) -> None:
        """A person wants an agent's process to end; asked of agents only."""
        ...

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
            f"agent-{number}": Machine(
                name=f"agent-{number}",
                history=self.history,
                latency_s=0.001,
                wall_offset_s=START_WALL_S - START_MONO_S,
                programs=programs,
                hatch=self.hatch,
            )
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
        self.asked = Asked()
        self._lives: Counter[str] = Counter()
        self._listening: MasterProcess | None = None
        self._agents_listening: dict[str, AgentProcess] = {}
        self._absent_until_s: dict[str, float] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return (MASTER, *self.machines, *self.tables)

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def master_core(self) -> MasterCore | None:
        """The core of the master that is in office, if it has recovered."""
        process = self.processes.get(MASTER)
        core = process.core if process is not None and process.alive else None
        return core if isinstance(core, MasterCore) and core.state.master_id else None

    def running(self) -> list[Run]:
        """What really runs, on all machines."""
        return [run for machine in self.machines.values() for run in machine.running.values()]

    def lives(self, name: str) -> int:
        """How many processes of this name there have been."""
        return self._lives[name]

    def start_all(self) -> None:
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        """Start a process, unless it runs or is to stay away."""
        present = self.processes.get(name)
        absent_s = self._absent_until_s.get(name, 0.0) - asyncio.get_running_loop().time()
        if (present is not None and present.alive) or absent_s == math.inf:
            return
        if absent_s > 0:
            asyncio.get_running_loop().call_later(absent_s, self.start, name)
            return
        self.start_another(name)

    def start_another(self, name: str) -> None:
        """Start a process, and let it take the place of one that may still run: that one ends after a while."""
        former = self.processes.get(name)
        if former is not None and former.alive:
            asyncio.get_running_loop().call_later(self.dice.uniform(0.5, OVERLAP_S_MAX), former.crash)
        self._lives[name] += 1
        self.history.line(f"{name} starts")
        process = self.processes[name] = self.make(name)
        process.begin()

    def keep_away(self, name: str, length_s: float) -> None:
        """A process dies and does not come back for a while; with infinity never."""
        now_s = asyncio.get_running_loop().time()
        self._absent_until_s[name] = max(now_s + length_s, self._absent_until_s.get(name, 0.0))
        self.processes[name].crash()

    def is_absent(self, name: str) -> bool:
        """Whether a process is kept away for ever."""
        return self._absent_until_s.get(name) == math.inf

    def wipe(self, name: str) -> None:
        """The operator of an agent that may not return gives it a new work directory."""
        self.history.line(f"{name} gets a new work directory")
        disk = self.disks[name]
        self.disks[name] = MemoryDisk(flush_s=disk.flush_s)
        self.machines[name].abandon()

    def hatch(self, machine: Machine, spec: launcher.LaunchSpec) -> Guest:
        """The program of a custom executor."""
        name = f"{machine.name}/{spec.container_id}"
        carrier = ConduitCarrier(self, machine.name, name)
        return self.make_program(machine, spec, carrier)

    def make_program(self, machine: Machine, spec: launcher.LaunchSpec, carrier: Carrier) -> Program:
        dice = random.Random(f"{self.seed} {spec.container_id}")
        return Program(machine, spec, carrier, dice=dice, patience_s=EXECUTOR_PATIENCE_S)

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
        """Lose, double or swap what is sent next at each end of the connections between two hosts."""
        for end in self.weather.between(one, other):
            if dice.random() < 0.3:
                end.swap()
            else:
                end.spoil(repeat=dice.random() < 0.5)

    def ended(self, process: Any) -> None:
        """A process is gone; the next one comes by itself."""
        name = process.name
        if self._listening is process:
            self._listening = None
        if self._agents_listening.get(name) is process:
            del self._agents_listening[name]
        if self.processes.get(name) is not process:
            return
        asyncio.get_running_loop().call_later(self.dice.uniform(0.05, RESTART_S_MAX), self.start, name)

    def agent_listens(self, agent: AgentProcess) -> None:
        self._agents_listening[agent.name] = agent

    def dial_agent(self, machine: str, host: str) -> End | None:
        """A connection from the program of an executor to the agent of its machine; None when nobody answers."""
        agent = self._agents_listening.get(machine)
        if agent is None:
            return None
        here, there = self.weather.connect(host, machine)
        agent.accept_executor(there, host.rpartition("/")[2])
        return here

    async def operate(self, call: operator.Call) -> tuple[int, bytes] | None:
        """An operator's call and its answer; None where the connection broke before."""
        end = await self._operator_end()
        if end is None:
            return None
        answer: asyncio.Future[tuple[int, bytes] | None] = asyncio.get_running_loop().create_future()
        end.heard = lambda item: None if answer.done() else answer.set_result((item.status, item.body))
        end.ended = lambda reason: None if answer.done() else answer.set_result(None)
        end.send(Request(json.encode(call)))
        try:
            return await answer
        finally:
            end.close("the operator has its answer")

    async def follow(self, heard: Callable[[bytes], None]) -> None:
        """Hear everything that happens as an operator does; returns when the stream has ended."""
        end = await self._operator_end()
        if end is None:
            return
        ended = asyncio.get_running_loop().create_future()
        end.heard = lambda item: heard(item.body)
        end.ended = lambda reason: None if ended.done() else ended.set_result(None)
        end.send(Request(json.encode(operator.Call(type=operator.CallType.SUBSCRIBE))))
        try:
            await ended
        finally:
            end.heard = end.ended = lambda _: None
            end.close("the operator does not follow any more")

    async def _operator_end(self) -> End | None:
        master = await self._reach(OPERATOR)
        if master is None:
            return None
        here, there = self.weather.connect(OPERATOR, MASTER)
        there.heard = lambda request: master.accept_operator(there, request)
        return here

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
    amounts = {"cpus": AGENT_CPUS, "mem": AGENT_MEM_MB, "disk": AGENT_DISK_MB}
    return Node(
        work_dir="/var/lib/altiplano/agent",
        hostname=name,
        ip="10.0.0.1",
        port=AGENT_PORT,
        executor_secret=EXECUTOR_SECRET,
        resources=tuple(
            mesos.Resource(name=what, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=amount))
            for what, amount in amounts.items()
        ),
    )
