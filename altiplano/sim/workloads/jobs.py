"""What the batch systems of a simulation have to do: jobs of all kinds, drawn from the seed.

A job is a command, a task of a custom executor, or a group under the built-in executor or a custom
one.  Some stay until the run lets them go: they are what lives when everything else has become quiet.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

import msgspec

from altiplano.sdk.offers import Offer
from altiplano.sdk.tasks import Task
from altiplano.sim.executor import Script
from altiplano.wire.messages import mesos

WINDOW_S = 130.0
"""Jobs arrive within this time."""

START_S = 1000.0
"""Where the clock of a simulation begins."""

UNTIL_KILLED_S = 1_000_000
EXECUTOR_NEEDS = {"cpus": 0.25, "mem": 32.0, "disk": 1.0}


class Kind(Enum):
    COMMAND = "command"
    HOSTED = "hosted"
    """Under a custom executor, which is used again."""
    GROUP = "group"
    """Commands that live and die together."""
    HOSTED_GROUP = "hosted group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One task of a job."""

    sleep_s: float
    status: int = 0
    deaf: bool = False

    @property
    def script(self) -> str:
        trap = "trap '' TERM; " if self.deaf else ""
        return f"{trap}sleep {self.sleep_s}; exit {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    name: str
    kind: Kind
    at_s: float
    cpus: float
    """Of each task."""
    mem: float
    members: tuple[Member, ...]
    kill_after_s: float | None = None
    executor: str = ""
    """Id of its executor."""
    manners: str = ""
    stays: bool = False
    """It runs until the workload is released."""

    @property
    def hosted(self) -> bool:
        return self.kind in (Kind.HOSTED, Kind.HOSTED_GROUP)

    @property
    def grouped(self) -> bool:
        return self.kind in (Kind.GROUP, Kind.HOSTED_GROUP)

    def task_ids(self, attempt: int) -> tuple[str, ...]:
        if not self.grouped:
            return (f"{self.name}-{attempt}",)
        return tuple(f"{self.name}-{attempt}_{number}" for number in range(len(self.members)))

    def fits(self, offer: Offer) -> bool:
        extra = EXECUTOR_NEEDS if self.kind is not Kind.COMMAND else dict.fromkeys(EXECUTOR_NEEDS, 0.0)
        count = len(self.members)
        return (
            offer.cpus >= self.cpus * count + extra["cpus"]
            and offer.mem >= self.mem * count + extra["mem"]
            and offer.disk >= extra["disk"]
        )

    def launch(self, offer: Offer, attempt: int) -> None:
        """Take what the job needs from an offer that fits."""
        ids = self.task_ids(attempt)
        executor = None
        if self.kind is not Kind.COMMAND:
            resources, _ = offer.take(EXECUTOR_NEEDS)
            executor = self._executor(ids[0], resources)
        tasks = [
            Task(
                id=task_id,
                cpus=self.cpus,
                mem=self.mem,
                command="" if self.hosted else member.script,
                executor=executor if self.kind is Kind.HOSTED else None,
                data=msgspec.json.encode(Script(sleep_s=member.sleep_s, status=member.status)) if self.hosted else None,
                info=_BLANK if self.hosted else None,
            )
            for task_id, member in zip(ids, self.members, strict=True)
        ]
        if self.grouped:
            assert executor is not None
            offer.launch_group(executor, tasks)
        else:
            offer.launch(*tasks)

    def executor_id(self, attempt: int) -> str:
        """The id of the executor of one attempt; empty for a command."""
        if self.kind is Kind.COMMAND:
            return ""
        return self.executor or f"{self.task_ids(attempt)[0]}-group"

    def _executor(self, first_id: str, resources: tuple[mesos.Resource, ...]) -> mesos.ExecutorInfo:
        built_in = self.kind is Kind.GROUP
        kinds = mesos.ExecutorInfoType
        return mesos.ExecutorInfo(
            executor_id=mesos.ExecutorID(value=self.executor or f"{first_id}-group"),
            type=kinds.DEFAULT if built_in else kinds.CUSTOM,
            command=None if built_in else mesos.CommandInfo(value=f"executor {self.manners}", shell=True),
            resources=resources,
        )


_BLANK = mesos.TaskInfo(name="hosted", task_id=mesos.TaskID(value="-"), agent_id=mesos.AgentID(value="-"), resources=())
"""Lets a task have no command: its executor knows what to do."""


def draw(dice: random.Random, name: str, *, stays: bool = False) -> Job:
    """A job, from the seed."""
    framework = name.partition(".")[0]
    kind = dice.choices(list(Kind), (5, 4, 2, 1))[0]
    if stays:
        kind = dice.choice((Kind.COMMAND, Kind.HOSTED))
    length_s = round(dice.choice((0.0, dice.expovariate(1 / 5), dice.expovariate(1 / 40))), 2)
    executor, manners = _executor(dice, framework, name, kind, stays=stays)
    members, kill_after_s = _members(dice, kind, length_s, stays=stays)
    small = kind in (Kind.GROUP, Kind.HOSTED_GROUP) or stays
    return Job(
        name=name,
        kind=kind,
        at_s=START_S + dice.uniform(0, WINDOW_S),
        cpus=dice.choice((0.25, 0.5)) if small else dice.choice((0.5, 1.0, 2.0, 3.0)),
        mem=dice.choice((64.0, 256.0)) if small else dice.choice((64.0, 512.0, 2048.0)),
        members=members,
        kill_after_s=kill_after_s,
        executor=executor,
        manners=manners,
        stays=stays,
    )


def _executor(dice: random.Random, framework: str, name: str, kind: Kind, *, stays: bool) -> tuple[str, str]:
    """Most custom executors are shared by what runs on one machine; the odd ones are not."""
    if kind not in (Kind.HOSTED, Kind.HOSTED_GROUP):
        return "", ""
    odd = dice.random()
    if stays or odd < 0.6:
        number = dice.randint(0, 1)
        return f"{framework}-x{number}", f"linger={12 + 8 * number}"
    if odd < 0.8:
        return f"{name}-x", f"linger=5 crash={round(dice.expovariate(1 / 15), 2)}"
    if odd < 0.9:
        return f"{name}-x", "linger=20 deaf"
    if odd < 0.95:
        return f"{name}-x", "mute"
    return f"{name}-x", "linger=0"


def _members(
    dice: random.Random, kind: Kind, length_s: float, *, stays: bool
) -> tuple[tuple[Member, ...], float | None]:
    """What the tasks of a job do, and after which time they are killed."""
    if stays:
        return (Member(sleep_s=UNTIL_KILLED_S),), None
    end = dice.random()
    status = dice.randint(1, 100) if 0.6 <= end < 0.8 else 0
    if kind in (Kind.GROUP, Kind.HOSTED_GROUP):
        # Where one fails, nothing else ends the others.
        spoilt = status != 0 and kind is Kind.GROUP
        others = tuple(
            Member(sleep_s=UNTIL_KILLED_S if spoilt else round(dice.uniform(0, 20), 2))
            for _ in range(dice.randint(1, 2))
        )
        return (Member(sleep_s=length_s, status=status), *others), None
    if end < 0.8:
        return (Member(sleep_s=length_s, status=status),), None
    return (Member(sleep_s=UNTIL_KILLED_S, deaf=end >= 0.9 and kind is Kind.COMMAND),), length_s
