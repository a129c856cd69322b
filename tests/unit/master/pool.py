"""A master's core by hand: events in, decisions applied, time as told, and everything it said kept."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from altiplano.engine.core import Decision, Effect, Event, Note, Wake
from altiplano.link import messages as link_messages
from altiplano.master import core, effects, events, facts
from altiplano.master.state import Config
from altiplano.model import resources
from altiplano.testing.clock import ManualClock
from altiplano.wire import json, translate
from altiplano.wire.messages import master, mesos, scheduler

E = TypeVar("E", bound=Effect)
M = TypeVar("M", bound=link_messages.Message)
Capability = mesos.FrameworkInfoCapabilityType
CallType = scheduler.CallType
EventType = scheduler.EventType

INTERVAL_S = 0.1
TOTAL = "cpus:8;mem:8192;disk:8192;ports:[31000-31099]"


def amounts(text: str) -> tuple[mesos.Resource, ...]:
    return translate.resources_to(resources.parse(text), refined=True)


def value_of(messages: Iterable[mesos.Resource]) -> resources.Resources:
    return translate.resources_from(messages).unallocate()


class Pool:
    """One master core with a clock.  After every event all invariants are checked."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config(allocation_interval_s=INTERVAL_S)
        self.clock = ManualClock()
        self.core = core.Core(self.config)
        self.said: list[Effect] = []
        self.log: list[object] = []
        self._numbers = itertools.count(1)
        self.post(events.Started(master_id="m", epoch=1, cause="test"))

    @property
    def state(self):
        return self.core.state

    def post(self, event: Event) -> Decision:
        decision = self.core.decide(event, self.clock.now())
        for fact in decision.facts:
            self.core.apply(fact)
            if fact.durable:
                self.log.append(fact)
        self.core.check()
        self.said.extend(decision.effects)
        return decision

    def run(self, seconds: float = 0.01) -> None:
        """Let time pass, waking the core whenever it wants."""
        end_s = self.clock.now().mono_s + seconds
        for _ in range(100_000):
            at_s = self.core.wake_at()
            if at_s is None or at_s > end_s:
                break
            self.clock.advance(max(0.0, at_s - self.clock.now().mono_s))
            self.post(Wake(cause="wake"))
        else:
            raise AssertionError("the core wants to be woken for ever")
        self.clock.advance(max(0.0, end_s - self.clock.now().mono_s))

    def next(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers)}"

    def of(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.said if isinstance(effect, kind)]

    def notes(self, subject: str) -> list[str]:
        return [note.sentence for note in self.of(Note) if subject in note.subjects]

    def framework(self, **options: object) -> Framework:
        framework = Framework(self, **options)
        framework.subscribe()
        return framework

    def agent(self, total: str = TOTAL, **options: object) -> Agent:
        agent = Agent(self, total, **options)
        agent.hello()
        return agent

    def operator(self, **call: object) -> effects.Reply:
        to = self.next("op")
        self.post(events.OperatorCalls(to=to, call=master.Call(**call), cause=to))
        return self.answer(to)

    def answer(self, to: str) -> effects.Reply:
        """The answer to a call, which may need some slices."""
        for _ in range(1000):
            for reply in self.of(effects.Reply):
                if reply.to == to:
                    return reply
            assert self.core.wake_at() == 0.0, f"{to} has no answer, and the core has nothing more to do"
            self.post(Wake(cause="wake"))
        raise AssertionError(f"{to} has no answer")

    def restart(self) -> None:
        """A new process with what the registry holds."""
        self.core = core.Core(self.config)
        for fact in self.log:
            self.core.apply(fact)
        self.core.check()
        self.said = []
        self.post(events.Started(master_id=self.next("m"), epoch=self.state.epoch + 1, cause="restart"))


