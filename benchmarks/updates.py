"""Acknowledged status updates: the full cycle through the real API.

An emulated agent (the real link, no processes) tells an update, the master passes it to a framework, the framework
acknowledges, the master passes the acknowledgement to the agent, which tells the next one.  Every task is a cycle of
its own.  Agent and framework share a process, which is as busy as the master; the note tells
what the master alone needs for one cycle.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Iterable

import aiohttp

from altiplano import sdk
from altiplano.kit import eventloop
from altiplano.link import messages, transport
from altiplano.link.session import Arrival
from altiplano.sdk import credentials
from altiplano.wire import json
from altiplano.wire.messages import mesos
from benchmarks.measure import Measurement, Pool, cpu_seconds, master_only

TASKS = 256
WARM_SECONDS = 2.0
SECONDS = 8.0


class Updates(sdk.Framework):
    """Launches its tasks and lets the session acknowledge what is told about them."""

    name = "updates"

    def __init__(self) -> None:
        self.launched = self.told = 0

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            while self.launched < TASKS:
                self.launched += 1
                offer.launch(sdk.Task(command=("true",), id=f"update-{self.launched}", cpus=0.1, mem=1))
            offer.decline(3600.0)

    def update(self, status: sdk.Status) -> None:
        self.told += 1


class Agent:
    """Tells an update of every task, and the next one when that is acknowledged."""

    def __init__(self) -> None:
        self.id = ""
        self.acknowledged = 0
        self.numbers = itertools.count(1)
        self.statuses: dict[str, mesos.TaskStatus] = {}

    async def run(self, master: str) -> None:
        async with aiohttp.ClientSession() as client:
            connection = await transport.dial(client, master, epoch=0, app=None)
            resources = tuple(
                mesos.Resource(name=name, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))
                for name, value in (("cpus", 64.0), ("mem", 65536.0), ("disk", 65536.0))
            )
            info = mesos.AgentInfo(hostname="emulated", port=1, resources=resources)
            connection.send(messages.Hello(version=messages.VERSION, agent=info, cause="hello"))
            await connection.run(self.heard)

    def heard(self, connection: transport.Connection, arrival: Arrival) -> None:
        match arrival:
            case messages.Welcome():
                self.id = arrival.agent_id
            case messages.Ping():
                connection.send(messages.Pong(cause=arrival.cause))
            case messages.RunTask():
                task = json.decode(mesos.TaskInfo, bytes(arrival.task))
                assert arrival.framework.id is not None
                self.tell(connection, arrival.framework.id.value, task.task_id.value)
            case messages.Acknowledge():
                self.acknowledged += 1
                self.tell(connection, arrival.framework_id, arrival.task_id)

    def tell(self, connection: transport.Connection, framework_id: str, task_id: str) -> None:
        status = mesos.TaskStatus(
            task_id=mesos.TaskID(value=task_id),
            state=mesos.TaskState.TASK_RUNNING,
            agent_id=mesos.AgentID(value=self.id),
            executor_id=mesos.ExecutorID(value=task_id),
            source=mesos.TaskStatusSource.SOURCE_EXECUTOR,
            timestamp=time.time(),
            uuid=uuid.UUID(int=next(self.numbers), version=4).bytes,
        )
        connection.send(
            messages.StatusUpdate(
                framework_id=framework_id, status=status, latest_state="TASK_RUNNING", cause=f"task {task_id}"
            )
        )


async def cycle(running: Pool) -> tuple[float, float]:
    """Cycles per second, and processor seconds of the master for one."""
    agent, framework = Agent(), Updates()
    emulated = asyncio.create_task(agent.run(running.address))
    served = asyncio.create_task(sdk.serve(framework, credentials.find(running.address)))
    await asyncio.sleep(WARM_SECONDS)
    before, cpu, start = agent.acknowledged, cpu_seconds(running.master.pid), time.perf_counter()
    await asyncio.sleep(SECONDS)
    count, seconds = agent.acknowledged - before, time.perf_counter() - start
    cpu = cpu_seconds(running.master.pid) - cpu
    framework.leave()
    await served
    emulated.cancel()
    await asyncio.gather(emulated, return_exceptions=True)
    if count == 0:
        raise SystemExit("no update was acknowledged")
    return count / seconds, cpu / count


def run() -> Iterable[Measurement]:
    with master_only() as running:
        rate, each = eventloop.run(cycle(running))
    yield Measurement(
        name="updates",
        value=rate,
        unit="cycles/s",
        better="higher",
        goal=5_000,
        note=f"{each * 1e6:.0f} us of the master's processor time each; client in one process",
    )
