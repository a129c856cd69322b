"""A framework that keeps books: which tasks it launched, and everything it was told of them.

Every job appends the id of its task to a file of its own and ends with a code that follows from its
number, so that a lost, a repeated and a mistaken one all show.  A job is launched again only when the
pool has said that its task never ran and never will.  The books are a file, so that the next process
with the same folder goes on where this one was killed:

    python ledger.py MASTER FOLDER JOBS
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
import time
from collections import defaultdict
from collections.abc import Mapping

from msgspec.structs import replace

from altiplano import sdk
from altiplano.wire.messages import mesos

NEVER_RAN = {sdk.State.DROPPED, sdk.State.LOST, sdk.State.GONE}
KILL_EVERY = 20
"""One job of so many sleeps until it is killed."""

ASK_AFTER_S = 1.0
"""A task that was silent for so long is asked for."""

REFUSE_S = 0.1


def code(number: int) -> int:
    return number % 7


def is_killed(number: int) -> bool:
    return number % KILL_EVERY == KILL_EVERY - 1


class Ledger(sdk.Framework):
    name = "ledger"
    failover_timeout_s = 600.0

    def __init__(
        self, folder: pathlib.Path, *, at_once: int = 20, seconds: float = 0.3, checkpoint: bool = True
    ) -> None:
        self.folder, self.at_once, self.seconds, self.checkpoint = folder, at_once, seconds, checkpoint
        (folder / "lines").mkdir(parents=True, exist_ok=True)
        self.wanted = 0
        """Jobs to run, by numbers from 0."""
        self.attempts: dict[int, int] = {}
        self.live: dict[str, str | None] = {}
        """Tasks that have not ended as far as we were told, and their agents."""
        self.told: dict[str, list[tuple[sdk.State, str, str]]] = defaultdict(list)
        """State, uuid and sentence of every update, by task."""
        self.done: set[int] = set()
        self.subscriptions = 0
        self._again: list[int] = []
        self._next = 0
        self._heard_mono_s: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._read()
        self._book = (folder / "books").open("a")

    # -- the books

    def _read(self) -> None:
        path = self.folder / "books"
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            match entry[0]:
                case "id":
                    self.framework_id = entry[1]
                case "launch":
                    self._launched(entry[1], entry[2])
                case "told":
                    self._told(entry[1], sdk.State(entry[2]), entry[3], entry[4])

    def _write(self, *entry: object) -> None:
        self._book.write(json.dumps(entry) + "\n")
        self._book.flush()

    def _launched(self, task_id: str, agent_id: str | None) -> None:
        number, attempt = number_of(task_id), int(task_id.partition(".")[2])
        self.attempts[number] = attempt
        self.live[task_id] = agent_id
        self._next = max(self._next, number + 1)
        if number in self._again:
            self._again.remove(number)

    def _told(self, task_id: str, state: sdk.State, uuid: str, sentence: str) -> None:
        self.told[task_id].append((state, uuid, sentence))
        number = number_of(task_id)
        if state in NEVER_RAN:
            if self.live.pop(task_id, "") != "":
                self._again.append(number)
        elif state.ended and uuid:
            # Until the agent itself has told it, an end is hearsay.
            self.live.pop(task_id, None)
            self.done.add(number)

    # -- callbacks

    def info(self) -> mesos.FrameworkInfo:
        return replace(super().info(), checkpoint=self.checkpoint)

    def tasks(self) -> Mapping[str, str | None]:
        return self.live

    def subscribed(self, again: bool) -> None:
        self.subscriptions += 1
        self._write("id", self.framework_id)

    def disconnected(self, sentence: str) -> None:
        return None

    def refused(self, sentence: str) -> None:
        raise AssertionError(sentence)

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            while len(self.live) < self.at_once and (number := self._take()) is not None:
                task = self._task(number)
                if not offer.fits(task):
                    break
                self._write("launch", task.id, offer.agent_id)
                self._launched(task.id, offer.agent_id)
                self._heard_mono_s[task.id] = time.monotonic()
                offer.launch(task)
            offer.decline(REFUSE_S)

    def _take(self) -> int | None:
        if self._again:
            return self._again[0]
        return self._next if self._next < self.wanted else None

    def _task(self, number: int) -> sdk.Task:
        task_id = f"job-{number}.{self.attempts.get(number, 0) + 1}"
        rest = "exec sleep 1000" if is_killed(number) else f"sleep {self.seconds}; exit {code(number)}"
        line = f"echo {task_id} >> {self.folder}/lines/{number}"
        return sdk.Task(id=task_id, command=f"{line}; {rest}", cpus=0.01, mem=8)

    def update(self, status: sdk.Status) -> None:
        uuid = (status.message.uuid or b"").hex()
        self._write("told", status.task_id, status.state.value, uuid, status.sentence)
        self._told(status.task_id, status.state, uuid, status.sentence)
        self._heard_mono_s[status.task_id] = time.monotonic()
        if status.state is sdk.State.RUNNING and is_killed(number_of(status.task_id)):
            self.kill(status.task_id)
        self._changed.set()

    # -- for the test

    async def finish(self, jobs: int) -> None:
        """Return when this many jobs are done."""
        self.wanted = max(self.wanted, jobs)
        while len(self.done) < jobs:
            self._changed.clear()
            try:
                async with asyncio.timeout(ASK_AFTER_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._ask_for_the_silent()

    def _ask_for_the_silent(self) -> None:
        before = time.monotonic() - ASK_AFTER_S
        silent = [(task, agent) for task, agent in self.live.items() if self._heard_mono_s.get(task, 0) < before]
        if silent and self.framework_id is not None and self._perform is not None:
            for task, _ in silent:
                self._heard_mono_s[task] = time.monotonic()
            self.reconcile(silent)

    def story(self) -> str:
        """Where things stand, for a test that failed."""
        lines = [f"{len(self.done)} of {self.wanted} jobs are done after {self.subscriptions} subscriptions"]
        lines += [
            f"{task} on {agent}: {len(self.told[task])} updates, {self.told[task][-2:]}"
            for task, agent in self.live.items()
        ]
        return "\n".join(lines)

    def mistakes(self) -> list[str]:
        """Everything that is not as it must be once all jobs are done; empty is right."""
        wrong = []
        for number in range(self.wanted):
            path = self.folder / "lines" / str(number)
            lines = path.read_text().split() if path.exists() else []
            once = [f"job-{number}.{self.attempts.get(number)}"]
            # The kill of a task that has just been born may come before its shell has written the line.
            if lines != once and not (is_killed(number) and lines == []):
                wrong.append(f"job {number}, launched {self.attempts.get(number)} times, has run as {lines}")
        for task_id, told in self.told.items():
            ends = {state for state, _, _ in told if state.ended}
            uuids = {uuid for state, uuid, _ in told if state.ended and uuid}
            if len(ends) != 1 or len(uuids) > 1:
                wrong.append(f"{task_id} has ended several times: {told}")
            if told[-1][0] not in ends:
                wrong.append(f"{task_id} was told to live after its end: {told}")
            if not ends & NEVER_RAN:
                wrong += self._wrong_end(task_id, told)
        if self.live:
            wrong.append(f"these have not ended: {sorted(self.live)}")
        return wrong

    def _wrong_end(self, task_id: str, told: list[tuple[sdk.State, str, str]]) -> list[str]:
        number = number_of(task_id)
        state, _, sentence = next((entry for entry in told if entry[0].ended and entry[1]), told[-1])
        if is_killed(number):
            right = state is sdk.State.KILLED
        else:
            expected = sdk.State.FAILED if code(number) else sdk.State.FINISHED
            right = state is expected and sentence == f"Command exited with status {code(number)}"
        return [] if right else [f"{task_id} ended as {state.value}: {sentence!r}"]


class HostedLedger(Ledger):
    """The same jobs, run by a custom executor (`hosted.py`)."""

    def _task(self, number: int) -> sdk.Task:
        task_id = f"job-{number}.{self.attempts.get(number, 0) + 1}"
        order = {
            "line": task_id,
            "file": f"{self.folder}/lines/{number}",
            "seconds": self.seconds,
            "code": code(number),
            "killed": is_killed(number),
        }
        program = pathlib.Path(__file__).with_name("hosted.py")
        executor = mesos.ExecutorInfo(
            executor_id=mesos.ExecutorID(value="hosted"),
            command=mesos.CommandInfo(value=sys.executable, shell=False, arguments=(sys.executable, str(program))),
            type=mesos.ExecutorInfoType.CUSTOM,
        )
        return sdk.Task(id=task_id, executor=executor, cpus=0.01, mem=8, data=json.dumps(order).encode())


def number_of(task_id: str) -> int:
    return int(task_id.removeprefix("job-").partition(".")[0])


async def serve(ledger: Ledger, address: str, jobs: int) -> None:
    """Run a ledger until its jobs are done; then it leaves, and its books tell."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sdk.serve(ledger, sdk.Place(masters=(f"http://{address}",))))
        await ledger.finish(jobs)
        ledger.leave()


if __name__ == "__main__":
    asyncio.run(serve(Ledger(pathlib.Path(sys.argv[2])), sys.argv[1], int(sys.argv[3])))
