"""What happened in a run, as somebody sees it who sees everything; checkers look at it as it grows."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import TYPE_CHECKING

from altiplano.engine.core import Effect

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.machine import Run
    from altiplano.wire.messages import master as operator
    from altiplano.wire.messages import mesos

STORY_LINES_MAX = 20_000
"""Last lines of the trace that a failure shows."""


class Violation(Exception):
    """Something that must never happen has happened; the text names the promise that was broken."""


class Checker:
    """One promise.  Methods are told what happens and raise `Violation` by `self.broken`."""

    promise = ""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def ran(self, run: Run) -> None:
        """A container was really started."""

    def ended(self, run: Run) -> None:
        """A container has really ended."""

    def said(self, process: str, effect: Effect, after: int, kept: int) -> None:
        """A process said something that rests on position `after`; `kept` is what its disk really has."""

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        """A framework was told a status of a task."""

    def stored(self, framework: str, status: mesos.TaskStatus) -> None:
        """A framework has durably taken a status."""

    def acknowledged(self, framework_id: str, task_id: str, uuid: bytes) -> None:
        """An agent was told that an update has been taken."""

    def shut(self, machine: str, framework_id: str) -> None:
        """An agent was told that a framework is gone."""

    def updating(self, machine: str, framework_id: str, task_id: str, uuid: bytes) -> None:
        """An agent tells its master an update."""

    def message(self, receiver: str, data: bytes) -> None:
        """A message has arrived, at an executor or at a framework."""

    def subscribed(self, framework: str, framework_id: str) -> None:
        """A framework has a session."""

    def unsubscribed(self, framework: str) -> None:
        """A framework has lost its session, or its process."""

    def removed(self, framework: str, framework_id: str) -> None:
        """A framework was told that it has been removed."""

    def shown(self, state: operator.ResponseGetState) -> None:
        """An operator was shown everything."""

    def followed(self, event: operator.Event) -> None:
        """An operator who follows was told something."""

    def waits(self) -> list[str]:
        """What must come true, once faults have stopped, before the pool counts as quiet."""
        return []

    def at_quiet(self) -> None:
        """All work is done but what stays, every framework has asked about its tasks: is every account true?"""

    def at_the_end(self) -> None:
        """What stayed was let go: what must have come true by now?"""

    def broken(self, sentence: str) -> None:
        raise Violation(f"{self.promise}: {sentence}")


class History:
    """Spreads the news to the checkers and keeps the trace.

    The first violation is kept, and `failed` is set: whoever drives the run looks at it.
    """

    def __init__(self) -> None:
        self.checkers: list[Checker] = []
        self.violation: Violation | None = None
        self.failed = asyncio.Event()
        self.lines = 0
        self.story: deque[str] = deque(maxlen=STORY_LINES_MAX)
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """A fingerprint of everything that happened, in order."""
        return self._digest.hexdigest()

    def line(self, text: str) -> None:
        """Add a line to the trace."""
        line = f"{asyncio.get_running_loop().time():.6f} {text}"
        self._digest.update(line.encode())
        self.story.append(line)
        self.lines += 1

    def fail(self, violation: Violation) -> None:
        if self.violation is None:
            self.line(f"VIOLATION {violation}")
            self.violation = violation
            self.failed.set()

    def ran(self, run: Run) -> None:
        self.line(f"{run.machine}: {_named(run)} runs in {run.container_id}")
        self._each("ran", run)

    def ended(self, run: Run) -> None:
        self.line(f"{run.machine}: {_named(run)} has ended with {run.wait_status}")
        self._each("ended", run)

    def said(self, process: str, effect: Effect, after: int, kept: int) -> None:
        self._each("said", process, effect, after, kept)

    def told(self, framework: str, status: mesos.TaskStatus) -> None:
        reason = status.reason.value.removeprefix("REASON_") if status.reason is not None else ""
        self.line(f"{framework}: is told {status.task_id.value} {status.state.value} {reason}")
        self._each("told", framework, status)

    def stored(self, framework: str, status: mesos.TaskStatus) -> None:
        self.line(f"{framework}: has stored {status.task_id.value} {status.state.value}")
        self._each("stored", framework, status)

    def acknowledged(self, framework_id: str, task_id: str, uuid: bytes) -> None:
        self._each("acknowledged", framework_id, task_id, uuid)

    def shut(self, machine: str, framework_id: str) -> None:
        self._each("shut", machine, framework_id)

    def updating(self, machine: str, framework_id: str, task_id: str, uuid: bytes) -> None:
        self._each("updating", machine, framework_id, task_id, uuid)

    def message(self, receiver: str, data: bytes) -> None:
        self.line(f"{receiver}: hears {data.decode()}")
        self._each("message", receiver, data)

    def subscribed(self, framework: str, framework_id: str) -> None:
        self.line(f"{framework}: is subscribed as {framework_id}")
        self._each("subscribed", framework, framework_id)

    def unsubscribed(self, framework: str) -> None:
        self._each("unsubscribed", framework)

    def removed(self, framework: str, framework_id: str) -> None:
        self.line(f"{framework}: was removed as {framework_id}")
        self._each("removed", framework, framework_id)

    def shown(self, state: operator.ResponseGetState) -> None:
        self._each("shown", state)

    def followed(self, event: operator.Event) -> None:
        self._each("followed", event)

    def waits(self) -> list[str]:
        """What all checkers wait for."""
        return [sentence for checker in self.checkers for sentence in checker.waits()]

    def at_quiet(self) -> None:
        self.line("all is quiet")
        self._each("at_quiet")

    def at_the_end(self) -> None:
        self._each("at_the_end")

    def _each(self, name: str, *arguments: object) -> None:
        for checker in self.checkers:
            try:
                getattr(checker, name)(*arguments)
            except Violation as violation:
                self.fail(violation)


def _named(run: Run) -> str:
    return f"task {run.task_id}" if run.task_id else f"executor {run.executor_id}"
