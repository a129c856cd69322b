"""A framework that uses the scheduler API as ALICE's experiment control does over mesos-go: protobuf, no SDK of ours.

It takes part in one role without MULTI_ROLE, checkpoints, and asks for its offers with REVIVE.  What matters most:
it takes the first OFFERS event after a REVIVE for the complete set of machines, and a task bound to a machine that
is not in it cannot be deployed.  For each machine it launches tasks under one executor, whose id it takes from the
offer where one runs there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from altiplano.kit import recordio
from altiplano.wire import protobuf
from altiplano.wire.messages import mesos, scheduler

CALLS_MAX = 16
"""Calls under way at once: the control launches from parallel routines."""

REFUSE_S = 1.0
WAIT_S = 30.0
MEDIA_TYPE = "application/x-protobuf"
EXECUTOR = (("cpus", 0.01), ("mem", 64.0))
TASK = (("cpus", 0.2), ("mem", 128.0))
PORT_FIRST = 30_000

CallType = scheduler.CallType
EventType = scheduler.EventType


@dataclass
class Deployment:
    """One environment: its tasks by id with the executor and machine of each, and when what happened."""

    tasks: dict[str, tuple[mesos.AgentID, mesos.ExecutorID]] = field(default_factory=dict)
    offered: list[mesos.Offer] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    """Executors that answered a command."""
    seconds: dict[str, float] = field(default_factory=dict)


class Undeployable(AssertionError):
    """A task's machine is not in the OFFERS event."""


