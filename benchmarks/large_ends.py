"""Ends of much at once: what they take in all, how long they hold the loop, and what others wait meanwhile.

The master's real shell, engine and streams on one event loop with a registry in memory; no HTTP, so that the figures
are the core's own.  Beside each case a small call is made again and again, as any other client would.

    python -m benchmarks.large_ends --tasks 10000
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.engine.streams import EventStream
from altiplano.kit import eventloop
from altiplano.link import messages as link_messages
from altiplano.master import events
from altiplano.master.shell import Shell
from altiplano.master.state import Config
from altiplano.model import resources
from altiplano.testing.log import MemoryDisk, MemoryRegistry
from altiplano.wire import codec, json, translate
from altiplano.wire.messages import master, mesos, scheduler

DONE_SECONDS_MAX = 60.0


@dataclass(slots=True)
class Watch:
    """The longest time for which nothing else had a turn, and how long small calls took."""

    longest_s: float = 0.0
    calls_s: list[float] = field(default_factory=list)

    async def turns(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now

    async def ask(self, bench: Bench) -> None:
        while True:
            began = time.perf_counter()
            await bench.call(bench.other_id, bench.other, scheduler.CallType.REVIVE)
            self.calls_s.append(time.perf_counter() - began)
            await asyncio.sleep(0.001)


class Bench:
    """One master with one large framework and one small one."""

    def __init__(self, tasks: int, agents: int, *, ports: bool = False) -> None:
        """`ports`: each task holds one of its own."""
        self.tasks, self.agents, self.ports = tasks, agents, ports
        self.disk = MemoryDisk()
        self.numbers = itertools.count(1)
        self.large_id = self.other_id = ""
        self.links: list[tuple[str, str]] = []

    async def start(self, *, failover_timeout_s: float = 3600.0) -> None:
        self.failover_timeout_s = failover_timeout_s
        self.shell = Shell(
            Config(ping_interval_s=3600.0), registry=MemoryRegistry(self.disk), clock=SystemClock(), ids=SystemIds()
        )
        self.state = self.shell.core.state
        await self.shell.start()
        self.task = asyncio.get_running_loop().create_task(self.shell.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def subscribe(self, name: str, framework_id: str | None = None) -> tuple[str, EventStream]:
        kinds = mesos.FrameworkInfoCapabilityType
        info = mesos.FrameworkInfo(
            user="root",
            name=name,
            id=mesos.FrameworkID(value=framework_id) if framework_id else None,
            roles=("*",),
            checkpoint=True,
            failover_timeout=self.failover_timeout_s,
            capabilities=tuple(
                mesos.FrameworkInfoCapability(type=one) for one in (kinds.MULTI_ROLE, kinds.PARTITION_AWARE)
            ),
        )
        subscribe = scheduler.CallSubscribe(framework_info=info, suppressed_roles=("*",))
        stream = self.shell.subscribe(codec.JSON, framework_id, subscribe, None)
        await until(lambda: stream.name in self.state.by_stream)
        return self.state.by_stream[stream.name], stream

    def hello(self, number: int, agent_id: str | None = None) -> link_messages.Hello:
        each = self.tasks // self.agents
        total = translate.resources_to(
            resources.parse(f"cpus:{each + 1};mem:{each * 64 + 64};disk:100000;ports:[20000-{20000 + 2 * each}]"),
            refined=True,
        )
        framework = self.state.frameworks[self.large_id].info
        assert framework is not None
        reports = []
        for index in range(each):
            info = mesos.TaskInfo(
                name="sleep",
                task_id=mesos.TaskID(value=f"task-{number}-{index}"),
                agent_id=mesos.AgentID(value=agent_id or ""),
                resources=_wants(20000 + 2 * index if self.ports else None),
                command=mesos.CommandInfo(value="sleep 1000"),
            )
            status = mesos.TaskStatus(task_id=info.task_id, state=mesos.TaskState.TASK_RUNNING)
            reports.append(
                link_messages.TaskReport(
                    framework_id=self.large_id,
                    task=msgspec.Raw(json.encode(info)),
                    state="TASK_RUNNING",
                    statuses=(status,),
                )
            )
        return link_messages.Hello(
            version=link_messages.VERSION,
            agent=mesos.AgentInfo(
                hostname=f"host{number}",
                resources=total,
                id=mesos.AgentID(value=agent_id) if agent_id is not None else None,
            ),
            tasks=tuple(reports),
            frameworks=(framework,),
        )

    def says(self, number: int, message: link_messages.FromAgent) -> None:
        self.shell.engine.post(
            events.AgentSays(link=f"link-{number}", peer="127.0.0.1:1", message=message, cause="bench")
        )

    async def fill(self) -> None:
        self.large_id, self.large = await self.subscribe("large")
        self.other_id, self.other = await self.subscribe("other")
        for number in range(self.agents):
            self.says(number, self.hello(number))
        await until(lambda: len(self.state.frameworks[self.large_id].tasks) == self.tasks)
        await until(lambda: not self.state.allocator.running)

    async def call(self, framework_id: str, stream: EventStream, kind: scheduler.CallType) -> int:
        call = scheduler.Call(type=kind, framework_id=mesos.FrameworkID(value=framework_id))
        return await answered(lambda done: self.shell.call(call, stream.name, None, done))


def _wants(port: int | None) -> tuple[mesos.Resource, ...]:
    text = "cpus:1;mem:64" if port is None else f"cpus:1;mem:64;ports:[{port}-{port}]"
    return translate.resources_to(resources.parse(text).allocate("*"), refined=True, allocation=True)


async def answered(ask: Callable[[Callable[[int, str], None]], None]) -> int:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ask(lambda status, _: answer.set_result(status))
    return await answer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DONE_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 -- what is waited for is the state of a core, which rings nothing
            await asyncio.sleep(0)


async def watched(bench: Bench, what: str, begin: Callable[[], Awaitable[object]], over: Callable[[], bool]) -> None:
    watch = Watch()
    others = [asyncio.create_task(watch.turns()), asyncio.create_task(watch.ask(bench))]
    await asyncio.sleep(0.1)
    watch.longest_s, watch.calls_s = 0.0, []
    began = time.perf_counter()
    await begin()
    await until(over)
    took = time.perf_counter() - began
    await asyncio.sleep(0.01)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    calls = sorted(watch.calls_s) or [took]
    p99 = calls[min(len(calls) - 1, int(len(calls) * 0.99))]
    print(
        f"{what:34} {bench.tasks} tasks on {bench.agents:5} agents: {took * 1e3:7.0f} ms in all, "
        f"longest hold {watch.longest_s * 1e3:7.1f} ms, small call p50 {statistics.median(calls) * 1e3:6.2f} ms "
        f"p99 {p99 * 1e3:7.1f} ms ({len(calls)} calls)",
        flush=True,
    )


async def teardown(bench: Bench) -> None:
    await watched(
        bench,
        "TEARDOWN",
        lambda: bench.call(bench.large_id, bench.large, scheduler.CallType.TEARDOWN),
        lambda: bench.large_id in bench.state.completed,
    )


async def silence(bench: Bench) -> None:
    agent_id = next(iter(bench.state.agents))

    async def begin() -> None:
        bench.shell.engine.post(events.LinkClosed(link="link-0", reason="bench", cause="bench"))
        agent = bench.state.agents[agent_id]
        agent.misses = bench.state.config.ping_misses_max
        await until(lambda: not agent.connected)
        bench.state.timers.set("ping", agent_id, 0.0)
        bench.shell.engine.post(events.LinkClosed(link="nobody", reason="bench", cause="bench"))

    await watched(bench, "loss of an agent", begin, lambda: agent_id not in bench.state.agents)


async def gone(bench: Bench) -> None:
    agent_id = next(iter(bench.state.agents))
    call = master.Call(
        type=master.CallType.MARK_AGENT_GONE,
        mark_agent_gone=master.CallMarkAgentGone(agent_id=mesos.AgentID(value=agent_id)),
    )
    await watched(
        bench,
        "MARK_AGENT_GONE",
        lambda: answered(lambda done: bench.shell.operate(call, None, done)),
        lambda: agent_id not in bench.state.agents,
    )


async def deadline(bench: Bench) -> None:
    async def begin() -> None:
        bench.shell.left(bench.large, "bench")

    await watched(bench, "failover deadline", begin, lambda: bench.large_id in bench.state.completed)


async def returned(bench: Bench) -> None:
    """The master has restarted; its agents come back with their tasks."""
    known = [agent.id for agent in bench.state.agents.values()]
    hellos = [bench.hello(number, agent_id) for number, agent_id in enumerate(known)]
    other_id = bench.other_id
    await bench.stop()
    bench.disk.holder = None
    await bench.start()
    bench.other_id, bench.other = await bench.subscribe("other", other_id)

    async def begin() -> None:
        for number, hello in enumerate(hellos):
            bench.says(number, hello)

    def over() -> bool:
        framework = bench.state.frameworks.get(bench.large_id)
        return framework is not None and len(framework.tasks) == bench.tasks

    await watched(bench, "return after a restart", begin, over)


CASES = {
    "teardown": teardown,
    "silence": silence,
    "gone": gone,
    "deadline": deadline,
    "returned": returned,
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--agents", type=int, nargs="*", default=[1, 1000])
    parser.add_argument("--ports", action="store_true", help="let each task hold a port of its own")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    for name in arguments.cases:
        for agents in arguments.agents:
            if name in ("silence", "gone") and agents > 1:
                continue
            bench = Bench(arguments.tasks, agents, ports=arguments.ports)
            await bench.start(failover_timeout_s=0.01 if name == "deadline" else 3600.0)
            await bench.fill()
            await CASES[name](bench)
            await bench.stop()


if __name__ == "__main__":
    eventloop.run(main())
