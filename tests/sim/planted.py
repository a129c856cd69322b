"""Faults planted into the pieces of a simulated pool, one at a time: each must be found.

A plant replaces one part of the processes, or one function of the product, by a version with a mistake
that a person could make.  `promise` is the beginning of the sentence that finds it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from altiplano.agent import effects as agent_effects
from altiplano.agent import events as agent_events
from altiplano.agent import facts as agent_facts
from altiplano.agent.core import Core as AgentCore
from altiplano.agent.state import State as AgentState
from altiplano.engine.core import Effect, Fact
from altiplano.engine.outbox import Outbox
from altiplano.link import messages
from altiplano.link.session import Session
from altiplano.master import arrivals
from altiplano.master import effects as master_effects
from altiplano.master.allocator.allocator import Allocator
from altiplano.sdk import core as sdk_core
from altiplano.sim.cluster import make_log
from altiplano.sim.process import Parts
from altiplano.sim.weather import End
from altiplano.sim.workloads import batch
from altiplano.testing.log import Group, MemoryDisk, MemoryLog, MemoryRegistry

FOREVER = 10**18

DURABLE = "nothing is said that a crash can undo"
TRUE = "what is told about a task is true"
ONCE = "no task runs twice"
SOLD = "no resource is sold twice"
KEPT = "no update is acknowledged before it is kept"
ENDS = "everything comes to its end"
STAYS = "an acknowledged update stays acknowledged"
ORDER = "a task goes forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One mistake."""

    name: str
    promise: str | tuple[str, ...]
    parts: Callable[[], Parts] | None = None
    patch: Callable[[pytest.MonkeyPatch], None] | None = None
    first_seed: int = 1
    """Where the search begins when time is short: near a seed that is known to find it."""
    blind_to: frozenset[str] = frozenset()
    """Checkers that are switched off, so that others must find it."""


def plain() -> Parts:
    return Parts(make_log)


# -- persist, then say


class HastyOutbox(Outbox):
    """Does not wait for the log."""

    def flush(self, durable: int) -> bool:
        return super().flush(FOREVER)


def hasty() -> Parts:
    return Parts(make_log, make_outbox=HastyOutbox)


class LyingLog(MemoryLog):
    """Says that a flush is over when it begins."""

    def _begin_flush(self) -> None:
        super()._begin_flush()
        self._durability.reach(max((op.end for op in self._flying if isinstance(op, Group)), default=0))


class LyingRegistry(MemoryRegistry, LyingLog):
    pass


def lying_log() -> Parts:
    def make(disk: MemoryDisk, registry: bool) -> MemoryLog:
        return LyingRegistry(disk) if registry else LyingLog(disk)

    return Parts(make)


# -- the agent


def reaps_before_recording() -> Parts:
    """The launcher's record is dropped when the end is heard, not when it is in the log."""

    def change(name: str, process: Any, event: Any) -> Any:
        if isinstance(event, agent_events.ContainerExited):
            process.machine.forget(event.exited.container_id)
        return event

    return Parts(make_log, change_event=change)


def launches_again() -> Parts:
    """A new agent process trusts nothing that runs: it starts again what it was starting."""

    def event(name: str, process: Any, event: Any) -> Any:
        if isinstance(event, agent_events.Recovered):
            starting = {task.container_id for task in process.core.state.tasks.values() if task.started_wall_s is None}
            kept = tuple(one for one in event.inventory if one.container_id not in starting)
            return msgspec.structs.replace(event, inventory=kept)
        return event

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, agent_effects.Launch):
            process.machine.boxes.pop(effect.spec.container_id, None)
        return (effect,)

    return Parts(make_log, change_event=event, change_effects=effects)


def forgets_kills() -> Parts:
    """One signal in three is not sent."""
    counts = {"signals": 0}

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, agent_effects.Terminate | agent_effects.Destroy):
            counts["signals"] += 1
            if counts["signals"] % 3 == 0:
                return ()
        return (effect,)

    return Parts(make_log, change_effects=effects)


def greets_without_tasks() -> Parts:
    """A new agent process greets before it has looked what it has."""

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if isinstance(effect, agent_effects.Say) and isinstance(effect.message, messages.Hello):
            return (msgspec.structs.replace(effect, message=msgspec.structs.replace(effect.message, tasks=())),)
        return (effect,)

    return Parts(make_log, change_effects=effects)


def drops_updates_behind_an_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    """The whole stream goes when its head is acknowledged."""
    original = AgentState._acknowledged

    def acknowledged(self: AgentState, fact: agent_facts.StatusAcknowledged) -> None:
        original(self, fact)
        self.streams.pop((fact.framework_id, fact.task_id), None)

    def sent(self: AgentState, fact: agent_facts.TaskFact) -> None:
        if not isinstance(fact, agent_facts.UpdateSent) or (fact.framework_id, fact.task_id) in self.streams:
            task(self, fact)

    task = AgentState._task
    patch.setattr(AgentState, "_acknowledged", acknowledged)
    patch.setattr(AgentState, "_task", sent)


def summarises_without_its_id(patch: pytest.MonkeyPatch) -> None:
    """The snapshot of the agent's log leaves one fact out."""
    original = AgentCore.summary

    def summary(self: AgentCore) -> list[Fact]:
        return [fact for fact in original(self) if not isinstance(fact, agent_facts.AgentAdmitted)]

    patch.setattr(AgentCore, "summary", summary)


# -- the link


