"""Offers in the hands of a framework: looked at, divided among tasks, let go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from altiplano.sdk.calls import REFUSE_S_DEFAULT, Accept, Decline
from altiplano.sdk.tasks import Task
from altiplano.wire.messages import mesos

AttributeValue: TypeAlias = str | float | tuple[tuple[int, int], ...] | frozenset[str]


class OfferTooSmall(Exception):
    """An offer does not hold what a task needs: ask `Offer.lacks` before."""


class Offer:
    """Resources of one agent, for this framework, until it uses them or lets them go.

    `launch` takes from it.  What is left over when the framework returns from its callback goes
    back to the pool, unless `hold` was called.  Amounts say what is left; `mem` and `disk` are in MB.
    """

    def __init__(self, message: mesos.Offer) -> None:
        self.message = message
        self.id = message.id.value
        self.agent_id = message.agent_id.value
        self.hostname = message.hostname
        self.role = (message.allocation_info.role if message.allocation_info is not None else None) or "*"
        self.attributes: Mapping[str, AttributeValue] = {a.name: _attribute(a) for a in message.attributes}
        self.held = False
        self.refuse_s = REFUSE_S_DEFAULT
        self.operations: list[mesos.OfferOperation] = []
        self._left = list(message.resources)

    def __repr__(self) -> str:
        return f"<Offer {self.id} of {self.hostname}: {self.describe()}>"

    @property
    def cpus(self) -> float:
        return self._amount("cpus")

    @property
    def mem(self) -> float:
        return self._amount("mem")

    @property
    def disk(self) -> float:
        return self._amount("disk")

    @property
    def gpus(self) -> float:
        return self._amount("gpus")

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        """Ranges of host ports, both ends included."""
        return tuple(
            (part.begin, part.end)
            for resource in self._left
            if resource.name == "ports" and resource.ranges is not None
            for part in resource.ranges.range
        )

    @property
    def resources(self) -> tuple[mesos.Resource, ...]:
        """What is left, as messages."""
        return tuple(self._left)

    @property
    def used(self) -> bool:
        return bool(self.operations)

    def describe(self) -> str:
        """The amounts that are left, in words."""
        ports = sum(end - begin + 1 for begin, end in self.ports)
        parts = [
            f"{self.cpus:.10g} cpus",
            f"{self.mem:.10g} MB of memory",
            f"{self.disk:.10g} MB of disk",
            f"{ports} ports",
        ]
        return ", ".join(parts + ([f"{self.gpus:.10g} gpus"] if self.gpus else []))

    def lacks(self, task: Task) -> str | None:
        """What the task needs and the offer has not, as a sentence with numbers; None if it fits."""
        have = {"cpus": self.cpus, "mem": self.mem, "disk": self.disk, "gpus": self.gpus}
        have["ports"] = float(sum(end - begin + 1 for begin, end in self.ports))
        short = [
            f"{need:.10g} {name} where {have[name]:.10g} are left"
            for name, need in task.needs.items()
            if _milli(need) > _milli(have[name])
        ]
        return f"{self.hostname} is too small: the task needs {' and '.join(short)}" if short else None

    def fits(self, task: Task) -> bool:
        return self.lacks(task) is None

    def launch(self, *tasks: Task) -> None:
        """Run tasks here.  Raises OfferTooSmall, and then nothing of that task was taken."""
        infos = tuple(self._place(task) for task in tasks)
        launch = mesos.OfferOperationLaunch(task_infos=infos)
        self.operations.append(mesos.OfferOperation(type=mesos.OfferOperationType.LAUNCH, launch=launch))

    def launch_group(self, executor: mesos.ExecutorInfo, tasks: Iterable[Task]) -> None:
        """Run tasks together: all of them start or none.  The executor's resources are its own affair."""
        group = mesos.TaskGroupInfo(tasks=tuple(self._place(task) for task in tasks))
        launch = mesos.OfferOperationLaunchGroup(executor=executor, task_group=group)
        self.operations.append(mesos.OfferOperation(type=mesos.OfferOperationType.LAUNCH_GROUP, launch_group=launch))

    def take(self, needs: Mapping[str, float]) -> tuple[tuple[mesos.Resource, ...], tuple[int, ...]]:
        """Take amounts by name (ports: how many) from what is left: the resources, and the ports among them.

        Reserved resources go first, so that what others could use as well is left for others.
        """
        taken: list[mesos.Resource] = []
        ports: list[int] = []
        for name, need in needs.items():
            if name == "ports":
                taken += self._take_ports(int(need), ports)
            else:
                taken += self._take_scalar(name, _milli(need))
        return tuple(taken), tuple(ports)

    def operate(self, *operations: mesos.OfferOperation) -> None:
        """Add operations as they are, such as RESERVE or CREATE."""
        self.operations += operations

    def decline(self, refuse_s: float = REFUSE_S_DEFAULT) -> None:
        """Let go what is not used, and do not have it offered again for `refuse_s`."""
        self.held = False
        self.refuse_s = refuse_s

    def hold(self) -> None:
        """Keep the offer after the callback: others cannot use it meanwhile, so not for long."""
        self.held = True

    def _place(self, task: Task) -> mesos.TaskInfo:
        if lack := self.lacks(task):
            raise OfferTooSmall(f"task '{task.id}' does not fit: {lack}")
        resources, ports = self.take(task.needs)
        return task.message(self.agent_id, resources, ports)

    def _amount(self, name: str) -> float:
        return sum(_milli(r.scalar.value) for r in self._left if _usable(r, name) and r.scalar is not None) / 1000

    def _order(self, name: str) -> list[int]:
        places = [i for i, resource in enumerate(self._left) if _usable(resource, name)]
        return sorted(places, key=lambda i: not _reserved(self._left[i]))

    def _take_scalar(self, name: str, need: int) -> list[mesos.Resource]:
        taken: list[mesos.Resource] = []
        for place in self._order(name):
            resource = self._left[place]
            assert resource.scalar is not None
            have = _milli(resource.scalar.value)
            part = min(need, have)
            if part > 0:
                taken.append(_scalar(resource, part))
                self._left[place] = _scalar(resource, have - part)
                need -= part
        return taken

    def _take_ports(self, count: int, ports: list[int]) -> list[mesos.Resource]:
        taken: list[mesos.Resource] = []
        for place in self._order("ports"):
            resource = self._left[place]
            mine: list[mesos.ValueRange] = []
            rest: list[mesos.ValueRange] = []
            for part in resource.ranges.range if resource.ranges is not None else ():
                size = min(count, part.end - part.begin + 1)
                if size > 0:
                    mine.append(mesos.ValueRange(begin=part.begin, end=part.begin + size - 1))
                    ports += range(part.begin, part.begin + size)
                    count -= size
                if part.begin + size <= part.end:
                    rest.append(mesos.ValueRange(begin=part.begin + size, end=part.end))
            if mine:
                taken.append(replace(resource, ranges=mesos.ValueRanges(range=tuple(mine))))
                self._left[place] = replace(resource, ranges=mesos.ValueRanges(range=tuple(rest)))
        return taken


