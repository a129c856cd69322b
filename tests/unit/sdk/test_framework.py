"""Frameworks on a master in memory: what their authors may rely on."""

from __future__ import annotations

import asyncio

import pytest

from altiplano import sdk
from altiplano.testing.master import MasterTwin, TwinError
from altiplano.wire.messages import mesos
from altiplano.wire.messages.scheduler import CallType


class Keeper(sdk.Framework):
    """Keeps one task running, and notes all it is told."""

    name = "keeper"

    def __init__(self) -> None:
        self.starts = 0
        self.running: str | None = None
        self.story: list[str] = []

    def subscribed(self, again: bool) -> None:
        self.story.append("subscribed again" if again else "subscribed")

    def disconnected(self, sentence: str) -> None:
        self.story.append("disconnected")

    def offers(self, offers: list[sdk.Offer]) -> None:
        task = sdk.Task(id=f"keep-{self.starts}", command="sleep 1000", cpus=1, mem=100, ports=1)
        if self.running is None and offers[0].fits(task):
            offers[0].launch(task)
            self.running = task.id
            self.starts += 1

    def update(self, status: sdk.Status) -> None:
        self.story.append(f"{status.task_id} {status.state.name}")
        if status.ended and status.task_id == self.running:
            self.running = None
            self.revive()


def connected(framework: sdk.Framework, **agent: float) -> MasterTwin:
    twin = MasterTwin()
    twin.add_agent("alps1", **agent)  # type: ignore[arg-type]
    twin.connect(framework)
    return twin


def test_a_task_that_ends_is_replaced() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    twin.fail("keep-0")
    assert keeper.story == ["subscribed", "keep-0 RUNNING", "keep-0 FAILED", "keep-1 RUNNING"]
    assert list(twin.tasks) == ["keep-1"]


def test_tasks_go_on_over_a_disconnection_and_are_reconciled() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    twin.disconnect()
    assert not twin.connected
    twin.advance(30)
    assert twin.connected
    assert keeper.story == ["subscribed", "keep-0 RUNNING", "disconnected", "subscribed again"] + ["keep-0 RUNNING"] * 2
    assert [bool(call.reconcile.tasks) for call in twin.made(CallType.RECONCILE) if call.reconcile] == [False, True]


def test_a_master_that_falls_silent_is_noticed() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    twin.advance(300)
    assert "disconnected" not in keeper.story
    twin.silent = True
    twin.advance(60)
    assert "disconnected" in keeper.story


def test_a_lost_agent_is_told_and_the_task_started_elsewhere() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    twin.add_agent("alps2")
    twin.lose_agent("agent-alps1")
    assert keeper.story[-1] == "keep-0 UNREACHABLE"


def test_resources_that_nobody_uses_go_back_and_come_again() -> None:
    twin = connected(Keeper(), cpus=1, mem=100)
    twin.advance(6)
    twin.advance(6)
    assert len(twin.made(CallType.DECLINE)) >= 1, "memory and cpus are used up, ports are left"


def test_an_update_comes_again_until_it_is_acknowledged() -> None:
    class Slow(Keeper):
        manual_acknowledgement = True

        def __init__(self) -> None:
            super().__init__()
            self.last: sdk.Status | None = None

        def update(self, status: sdk.Status) -> None:
            super().update(status)
            self.last = status

    slow = Slow()
    twin = connected(slow)
    assert twin.made(CallType.ACKNOWLEDGE) == []
    twin.repeat_updates()
    assert slow.story == ["subscribed", "keep-0 RUNNING"], "it is told once"
    assert slow.last is not None
    slow.acknowledge(slow.last)
    twin.settle()
    assert len(twin.made(CallType.ACKNOWLEDGE)) == 1
    assert not twin.tasks["keep-0"].pending


def test_held_offers_can_be_used_later() -> None:
    class Careful(sdk.Framework):
        name = "careful"
        kept: sdk.Offer | None = None

        def offers(self, offers: list[sdk.Offer]) -> None:
            self.kept = offers[0]
            self.kept.hold()

    careful = Careful()
    twin = connected(careful)
    assert twin.made(CallType.DECLINE) == []
    assert careful.kept is not None
    careful.kept.launch(sdk.Task(id="late", command="true", cpus=1, mem=10))
    careful.answer(careful.kept)
    twin.settle()
    assert twin.tasks["late"].state is mesos.TaskState.TASK_RUNNING


def test_a_kill_ends_the_task() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    keeper.kill("keep-0", grace_s=1)
    twin.settle()
    assert twin.finished == {"keep-0": mesos.TaskState.TASK_KILLED}


def test_a_framework_that_comes_back_with_its_id_finds_its_tasks() -> None:
    keeper = Keeper()
    twin = connected(keeper)
    keeper.leave()
    twin.settle()
    assert twin.ended is not None
    heir = Keeper()
    heir.framework_id = keeper.framework_id
    heir.running = "keep-0"
    twin.connect(heir)
    assert heir.framework_id == keeper.framework_id
    assert heir.story == ["subscribed", "keep-0 RUNNING"]


def test_callbacks_may_be_coroutines() -> None:
    class Patient(Keeper):
        async def update(self, status: sdk.Status) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            Keeper.update(self, status)

    async def story() -> list[str]:
        twin = MasterTwin()
        twin.add_agent("alps1")
        patient = Patient()
        await twin.connect_async(patient)
        return patient.story

    assert asyncio.run(story()) == ["subscribed", "keep-0 RUNNING"]
    with pytest.raises(TwinError, match="_async"):
        connected(Patient())


def test_asking_before_running_is_refused_with_a_sentence() -> None:
    with pytest.raises(sdk.NotRunning, match="does not run yet"):
        Keeper().suppress()


def test_it_introduces_itself_with_checkpoints_and_no_gpus() -> None:
    info = Keeper().info()
    assert info.checkpoint
    assert (info.name, info.roles) == ("keeper", ("*",))
    kinds = {capability.type for capability in info.capabilities}
    assert mesos.FrameworkInfoCapabilityType.GPU_RESOURCES not in kinds
    assert mesos.FrameworkInfoCapabilityType.PARTITION_AWARE in kinds
