"""The twin of an agent, step by step.  What it shares with the real one is in `tests/contracts/test_agent.py`."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from altiplano.link import messages
from altiplano.model.tasks import State
from altiplano.model.time import Instant
from altiplano.testing import emulated, emulated_agent
from altiplano.testing.emulated_agent import Act, Behaviour, HangUp, Say, Step, Stop, Timer, Twin, Wake
from altiplano.testing.ids import SeededIds
from altiplano.wire import json
from altiplano.wire.messages import mesos

NOW = Instant(mono_s=1.0, wall_s=1000.0)
EXECUTOR = ("f", "x")
M = TypeVar("M", bound=messages.Message)


class Played:
    """A twin that is a member, with its timers and what it said."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        (info,) = emulated.machines(1, "cpus:4;mem:1024")
        self.twin = Twin(info, behaviour or Behaviour(), SeededIds(1))
        self.timers: dict[Timer, float] = {}
        self.said: list[messages.FromAgent] = []
        self.others: list[Act] = []
        self.take(self.twin.connected())
        self.welcome()

    def take(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case Say():
                    self.said.append(act.message)
                case Wake():
                    self.timers.pop(act.timer, None)
                    if act.after_s is not None:
                        self.timers[act.timer] = act.after_s
                case _:
                    self.others.append(act)
        self.twin.check()

    def hear(self, message: messages.FromMaster) -> None:
        self.take(self.twin.heard(message, NOW))

    def welcome(self, epoch: int = 1, agent_id: str = "a") -> None:
        master = mesos.MasterInfo(id="m", ip=0, port=1)
        self.hear(messages.Welcome(version=1, epoch=epoch, agent_id=agent_id, silence_s=75.0, master=master))

    def due(self, kind: str, name: str) -> None:
        timer = (kind, "f", name)
        del self.timers[timer]
        self.take(self.twin.due(timer, NOW))

    def of(self, kind: type[M]) -> list[M]:
        """What was said of a kind since it was last asked for."""
        found = [message for message in self.said if isinstance(message, kind)]
        self.said = [message for message in self.said if not isinstance(message, kind)]
        return found

    def told(self) -> list[tuple[str, str]]:
        return [(one.status.task_id.value, one.status.state.value) for one in self.of(messages.StatusUpdate)]

    def acknowledge_all(self) -> list[tuple[str, str]]:
        """Acknowledge until nothing more is told; what was told, in order."""
        told = []
        while updates := self.of(messages.StatusUpdate):
            for one in updates:
                task_id, uuid = one.status.task_id.value, one.status.uuid or b""
                told.append((task_id, one.status.state.value))
                self.hear(messages.Acknowledge(framework_id=one.framework_id, task_id=task_id, uuid=uuid))
        return told

    def run(self, *names: str, hosted: bool = True, expected_new: bool | None = None, group: bool = False) -> None:
        executor = mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="x")) if hosted else None
        framework = mesos.FrameworkInfo(user="u", name="f", id=mesos.FrameworkID(value="f"), checkpoint=True)
        raws = tuple(
            msgspec.Raw(
                json.encode(
                    mesos.TaskInfo(
                        name=name,
                        task_id=mesos.TaskID(value=name),
                        agent_id=mesos.AgentID(value="a"),
                        executor=executor,
                        command=None if hosted else mesos.CommandInfo(value="true"),
                    )
                )
            )
            for name in names
        )
        if group:
            assert executor is not None
            self.hear(messages.RunTaskGroup(framework=framework, executor=executor, tasks=raws))
            return
        for raw in raws:
            self.hear(messages.RunTask(framework=framework, task=raw, launch_executor=expected_new))


def test_an_executor_is_started_once_and_takes_tasks_when_it_listens() -> None:
    played = Played(Behaviour(executor_start_s=2.0))
    played.run("t1", "t2")
    assert played.told() == []
    assert played.timers == {("executor", "f", "x"): 2.0}
    played.due("executor", "x")
    assert played.told() == [("t1", "TASK_RUNNING"), ("t2", "TASK_RUNNING")]
    assert played.twin.executors == {EXECUTOR}


def test_an_executor_echoes_what_its_scheduler_says() -> None:
    played = Played()
    played.run("t1")
    played.hear(messages.FrameworkMessage(framework_id="f", executor_id="x", data=b"configure"))
    played.hear(messages.FrameworkMessage(framework_id="f", executor_id="unknown", data=b"configure"))
    assert [(one.executor_id, one.data) for one in played.of(messages.ExecutorMessage)] == [("x", b"configure")]