def accepts_gaps(patch: pytest.MonkeyPatch) -> None:
    """The link does not look at sequence numbers, and every fortieth frame of it is lost."""
    send = End.send
    counts = {"frames": 0}

    def lossy(self: End, item: Any) -> None:
        counts["frames"] += isinstance(item, str)
        if not isinstance(item, str) or counts["frames"] % 40:
            send(self, item)

    patch.setattr(End, "send", lossy)
    original = Session._accept

    def accept(self: Session, seq: int, ack: int, epoch: int, size: int) -> None:
        if seq:
            self._received = seq - 1
        original(self, seq, min(ack, self._sent) if ack >= self._acknowledged else self._acknowledged, epoch, size)

    patch.setattr(Session, "_accept", accept)


# -- the master


def forgets_a_subtraction(patch: pytest.MonkeyPatch) -> None:
    """The allocator does not take every seventh allocation from what is free."""
    original = Allocator.allocate
    counts = {"calls": 0}

    def allocate(self: Allocator, agent_id: str, framework_id: str, role: str, resources: Any) -> None:
        counts["calls"] += 1
        free = self.members[agent_id].free
        original(self, agent_id, framework_id, role, resources)
        if counts["calls"] % 7 == 0:
            self.members[agent_id].free = free

    patch.setattr(Allocator, "allocate", allocate)


def acknowledges_by_itself() -> Parts:
    """The master acknowledges an update as soon as it has passed it on."""

    def effects(name: str, process: Any, effect: Effect) -> Sequence[Effect]:
        if not isinstance(effect, master_effects.Send) or effect.event.update is None:
            return (effect,)
        status = effect.event.update.status
        agent = process.core.state.agents.get(status.agent_id.value) if status.agent_id is not None else None
        framework_id = process.core.state.by_stream.get(effect.stream)
        if status.uuid is None or agent is None or agent.link is None or framework_id is None:
            return (effect,)
        taken = messages.Acknowledge(framework_id=framework_id, task_id=status.task_id.value, uuid=status.uuid)
        return (effect, master_effects.ToAgent(link=agent.link, message=taken))

    return Parts(make_log, change_effects=effects)


def tells_newer_states_first(patch: pytest.MonkeyPatch) -> None:
    """Of a task that came back the newest state is told, before older updates that nobody acknowledged."""
    original = arrivals.Reported

    def reported(**read: Any) -> arrivals.Reported:
        return original(**{**read, "told": None, "uuid": None})

    patch.setattr(arrivals, "Reported", reported)


# -- schedulers


def acknowledges_before_storing(patch: pytest.MonkeyPatch) -> None:
    """The framework writes its diary later."""
    pending: set[asyncio.Task[None]] = set()

    async def write(self: Any, task: str, entry: batch.Entry) -> None:
        self._entries[task] = entry

        async def later() -> None:
            await asyncio.sleep(0.5)
            await self._store.put(f"task/{task}", msgspec.json.encode(self._entries[task]))

        pending.add(asyncio.ensure_future(later()))

    patch.setattr(batch.BatchFramework, "_write", write)


def does_not_repeat_kills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sdk_core.Scheduler, "_kill_if_asked", lambda self, status: [])

    def forget(self: sdk_core.Scheduler, now: object, fraction: float) -> list[sdk_core.Act]:
        self._kill_at = None
        return []

    patch.setattr(sdk_core.Scheduler, "_repeat_kills", forget)


def does_not_ask_again(patch: pytest.MonkeyPatch) -> None:
    """And the framework is patient: it waits for ever for what is out of reach."""
    patch.setattr(batch, "AWAY_S_MAX", math.inf)
    patch.setattr(sdk_core.Scheduler, "_ask_later", lambda self, task_id, now: self._unanswered.pop(task_id, None))


PLANTS = (
    Plant(name="the outbox does not wait for the log", promise=DURABLE, parts=hasty),
    Plant(name="one fsync is left out", promise=DURABLE, parts=lying_log),
    Plant(
        name="the outbox does not wait, seen from outside",
        promise="",
        parts=hasty,
        blind_to=frozenset({"DurableFirst"}),
    ),
    Plant(name="reaped before it is recorded", promise=TRUE, first_seed=22, parts=reaps_before_recording),
    Plant(name="the launch is repeated after a restart", promise=(ONCE, TRUE), parts=launches_again),
    Plant(name="a kill is forgotten", promise=ENDS, parts=forgets_kills),
    Plant(name="the agent greets without its tasks", promise=TRUE, first_seed=2, parts=greets_without_tasks),
    Plant(
        name="updates behind an acknowledged one are dropped",
        promise=(ENDS, STAYS),
        patch=drops_updates_behind_an_acknowledgement,
    ),
    Plant(name="a snapshot leaves a fact out", promise="", patch=summarises_without_its_id),
    Plant(name="the link accepts gaps", promise="", patch=accepts_gaps),
    Plant(name="the allocator forgets a subtraction", promise=SOLD, patch=forgets_a_subtraction),
    Plant(name="the master acknowledges by itself", promise=KEPT, parts=acknowledges_by_itself),
    Plant(name="newer states are told first", promise=(TRUE, ORDER), first_seed=26, patch=tells_newer_states_first),
    Plant(name="acknowledged before it is stored", promise=KEPT, patch=acknowledges_before_storing),
    Plant(name="kills are not repeated", promise=ENDS, first_seed=37, patch=does_not_repeat_kills),
    Plant(name="lost tasks are not asked about", promise=ENDS, first_seed=84, patch=does_not_ask_again),
)