class Framework:
    def __init__(
        self,
        pool: Pool,
        *,
        name: str = "test",
        roles: tuple[str, ...] = ("*",),
        suppressed: tuple[str, ...] = (),
        capabilities: tuple[mesos.FrameworkInfoCapabilityType, ...] = (),
        failover_timeout: float = 60.0,
        checkpoint: bool = True,
        **info: object,
    ) -> None:
        self.pool = pool
        self.id: str | None = None
        self.stream = ""
        self.suppressed = suppressed
        self.info = mesos.FrameworkInfo(
            user="root",
            name=name,
            roles=roles,
            failover_timeout=failover_timeout,
            checkpoint=checkpoint,
            capabilities=tuple(
                mesos.FrameworkInfoCapability(type=one) for one in (Capability.MULTI_ROLE, *capabilities)
            ),
            **info,
        )

    def subscribe(self) -> None:
        self.stream = self.pool.next("stream")
        info = self.info
        if self.id is not None:
            info = msgspec.structs.replace(info, id=mesos.FrameworkID(value=self.id))
        subscribe = scheduler.CallSubscribe(framework_info=info, suppressed_roles=self.suppressed)
        self.pool.post(
            events.FrameworkSubscribes(stream=self.stream, framework_id=self.id, subscribe=subscribe, cause=self.stream)
        )
        for event in self.events():
            if event.subscribed is not None:
                self.id = event.subscribed.framework_id.value

    def close(self) -> None:
        self.pool.post(events.StreamClosed(stream=self.stream, reason="the other side left", cause="close"))

    def events(self) -> list[scheduler.Event]:
        return [send.event for send in self.pool.of(effects.Send) if send.stream == self.stream]

    def types(self) -> list[str]:
        return [event.type.value for event in self.events() if event.type is not EventType.HEARTBEAT]

    @property
    def closed(self) -> bool:
        return any(effect.stream == self.stream for effect in self.pool.of(effects.CloseStream))

    def offers(self) -> list[mesos.Offer]:
        """Offers that were told and are still good."""
        return [
            offer
            for event in self.events()
            if event.offers is not None
            for offer in event.offers.offers
            if offer.id.value in self.pool.state.offers
        ]

    def offer(self) -> mesos.Offer:
        return self.offers()[-1]

    def updates(self, task_id: str | None = None) -> list[mesos.TaskStatus]:
        statuses = [event.update.status for event in self.events() if event.update is not None]
        return [status for status in statuses if task_id in (None, status.task_id.value)]

    def call(self, kind: scheduler.CallType, **payload: object) -> effects.Reply:
        to = self.pool.next("call")
        call = scheduler.Call(type=kind, framework_id=mesos.FrameworkID(value=self.id or ""), **payload)
        self.pool.post(events.FrameworkCalls(to=to, stream=self.stream, call=call, cause=to))
        return self.pool.answer(to)

    def decline(self, *offers: mesos.Offer, seconds: float | None = None) -> None:
        filters = mesos.Filters(refuse_seconds=seconds) if seconds is not None else None
        self.call(
            CallType.DECLINE, decline=scheduler.CallDecline(offer_ids=tuple(o.id for o in offers), filters=filters)
        )

    def task(self, offer: mesos.Offer, wants: str = "cpus:1;mem:128", **fields: object) -> mesos.TaskInfo:
        task_id = fields.pop("id", None) or self.pool.next("t")
        if "executor" not in fields:
            fields.setdefault("command", mesos.CommandInfo(value="true"))
        return mesos.TaskInfo(
            name=f"name of {task_id}",
            task_id=mesos.TaskID(value=task_id),
            agent_id=offer.agent_id,
            resources=amounts(wants),
            **fields,
        )

    def accept(self, offers: Iterable[mesos.Offer], *operations: mesos.OfferOperation, seconds: float = 0.0) -> None:
        accept = scheduler.CallAccept(
            offer_ids=tuple(offer.id for offer in offers),
            operations=operations,
            filters=mesos.Filters(refuse_seconds=seconds),
        )
        assert self.call(CallType.ACCEPT, accept=accept).status == 202

    def launch(self, offer: mesos.Offer, *tasks: mesos.TaskInfo, seconds: float = 0.0) -> None:
        launch = mesos.OfferOperationLaunch(task_infos=tasks)
        self.accept(
            (offer,), mesos.OfferOperation(type=mesos.OfferOperationType.LAUNCH, launch=launch), seconds=seconds
        )

    def start(self, wants: str = "cpus:1;mem:128", **fields: object) -> str:
        """Launch one task on the newest offer; its id."""
        offer = self.offer()
        task = self.task(offer, wants, **fields)
        self.launch(offer, task)
        return task.task_id.value

    def acknowledge(self, status: mesos.TaskStatus) -> None:
        call = scheduler.CallAcknowledge(agent_id=status.agent_id, task_id=status.task_id, uuid=status.uuid)
        assert self.call(CallType.ACKNOWLEDGE, acknowledge=call).status == 202

    def kill(self, task_id: str) -> None:
        call = scheduler.CallKill(task_id=mesos.TaskID(value=task_id))
        assert self.call(CallType.KILL, kill=call).status == 202

    def reconcile(self, *asked: tuple[str, str | None]) -> None:
        tasks = tuple(
            scheduler.CallReconcileTask(
                task_id=mesos.TaskID(value=task_id), agent_id=mesos.AgentID(value=agent) if agent else None
            )
            for task_id, agent in asked
        )
        assert self.call(CallType.RECONCILE, reconcile=scheduler.CallReconcile(tasks=tasks)).status == 202


