"""The engine: one event at a time, facts to the log, nothing said before what it rests on is durable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import counting
import pytest
from counting import Add, Alarm, Ask, CountingCore, Fail, Say, Whisper

from altiplano.engine import loop as engine_loop
from altiplano.engine.core import Effect, Event, Fact, Wake
from altiplano.engine.journal import Journal
from altiplano.engine.loop import Engine, InboxFull
from altiplano.engine.recorder import Recorder
from altiplano.model.time import Instant
from altiplano.ports.log import LogFailed
from altiplano.sim import loop as virtual
from altiplano.testing.log import MemoryDisk, MemoryLog


class Process:
    """A counting core and its engine on a disk that may be used again."""

    def __init__(
        self,
        disk: MemoryDisk,
        *,
        compact_after_records: int = engine_loop.COMPACT_AFTER_RECORDS,
        core: CountingCore | None = None,
    ) -> None:
        self.disk = disk
        self.log = MemoryLog(disk)
        self.said: list[tuple[str, int]] = []
        self.bugs: list[tuple[Event, Exception]] = []
        self.recorder = Recorder()
        self.engine: Engine[Any] = Engine(
            core or CountingCore(),
            log=self.log,
            codec=counting.codec(),
            clock=virtual.VirtualClock(asyncio.get_running_loop()),
            perform=self._say,
            bug=lambda event, error: self.bugs.append((event, error)),
            wake=lambda cause: Wake(cause=cause),
            journal=Journal("counting"),
            recorder=self.recorder,
            check=True,
            compact_after_records=compact_after_records,
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def core(self) -> Any:
        return self.engine.core

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.said]

    async def start(self) -> int:
        count = await self.engine.recover()
        self._running = asyncio.ensure_future(self.engine.run())
        return count

    async def kill(self) -> None:
        """The process dies: its log with what was not flushed."""
        self.log.crash()
        await self.end()

    async def end(self) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    async def running(self) -> None:
        assert self._running is not None
        await self._running

    def _say(self, effect: Effect) -> None:
        assert isinstance(effect, Say)
        self.said.append((effect.text, self.log.durable))


Story = Callable[[Process], Coroutine[Any, Any, None]]


def play(story: Story, *, flush_s: float = 1.0) -> Process:
    """Run a story about one process; time is virtual, a flush takes `flush_s`."""

    async def main() -> Process:
        process = Process(MemoryDisk(flush_s=lambda: flush_s))
        await process.start()
        await story(process)
        await process.end()
        return process

    return virtual.run(main())


def test_nothing_is_said_before_its_facts_are_durable() -> None:
    async def story(process: Process) -> None:
        process.engine.post(Add(amount=2, cause="c"))
        await asyncio.sleep(0.9)
        assert process.core.total == 2
        assert process.said == []
        await asyncio.sleep(0.2)
        assert process.said == [("total 2", 1)]

    play(story)


def test_an_answer_that_needs_no_fact_still_waits_for_what_it_shows() -> None:
    """A reader must not see what a crash can undo."""

    async def story(process: Process) -> None:
        process.engine.post(Add(amount=2, cause="c"))
        process.engine.post(Ask(cause="c"))
        await asyncio.sleep(0.5)
        assert process.said == []
        await asyncio.sleep(0.6)
        assert process.texts == ["total 2", "is 2"]
        process.engine.post(Ask(cause="c"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert process.texts == ["total 2", "is 2", "is 2"]

    play(story)


def test_the_core_goes_on_while_the_disk_is_busy_and_many_records_share_a_flush() -> None:
    async def story(process: Process) -> None:
        for _ in range(1000):
            process.engine.post(Add(amount=1, cause="c"))
        await asyncio.sleep(0.5)
        assert process.core.total == 1000
        await asyncio.sleep(3)
        assert process.texts == [f"total {number}" for number in range(1, 1001)]
        assert len({durable for _, durable in process.said}) <= 3

    play(story)


def test_said_in_the_order_of_the_events() -> None:
    async def story(process: Process) -> None:
        for number in range(100):
            process.engine.post(Add(amount=1, cause="c") if number % 2 else Whisper(cause="c"))
        await asyncio.sleep(10)
        expected = [f"total {number // 2 + 1}" if number % 2 else f"heard {number // 2 + 1}" for number in range(100)]
        assert process.texts == expected

    play(story)


def test_a_restart_finds_exactly_what_was_said_or_more() -> None:
    async def main() -> None:
        disk = MemoryDisk(flush_s=lambda: 1.0)
        process = Process(disk)
        await process.start()
        process.engine.post(Add(amount=1, cause="c"))
        process.engine.post(Whisper(cause="c"))
        await asyncio.sleep(1.5)
        process.engine.post(Add(amount=10, cause="c"))
        await asyncio.sleep(0.5)
        await process.kill()
        assert process.texts == ["total 1", "heard 1"]

        again = Process(disk)
        assert await again.start() == 1
        assert (again.core.total, again.core.heard) == (1, 0)
        assert again.said == []
        await again.end()

    virtual.run(main())


def test_deciding_that_fails_costs_one_event_and_changes_nothing() -> None:
    async def story(process: Process) -> None:
        process.engine.post(Add(amount=1, cause="a"))
        process.engine.post(Fail(cause="b"))
        process.engine.post(Add(amount=1, cause="c"))
        await asyncio.sleep(5)
        assert process.texts == ["total 1", "total 2"]
        ((event, error),) = process.bugs
        assert event.cause == "b"
        assert isinstance(error, ZeroDivisionError)

    assert play(story).engine.statistics.bugs == 1


def test_applying_that_fails_stops_the_process() -> None:
    async def main() -> None:
        process = Process(MemoryDisk())
        await process.start()
        process.engine.post(Add(amount=-1, cause="c"))
        with pytest.raises(AssertionError, match="below zero"):
            await process.running()
        assert process.said == []

    virtual.run(main())


def test_a_failed_commit_stops_the_process_and_what_rested_on_it_is_never_said() -> None:
    async def main() -> None:
        process = Process(MemoryDisk())
        await process.start()
        process.disk.broken = "the disk is gone"
        process.engine.post(Add(amount=1, cause="c"))
        with pytest.raises(LogFailed, match="the disk is gone"):
            await process.running()
        assert process.said == []

    virtual.run(main())


def test_the_core_is_woken_at_the_time_it_asked_for_not_before() -> None:
    async def story(process: Process) -> None:
        process.engine.post(Alarm(mono_s=1010.1, cause="c"))
        await asyncio.sleep(10)
        assert process.said == []
        await asyncio.sleep(0.2)
        assert process.texts == ["awake at 1010.1"]

    play(story)


def test_settle_returns_when_all_that_is_known_was_said() -> None:
    async def story(process: Process) -> None:
        await process.engine.settle()
        process.engine.post(Add(amount=1, cause="c"))
        await asyncio.sleep(0.1)
        await process.engine.settle()
        assert process.texts == ["total 1"]
        await process.engine.settle()

    play(story)


def test_events_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_loop, "EVENTS_MAX", 3)

    async def story(process: Process) -> None:
        for _ in range(3):
            process.engine.post(Ask(cause="c"))
        with pytest.raises(InboxFull):
            process.engine.post(Ask(cause="c"))
        await asyncio.sleep(1)
        process.engine.post(Ask(cause="c"))

    play(story)


def test_a_slice_is_bounded_so_that_others_get_their_turn() -> None:
    async def story(process: Process) -> None:
        for _ in range(engine_loop.EVENTS_PER_SLICE * 10):
            process.engine.post(Ask(cause="c"))
        await asyncio.sleep(1)

    assert play(story).engine.statistics.slices >= 10


def test_the_log_is_compacted_and_recovery_starts_from_the_snapshot() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        process = Process(disk, compact_after_records=10)
        await process.start()
        for _ in range(95):
            process.engine.post(Add(amount=1, cause="c"))
            await asyncio.sleep(1)
        await process.end()
        await process.log.close()
        assert process.engine.statistics.compactions == 9
        assert len(disk.records()) == 5

        again = Process(disk)
        assert await again.start() == 6
        assert again.core.total == 95
        await again.end()

    virtual.run(main())


class ManyFacts(CountingCore):
    """Sums its state up in as many facts as it has counted."""

    def summary(self) -> Iterable[Fact]:
        yield from (counting.Added(amount=1) for _ in range(self.total))


def test_a_large_snapshot_is_written_in_pieces_and_what_is_decided_between_them_comes_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_loop, "FACTS_PER_SLICE", 5)

    async def main() -> None:
        disk = MemoryDisk()
        process = Process(disk, compact_after_records=1, core=ManyFacts())
        await process.start()
        process.engine.post(Add(amount=100, cause="many"))
        await asyncio.sleep(0)
        slices = process.engine.statistics.slices
        while process.engine.statistics.compactions == 0:
            process.engine.post(Add(amount=1, cause="between"))
            await asyncio.sleep(0)
        assert process.engine.statistics.slices - slices >= 20
        total = process.core.total
        assert total > 100
        await process.end()
        await process.log.close()

        again = Process(disk, core=ManyFacts())
        await again.start()
        assert again.core.total == total
        await again.end()

    virtual.run(main())


def test_notes_go_to_the_journal_not_to_the_shell() -> None:
    async def story(process: Process) -> None:
        process.engine.post(Add(amount=3, cause="c-1"))
        await asyncio.sleep(2)
        assert [entry.sentence for entry in process.engine.journal.story("total")] == ["3 were added"]
        assert [entry.cause for entry in process.engine.journal.story("c-1")] == ["c-1"]

    play(story)


def test_what_was_posted_before_a_turn_is_decided_in_it() -> None:
    async def story(process: Process) -> None:
        await asyncio.sleep(1)
        before = process.engine.statistics.slices
        for _ in range(engine_loop.EVENTS_PER_SLICE):
            process.engine.post(Ask(cause="c"))
        await asyncio.sleep(1)
        assert process.engine.statistics.slices == before + 1

    play(story)


def test_a_slice_ends_when_it_has_taken_its_time() -> None:
    """Events may be few and take long."""

    class Slow(virtual.VirtualClock):
        looks = 0

        def now(self) -> Instant:
            self.looks += 1
            now = super().now()
            return Instant(mono_s=now.mono_s + self.looks * engine_loop.SLICE_S / 4, wall_s=now.wall_s)

    async def story(process: Process) -> None:
        process.engine._clock = Slow(asyncio.get_running_loop())
        before = process.engine.statistics.slices
        for _ in range(50):
            process.engine.post(Ask(cause="c"))
        await asyncio.sleep(1)
        assert len(process.said) == 50
        assert process.engine.statistics.slices >= before + 10

    play(story)


def test_a_process_that_is_cancelled_decides_nothing_more() -> None:
    async def main() -> None:
        process = Process(MemoryDisk())
        await process.start()
        await asyncio.sleep(1)
        process.engine.post(Ask(cause="c"))
        await process.end()
        await asyncio.sleep(1)
        assert process.said == []

    virtual.run(main())
