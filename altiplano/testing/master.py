"""A master in memory, for the unit tests of frameworks.

    twin = MasterTwin()
    twin.add_agent("alps1", cpus=4, mem=4096)
    twin.connect(Hello(count=2))
    assert [task.name for task in twin.tasks.values()] == ["hello-0", "hello-1"]
    twin.finish("hello-0")

It speaks real messages with the real protocol core of the SDK, on a clock that only `advance`
moves.  Tasks run at once and end when the test says so; `auto_run` and `auto_kill` switch that off.
Every method returns when the framework has taken all that follows from it.  A framework whose
callbacks wait for something is driven with the `async` methods instead, which end in `_async`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator, Mapping

from msgspec.structs import replace

from altiplano.model.tasks import State
from altiplano.model.time import Instant
from altiplano.sdk import calls, core
from altiplano.sdk.framework import Driver, Framework
from altiplano.wire.messages import mesos, scheduler

ROUNDS_MAX = 10_000
"""Rounds of question and answer after which a framework is taken to go in circles."""

HEARTBEAT_S = 15.0
START_WALL_S = 1_700_000_000.0


class TwinError(AssertionError):
    """The test asks for something that cannot be, or the framework did what a master refuses."""


class AgentTwin:
    """One machine: what it has, and what is left of it, in thousandths."""

    def __init__(self, agent_id: str, hostname: str, total: Mapping[str, int], ports: tuple[int, int] | None) -> None:
        self.id = agent_id
        self.hostname = hostname
        self.total = dict(total)
        self.free = dict(total)
        self.free_ports = list(range(ports[0], ports[1] + 1)) if ports is not None else []
        self.attributes: tuple[mesos.Attribute, ...] = ()
        self.offered: str | None = None
        self.refused_until_s = 0.0
        self.refused: dict[str, int] = {}

    def take(self, resources: tuple[mesos.Resource, ...], sign: int = 1) -> None:
        """Take resources, or give them back with `sign` -1."""
        for resource in resources:
            if resource.scalar is not None:
                self.free[resource.name] -= sign * round(resource.scalar.value * 1000)
            for part in resource.ranges.range if resource.ranges is not None else ():
                mine = set(range(part.begin, part.end + 1))
                rest = set(self.free_ports)
                if sign > 0 and not mine <= rest:
                    raise TwinError(f"ports {part.begin}-{part.end} of {self.hostname} are not free")
                self.free_ports = sorted(rest - mine if sign > 0 else rest | mine)
        if short := [name for name, left in self.free.items() if left < 0]:
            raise TwinError(f"{self.hostname} has less {' and '.join(short)} than was taken")

    def resources(self) -> tuple[mesos.Resource, ...]:
        """What is free, as messages."""
        scalar, ranges = mesos.ValueType.SCALAR, mesos.ValueType.RANGES
        role = mesos.ResourceAllocationInfo(role="*")
        found = [
            mesos.Resource(name=name, type=scalar, scalar=mesos.ValueScalar(value=left / 1000), allocation_info=role)
            for name, left in self.free.items()
            if left > 0
        ]
        if self.free_ports:
            spans = mesos.ValueRanges(range=tuple(_spans(self.free_ports)))
            found.append(mesos.Resource(name="ports", type=ranges, ranges=spans, allocation_info=role))
        return tuple(found)


class TaskTwin:
    """One task and the updates that the framework has not acknowledged, oldest first."""

    def __init__(self, info: mesos.TaskInfo) -> None:
        self.info = info
        self.name = info.name
        self.agent_id = info.agent_id.value
        self.state = mesos.TaskState.TASK_STAGING
        self.pending: deque[mesos.TaskStatus] = deque()

    @property
    def ended(self) -> bool:
        return State(self.state.value).ended


class MasterTwin:
    """A master with agents and at most one framework."""

    def __init__(self, *, auto_run: bool = True, auto_kill: bool = True) -> None:
        self.auto_run = auto_run
        self.auto_kill = auto_kill
        self.silent = False
        """Say nothing any more, though the connection stands: a master that hangs."""
        self.agents: dict[str, AgentTwin] = {}
        self.tasks: dict[str, TaskTwin] = {}
        """Tasks that have not ended, and those whose end was not acknowledged."""
        self.finished: dict[str, mesos.TaskState] = {}
        """Tasks whose end the framework has acknowledged."""
        self.calls: list[scheduler.Call] = []
        """All that the framework asked for, oldest first."""
        self.ended: core.Finish | None = None
        self.suppressed: set[str] = set()
        self.now = Instant(mono_s=1000.0, wall_s=START_WALL_S)
        self._core: core.Scheduler | None = None
        self._driver: Driver | None = None
        self._acts: deque[core.Act] = deque()
        self._said: deque[scheduler.Event] = deque()
        self._connected = False
        self._offers: dict[str, str] = {}
        self._count = 0
        self._next_heartbeat_s = 0.0
        self._framework_id: str | None = None

    # What a test sets up and lets happen.

    def add_agent(
        self,
        hostname: str,
        *,
        cpus: float = 4,
        mem: float = 8192,
        disk: float = 10_000,
        gpus: float = 0,
        ports: tuple[int, int] | None = (31000, 31099),
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Add a machine; its agent id."""
        amounts = {"cpus": cpus, "mem": mem, "disk": disk, "gpus": gpus}
        agent = AgentTwin(f"agent-{hostname}", hostname, {n: round(a * 1000) for n, a in amounts.items()}, ports)
        text = mesos.ValueType.TEXT
        agent.attributes = tuple(
            mesos.Attribute(name=name, type=text, text=mesos.ValueText(value=value))
            for name, value in (attributes or {}).items()
        )
        self.agents[agent.id] = agent
        self.settle()
        return agent.id

    def connect(self, framework: Framework) -> None:
        """Run a framework on this master.  One that comes back brings its `framework_id` along."""
        self._begin(framework)
        self.settle()

    async def connect_async(self, framework: Framework) -> None:
        self._begin(framework)
        await self.settle_async()

    def run_task(self, task_id: str) -> None:
        """The task runs (with `auto_run` off)."""
        self.update(task_id, mesos.TaskState.TASK_RUNNING)

    def finish(self, task_id: str) -> None:
        """The task ends well."""
        self.update(task_id, mesos.TaskState.TASK_FINISHED)

    def fail(self, task_id: str, sentence: str = "Command exited with status 1") -> None:
        """The task ends badly."""
        self.update(task_id, mesos.TaskState.TASK_FAILED, sentence)

    def update(self, task_id: str, state: mesos.TaskState, sentence: str | None = None) -> None:
        """The agent reports a state of the task."""
        self._report(self._task(task_id), state, sentence)
        self.settle()

    def repeat_updates(self) -> None:
        """Agents send again what was not acknowledged, as they do when they hear nothing."""
        for task in self.tasks.values():
            self._say_head(task)
        self.settle()

    def send_message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """An executor says something to the framework."""
        message = scheduler.EventMessage(
            agent_id=mesos.AgentID(value=agent_id), executor_id=mesos.ExecutorID(value=executor_id), data=data
        )
        self._say(scheduler.Event(type=scheduler.EventType.MESSAGE, message=message))
        self.settle()

    def rescind_offers(self) -> None:
        """All open offers become void."""
        for offer_id, agent_id in list(self._offers.items()):
            self._take_back(offer_id)
            self.agents[agent_id].refused_until_s = self.now.mono_s + 5
            rescind = scheduler.EventRescind(offer_id=mesos.OfferID(value=offer_id))
            self._say(scheduler.Event(type=scheduler.EventType.RESCIND, rescind=rescind))
        self.settle()

    def lose_agent(self, agent_id: str) -> None:
        """An agent becomes unreachable and is removed; so are its tasks."""
        for offer_id, owner in list(self._offers.items()):
            if owner == agent_id:
                self._take_back(offer_id)
                rescind = scheduler.EventRescind(offer_id=mesos.OfferID(value=offer_id))
                self._say(scheduler.Event(type=scheduler.EventType.RESCIND, rescind=rescind))
        for task in [task for task in self.tasks.values() if task.agent_id == agent_id and not task.ended]:
            del self.tasks[task.info.task_id.value]
            status = self._status(task, mesos.TaskState.TASK_UNREACHABLE, "The agent does not answer", reliable=False)
            self._say_update(status)
        del self.agents[agent_id]
        failure = scheduler.EventFailure(agent_id=mesos.AgentID(value=agent_id))
        self._say(scheduler.Event(type=scheduler.EventType.FAILURE, failure=failure))
        self.settle()

    def disconnect(self, reason: str = "the master closed the stream of events") -> None:
        """The connection breaks.  The framework tries again when `advance` lets enough time pass."""
        self._hang_up()
        self._act(self._scheduler().broken(reason, self.now, 0.5))
        self.settle()

    def fail_over(self) -> None:
        """Another master leads from now on: connections and offers are gone, tasks come back with their agents."""
        self.disconnect()

    def end(self, sentence: str) -> None:
        """The master ends the subscription for good."""
        self._say(scheduler.Event(type=scheduler.EventType.ERROR, error=scheduler.EventError(message=sentence)))
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass: heartbeats, retries, declined resources that may be offered again."""
        for _ in self._until(self.now.mono_s + seconds):
            self.settle()

    async def advance_async(self, seconds: float) -> None:
        for _ in self._until(self.now.mono_s + seconds):
            await self.settle_async()

    def settle(self) -> None:
        """Until nothing more follows."""
        _complete(self.settle_async())

    async def settle_async(self) -> None:
        for _ in range(ROUNDS_MAX):
            if self._acts:
                await self._perform(self._acts.popleft())
            elif self._said and self._connected:
                self._act(self._scheduler().received(self._said.popleft(), self.now))
            elif not self._offer_what_is_free():
                return
        raise TwinError(f"the framework and the master had not finished after {ROUNDS_MAX} rounds")

    # What a test looks at.

    @property
    def connected(self) -> bool:
        return self._connected

    def made(self, kind: scheduler.CallType) -> list[scheduler.Call]:
        """The calls of one type, oldest first."""
        return [call for call in self.calls if call.type is kind]

    # The two sides.

    def _begin(self, framework: Framework) -> None:
        self._hang_up()
        self._acts.clear()
        self.ended = None
        self._core = core.Scheduler(framework.info(), ("http://master.test:5050",), tasks=framework.tasks())
        self._driver = Driver(framework, self._ask, self._leave)
        self._act(self._core.start(self.now))

    def _scheduler(self) -> core.Scheduler:
        if self._core is None:
            raise TwinError("no framework is connected: call connect first")
        return self._core

    def _ask(self, call: calls.FrameworkCall) -> None:
        self._act(self._scheduler().perform(call, self.now))

    def _leave(self) -> None:
        self._act(self._scheduler().leave())

    def _act(self, acts: list[core.Act]) -> None:
        self._acts.extend(acts)
        self._scheduler().check()

    async def _perform(self, act: core.Act) -> None:
        match act:
            case core.Open():
                self.calls.append(act.call)
                self._subscribe(act.call)
            case core.Send():
                self.calls.append(act.call)
                self._take_call(act.call)
            case core.Close():
                self._hang_up()
            case core.Tell():
                assert self._driver is not None
                await self._driver.handle(act.event)
            case core.Finish():
                self.ended = act
                self._hang_up()

    def _until(self, end_s: float) -> Iterator[None]:
        """Go from moment to moment at which something is due, until `end_s`."""
        while self._tick(end_s):
            yield
        yield

    def _tick(self, end_s: float) -> bool:
        """Go to the next moment at which something is due; whether there was one before `end_s`."""
        scheduler_core = self._scheduler()
        times = [end_s]
        if (wake_at := scheduler_core.wake_at()) is not None:
            times.append(max(wake_at, self.now.mono_s))
        if self._connected and not self.silent:
            times.append(self._next_heartbeat_s)
        times += [a.refused_until_s for a in self.agents.values() if a.refused_until_s > self.now.mono_s]
        moment = min(times)
        self.now = Instant(mono_s=moment, wall_s=self.now.wall_s + moment - self.now.mono_s)
        if self._connected and not self.silent and self._next_heartbeat_s <= moment:
            self._next_heartbeat_s = moment + HEARTBEAT_S
            self._say(scheduler.Event(type=scheduler.EventType.HEARTBEAT))
        elif wake_at is not None and wake_at <= moment:
            self._act(scheduler_core.wake(self.now, 0.5))
        return moment < end_s

    def _subscribe(self, call: scheduler.Call) -> None:
        assert call.subscribe is not None
        info = call.subscribe.framework_info
        self._framework_id = info.id.value if info.id is not None else f"framework-{self._next()}"
        self.suppressed = set(call.subscribe.suppressed_roles)
        self._connected = True
        self._next_heartbeat_s = self.now.mono_s + HEARTBEAT_S
        self._act(self._scheduler().opened(f"stream-{self._next()}", self.now))
        subscribed = scheduler.EventSubscribed(
            framework_id=mesos.FrameworkID(value=self._framework_id), heartbeat_interval_seconds=HEARTBEAT_S
        )
        self._say(scheduler.Event(type=scheduler.EventType.SUBSCRIBED, subscribed=subscribed))
        for agent in self.agents.values():
            agent.refused_until_s = 0.0

    def _take_call(self, call: scheduler.Call) -> None:
        if call.accept is not None:
            self._accept(call.accept)
        elif call.decline is not None:
            refuse_s = 5.0 if call.decline.filters is None else call.decline.filters.refuse_seconds
            for offer in call.decline.offer_ids:
                self._refuse(offer.value, refuse_s)
        elif call.kill is not None:
            self._kill(call.kill)
        elif call.acknowledge is not None:
            self._acknowledged(call.acknowledge)
        elif call.reconcile is not None:
            self._reconcile(call.reconcile)
        elif call.type is scheduler.CallType.SUPPRESS:
            self.suppressed |= set(call.suppress.roles if call.suppress is not None else ()) or {"*"}
        elif call.type is scheduler.CallType.REVIVE:
            self.suppressed -= set(call.revive.roles if call.revive is not None else ()) or set(self.suppressed)
            for agent in self.agents.values():
                agent.refused_until_s = 0.0
        elif call.type is scheduler.CallType.TEARDOWN:
            for task in self.tasks.values():
                self.finished[task.info.task_id.value] = task.state if task.ended else mesos.TaskState.TASK_KILLED
            self.tasks.clear()

    def _accept(self, accept: scheduler.CallAccept) -> None:
        infos = core.launched(accept.operations)
        agents = [self.agents[self._offers[o.value]] for o in accept.offer_ids if o.value in self._offers]
        if len(agents) != len(accept.offer_ids) or len({agent.id for agent in agents}) != 1:
            for offer in accept.offer_ids:
                self._refuse(offer.value, 0.0)
            for info in infos:
                lost = self._status(TaskTwin(info), mesos.TaskState.TASK_DROPPED, "invalid offers", reliable=False)
                self._say_update(lost)
            return
        refuse_s = 5.0 if accept.filters is None else accept.filters.refuse_seconds
        for offer in accept.offer_ids:
            self._refuse(offer.value, refuse_s)
        for info in infos:
            if info.task_id.value in self.tasks:
                raise TwinError(f"task id '{info.task_id.value}' is in use: every task needs an id of its own")
            agents[0].take(info.resources)
            task = self.tasks[info.task_id.value] = TaskTwin(info)
            if self.auto_run:
                self._report(task, mesos.TaskState.TASK_RUNNING, None)

    def _kill(self, kill: scheduler.CallKill) -> None:
        task = self.tasks.get(kill.task_id.value)
        if task is None:
            status = mesos.TaskStatus(task_id=kill.task_id, state=mesos.TaskState.TASK_UNKNOWN)
            self._say_update(replace(status, reason=mesos.TaskStatusReason.REASON_RECONCILIATION))
        elif self.auto_kill and not task.ended:
            self._report(task, mesos.TaskState.TASK_KILLED, "Killed as asked for")

    def _acknowledged(self, acknowledge: scheduler.CallAcknowledge) -> None:
        task = self.tasks.get(acknowledge.task_id.value)
        if task is None or not task.pending or task.pending[0].uuid != acknowledge.uuid:
            return
        task.pending.popleft()
        if task.pending:
            self._say_head(task)
        elif task.ended:
            del self.tasks[acknowledge.task_id.value]
            self.finished[acknowledge.task_id.value] = task.state

    def _reconcile(self, reconcile: scheduler.CallReconcile) -> None:
        asked = [entry.task_id for entry in reconcile.tasks] or [task.info.task_id for task in self.tasks.values()]
        for task_id in asked:
            task = self.tasks.get(task_id.value)
            if task is not None:
                status = self._status(task, task.state, "Reconciliation: Latest task state", reliable=False)
            else:
                status = mesos.TaskStatus(task_id=task_id, state=mesos.TaskState.TASK_GONE)
            self._say_update(replace(status, reason=mesos.TaskStatusReason.REASON_RECONCILIATION))

    def _offer_what_is_free(self) -> bool:
        """Say one OFFERS event with every agent that may be offered; whether there was any."""
        if not self._connected or self.silent or self._core is None or self._core.phase is not core.Phase.SUBSCRIBED:
            return False
        if self.suppressed >= self._core.roles:
            return False
        offers = []
        for agent in self.agents.values():
            waiting = agent.refused_until_s > self.now.mono_s
            if agent.offered is None and agent.resources() and not (waiting and not _grown(agent)):
                agent.offered = f"offer-{self._next()}"
                self._offers[agent.offered] = agent.id
                offers.append(self._offer(agent, agent.offered))
        if offers:
            self._say(
                scheduler.Event(type=scheduler.EventType.OFFERS, offers=scheduler.EventOffers(offers=tuple(offers)))
            )
        return bool(offers)

    def _offer(self, agent: AgentTwin, offer_id: str) -> mesos.Offer:
        return mesos.Offer(
            id=mesos.OfferID(value=offer_id),
            framework_id=mesos.FrameworkID(value=self._framework_id or ""),
            agent_id=mesos.AgentID(value=agent.id),
            hostname=agent.hostname,
            resources=agent.resources(),
            attributes=agent.attributes,
            allocation_info=mesos.ResourceAllocationInfo(role="*"),
        )

    def _take_back(self, offer_id: str) -> None:
        agent = self.agents.get(self._offers.pop(offer_id, ""))
        if agent is not None:
            agent.offered = None

    def _refuse(self, offer_id: str, refuse_s: float) -> None:
        agent = self.agents.get(self._offers.get(offer_id, ""))
        self._take_back(offer_id)
        if agent is not None:
            # A master keeps a declined offer back for one interval at least, or it would come again at once.
            agent.refused_until_s = self.now.mono_s + max(refuse_s, 1.0)
            agent.refused = dict(agent.free)

    def _hang_up(self) -> None:
        self._connected = False
        self._said.clear()
        for offer_id in list(self._offers):
            self._take_back(offer_id)

    def _task(self, task_id: str) -> TaskTwin:
        if task_id not in self.tasks:
            raise TwinError(f"no task '{task_id}' is running: there are {', '.join(self.tasks) or 'none'}")
        return self.tasks[task_id]

    def _report(self, task: TaskTwin, state: mesos.TaskState, sentence: str | None) -> None:
        if task.ended:
            raise TwinError(f"task '{task.info.task_id.value}' has ended as {task.state.value} already")
        task.state = state
        if task.ended:
            agent = self.agents[task.agent_id]
            agent.take(task.info.resources, -1)
        task.pending.append(self._status(task, state, sentence, reliable=True))
        if len(task.pending) == 1:
            self._say_head(task)

    def _status(
        self, task: TaskTwin, state: mesos.TaskState, sentence: str | None, *, reliable: bool
    ) -> mesos.TaskStatus:
        source = mesos.TaskStatusSource
        return mesos.TaskStatus(
            task_id=task.info.task_id,
            state=state,
            message=sentence,
            agent_id=task.info.agent_id,
            timestamp=self.now.wall_s,
            source=source.SOURCE_EXECUTOR if reliable else source.SOURCE_MASTER,
            uuid=self._next().to_bytes(16, "big") if reliable else None,
        )

    def _say_head(self, task: TaskTwin) -> None:
        if task.pending:
            self._say_update(task.pending[0])

    def _say_update(self, status: mesos.TaskStatus) -> None:
        self._say(scheduler.Event(type=scheduler.EventType.UPDATE, update=scheduler.EventUpdate(status=status)))

    def _say(self, event: scheduler.Event) -> None:
        """What is said while nobody listens is lost; agents say theirs again."""
        if self._connected and not self.silent:
            self._said.append(event)

    def _next(self) -> int:
        self._count += 1
        return self._count


def _grown(agent: AgentTwin) -> bool:
    """Whether more is free than what was refused: then a refusal does not hold."""
    return any(left > agent.refused.get(name, 0) for name, left in agent.free.items())


def _spans(numbers: list[int]) -> list[mesos.ValueRange]:
    spans: list[mesos.ValueRange] = []
    for number in numbers:
        if spans and spans[-1].end + 1 == number:
            spans[-1] = replace(spans[-1], end=number)
        else:
            spans.append(mesos.ValueRange(begin=number, end=number))
    return spans


def _complete(steps: Coroutine[None, None, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        steps.send(None)
    except StopIteration:
        return
    steps.close()
    raise TwinError("a callback of the framework waits for something: use the methods that end in _async")
