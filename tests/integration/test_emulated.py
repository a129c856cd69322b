"""Emulated agents on a real master: they come back with their tasks when it was killed; and the command for people."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter

from altiplano import sdk
from altiplano.sdk import credentials
from altiplano.testing import emulated
from tests.integration.masters import Master, started
from tests.integration.pools import ALTIPLANO, wait_until

AGENTS = 200
TASKS = 600
WAIT_S = 40.0


class Many(sdk.Framework):
    """Runs tasks on as many machines as it is offered, and kills them when told to."""

    name = "many"
    failover_timeout_s = 600.0

    def __init__(self) -> None:
        self.launched: set[str] = set()
        self.states: dict[str, sdk.State] = {}
        self.ends: Counter[str] = Counter()
        self.changed = asyncio.Event()

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            tasks = []
            while len(self.launched) < TASKS and len(tasks) < TASKS // AGENTS:
                name = f"t-{len(self.launched)}"
                self.launched.add(name)
                tasks.append(sdk.Task(command=("true",), id=name, cpus=1, mem=128))
            if tasks:
                offer.launch(*tasks)
            offer.decline(3600.0)

    def update(self, status: sdk.Status) -> None:
        self.ends[status.task_id] += status.state.ended
        self.states[status.task_id] = status.state
        self.changed.set()

    async def all_are(self, state: sdk.State) -> None:
        async with asyncio.timeout(WAIT_S):
            while Counter(self.states.values())[state] < TASKS:
                self.changed.clear()
                await self.changed.wait()


async def test_agents_come_back_with_their_tasks_when_the_master_was_killed() -> None:
    with started() as master:
        swarm = emulated.Swarm(master.address, emulated.machines(AGENTS, "cpus:8;mem:4096"))
        many = Many()
        async with swarm.running(), asyncio.TaskGroup() as group:
            await swarm.joined()
            served = group.create_task(sdk.serve(many, credentials.find(master.address)))
            await many.all_are(sdk.State.RUNNING)
            before = {member.twin.id: member.twin.tasks for member in swarm.members}
            for _ in range(2):
                await asyncio.to_thread(master.kill)
                await asyncio.to_thread(master.start)
                async with asyncio.timeout(WAIT_S):
                    await swarm.joined()
                    await asyncio.to_thread(wait_until, lambda: running(master) == TASKS, "all are back", WAIT_S)
            assert {member.twin.id: member.twin.tasks for member in swarm.members} == before
            assert swarm.launched == TASKS
            for name in many.launched:
                many.kill(name)
            await many.all_are(sdk.State.KILLED)
            assert swarm.tasks == 0
            assert set(many.ends.values()) == {1}
            many.stop()
            await served
        for member in swarm.members:
            member.twin.check()


def running(master: Master) -> int:
    tasks = master.ask(f"/tasks?limit={TASKS * 2}")["tasks"]
    return sum(task["state"] == "TASK_RUNNING" for task in tasks)


def test_the_command_fills_a_pool_with_machines_that_run_nothing() -> None:
    with started() as master:
        words = (
            "emulate",
            "--master",
            master.address,
            "--agents",
            "50",
            "--tasks-seconds",
            "0.1",
            "--seconds",
            "8",
            "--json",
        )
        emulate = subprocess.Popen([*ALTIPLANO, *words], stdout=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: len(master.ask("/slaves")["slaves"]) == 50, "all machines are there")
            ran = subprocess.run(
                [*ALTIPLANO, "run", "--master", master.address, "--", "false"],
                capture_output=True,
                text=True,
                timeout=WAIT_S,
                check=False,
            )
            # Nothing ran that could fail.
            assert ran.returncode == 0, ran.stderr
            output, _ = emulate.communicate(timeout=WAIT_S)
        finally:
            emulate.kill()
            emulate.wait()
        assert emulate.returncode == 0
        first, *_ = output.splitlines()
        assert json.loads(first) == {"members": 50, "machines": 50, "tasks": 0, "launched": 0}
