"""The framework behind `altiplano run`: one task, its output, its exit status."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import msgspec

from altiplano import sdk
from altiplano.cli.failures import INTERRUPTED, NO_SUCH_PROGRAM, NOT_EXECUTABLE, NOT_RUN, OK
from altiplano.sdk.operator import Unreachable

GRACE_S = 5.0
"""Time that an interrupted task has to end by itself."""

_EXITED = re.compile(r"exited with status (\d+)")
_SIGNALLED = re.compile(r"terminated with signal (.+)")
_SIGNALS = {signal.strsignal(number): number for number in signal.valid_signals()}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended, as `--json` prints it."""

    task_id: str
    framework_id: str
    agent_id: str
    hostname: str
    state: str
    sentence: str
    exit_code: int


class RunFramework(sdk.Framework):
    """Runs one task.  `say` tells the user what happens, `on_change` that something is new.

    Raises Unreachable when none of the masters, of which there are so many, ever answered.
    """

    failover_timeout_s = 60.0

    def __init__(self, task: sdk.Task, *, role: str, name: str, say: Callable[[str], None], masters: int = 1) -> None:
        self.name = name
        self.roles = (role,)
        self.gpus = task.gpus > 0
        self.task = task
        self.outcome: Outcome | None = None
        self.hostname = ""
        self.agent_id = ""
        self.running = False
        self.lacks = ""
        self.interrupts = 0
        self.on_change: Callable[[], None] = lambda: None
        self._say = say
        self._masters = masters
        self._failures = 0
        self._known = False

    @property
    def placed(self) -> bool:
        return bool(self.agent_id)

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            lack = offer.lacks(self.task)
            if self.placed or lack:
                self.lacks = lack or self.lacks
                continue
            self.hostname, self.agent_id = offer.hostname, offer.agent_id
            offer.launch(self.task)
        if self.placed:
            self.suppress()
        self.on_change()

    def update(self, status: sdk.Status) -> None:
        if status.task_id != self.task.id:
            return
        if status.state is sdk.State.DROPPED and self.interrupts == 0:
            # The offer was void before the task could start, so it never ran: another offer will do.
            self.agent_id = ""
            self.revive()
            return
        if status.state is sdk.State.RUNNING:
            self.running = True
        elif status.state is sdk.State.UNREACHABLE:
            self._say(f"{self.hostname} does not answer; the task may go on there, and is taken up when it is back")
        elif status.ended:
            self._ended(status)
        self.on_change()

    def subscribed(self, again: bool) -> None:
        self._known = True

    def disconnected(self, sentence: str) -> None:
        self._failures += 1
        if not self._known and self._failures >= self._masters:
            # Nothing was begun, so there is nothing to wait for.
            raise Unreachable(
                f"{sentence.split(';')[0]}. Start a pool with 'altiplano up', or name a master with --master"
            )
        self._say(sentence)

    def refused(self, sentence: str) -> None:
        self._say(sentence)

    def interrupt(self) -> bool:
        """Ctrl-C: the first ends the task, the second leaves at once; whether to leave."""
        self.interrupts += 1
        if self.interrupts > 1 or not self.placed:
            return True
        self._say(f"ending the task (it has {GRACE_S:g} s); press Ctrl-C again to leave at once")
        self.kill(self.task.id, agent_id=self.agent_id, grace_s=GRACE_S)
        return False

    def _ended(self, status: sdk.Status) -> None:
        code = exit_code(status, interrupted=self.interrupts > 0)
        self.outcome = Outcome(
            task_id=self.task.id,
            framework_id=self.framework_id or "",
            agent_id=self.agent_id,
            hostname=self.hostname,
            state=status.state.value.removeprefix("TASK_"),
            sentence=status.sentence,
            exit_code=code,
        )


def exit_code(status: sdk.Status, *, interrupted: bool) -> int:
    """The exit code of a task that has ended: its own, 128+n for a signal, 125 if the pool is to blame."""
    if status.state is sdk.State.FINISHED:
        return OK
    if found := _EXITED.search(status.sentence):
        return int(found[1])
    if status.reason == "CONTAINER_LAUNCH_FAILED":
        return _not_started(status.sentence)
    if interrupted:
        return INTERRUPTED
    if found := _SIGNALLED.search(status.sentence):
        return 128 + _number(found[1].strip())
    if status.state is sdk.State.KILLED:
        return 128 + signal.SIGTERM
    return NOT_RUN


def _not_started(sentence: str) -> int:
    """What a shell would end with where a program cannot be started."""
    if "no directory of PATH" in sentence or "does not exist" in sentence:
        return NO_SUCH_PROGRAM
    if "may not be executed" in sentence or "is no program" in sentence:
        return NOT_EXECUTABLE
    return NOT_RUN


def _number(name: str) -> int:
    """The signal of a name such as `Killed`, or of a number."""
    return _SIGNALS.get(name) or (int(name) if name.isdigit() else int(signal.SIGKILL))
