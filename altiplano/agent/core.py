"""The agent's core: one event in, facts and effects out.

It knows no clock, no file and no network; `shell` carries out what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from altiplano.agent import (
    check_runs,
    disk,
    effects,
    events,
    executors,
    facts,
    groups,
    launch,
    leaving,
    membership,
    orders,
    recovery,
    updates,
)
from altiplano.agent.draft import Draft
from altiplano.agent.executor_state import Executor
from altiplano.agent.settings import Node
from altiplano.agent.state import State, Task
from altiplano.agent.timers import Timer
from altiplano.engine.core import Decision, Fact
from altiplano.executors import checks, command, custom
from altiplano.model.time import Instant
from altiplano.ports import launcher

AgentEvent = (
    events.Wake
    | events.Recovered
    | events.Connected
    | events.LinkLost
    | events.Heard
    | events.OrderBroke
    | events.SandboxMade
    | events.Fetched
    | events.PreparingFailed
    | events.LaunchAnswered
    | events.ContainerExited
    | events.LimitRefused
    | events.CheckNotBegun
    | events.ProbeAnswered
    | events.LauncherDegraded
    | events.ExecutorSubscribed
    | events.ExecutorUpdated
    | events.ExecutorSaid
    | events.ExecutorLeft
    | events.StopOrdered
    | events.KillAsked
    | events.DiskMeasured
    | events.SandboxRemoved
)
LaunchPathEvent = (
    events.SandboxMade | events.Fetched | events.PreparingFailed | events.LaunchAnswered | events.ContainerExited
)


class Core:
    """One agent.  `node` is what does not change while the process lives."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = State()

    def decide(self, event: AgentEvent, now: Instant) -> Decision:
        draft = Draft(self.state, self.node, event, now)
        match event:
            case events.Wake():
                for timer in self.state.timers.due(now.mono_s):
                    self._timer(draft, timer)
            case events.Recovered():
                recovery.recover(draft, event)
            case events.Connected():
                membership.connected(draft, event)
            case events.LinkLost():
                membership.lost(draft, event)
            case events.Heard():
                membership.heard(draft, event)
            case events.OrderBroke():
                orders.broke(draft, event.order, event.sentence)
            case events.LimitRefused():
                if (executor := self.state.executor_of(event.container_id)) is not None:
                    executors.unlimited(draft, executor, event.sentence)
            case events.ProbeAnswered():
                check_runs.answered(draft, event.run, event.answer)
            case events.CheckNotBegun():
                check_runs.not_begun(draft, event.run, event.sentence)
            case events.LauncherDegraded():
                draft.fact(facts.DegradedKnown(sentences=event.sentences))
                for sentence in event.sentences:
                    draft.note(f"the launcher is degraded: {sentence}")
            case events.StopOrdered():
                leaving.order(draft, event)
            case events.KillAsked():
                if (task := self.state.task_of(event.container_id)) is not None:
                    launch.kill(draft, task, command.Why.ORDERED)
                elif (executor := self.state.executor_of(event.container_id)) is not None:
                    executors.shutdown(draft, executor, custom.Why.ORDERED)
            case events.ExecutorSubscribed() | events.ExecutorUpdated() | events.ExecutorSaid() | events.ExecutorLeft():
                self._executor(draft, event)
            case events.DiskMeasured():
                disk.measured(draft, event.used)
            case events.SandboxRemoved():
                if event.container_id in self.state.kept:
                    draft.fact(facts.SandboxGone(container_id=event.container_id))
            case _:
                container_id = _container(event)
                executor = self.state.executor_of(container_id)
                if container_id in self.state.checks.by_run:
                    self._check_path(draft, container_id, event)
                elif executor is not None:
                    self._executor_launch_path(draft, executor, event)
                else:
                    self._launch_path(draft, event)
        groups.settle(draft)
        leaving.go_when_done(draft)
        return draft.decision()

    def _executor(
        self,
        draft: Draft,
        event: events.ExecutorSubscribed | events.ExecutorUpdated | events.ExecutorSaid | events.ExecutorLeft,
    ) -> None:
        """Calls of custom executors; of one that has ended meanwhile they come too late."""
        executor = self.state.executors.get((event.framework_id, event.executor_id))
        match event:
            case events.ExecutorSubscribed():
                if executor is not None:
                    executors.subscribed(draft, executor, event)
                else:
                    draft.do(effects.CloseStream(stream=event.stream))
            case events.ExecutorUpdated() if executor is not None:
                executors.updated(draft, executor, event.status)
            case events.ExecutorSaid() if executor is not None:
                executors.said(draft, executor, event.data)
            case events.ExecutorLeft() if executor is not None:
                executors.left(draft, executor, event.stream)
            case _:
                pass

    def _executor_launch_path(self, draft: Draft, executor: Executor, event: LaunchPathEvent) -> None:
        match event:
            case events.SandboxMade():
                executors.sandbox_made(draft, executor)
            case events.Fetched():
                executors.fetched(draft, executor)
            case events.PreparingFailed():
                executors.failed(draft, executor, f"Failed to launch container: {event.sentence}")
            case events.LaunchAnswered(outcome=launcher.Started() as outcome):
                executors.started(draft, executor, pid=outcome.pid, started_wall_s=outcome.started_wall_s)
            case events.LaunchAnswered(outcome=launcher.LaunchFailed() as outcome):
                executors.failed(draft, executor, f"Failed to launch container: {outcome.sentence}")
            case events.ContainerExited():
                executors.ended(draft, executor, event.exited)

    def _check_path(self, draft: Draft, run: str, event: LaunchPathEvent) -> None:
        """Answers of the launcher about the process of a check."""
        match event:
            case events.LaunchAnswered(outcome=launcher.Started()):
                check_runs.started(draft, run)
            case events.LaunchAnswered(outcome=launcher.LaunchFailed() as outcome):
                check_runs.failed(draft, run, outcome.sentence)
            case events.ContainerExited():
                check_runs.ended(draft, run, event.exited)
            case _:
                raise AssertionError(f"a check has no {type(event).__name__}")

    def _launch_path(self, draft: Draft, event: LaunchPathEvent) -> None:
        """Answers of files, fetcher and launcher; those about containers of no task change nothing."""
        match event:
            case events.SandboxMade():
                if (task := self.state.task_of(event.container_id)) is not None:
                    launch.sandbox_made(draft, task)
            case events.Fetched():
                if (task := self.state.task_of(event.container_id)) is not None:
                    launch.fetched(draft, task, files=event.files, size_bytes=event.size_bytes, took_s=event.took_s)
            case events.PreparingFailed():
                if (task := self.state.task_of(event.container_id)) is not None:
                    launch.failed(draft, task, f"Failed to launch container: {event.sentence}")
            case events.LaunchAnswered():
                self._answered(draft, event.outcome)
            case events.ContainerExited():
                task = self.state.task_of(event.exited.container_id)
                if task is not None:
                    launch.ended(draft, task, event.exited)
                else:
                    recovery.disown(draft, event.exited.container_id)
            case _:
                assert_never(event)

    def _answered(self, draft: Draft, outcome: launcher.Started | launcher.LaunchFailed) -> None:
        task = self.state.task_of(outcome.container_id)
        if task is None:
            if isinstance(outcome, launcher.LaunchFailed):
                recovery.disown(draft, outcome.container_id)
            return
        match outcome:
            case launcher.Started():
                launch.started(draft, task, pid=outcome.pid, started_wall_s=outcome.started_wall_s)
            case launcher.LaunchFailed():
                launch.failed(draft, task, f"Failed to launch container: {outcome.sentence}")

    def _timer(self, draft: Draft, timer: Timer) -> None:
        match timer:
            case ("dial",):
                membership.dial(draft)
            case ("disk",):
                disk.watch(draft)
            case ("leave",):
                pass  # Whether it is time to go is asked after every event.
            case ("kill", framework_id, task_id):
                launch.overdue(draft, self._task(framework_id, task_id))
            case ("completion", framework_id, task_id):
                launch.completed_time(draft, self._task(framework_id, task_id))
            case ("check", framework_id, task_id, purpose):
                check_runs.due(draft, (framework_id, task_id, checks.Purpose(purpose)))
            case ("checks", slot):
                check_runs.next_ones(draft, checks.Slot(slot))
            case ("resend", framework_id, task_id):
                self._resend(draft, (framework_id, task_id))
            case ("register", framework_id, executor_id):
                executors.shutdown(draft, self._executor_of(framework_id, executor_id), custom.Why.UNREGISTERED)
            case ("reregister", framework_id, executor_id):
                executors.shutdown(draft, self._executor_of(framework_id, executor_id), custom.Why.MISSING)
            case ("shutdown", framework_id, executor_id):
                executors.overdue(draft, self._executor_of(framework_id, executor_id))
            case ("heartbeat", framework_id, executor_id):
                executors.heartbeat(draft, self._executor_of(framework_id, executor_id))
            case _:
                raise AssertionError(f"nobody set a timer {timer}")

    def _resend(self, draft: Draft, key: tuple[str, str]) -> None:
        """Say the head again, and wait twice as long; without a master wait for the next one."""
        stream = self.state.streams[key]
        if self.state.member:
            interval_s = updates.next_interval_s(stream.interval_s)
            draft.send_head(key, stream.head, self.state.latest(key), interval_s=interval_s)
        else:
            draft.timer(("resend", *key), None)

    def _executor_of(self, framework_id: str, executor_id: str) -> Executor:
        return self.state.executors[framework_id, executor_id]

    def _task(self, framework_id: str, task_id: str) -> Task:
        return self.state.tasks[framework_id, task_id]

    def apply(self, fact: Fact) -> None:
        self.state.apply(fact)

    def wake_at(self) -> float | None:
        return self.state.timers.first()

    def summary(self) -> Iterable[Fact]:
        return self.state.summary()

    @property
    def weight(self) -> int:
        """Records that are kept, about: what it takes to write all of them down."""
        return 2 * len(self.state.tasks) + len(self.state.kept) + len(self.state.streams)

    def check(self) -> None:
        self.state.check()


def _container(event: LaunchPathEvent) -> str:
    """The container that an answer is about."""
    match event:
        case events.LaunchAnswered():
            return event.outcome.container_id
        case events.ContainerExited():
            return event.exited.container_id
        case _:
            return event.container_id
