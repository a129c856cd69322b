"""What an agent reports when it comes, read; and an agent with so much that it is taken in piece by piece."""

from __future__ import annotations

import msgspec

from altiplano.link import messages as link_messages
from altiplano.model.resources import EMPTY, Resources
from altiplano.model.tasks import State
from altiplano.wire.messages import mesos


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A task that an agent reports.  `told` and `uuid`: the oldest update that no scheduler has acknowledged."""

    report: link_messages.TaskReport
    task: mesos.TaskInfo
    info: bytes
    state: State
    resources: Resources
    role: str
    told: State | None
    uuid: bytes | None

    @property
    def key(self) -> tuple[str, str]:
        return self.report.framework_id, self.task.task_id.value


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A custom executor that an agent reports."""

    report: link_messages.ExecutorReport
    resources: Resources
    role: str

    @property
    def key(self) -> tuple[str, str]:
        return self.report.framework_id, self.report.executor.executor_id.value


class Arriving(msgspec.Struct, kw_only=True):
    """An agent with many tasks that has said `Hello` and is not yet welcome.

    First its reports are read, then it is admitted, then its tasks are taken over, and last it is connected.
    """

    peer: str
    message: link_messages.Hello
    reported: list[Reported] = msgspec.field(default_factory=list)
    used: dict[str, Resources] = msgspec.field(default_factory=dict)
    """What the tasks that were read use, by framework; each that has one is named."""
    keys: set[tuple[str, str]] = msgspec.field(default_factory=set)
    agent_id: str | None = None
    """Set when it was admitted."""
    is_new: bool = False
    returns: bool = False
    """Whether its tasks were told to be out of reach."""
    taken: int = 0

    def add(self, reported: tuple[Reported, ...]) -> None:
        self.reported.extend(reported)
        for one in reported:
            framework_id = one.report.framework_id
            self.keys.add(one.key)
            used = self.used.get(framework_id, EMPTY)
            self.used[framework_id] = used if one.state.ended else used + one.resources
