"""A pool that never was: an application that answers the public APIs with realistic data.

Pages are developed against it, tested on it in a browser, and pictured with it.  It is deterministic but
for the time it is shown at, and its tests' hands can change it: start tasks, let outputs grow, forget agents.
It answers what pages ask, nothing more; the real master has its own tests.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from altiplano.engine import http
from altiplano.engine.journal import Entry
from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import agent as agent_api
from altiplano.wire.messages import master, mesos
from altiplano.wire.messages.mesos import TaskState

SITE = "8f3b2a1c-7f6e-4a6b-9d35-2b1f0a7c4e11"
GIB_MB = 1024.0

FRAMEWORKS = (
    ("services", "operations", "web", ("web", "grafana", "login", "registry", "chat", "wiki")),
    ("flows", "validation", "qa", ("reconstruct", "simulate", "digitise", "compare", "merge")),
    ("workqueue", "montecarlo", "grid", ("pilot",)),
    ("cron", "operations", "cron", ("backup", "rotate-logs", "sync-manifests")),
    ("builds", "builds", "ci", ("build-core", "build-docs", "unit-tests")),
)
"""Name, role, user and the names of tasks."""

ENDINGS = (
    (TaskState.TASK_FINISHED, "Command exited with status 0", None),
    (TaskState.TASK_FINISHED, "Command exited with status 0", None),
    (TaskState.TASK_FINISHED, "Command exited with status 0", None),
    (TaskState.TASK_FAILED, "Command exited with status 1", "REASON_COMMAND_EXECUTOR_FAILED"),
    (
        TaskState.TASK_FAILED,
        "Memory limit exceeded: 2,061 MiB used of 2,048 MiB",
        "REASON_CONTAINER_LIMITATION_MEMORY",
    ),
    (TaskState.TASK_KILLED, "Command terminated with signal Terminated", None),
)


def scalar(name: str, value: float) -> mesos.Resource:
    return mesos.Resource(name=name, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))


def amounts(cpus: float, mem: float, disk: float = 0.0, gpus: float = 0.0) -> tuple[mesos.Resource, ...]:
    named = (("cpus", cpus), ("mem", mem), ("disk", disk), ("gpus", gpus))
    return tuple(scalar(name, value) for name, value in named if value)


@dataclass(slots=True)
class Machine:
    id: str
    host: str
    cpus: float
    mem: float
    disk: float
    gpus: float
    rack: str
    active: bool = True
    draining: bool = False
    offered: bool = False


@dataclass(slots=True)
class Job:
    id: str
    name: str
    framework_id: str
    agent_id: str
    cpus: float
    mem: float
    gpus: float
    user: str
    statuses: list[mesos.TaskStatus] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def state(self) -> TaskState:
        return self.statuses[-1].state if self.statuses else TaskState.TASK_STAGING

    @property
    def live(self) -> bool:
        return self.state in (TaskState.TASK_STAGING, TaskState.TASK_STARTING, TaskState.TASK_RUNNING)


class Showcase:
    """The pool, and an ASGI application over it."""

    def __init__(self, *, now: float, agents: int = 40, tasks: int = 500, seed: int = 7) -> None:
        self.now = now
        self.version = 1
        self.lost = False
        """While set, every request is answered by 503: a master that is starting."""
        self.entries: dict[str, list[Entry]] = {}
        self.agent_entries: dict[str, list[Entry]] = {}
        self._random = random.Random(seed)
        self.machines = {one.id: one for one in (self._machine(i) for i in range(agents))}
        self.jobs: dict[str, Job] = {}
        if agents:
            for i in range(tasks):
                self._job(i, tasks)

    def changed(self) -> None:
        self.version += 1

    def framework_id(self, index: int) -> str:
        return f"{SITE}-{index:04}"

    def start(
        self, name: str, *, task_id: str = "", framework: int = 0, age_s: float = 0.0, state: TaskState | None = None
    ) -> Job:
        """Bring a new task, running unless said otherwise, and tell viewers."""
        machine = next(iter(self.machines.values()))
        job = Job(
            id=task_id or f"{name}.{len(self.jobs)}",
            name=name,
            framework_id=self.framework_id(framework),
            agent_id=machine.id,
            cpus=0.5,
            mem=256,
            gpus=0,
            user="ops",
        )
        self.jobs[job.id] = job
        self.say(job, state or TaskState.TASK_RUNNING, self.now - age_s)
        job.files = {"stdout": b"", "stderr": b""}
        return job

    def say(self, job: Job, state: TaskState, at: float, message: str | None = None, reason: str | None = None) -> None:
        """Add a status to a task and tell viewers."""
        job.statuses.append(
            mesos.TaskStatus(
                task_id=mesos.TaskID(value=job.id),
                state=state,
                message=message,
                timestamp=at,
                reason=mesos.TaskStatusReason[reason] if reason else None,
                container_status=mesos.ContainerStatus(container_id=mesos.ContainerID(value=f"c-{job.id}")),
            )
        )
        self.changed()

    def tell(self, job: Job, process: str, sentence: str, at: float) -> None:
        """Add a line to the journal of the master or of the task's agent."""
        book = self.entries if process == "master" else self.agent_entries
        book.setdefault(job.id, []).append(
            Entry(wall_s=at, process=process, subjects=(job.id,), sentence=sentence, cause="showcase")
        )

    def _machine(self, i: int) -> Machine:
        cpus, mem, gpus = ((16, 64, 0), (32, 128, 0), (64, 256, 0), (32, 256, 4))[
            i % 4 if i % 4 != 3 or i % 8 == 3 else 0
        ]
        return Machine(
            id=f"{SITE}-S{i}",
            host=f"{'gpu' if gpus else 'node'}{i + 1:03}.pool.example",
            cpus=cpus,
            mem=mem * GIB_MB,
            disk=900 * GIB_MB,
            gpus=gpus,
            rack=f"r{i // 10 + 1}",
            active=i != 17,
            draining=i == 9,
            offered=i % 9 == 4,
        )

    def _job(self, i: int, count: int) -> None:
        chance = self._random
        index = chance.choices(range(len(FRAMEWORKS)), weights=(6, 30, 50, 4, 10))[0]
        name, _, user, names = FRAMEWORKS[index]
        machine = chance.choice([m for m in self.machines.values() if not m.draining])
        job = Job(
            id=f"{name}.{chance.getrandbits(32):08x}",
            name=f"{chance.choice(names)}-{i}",
            framework_id=self.framework_id(index),
            agent_id=machine.id,
            cpus=float(chance.choice((0.5, 1, 1, 2, 4) if machine.cpus > 16 else (0.5, 1))),
            mem=float(chance.choice((512, 1024, 2048, 4096))),
            gpus=1.0 if machine.gpus and chance.random() < 0.2 else 0.0,
            user=user,
        )
        self.jobs[job.id] = job
        age = chance.expovariate(1 / 5400) + 20
        begun = self.now - age
        for state, at in ((TaskState.TASK_STARTING, begun), (TaskState.TASK_RUNNING, begun + 0.1)):
            if i % 50 != 7:
                self.say(job, state, at)
        if i % 50 == 7:
            self.tell(job, "master", "waits for its agent to take it", self.now - 3)
        elif not machine.active:
            self.say(job, TaskState.TASK_UNREACHABLE, self.now - 130, None, "REASON_AGENT_REMOVED")
        elif i > count * 0.62:
            state, message, reason = chance.choice(ENDINGS)
            self.say(job, state, begun + chance.uniform(0.2, 0.95) * age, message, reason)
        self.tell(
            job,
            "master",
            f"{name} accepted an offer of {machine.host} with {job.cpus:g} cpus, {job.mem:g} MB",
            begun - 0.2,
        )
        self.tell(job, "master", f"was sent to agent {machine.host}", begun - 0.15)
        self.tell(job, "agent", "started as process 4711 in cgroup altiplano/tasks, without image", begun)
        if job.statuses and not job.live and job.statuses[-1].message:
            self.tell(job, "agent", f"ended: {job.statuses[-1].message}", job.statuses[-1].timestamp or begun)
        job.files = {"stdout": _output(job.name, i), "stderr": b"warning: geometry is older than 30 days\n"}

    # The answers of the APIs.

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = await http.read_body(scope, receive)
        path, query = scope["path"], http.query(scope)
        if self.lost:
            await http.respond_text(send, 503, "the master has no leader yet")
        elif path == "/api/v1":
            await self._master(send, body)
        elif path == "/journal":
            await self._story(send, self.entries, query)
        elif path.startswith("/agent/"):
            agent_id, _, rest = path.removeprefix("/agent/").partition("/")
            await self._agent(send, agent_id, rest, query, body)
        else:
            await http.respond_text(send, 404, f"nothing at {path}")

    async def _story(self, send: http.Send, book: Mapping[str, list[Entry]], query: Mapping[str, str]) -> None:
        found = msgspec.json.encode({"entries": book.get(query.get("subject", ""), [])})
        await http.respond(send, 200, found, content_type="application/json")

    async def _master(self, send: http.Send, body: bytes) -> None:
        call = json.decode(master.Call, body)
        match call.type:
            case master.CallType.GET_STATE:
                answer = master.Response(type=master.ResponseType.GET_STATE, get_state=self._state())
            case master.CallType.GET_MASTER:
                answer = master.Response(
                    type=master.ResponseType.GET_MASTER,
                    get_master=master.ResponseGetMaster(
                        master_info=mesos.MasterInfo(
                            id=SITE, ip=16777343, port=5050, hostname="m1.pool.example", version="1.12.0"
                        ),
                        start_time=self.now - 4 * 86400,
                        elected_time=self.now - 3 * 86400 - 7000,
                    ),
                )
            case master.CallType.GET_METRICS:
                answer = master.Response(type=master.ResponseType.GET_METRICS, get_metrics=self._metrics())
            case _:
                await http.respond_text(send, 501, f"the showcase does not answer {call.type}")
                return
        await http.respond(send, 200, json.encode(answer), content_type="application/json")

    def _metrics(self) -> master.ResponseGetMetrics:
        running = [job for job in self.jobs.values() if job.live]
        values = {
            "master/cpus_total": sum(m.cpus for m in self.machines.values()),
            "master/cpus_used": sum(job.cpus for job in running),
            "master/mem_total": sum(m.mem for m in self.machines.values()),
            "master/mem_used": sum(job.mem for job in running),
            "master/tasks_running": float(len(running)),
        }
        return master.ResponseGetMetrics(metrics=tuple(mesos.Metric(name=n, value=v) for n, v in values.items()))

    def _state(self) -> master.ResponseGetState:
        tasks = [self._task(job) for job in self.jobs.values()]
        ended = [t for t in tasks if not self.jobs[t.task_id.value].live]
        lost = tuple(t for t in ended if t.state is TaskState.TASK_UNREACHABLE)
        return master.ResponseGetState(
            get_tasks=master.ResponseGetTasks(
                tasks=tuple(t for t in tasks if self.jobs[t.task_id.value].live),
                completed_tasks=tuple(t for t in ended if t.state is not TaskState.TASK_UNREACHABLE),
                unreachable_tasks=lost,
            ),
            get_agents=master.ResponseGetAgents(agents=tuple(self._agent_answer(m) for m in self.machines.values())),
            get_frameworks=master.ResponseGetFrameworks(
                frameworks=tuple(self._framework(i) for i in range(len(FRAMEWORKS))) if self.jobs else ()
            ),
        )

    def _task(self, job: Job) -> mesos.Task:
        return mesos.Task(
            name=job.name,
            task_id=mesos.TaskID(value=job.id),
            framework_id=mesos.FrameworkID(value=job.framework_id),
            agent_id=mesos.AgentID(value=job.agent_id),
            state=job.state,
            resources=amounts(job.cpus, job.mem, gpus=job.gpus),
            statuses=tuple(job.statuses),
            user=job.user,
        )

    def _agent_answer(self, machine: Machine) -> master.ResponseGetAgentsAgent:
        mine = [job for job in self.jobs.values() if job.agent_id == machine.id and job.live]
        cpus, mem = sum(j.cpus for j in mine), sum(j.mem for j in mine)
        free = amounts(max(0.0, machine.cpus - cpus), max(0.0, machine.mem - mem))
        drain = mesos.DrainInfo(state=mesos.DrainState.DRAINING, config=mesos.DrainConfig())
        return master.ResponseGetAgentsAgent(
            agent_info=mesos.AgentInfo(
                hostname=machine.host,
                id=mesos.AgentID(value=machine.id),
                attributes=tuple(
                    mesos.Attribute(name=name, type=mesos.ValueType.TEXT, text=mesos.ValueText(value=value))
                    for name, value in (("rack", machine.rack), ("os", "el9"))
                ),
            ),
            active=machine.active,
            version="1.12.0",
            registered_time=mesos.TimeInfo(nanoseconds=int((self.now - 3 * 86400) * 1e9)),
            total_resources=amounts(machine.cpus, machine.mem, machine.disk, machine.gpus),
            allocated_resources=amounts(cpus, mem, gpus=sum(j.gpus for j in mine)),
            offered_resources=free if machine.offered else (),
            drain_info=drain if machine.draining else None,
        )

    def _framework(self, index: int) -> master.ResponseGetFrameworksFramework:
        name, role, user, _ = FRAMEWORKS[index]
        identity = self.framework_id(index)
        mine = [job for job in self.jobs.values() if job.framework_id == identity and job.live]
        return master.ResponseGetFrameworksFramework(
            framework_info=mesos.FrameworkInfo(
                user=user,
                name=name,
                id=mesos.FrameworkID(value=identity),
                roles=(role,),
                failover_timeout=604800.0,
                checkpoint=True,
                hostname="m1.pool.example",
                webui_url="http://m1.pool.example:5060/" if name == "flows" else None,
                capabilities=(
                    mesos.FrameworkInfoCapability(type=mesos.FrameworkInfoCapabilityType.MULTI_ROLE),
                    mesos.FrameworkInfoCapability(type=mesos.FrameworkInfoCapabilityType.PARTITION_AWARE),
                ),
            ),
            active=name != "cron",
            connected=True,
            recovered=False,
            registered_time=mesos.TimeInfo(nanoseconds=int((self.now - 86400 * (index + 1)) * 1e9)),
            allocated_resources=amounts(sum(j.cpus for j in mine), sum(j.mem for j in mine)),
            offered_resources=amounts(16, 32 * GIB_MB) if name == "workqueue" else (),
        )

    async def _agent(self, send: http.Send, agent_id: str, rest: str, query: Mapping[str, str], body: bytes) -> None:
        if agent_id not in self.machines or not self.machines[agent_id].active:
            await http.respond_text(send, 404, f"no agent {agent_id} is connected")
        elif rest == "journal":
            await self._story(send, self.agent_entries, query)
        elif rest == "files/download":
            data = self._file(query.get("path", ""))
            headers = ((b"content-disposition", b"attachment"),)
            await http.respond(send, 200 if data is not None else 404, data or b"", headers=headers)
        elif rest == "api/v1":
            try:
                call = json.decode(agent_api.Call, body)
            except WireError as error:
                await http.respond_text(send, 400, str(error))
                return
            answer = self._agent_call(agent_id, call)
            if answer is None:
                await http.respond_text(send, 404, "no such file or container")
            else:
                await http.respond(send, 200, json.encode(answer), content_type="application/json")
        else:
            await http.respond_text(send, 404, f"nothing at {rest}")

    def _agent_call(self, agent_id: str, call: agent_api.Call) -> agent_api.Response | None:
        if call.read_file is not None:
            data = self._file(call.read_file.path)
            if data is None:
                return None
            begin = call.read_file.offset
            end = begin + (65536 if call.read_file.length is None else call.read_file.length)
            return agent_api.Response(
                type=agent_api.ResponseType.READ_FILE,
                read_file=agent_api.ResponseReadFile(size=len(data), data=data[begin:end]),
            )
        if call.list_files is not None:
            job = self._job_at(call.list_files.path)
            if job is None:
                return None
            infos = tuple(
                mesos.FileInfo(path=f"{call.list_files.path}/{name}", size=len(data), mode=0o100644)
                for name, data in job.files.items()
            )
            return agent_api.Response(
                type=agent_api.ResponseType.LIST_FILES, list_files=agent_api.ResponseListFiles(file_infos=infos)
            )
        if call.kill_container is not None:
            job = self.jobs.get(call.kill_container.container_id.value.removeprefix("c-"))
            if job is None:
                return None
            self.say(job, TaskState.TASK_KILLED, self.now, "Command terminated with signal Terminated")
            self.tell(job, "agent", "was sent SIGTERM, as an operator asked through the API", self.now)
            return agent_api.Response()
        mine = [job for job in self.jobs.values() if job.agent_id == agent_id and job.live]
        return agent_api.Response(
            type=agent_api.ResponseType.GET_CONTAINERS,
            get_containers=agent_api.ResponseGetContainers(containers=tuple(self._container(job) for job in mine)),
        )

    def _container(self, job: Job) -> agent_api.ResponseGetContainersContainer:
        return agent_api.ResponseGetContainersContainer(
            container_id=mesos.ContainerID(value=f"c-{job.id}"),
            resource_statistics=mesos.ResourceStatistics(
                timestamp=self.now,
                cpus_user_time_secs=812.4,
                cpus_system_time_secs=31.0,
                mem_rss_bytes=int(job.mem * 0.61) << 20,
                mem_limit_bytes=int(job.mem) << 20,
                processes=3,
                threads=11,
            ),
        )

    def _job_at(self, path: str) -> Job | None:
        parts = path.split("/")
        return self.jobs.get(parts[4]) if len(parts) >= 7 and parts[1] == "frameworks" else None

    def _file(self, path: str) -> bytes | None:
        job = self._job_at(path)
        return None if job is None else job.files.get(path.rsplit("/", 1)[-1])


def _output(name: str, i: int) -> bytes:
    """What a task of a physics facility would print."""
    lines = [f"\x1b[1m{name}\x1b[0m starts on 2 cores", "reading conditions of run 244918 …"]
    lines += [f"event {n:>6}  tracks {(n * 7919 + i) % 611:>4}  \x1b[32mok\x1b[0m" for n in range(0, 12000, 100)]
    lines += ["\x1b[33mwarning:\x1b[0m 3 clusters without seed in sector 17", "writing histograms.root (41 MiB)"]
    return ("\n".join(lines) + "\n").encode()
