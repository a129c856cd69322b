"""Jobs of all kinds: short and long, failing, deaf to signals, killed by their owner, tried again when lost.

Each framework is a small but honest batch system: it writes down its id before it launches, each
task before it accepts an offer for it, and each status before it acknowledges.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from altiplano.model.tasks import State
from altiplano.sdk import calls, events
from altiplano.sdk.offers import Offer, calls_for
from altiplano.sdk.tasks import Task
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.testing.store import MemoryStore

OWN_ENDS = frozenset({State.FINISHED, State.FAILED, State.KILLED})
"""Ends that a task comes to by itself or by its owner; after any other end the job is tried again."""

FAILOVER_S = 7 * 86400.0
WINDOW_S = 130.0
"""Jobs arrive within this time."""

UNTIL_KILLED_S = 1_000_000

AWAY_S_MAX = 300.0
"""A task that is out of reach for so long is tried again elsewhere: its agent may never return by that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    name: str
    at_s: float
    cpus: float
    mem: float
    script: str
    kill_after_s: float | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a framework remembers of a task."""

    job: str
    agent_id: str
    state: str = State.STAGING.value
    kill: bool = False
    uuids: tuple[str, ...] = ()
    """Updates that were taken."""

    @property
    def away(self) -> bool:
        return self.state == State.UNREACHABLE.value

    @property
    def ended(self) -> bool:
        return State(self.state).ended


class Batch:
    """The workload of one seed."""

    def __init__(self, seed: int, *, frameworks: int = 2, jobs: int = 16) -> None:
        dice = random.Random(f"{seed} batch")
        self.frameworks = tuple(f"batch-{number}" for number in range(1, frameworks + 1))
        self.jobs: Mapping[str, tuple[Job, ...]] = {
            name: tuple(_job(dice, f"{name}.{number}") for number in range(jobs)) for name in self.frameworks
        }
        self._by_name = {job.name: job for jobs_of in self.jobs.values() for job in jobs_of}

    def framework(self, cluster: Cluster, name: str, store: MemoryStore) -> BatchFramework:
        return BatchFramework(name, self.jobs[name], store)

    def needs(self, task_id: str) -> tuple[float, float]:
        job = self._by_name[task_id.rpartition("-")[0]]
        return job.cpus, job.mem

    def was_killed(self, cluster: Cluster, framework: str, task_id: str) -> bool:
        entry = entries(cluster.tables[framework].entries).get(task_id)
        return entry is not None and entry.kill

    def has_kept(self, cluster: Cluster, task_id: str, uuid: bytes) -> bool:
        kept = cluster.tables[task_id.partition(".")[0]].entries
        entry = entries(kept).get(task_id)
        return entry is not None and uuid.hex() in entry.uuids

    def missing(self, cluster: Cluster) -> list[str]:
        found = []
        for name, jobs in self.jobs.items():
            known = entries(cluster.tables[name].entries)
            done = {entry.job for entry in known.values() if State(entry.state) in OWN_ENDS}
            found += [f"job {job.name} has not come to an end" for job in jobs if job.name not in done]
            found += [
                f"task {task} is still {entry.state}"
                for task, entry in known.items()
                if not entry.ended and not (entry.away and entry.job in done)
            ]
        return found


class BatchFramework:
    """One life of a batch system."""

    def __init__(self, name: str, jobs: tuple[Job, ...], store: MemoryStore) -> None:
        self.name = name
        self._jobs = jobs
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._runs_since: dict[str, float] = {}
        self._away_since: dict[str, float] = {}
        self._registered = False
        self._suppressed = False

    async def recover(self) -> tuple[mesos.FrameworkInfo, dict[str, str | None]]:
        stored_id = await self._store.get("id")
        self._entries = entries({key: (value, 0) for key, value in (await self._store.list("task/")).items()})
        self._registered = stored_id is not None
        now_s = asyncio.get_running_loop().time()
        self._away_since = {task: now_s for task, entry in self._entries.items() if entry.away}
        self._runs_since = {task: now_s for task, entry in self._entries.items() if entry.state == State.RUNNING.value}
        info = mesos.FrameworkInfo(
            user="root",
            name=self.name,
            id=mesos.FrameworkID(value=stored_id[0].decode()) if stored_id is not None else None,
            roles=(self.name,),
            checkpoint=True,
            failover_timeout=FAILOVER_S,
            capabilities=tuple(
                mesos.FrameworkInfoCapability(type=one)
                for one in (
                    mesos.FrameworkInfoCapabilityType.MULTI_ROLE,
                    mesos.FrameworkInfoCapabilityType.PARTITION_AWARE,
                    mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE,
                )
            ),
        )
        return info, {task: entry.agent_id for task, entry in self._entries.items() if not entry.ended}

    async def take(self, event: events.SchedulerEvent) -> list[calls.FrameworkCall]:
        match event:
            case events.Subscribed():
                await self._store.put("id", event.framework_id.encode())
                self._registered = True
                return [self._kill(task) for task, entry in self._entries.items() if entry.kill and not entry.ended]
            case events.Offered():
                return await self._offered([Offer(message) for message in event.offers])
            case events.Updated():
                return await self._updated(event.status)
            case _:
                return []

    async def tick(self) -> list[calls.FrameworkCall]:
        """Kill what is due, and say whether offers are wanted."""
        wanted: list[calls.FrameworkCall] = []
        for task, entry in list(self._entries.items()):
            kill_after_s = self._job(entry.job).kill_after_s
            since_s = self._runs_since.get(task)
            if kill_after_s is None or entry.kill or entry.ended or since_s is None:
                continue
            if asyncio.get_running_loop().time() - since_s >= kill_after_s:
                await self._write(task, msgspec.structs.replace(entry, kill=True))
                wanted.append(self._kill(task))
        if bool(self._pending()) == self._suppressed:
            self._suppressed = not self._suppressed
            wanted.append(calls.Suppress() if self._suppressed else calls.Revive())
        return wanted

    async def _offered(self, offers: list[Offer]) -> list[calls.FrameworkCall]:
        pending = self._pending() if self._registered else []
        for offer in offers:
            for job in list(pending):
                attempt = sum(entry.job == job.name for entry in self._entries.values())
                task = Task(command=job.script, id=f"{job.name}-{attempt}", cpus=job.cpus, mem=job.mem)
                if offer.fits(task):
                    await self._write(task.id, Entry(job=job.name, agent_id=offer.agent_id))
                    offer.launch(task)
                    pending.remove(job)
        return [*calls_for(offers)]

    async def _updated(self, status: mesos.TaskStatus) -> list[calls.FrameworkCall]:
        task_id, state = status.task_id.value, State(status.state.value)
        entry = self._entries[task_id]
        if status.uuid is not None:
            entry = msgspec.structs.replace(entry, uuids=(*entry.uuids, status.uuid.hex()))
        if not entry.ended and state is not State.UNKNOWN:
            entry = msgspec.structs.replace(entry, state=state.value)
            if state is State.UNREACHABLE:
                self._away_since.setdefault(task_id, asyncio.get_running_loop().time())
            if state is State.RUNNING:
                self._runs_since.setdefault(task_id, asyncio.get_running_loop().time())
        await self._write(task_id, entry)
        return [calls.Acknowledge(status=status)]

    def _pending(self) -> list[Job]:
        """Jobs that have arrived and have no task that runs or came to an end of its own."""
        now_s = asyncio.get_running_loop().time()
        busy = set()
        for task, entry in self._entries.items():
            given_up = entry.away and now_s - self._away_since[task] > AWAY_S_MAX
            if State(entry.state) in OWN_ENDS or not (entry.ended or given_up):
                busy.add(entry.job)
        return [job for job in self._jobs if job.at_s <= now_s and job.name not in busy]

    def _kill(self, task: str) -> calls.Kill:
        return calls.Kill(task_id=task, agent_id=self._entries[task].agent_id)

    def _job(self, name: str) -> Job:
        return next(job for job in self._jobs if job.name == name)

    async def _write(self, task: str, entry: Entry) -> None:
        await self._store.put(f"task/{task}", msgspec.json.encode(entry))
        self._entries[task] = entry


def entries(stored: Mapping[str, tuple[bytes, int]]) -> dict[str, Entry]:
    """The tasks in a framework's store."""
    return {
        key.removeprefix("task/"): msgspec.json.decode(value, type=Entry)
        for key, (value, _) in stored.items()
        if key.startswith("task/")
    }


def _job(dice: random.Random, name: str) -> Job:
    length_s = round(dice.choice((0.0, dice.expovariate(1 / 5), dice.expovariate(1 / 40))), 2)
    kind = dice.random()
    kill_after_s = None
    if kind < 0.6:
        script = f"sleep {length_s}; exit 0"
    elif kind < 0.8:
        script = f"sleep {length_s}; exit {dice.randint(1, 100)}"
    else:
        deaf = "trap '' TERM; " if kind < 0.9 else ""
        script = f"{deaf}sleep {UNTIL_KILLED_S}"
        kill_after_s = length_s
    return Job(
        name=name,
        at_s=1000.0 + dice.uniform(0, WINDOW_S),
        cpus=dice.choice((0.5, 1.0, 2.0, 4.0)),
        mem=dice.choice((64.0, 512.0, 2048.0)),
        script=script,
        kill_after_s=kill_after_s,
    )