class Control:
    """One subscription.  Use it as a context; `deploy`, `command` and `destroy` are what people do with it."""

    def __init__(self, master: str, *, suppresses: bool) -> None:
        """`suppresses`: it wants no offers between deployments; else it declines them as they come."""
        self.master = master
        self.suppresses = suppresses
        self.states: dict[str, mesos.TaskState] = {}
        self.ends: Counter[str] = Counter()
        """How often the end of each task was told, by the uuid of the update only once."""
        self.acknowledged: set[bytes] = set()
        self.failures: list[scheduler.EventFailure] = []
        self.unasked = 0
        """OFFERS events that answered neither SUBSCRIBE nor REVIVE."""
        self._framework_id: mesos.FrameworkID | None = None
        self._stream_id = ""
        self._offers: asyncio.Queue[tuple[mesos.Offer, ...]] = asyncio.Queue()
        self._asked = True
        self._left = False
        self._deployment = Deployment()
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(CALLS_MAX)
        self._numbers = itertools.count(1)

    # -- what people do

    async def deploy(self, machines: Sequence[str], tasks_each: int) -> Deployment:
        """Run tasks on each of these machines, all in one go.  Raises Undeployable."""
        one = self._deployment = Deployment()
        start = time.perf_counter()
        self._asked = True
        await self._call(CallType.REVIVE)
        one.offered = list(await asyncio.wait_for(self._offers.get(), WAIT_S))
        one.seconds["offers"] = time.perf_counter() - start
        by_machine = {_machine(offer): offer for offer in one.offered}
        missing = [machine for machine in machines if machine not in by_machine]
        if missing:
            raise Undeployable(f"{len(missing)} of {len(machines)} machines are not in the event, as {missing[0]}")
        used = [by_machine.pop(machine) for machine in machines]
        start = time.perf_counter()
        rest = [offer.id for offer in by_machine.values()]
        async with asyncio.TaskGroup() as group:
            for offer in used:
                group.create_task(self._launch(one, offer, tasks_each))
            if rest:
                decline = scheduler.CallDecline(offer_ids=tuple(rest), filters=_refuse())
                group.create_task(self._call(CallType.DECLINE, decline=decline))
        if self.suppresses:
            await self._call(CallType.SUPPRESS)
        await self._until(lambda: all(self.states.get(task) is mesos.TaskState.TASK_RUNNING for task in one.tasks))
        one.seconds["running"] = time.perf_counter() - start
        return one

    async def command(self, one: Deployment) -> None:
        """Send each executor a command, as for a transition, and wait for the answers."""
        start = time.perf_counter()
        executors = {executor.value: (agent, executor) for agent, executor in one.tasks.values()}
        async with asyncio.TaskGroup() as group:
            for agent, executor in executors.values():
                said = scheduler.CallMessage(agent_id=agent, executor_id=executor, data=b'{"name":"START"}' * 64)
                group.create_task(self._call(CallType.MESSAGE, message=said))
        await self._until(lambda: one.answered == set(executors))
        one.seconds["answered"] = time.perf_counter() - start

    async def destroy(self, one: Deployment) -> None:
        """Kill all tasks; their executors stay, for the next deployment."""
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for task, (agent, _) in one.tasks.items():
                kill = scheduler.CallKill(task_id=mesos.TaskID(value=task), agent_id=agent)
                group.create_task(self._call(CallType.KILL, kill=kill))
        await self._until(lambda: all(self.states.get(task) is mesos.TaskState.TASK_KILLED for task in one.tasks))
        one.seconds["killed"] = time.perf_counter() - start

    async def teardown(self) -> None:
        self._left = True
        await self._call(CallType.TEARDOWN)

    # -- one launch

    async def _launch(self, one: Deployment, offer: mesos.Offer, count: int) -> None:
        executor = offer.executor_ids[0] if offer.executor_ids else mesos.ExecutorID(value=f"x-{next(self._numbers)}")
        info = mesos.ExecutorInfo(
            type=mesos.ExecutorInfoType.CUSTOM,
            executor_id=executor,
            name="experiment control's executor",
            command=mesos.CommandInfo(
                value="./executor", uris=(mesos.CommandInfoURI(value="/opt/executor", executable=True),)
            ),
            resources=_scalars(EXECUTOR),
        )
        tasks = tuple(self._task(offer, info, PORT_FIRST + index) for index in range(count))
        for task in tasks:
            one.tasks[task.task_id.value] = (offer.agent_id, executor)
        launch = mesos.OfferOperation(
            type=mesos.OfferOperationType.LAUNCH, launch=mesos.OfferOperationLaunch(task_infos=tasks)
        )
        accept = scheduler.CallAccept(offer_ids=(offer.id,), operations=(launch,), filters=_refuse())
        await self._call(CallType.ACCEPT, accept=accept)

    def _task(self, offer: mesos.Offer, executor: mesos.ExecutorInfo, port: int) -> mesos.TaskInfo:
        number = next(self._numbers)
        ports = mesos.ValueRanges(range=(mesos.ValueRange(begin=port, end=port),))
        return mesos.TaskInfo(
            name=f"readout-{number}",
            task_id=mesos.TaskID(value=f"t-{number}"),
            agent_id=offer.agent_id,
            executor=executor,
            resources=(*_scalars(TASK), mesos.Resource(name="ports", type=mesos.ValueType.RANGES, ranges=ports)),
            data=b'{"env":["O2_DETECTOR=TST"],"shell":true,"value":"readout"}' * 32,
            limits={"cpus": mesos.ValueScalar(value=math.inf), "mem": mesos.ValueScalar(value=256.0)},
            labels=mesos.Labels(labels=(mesos.Label(key="environmentId", value="2rE9AV3m1HL"),)),
        )

    # -- the subscription

    async def __aenter__(self) -> Control:
        self._client = await aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)).__aenter__()
        info = mesos.FrameworkInfo(
            user="root", name="experiment control", checkpoint=True, failover_timeout=3_600_000.0, role="*"
        )
        subscribe = scheduler.Call(type=CallType.SUBSCRIBE, subscribe=scheduler.CallSubscribe(framework_info=info))
        self._answer = await self._post(subscribe)
        assert self._answer.status == 200, await self._answer.text()
        assert self._answer.headers["Content-Type"] == MEDIA_TYPE
        assert "Content-Length" not in self._answer.headers
        self._stream_id = self._answer.headers["Mesos-Stream-Id"]
        self._reader = asyncio.create_task(self._read())
        await self._until(lambda: self._framework_id is not None)
        await self._call(CallType.RECONCILE, reconcile=scheduler.CallReconcile())
        # The first offers answer the subscription; nothing is to be deployed yet.
        offers = await asyncio.wait_for(self._offers.get(), WAIT_S)
        await self._decline(offers)
        if self.suppresses:
            await self._call(CallType.SUPPRESS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        self._answer.close()
        await self._client.close()

    async def _read(self) -> None:
        async for event in self._events():
            match event.type:
                case EventType.SUBSCRIBED:
                    assert event.subscribed is not None
                    self._framework_id = event.subscribed.framework_id
                case EventType.OFFERS:
                    assert event.offers is not None
                    await self._offered(event.offers.offers)
                case EventType.UPDATE:
                    assert event.update is not None
                    await self._updated(event.update.status)
                case EventType.MESSAGE:
                    assert event.message is not None
                    self._deployment.answered.add(event.message.executor_id.value)
                case EventType.FAILURE:
                    assert event.failure is not None
                    self.failures.append(event.failure)
                case EventType.ERROR:
                    raise AssertionError(event.error)
                case _:
                    pass
            self._changed.set()

    async def _events(self) -> AsyncIterator[scheduler.Event]:
        decoder = recordio.Decoder()
        async for data in self._answer.content.iter_any():
            for record in decoder.feed(data):
                yield protobuf.decode(scheduler.Event, record)

    async def _offered(self, offers: tuple[mesos.Offer, ...]) -> None:
        for offer in offers:
            # A client without MULTI_ROLE cannot take a port out of resources that name their allocation.
            assert offer.allocation_info is None
            assert all(resource.allocation_info is None for resource in offer.resources)
        if self._asked:
            self._asked = False
            self._offers.put_nowait(offers)
        elif not self._left:
            self.unasked += 1
            await self._decline(offers)

    async def _updated(self, status: mesos.TaskStatus) -> None:
        """Acknowledge first, one after another, as the client library does."""
        task = status.task_id.value
        if status.uuid is not None:
            assert status.agent_id is not None
            acknowledge = scheduler.CallAcknowledge(agent_id=status.agent_id, task_id=status.task_id, uuid=status.uuid)
            await self._call(CallType.ACKNOWLEDGE, acknowledge=acknowledge)
            if status.state is mesos.TaskState.TASK_KILLED and status.uuid not in self.acknowledged:
                self.ends[task] += 1
            self.acknowledged.add(status.uuid)
        self.states[task] = status.state

    async def _decline(self, offers: Sequence[mesos.Offer]) -> None:
        decline = scheduler.CallDecline(offer_ids=tuple(offer.id for offer in offers), filters=_refuse())
        await self._call(CallType.DECLINE, decline=decline)

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true():
                if self._reader.done():
                    self._reader.result()
                self._changed.clear()
                await self._changed.wait()

    async def _call(self, kind: CallType, **payload: Any) -> None:
        async with self._slots:
            answer = await self._post(scheduler.Call(framework_id=self._framework_id, type=kind, **payload))
            async with answer:
                # A DECLINE that was under way at the end finds no framework any more.
                late = self._left and kind is CallType.DECLINE
                assert answer.status == 202 or late, f"{kind}: {answer.status} {await answer.text()}"

    async def _post(self, call: scheduler.Call) -> aiohttp.ClientResponse:
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
        if self._stream_id:
            headers["Mesos-Stream-Id"] = self._stream_id
        return await self._client.post(
            f"http://{self.master}/api/v1/scheduler", data=protobuf.encode(call), headers=headers
        )


def _machine(offer: mesos.Offer) -> str:
    return next(one.text.value for one in offer.attributes if one.name == "machine_id" and one.text is not None)


def _scalars(amounts: Sequence[tuple[str, float]]) -> tuple[mesos.Resource, ...]:
    return tuple(
        mesos.Resource(name=name, type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=value))
        for name, value in amounts
    )


def _refuse() -> mesos.Filters:
    return mesos.Filters(refuse_seconds=REFUSE_S)