def calls_for(offers: Sequence[Offer]) -> list[Accept | Decline]:
    """What to tell the master about offers after a framework has seen them: held ones nothing."""
    made: list[Accept | Decline] = []
    declined: dict[float, list[str]] = {}
    for offer in offers:
        if offer.used:
            operations = tuple(offer.operations)
            made.append(Accept(offer_ids=(offer.id,), operations=operations, refuse_s=offer.refuse_s))
        elif not offer.held:
            declined.setdefault(offer.refuse_s, []).append(offer.id)
    made += [Decline(offer_ids=tuple(ids), refuse_s=refuse_s) for refuse_s, ids in declined.items()]
    return made


def _usable(resource: mesos.Resource, name: str) -> bool:
    """Whether a task may simply use it: volumes, shared and revocable resources are taken by operations only."""
    return resource.name == name and resource.disk is None and resource.shared is None and resource.revocable is None


def _reserved(resource: mesos.Resource) -> bool:
    return bool(resource.reservations) or resource.role not in (None, "*")


def _milli(amount: float) -> int:
    return round(amount * 1000)


def _scalar(resource: mesos.Resource, milli: int) -> mesos.Resource:
    return replace(resource, scalar=mesos.ValueScalar(value=milli / 1000))


def _attribute(attribute: mesos.Attribute) -> AttributeValue:
    if attribute.scalar is not None:
        return attribute.scalar.value
    if attribute.ranges is not None:
        return tuple((part.begin, part.end) for part in attribute.ranges.range)
    if attribute.set is not None:
        return frozenset(attribute.set.item)
    return attribute.text.value if attribute.text is not None else ""