class Agent:
    """An agent that does what it is told, when the test lets it."""

    def __init__(self, pool: Pool, total: str, *, hostname: str | None = None, obeys: bool = True) -> None:
        self.pool = pool
        self.hostname = hostname or pool.next("host")
        self.total = total
        self.id: str | None = None
        self.link = ""
        self.tasks: dict[tuple[str, str], link_messages.TaskReport] = {}
        self.frameworks: dict[str, mesos.FrameworkInfo] = {}
        self.obeys = obeys
        self._heard = 0

    def info(self) -> mesos.AgentInfo:
        return mesos.AgentInfo(
            hostname=self.hostname,
            resources=amounts(self.total),
            id=mesos.AgentID(value=self.id) if self.id is not None else None,
        )

    def hello(self, **changes: object) -> None:
        self.link = self.pool.next("link")
        hello = link_messages.Hello(
            version=link_messages.VERSION,
            agent=self.info(),
            tasks=tuple(self.tasks.values()),
            frameworks=tuple(self.frameworks.values()),
        )
        self.say(msgspec.structs.replace(hello, **changes))
        for welcome in self.heard(link_messages.Welcome):
            self.id = welcome.agent_id

    def say(self, message: link_messages.FromAgent) -> None:
        self.pool.post(events.AgentSays(link=self.link, peer="127.0.0.1:4711", message=message, cause="agent"))

    def cut(self) -> None:
        self.pool.post(events.LinkClosed(link=self.link, reason="the link broke", cause="cut"))

    def heard(self, kind: type[M]) -> list[M]:
        said = [effect.message for effect in self.pool.of(effects.ToAgent) if effect.link == self.link]
        return [message for message in said if isinstance(message, kind)]

    def obey(self) -> None:
        """Take over all tasks that were ordered on this link."""
        for order in self.heard(link_messages.RunTask):
            task = json.decode(mesos.TaskInfo, bytes(order.task))
            framework_id = order.framework.id.value
            self.frameworks[framework_id] = order.framework
            self.tasks.setdefault(
                (framework_id, task.task_id.value),
                link_messages.TaskReport(framework_id=framework_id, task=order.task, state="TASK_STAGING"),
            )

    def update(self, framework_id: str, task_id: str, state: str, **fields: object) -> mesos.TaskStatus:
        """Tell a state of a task, with a new uuid."""
        status = mesos.TaskStatus(
            task_id=mesos.TaskID(value=task_id),
            state=mesos.TaskState[state],
            agent_id=mesos.AgentID(value=self.id),
            uuid=uuid.uuid5(uuid.NAMESPACE_OID, self.pool.next("uuid")).bytes,
            source=mesos.TaskStatusSource.SOURCE_EXECUTOR,
            **fields,
        )
        self.say(link_messages.StatusUpdate(framework_id=framework_id, status=status, latest_state=state))
        report = self.tasks.get((framework_id, task_id))
        if report is not None:
            self.tasks[framework_id, task_id] = msgspec.structs.replace(report, state=state)
        return status


def durable(pool: Pool) -> list[str]:
    return [type(fact).__name__ for fact in pool.log]


__all__ = ["Agent", "Framework", "Pool", "amounts", "durable", "facts", "value_of"]