def test_tasks_fail_with_their_executor_whose_end_is_told() -> None:
    played = Played()
    played.run("t1", "t2")
    played.acknowledge_all()
    played.take(played.twin.executor_dies(EXECUTOR, NOW, wait_status=9))
    assert played.acknowledge_all() == [("t1", "TASK_FAILED"), ("t2", "TASK_FAILED")]
    assert [one.status for one in played.of(messages.ExecutorEnded)] == [9]
    assert played.twin.tasks == {}
    assert played.twin.executors == set()


def test_a_task_for_an_executor_that_has_ended_meanwhile_is_lost() -> None:
    played = Played()
    played.run("t1", expected_new=False)
    assert played.acknowledge_all() == [("t1", "TASK_LOST")]
    assert played.twin.executors == set()


def test_an_executor_stays_without_tasks_until_it_is_shut_down() -> None:
    played = Played()
    played.run("t1")
    played.hear(messages.KillTask(framework_id="f", task_id="t1"))
    assert played.acknowledge_all() == [("t1", "TASK_RUNNING"), ("t1", "TASK_KILLED")]
    assert played.twin.executors == {EXECUTOR}
    played.hear(messages.ShutdownExecutor(framework_id="f", executor_id="x"))
    assert played.twin.executors == set()


def test_a_task_that_waits_for_its_executor_is_killed_without_having_run() -> None:
    played = Played(Behaviour(executor_start_s=2.0))
    played.run("t1")
    played.hear(messages.KillTask(framework_id="f", task_id="t1"))
    (update,) = played.of(messages.StatusUpdate)
    assert update.status.reason is mesos.TaskStatusReason.REASON_TASK_KILLED_DURING_LAUNCH
    played.due("executor", "x")
    assert played.told() == []


def test_a_group_runs_under_one_executor() -> None:
    played = Played()
    played.run("t1", "t2", group=True)
    assert played.told() == [("t1", "TASK_RUNNING"), ("t2", "TASK_RUNNING")]
    assert played.twin.executors == {EXECUTOR}


def test_a_table_with_times_is_taken_step_by_step_whatever_is_acknowledged() -> None:
    table = (Step(State.STARTING), Step(State.RUNNING, 1.0), Step(State.FINISHED, 5.0))
    played = Played(Behaviour(command=table))
    played.run("t1", hosted=False)
    assert played.timers["step", "f", "t1"] == 1.0
    played.due("step", "t1")
    assert played.timers["step", "f", "t1"] == 5.0
    played.due("step", "t1")
    assert played.twin.tasks == {("f", "t1"): State.FINISHED}
    assert [state for _, state in played.acknowledge_all()] == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert played.timers == {}, "nothing is waited for when all has been said"


def test_a_table_that_no_task_may_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="TASK_FINISHED to TASK_RUNNING"):
        Behaviour(command=(Step(State.FINISHED), Step(State.RUNNING)))


def test_pauses_between_repetitions_double() -> None:
    played = Played()
    played.run("t1", hosted=False)
    pauses = []
    for _ in range(3):
        pauses.append(played.timers["resend", "f", "t1"])
        played.due("resend", "t1")
    assert pauses == [10.0, 20.0, 40.0]
    assert played.told() == [("t1", "TASK_STARTING")] * 4


def test_what_is_due_while_nobody_listens_is_told_with_the_next_welcome() -> None:
    played = Played()
    played.run("t1", hosted=False)
    played.told()
    played.twin.disconnected()
    played.due("resend", "t1")
    assert played.told() == []
    played.take(played.twin.connected())
    played.welcome(epoch=2)
    assert played.told() == [("t1", "TASK_STARTING")]


def test_a_master_ends_or_sends_away() -> None:
    played = Played()
    played.hear(messages.Refused(sentence="not now"))
    played.hear(messages.Ping(connected=False))
    played.run("t1")
    played.hear(messages.ShutdownAgent(sentence="removed"))
    assert [type(act) for act in played.others[1:]] == [HangUp, HangUp, Stop]
    assert played.twin.tasks == {}


def test_more_tasks_than_an_agent_takes_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated_agent, "TASKS_MAX", 2)
    played = Played()
    played.run("t1", "t2", "t3", hosted=False)
    assert played.told()[-1] == ("t3", "TASK_LOST")


def test_machines_are_described_as_an_agent_is() -> None:
    first, second = emulated.machines(2, "cpus:8;ports:[1-5]", "rack:r1")
    assert (first.hostname, second.hostname) == ("emulated-1", "emulated-2")
    assert {one.name: one.text.value for one in first.attributes if one.text} == {
        "machine_id": "emulated-1",
        "rack": "r1",
    }
    with pytest.raises(ValueError, match="resources of a machine cannot be used"):
        emulated.machines(1, "cpus:many")
