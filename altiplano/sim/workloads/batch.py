"""Batch systems of three kinds, with jobs of all kinds: short and long, failing, deaf, killed, tried again when lost.

Each framework is a small but honest batch system: it writes down its id before it launches, each
task before it accepts an offer for it, and each status before it acknowledges.  One knows partitions,
one does not, and one has little time to come back and leaves for good in the end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from altiplano.model.tasks import State
from altiplano.sdk import calls, events
from altiplano.sdk.offers import Offer, calls_for
from altiplano.sim.workloads.jobs import EXECUTOR_NEEDS, Job, Kind, draw
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.testing.store import MemoryStore

OWN_ENDS = frozenset({State.FINISHED, State.FAILED, State.KILLED})
"""Ends that a task comes to by itself or by its owner; after any other end the job is tried again."""

AWAY = frozenset({State.UNREACHABLE, State.UNKNOWN})
FAILOVER_S = 7 * 86400.0
GUEST_FAILOVER_S = 40.0
AWAY_S_MAX = 300.0
"""A task that is out of reach for so long is tried again elsewhere: its agent may never return by that id."""

WHIM = 0.02
"""Of all seconds, in so many a framework does something that nobody needs, such as asking for all its tasks."""

QUICK, OLD, GUEST = "batch-1", "old-1", "guest-1"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a framework remembers of a task."""

    job: str
    attempt: int
    agent_id: str
    state: str = State.STAGING.value
    kill: bool = False
    over: bool = False
    """Its framework was removed by the master."""
    uuids: tuple[str, ...] = ()
    """Updates that were taken."""

    @property
    def away(self) -> bool:
        return not self.over and State(self.state) in AWAY

    @property
    def ended(self) -> bool:
        return self.over or State(self.state).ended

    @property
    def came_to_its_end(self) -> bool:
        return not self.over and State(self.state) in OWN_ENDS


