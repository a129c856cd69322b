"""Launches over many emulated agents, through the real API and the real link.

A framework launches tasks as fast as offers come; 1,000 agents, each a connection of its own, tell STARTING, RUNNING
and FINISHED at once.  Framework, agents and master share the machine: the framework and the agents are a process each,
so that the master is the busiest; the note tells what it alone needs for one task with its three acknowledged updates.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterable
from multiprocessing.synchronize import Event

from altiplano.kit import eventloop
from altiplano.testing import emulated
from benchmarks import storm
from benchmarks.measure import Measurement, cpu_seconds, log, master_only

AGENTS = 1000
TASKS = 20_000
CPUS_EACH = 0.5
JOIN_SECONDS_MAX = 60.0


def agents(address: str, joined: Event, over: Event) -> None:
    """The process of the agents."""
    eventloop.run(_agents(address, joined, over))


async def _agents(address: str, joined: Event, over: Event) -> None:
    infos = emulated.machines(AGENTS, "cpus:8;mem:16384")
    swarm = emulated.Swarm(address, infos, emulated.running_for(0.0))
    async with swarm.running():
        await swarm.joined()
        joined.set()
        await asyncio.to_thread(over.wait)


def run() -> Iterable[Measurement]:
    started = multiprocessing.get_context("spawn")
    with master_only() as running:
        joined, over = started.Event(), started.Event()
        process = started.Process(target=agents, args=(running.address, joined, over))
        process.start()
        try:
            if not joined.wait(JOIN_SECONDS_MAX):
                raise SystemExit(f"{AGENTS} agents have not joined within {JOIN_SECONDS_MAX:g} s")
            before = cpu_seconds(running.master.pid)
            done = storm.run(storm.Storm(("true",), TASKS, cpus=CPUS_EACH, mem=32), running.address)
            each = (cpu_seconds(running.master.pid) - before) / TASKS
            log(f"{TASKS} tasks on {AGENTS} agents in {done.seconds:.1f} s")
        finally:
            over.set()
            process.join(10)
            process.kill()
    yield Measurement(
        name="emulated_launches",
        value=TASKS / done.seconds,
        unit="tasks/s",
        better="higher",
        goal=1_500,
        note=f"{AGENTS} agents; {each * 1e6:.0f} us of the master's processor time each, three updates included",
    )