class Batch:
    """The workload of one seed."""

    def __init__(self, seed: int, *, jobs: int = 13) -> None:
        dice = random.Random(f"{seed} batch")
        self.frameworks: tuple[str, ...] = (QUICK, OLD, GUEST)
        counts = {QUICK: jobs, OLD: jobs * 3 // 4, GUEST: jobs // 3}
        self.jobs: Mapping[str, tuple[Job, ...]] = {
            name: (
                *(draw(dice, f"{name}.{number}") for number in range(count)),
                *(draw(dice, f"{name}.stay{number}", stays=True) for number in range(2)),
            )
            for name, count in counts.items()
        }
        self.guest_checkpoints = dice.random() < 0.6
        self.released = False
        self.audit_s: float | None = None
        """Since when every framework shall ask about its tasks; None while nobody looks."""
        self._by_name = {job.name: job for jobs_of in self.jobs.values() for job in jobs_of}

    def framework(self, cluster: Cluster, name: str, store: MemoryStore) -> BatchFramework:
        return BatchFramework(self, name, store, random.Random(f"{cluster.seed} {name} whims {cluster.lives(name)}"))

    def needs(self, task_id: str) -> tuple[float, float]:
        if not task_id:
            return EXECUTOR_NEEDS["cpus"], EXECUTOR_NEEDS["mem"]
        job = self.job_of(task_id)
        return job.cpus, job.mem

    def job_of(self, task_id: str) -> Job:
        return self._by_name[task_id.partition("_")[0].rpartition("-")[0]]

    def is_aware(self, framework: str) -> bool:
        return framework != OLD

    def checkpoints(self, framework: str) -> bool:
        return framework != GUEST or self.guest_checkpoints

    def failover_s(self, framework: str) -> float:
        return GUEST_FAILOVER_S if framework == GUEST else FAILOVER_S

    def entry(self, cluster: Cluster, task_id: str) -> Entry | None:
        """What the store of a task's framework has of it."""
        found = cluster.tables[task_id.partition(".")[0]].entries.get(f"task/{task_id}")
        return None if found is None else msgspec.json.decode(found[0], type=Entry)

    def was_killed(self, cluster: Cluster, framework: str, task_id: str) -> bool:
        """Whether somebody may have asked for the end of a task: its framework, or the rule of its group."""
        entry = self.entry(cluster, task_id)
        return entry is not None and (entry.kill or entry.over or self.job_of(task_id).kind is Kind.GROUP)

    def has_kept(self, cluster: Cluster, task_id: str, uuid: bytes) -> bool:
        entry = self.entry(cluster, task_id)
        return entry is not None and uuid.hex() in entry.uuids

    def staying(self, cluster: Cluster) -> list[str]:
        """Tasks that run until they are released."""
        found = []
        for name, jobs in self.jobs.items():
            if cluster.is_absent(name):
                continue
            stays = {job.name for job in jobs if job.stays}
            for task, entry in entries(cluster.tables[name].entries).items():
                if entry.job in stays and entry.state == State.RUNNING.value and not entry.over:
                    found.append(task)
        return [] if self.released else found

    def release(self) -> None:
        """What stays may go."""
        self.released = True

    def missing(self, cluster: Cluster) -> list[str]:
        found = []
        for name, jobs in self.jobs.items():
            if cluster.is_absent(name):
                continue
            attempts = Attempts(entries(cluster.tables[name].entries))
            for job in jobs:
                if job.stays and not self.released:
                    there = [entry for _, entry in attempts.living(job.name) if not entry.away]
                    runs = [entry for entry in there if entry.state == State.RUNNING.value]
                    if len(runs) != 1 or len(there) != 1:
                        found.append(f"job {job.name} shall stay and has {len(runs)} running tasks")
                    continue
                done = attempts.done(job.name)
                if not done and not job.stays:
                    found.append(f"job {job.name} has not come to an end")
                found += [
                    f"task {task} is still {entry.state}"
                    for task, entry in attempts.living(job.name)
                    if not (entry.away and (done or job.stays))
                ]
        return found


class Attempts:
    """The tasks of a framework, by job and attempt."""

    def __init__(self, known: Mapping[str, Entry]) -> None:
        self._by_job: dict[str, dict[int, list[tuple[str, Entry]]]] = {}
        for task, entry in known.items():
            self._by_job.setdefault(entry.job, {}).setdefault(entry.attempt, []).append((task, entry))

    def count(self, job: str) -> int:
        return len(self._by_job.get(job, {}))

    def done(self, job: str) -> bool:
        """Whether an attempt has come to its own end."""
        return any(
            all(entry.ended for _, entry in tasks) and any(entry.came_to_its_end for _, entry in tasks)
            for tasks in self._by_job.get(job, {}).values()
        )

    def living(self, job: str) -> list[tuple[str, Entry]]:
        """Tasks that have not ended as far as the framework knows, the newest attempt last."""
        attempts = sorted(self._by_job.get(job, {}).items())
        return [(task, entry) for _, tasks in attempts for task, entry in tasks if not entry.ended]


class BatchFramework:
    """One life of a batch system."""

    def __init__(self, workload: Batch, name: str, store: MemoryStore, dice: random.Random) -> None:
        self.name = name
        self._workload = workload
        self._jobs = workload.jobs[name]
        self._store = store
        self._dice = dice
        self._entries: dict[str, Entry] = {}
        self._runs_since: dict[str, float] = {}
        self._away_since: dict[str, float] = {}
        self._registered = False
        self._suppressed = False
        self._audited_s: float | None = None
        self._messages = 0

    async def recover(self) -> tuple[mesos.FrameworkInfo, dict[str, str | None]]:
        stored_id = await self._store.get("id")
        self._entries = entries({key: (value, 0) for key, value in (await self._store.list("task/")).items()})
        self._registered = bool(stored_id is not None and stored_id[0])
        now_s = _now_s()
        self._away_since = {task: now_s for task, entry in self._entries.items() if entry.away}
        self._runs_since = {task: now_s for task, entry in self._entries.items() if entry.state == State.RUNNING.value}
        capabilities = [mesos.FrameworkInfoCapabilityType.MULTI_ROLE]
        if self._workload.is_aware(self.name):
            capabilities.append(mesos.FrameworkInfoCapabilityType.PARTITION_AWARE)
            capabilities.append(mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE)
        info = mesos.FrameworkInfo(
            user="root",
            name=self.name,
            id=mesos.FrameworkID(value=stored_id[0].decode()) if stored_id is not None and stored_id[0] else None,
            roles=(self.name,),
            checkpoint=self._workload.checkpoints(self.name),
            failover_timeout=self._workload.failover_s(self.name),
            capabilities=tuple(mesos.FrameworkInfoCapability(type=one) for one in capabilities),
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

    async def finished(self, sentence: str) -> None:
        """A framework that the master has removed begins anew; all its tasks are over."""
        if "removed" not in sentence:
            return
        for task, entry in self._entries.items():
            if not entry.ended:
                await self._write(task, msgspec.structs.replace(entry, over=True))
        await self._store.put("id", b"")

    async def tick(self) -> list[calls.FrameworkCall]:
        """Kill what is due, say whether offers are wanted, and have a whim now and then."""
        wanted: list[calls.FrameworkCall] = []
        for task in self._to_kill():
            await self._write(task, msgspec.structs.replace(self._entries[task], kill=True))
            wanted.append(self._kill(task))
        if bool(self._pending()) == self._suppressed:
            self._suppressed = not self._suppressed
            wanted.append(calls.Suppress() if self._suppressed else calls.Revive())
        if self._workload.audit_s is not None:
            return [*wanted, *self._audit(self._workload.audit_s)]
        return [*wanted, *await self._whims()]

    def _to_kill(self) -> list[str]:
        """Tasks whose time has come: killed by plan, not needed any more, or doubled by one that came back."""
        attempts, found = Attempts(self._entries), list[str]()
        for job in self._jobs:
            living = attempts.living(job.name)
            if not living:
                continue
            newest = living[-1][1].attempt
            for task, entry in living:
                since_s = self._runs_since.get(task)
                due = job.kill_after_s is not None and since_s is not None and _now_s() - since_s >= job.kill_after_s
                over = self._workload.released if job.stays else attempts.done(job.name)
                unwanted = over or entry.attempt != newest
                spoilt = job.kind is Kind.HOSTED_GROUP and self._spoilt(job.name, entry.attempt)
                if (due or spoilt or (unwanted and not entry.away)) and not entry.kill and not entry.over:
                    found.append(task)
        return found

    def _spoilt(self, job: str, attempt: int) -> bool:
        """A group under a custom executor is its framework's affair: one that ends badly ends all."""
        return any(
            entry.job == job and entry.attempt == attempt and entry.ended and entry.state != State.FINISHED.value
            for entry in self._entries.values()
        )

    async def _whims(self) -> list[calls.FrameworkCall]:
        """What a framework may ask at any time."""
        whim = self._dice.random() / WHIM
        living = [task for task, entry in self._entries.items() if not entry.ended]
        if whim < 0.25:
            return [calls.Reconcile()]
        if whim < 0.5:
            ghost = f"{self.name}.ghost"
            asked = {task: self._entries[task].agent_id for task in self._dice.sample(living, min(3, len(living)))}
            return [calls.Reconcile(tasks=((ghost, None), *asked.items()))]
        if whim < 0.6:
            return [calls.Revive()]
        if whim < 0.7:
            return await self._shut_an_executor()
        if whim < 4.0:
            return self._chat()
        return []

    def _audit(self, since_s: float) -> list[calls.FrameworkCall]:
        if self._audited_s == since_s or not self._registered:
            return []
        self._audited_s = since_s
        known = tuple((task, entry.agent_id) for task, entry in self._entries.items() if not entry.over)
        return [calls.Reconcile(), calls.Reconcile(tasks=known)] if known else [calls.Reconcile()]

    def _executors(self) -> list[tuple[str, str]]:
        """Agents and ids of the custom executors that seem to run."""
        found: dict[tuple[str, str], None] = {}
        for entry in self._entries.values():
            job = self._workload.job_of(f"{entry.job}-0")
            if not entry.ended and job.hosted:
                found[entry.agent_id, job.executor_id(entry.attempt)] = None
        return list(found)

    def _chat(self) -> list[calls.FrameworkCall]:
        self._messages += 1
        return [
            calls.SendMessage(
                agent_id=agent_id,
                executor_id=executor_id,
                data=f"{executor_id} {self._dice.getrandbits(48):x} {self._messages}".encode(),
            )
            for agent_id, executor_id in self._executors()
        ]

    async def _shut_an_executor(self) -> list[calls.FrameworkCall]:
        running = self._executors()
        if not running:
            return []
        agent_id, executor_id = self._dice.choice(running)
        killed = []
        for task, entry in list(self._entries.items()):
            job = self._workload.job_of(task)
            if not entry.ended and entry.agent_id == agent_id and job.executor_id(entry.attempt) == executor_id:
                await self._write(task, msgspec.structs.replace(entry, kill=True))
                killed.append(self._kill(task))
        return [calls.ShutdownExecutor(agent_id=agent_id, executor_id=executor_id), *killed]

    async def _offered(self, offers: list[Offer]) -> list[calls.FrameworkCall]:
        pending = self._pending() if self._registered else []
        for offer in offers:
            for job in list(pending):
                if not job.fits(offer):
                    continue
                attempt = Attempts(self._entries).count(job.name)
                for task in job.task_ids(attempt):
                    await self._write(task, Entry(job=job.name, attempt=attempt, agent_id=offer.agent_id))
                job.launch(offer, attempt)
                pending.remove(job)
        return [*calls_for(offers)]

    async def _updated(self, status: mesos.TaskStatus) -> list[calls.FrameworkCall]:
        task_id, state = status.task_id.value, State(status.state.value)
        entry = self._entries.get(task_id)
        if entry is None:
            return []
        if status.uuid is not None:
            entry = msgspec.structs.replace(entry, uuids=(*entry.uuids, status.uuid.hex()))
        if not entry.ended or (entry.state == State.LOST.value and not entry.over):
            entry = msgspec.structs.replace(entry, state=state.value)
            if state in AWAY:
                self._away_since.setdefault(task_id, _now_s())
            if state is State.RUNNING:
                self._runs_since.setdefault(task_id, _now_s())
        was_lost = self._entries[task_id].state == State.LOST.value
        await self._write(task_id, entry)
        if entry.kill and was_lost and not entry.ended:
            # With the end of a task the session forgets that it was to be killed; this one came back.
            return [calls.Acknowledge(status=status), self._kill(task_id)]
        return [calls.Acknowledge(status=status)]

    def _pending(self) -> list[Job]:
        """Jobs that have arrived and have no task that runs or came to an end of its own."""
        now_s = _now_s()
        attempts = Attempts(self._entries)
        found = []
        for job in self._jobs:
            alive = any(
                not entry.away or now_s - self._away_since.get(task, now_s) <= AWAY_S_MAX
                for task, entry in attempts.living(job.name)
            )
            over = self._workload.released if job.stays else attempts.done(job.name)
            if job.at_s <= now_s and not alive and not over:
                found.append(job)
        return found

    def _kill(self, task: str) -> calls.Kill:
        return calls.Kill(task_id=task, agent_id=self._entries[task].agent_id)

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


def _now_s() -> float:
    return asyncio.get_running_loop().time()
