"""What a log promises (`altiplano.ports.log.Log`), on the twin and on SQLite."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from altiplano.adapters.sqlite import SqliteLog
from altiplano.ports.log import RECORD_BYTES_MAX, LogDamaged, LogFailed, LogInUse, LogMismatch
from altiplano.testing.log import MemoryDisk, MemoryLog

from .conftest import Place

WRITER = Path(__file__).with_name("log_writer.py")


async def test_a_new_log_is_empty_and_counts_from_one(place: Place) -> None:
    log = place.open()
    assert await log.recover() == (None, [])
    assert (log.end, log.durable) == (0, 0)
    assert log.append([b"a"]) == 1
    assert log.append([b"b", b"c"]) == 3
    assert log.end == 3
    await log.close()


async def test_records_come_back_in_order_and_positions_go_on(place: Place) -> None:
    log = place.open()
    await log.recover()
    records = [b"%d" % number for number in range(1000)]
    for record in records:
        log.append([record])
    await log.wait(1000)
    await log.close()

    log = place.open()
    assert await log.recover() == (None, records)
    assert (log.end, log.durable) == (1000, 1000)
    assert log.append([b"more"]) == 1001
    await log.close()


async def test_appending_does_not_wait_and_durable_follows(place: Place) -> None:
    log = place.open()
    await log.recover()
    position = log.append([b"a"])
    assert log.durable == 0
    await log.wait(position)
    assert log.durable == position
    await log.wait(position)
    await log.close()


async def test_the_listener_hears_growing_positions_and_at_last_the_end(place: Place) -> None:
    log = place.open()
    await log.recover()
    heard: list[int] = []
    log.notify(heard.append)
    for number in range(50):
        log.append([b"x"])
        if number % 10 == 9:
            await log.wait(log.end)
    assert heard == sorted(set(heard))
    assert heard[-1] == 50
    await log.close()


async def test_everything_queued_meanwhile_shares_a_commit(place: Place) -> None:
    log = place.open()
    await log.recover()
    commits: list[int] = []
    log.notify(commits.append)
    for _ in range(1000):
        log.append([b"x" * 100])
    await log.wait(1000)
    assert len(commits) <= 3
    await log.close()


async def test_appending_nothing_changes_nothing(place: Place) -> None:
    log = place.open()
    await log.recover()
    log.append([b"a"])
    assert log.append([]) == 1
    await log.close()


async def test_closing_keeps_what_was_appended(place: Place) -> None:
    log = place.open()
    await log.recover()
    log.append([b"a"])
    await log.close()
    await log.close()
    log = place.open()
    assert await log.recover() == (None, [b"a"])
    await log.close()


async def test_compaction_puts_a_snapshot_before_the_records_that_follow(place: Place) -> None:
    log = place.open()
    await log.recover()
    log.append([b"1", b"2"])
    upto = log.append([b"3"])
    log.append([b"4", b"5"])
    log.compact(b"one to three", upto)
    log.append([b"6"])
    await log.close()

    log = place.open()
    assert await log.recover() == (b"one to three", [b"4", b"5", b"6"])
    assert log.end == 6
    log.compact(b"all", 6)
    await log.close()

    log = place.open()
    assert await log.recover() == (b"all", [])
    assert (log.end, log.durable) == (6, 6)
    assert log.append([b"7"]) == 7
    await log.close()


async def test_compaction_may_cut_through_a_group(place: Place) -> None:
    log = place.open()
    await log.recover()
    log.append([b"1", b"2", b"3"])
    log.compact(b"one and two", 2)
    await log.close()
    log = place.open()
    assert await log.recover() == (b"one and two", [b"3"])
    await log.close()


async def test_a_second_opener_is_told_who_has_it(place: Place) -> None:
    log = place.open()
    await log.recover()
    with pytest.raises(LogInUse, match=r"in use by .*pid"):
        await place.open().recover()
    log.append([b"still mine"])
    await log.close()
    log = place.open()
    assert await log.recover() == (None, [b"still mine"])
    await log.close()


async def test_a_full_disk_fails_everyone_who_waits_and_nothing_is_kept_after_it(place: Place) -> None:
    log = place.open_small()
    await log.recover()
    kept = log.append([b"kept"])
    await log.wait(kept)
    failed = asyncio.ensure_future(log.failed())
    position = log.append([b"x" * 1024] * 2048)
    with pytest.raises(LogFailed, match=place.name):
        await log.wait(position)
    with pytest.raises(LogFailed, match="full"):
        await failed
    behind = log.append([b"behind the hole"])
    with pytest.raises(LogFailed):
        await log.wait(behind)
    assert log.durable == kept
    await log.close()
    log = place.open_small()
    assert await log.recover() == (None, [b"kept"])
    await log.close()


async def test_failed_never_returns_while_all_is_well(place: Place) -> None:
    log = place.open()
    await log.recover()
    failed = asyncio.ensure_future(log.failed())
    await log.wait(log.append([b"a"]))
    assert not failed.done()
    failed.cancel()
    await log.close()


async def test_a_record_beyond_the_limit_is_refused(place: Place) -> None:
    log = place.open()
    await log.recover()
    with pytest.raises(ValueError, match="larger than"):
        log.append([bytes(RECORD_BYTES_MAX + 1)])
    await log.close()


# -- only real disks


@pytest.mark.parametrize("kill_after", [1, 3000])
async def test_kill_9_loses_nothing_that_was_acknowledged_and_splits_no_group(tmp_path: Path, kill_after: int) -> None:
    """The writer says each durable position; what it said is there, in whole groups of three."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    said = 0
    async with asyncio.timeout(20):
        while said < kill_after:
            said = int(await writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        for line in (await writer.stdout.read()).splitlines(keepends=True):
            said = int(line) if line.endswith(b"\n") else said
        await writer.wait()

    log = SqliteLog(tmp_path)
    _, records = await log.recover()
    assert len(records) >= said
    assert len(records) % 3 == 0
    assert records == [b"%d" % number for number in range(1, len(records) + 1)]
    await log.close()


async def test_a_write_ahead_file_torn_by_the_loss_of_power_costs_only_its_tail(tmp_path: Path) -> None:
    """A copy of the files is what a power cut leaves; its last pages were half written."""
    first = SqliteLog(tmp_path / "first")
    await first.recover()
    for number in range(1, 201):
        await first.wait(first.append([b"%d" % number] * 3))
    torn = tmp_path / "torn"
    torn.mkdir()
    for source in (tmp_path / "first").iterdir():
        data = source.read_bytes()
        cut = len(data) - 2000 if source.name.endswith("-wal") else len(data)
        if not source.name.endswith("-shm"):
            (torn / source.name).write_bytes(data[:cut])
    await first.close()

    log = SqliteLog(torn)
    _, records = await log.recover()
    assert 0 < len(records) < 600
    assert records == [b"%d" % (number // 3 + 1) for number in range(len(records))]
    assert len(records) % 3 == 0
    await log.wait(log.append([b"goes on"]))
    await log.close()


@pytest.mark.parametrize(
    "damage",
    ["UPDATE record SET body = x'00' WHERE position = 2", "DELETE FROM record WHERE position = 2"],
)
async def test_damage_by_others_is_reported_not_skipped(tmp_path: Path, damage: str) -> None:
    log = SqliteLog(tmp_path)
    await log.recover()
    for _ in range(3):
        log.append([b"a"])
    await log.close()
    connection = sqlite3.connect(tmp_path / "log.sqlite")
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(LogFailed, match=r"log\.sqlite is damaged at record 2"):
        await SqliteLog(tmp_path).recover()


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"something else" * 1000)
    with pytest.raises(LogFailed, match=r"log\.sqlite could not be opened"):
        await SqliteLog(tmp_path).recover()
    (tmp_path / "log.sqlite").unlink()
    log = SqliteLog(tmp_path)
    await log.recover()
    await log.close()


async def kept(folder: Path) -> None:
    """A log with a record, as kill -9 leaves it: copied while it is open."""
    log = SqliteLog(folder / "first")
    await log.recover()
    await log.wait(log.append([b"kept"]))
    for source in (folder / "first").iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    await log.close()
    assert not (folder / "first" / "log.open").exists()


@pytest.mark.parametrize(
    ("taken", "sentence"),
    [("log.sqlite", "log.sqlite is gone or empty"), ("log.sqlite-wal", "what was written last before a process was")],
)
async def test_a_log_that_lost_a_file_is_refused_and_not_taken_for_a_new_one(
    tmp_path: Path, taken: str, sentence: str
) -> None:
    await kept(tmp_path)
    whole = (tmp_path / taken).read_bytes()
    (tmp_path / taken).unlink()
    with pytest.raises(LogDamaged, match=sentence):
        await SqliteLog(tmp_path).recover()
    (tmp_path / taken).write_bytes(whole)
    log = SqliteLog(tmp_path)
    assert await log.recover() == (None, [b"kept"])
    await log.close()


async def test_an_emptied_log_is_refused(tmp_path: Path) -> None:
    await kept(tmp_path)
    os.truncate(tmp_path / "log.sqlite", 0)
    with pytest.raises(LogDamaged, match="to start anew"):
        await SqliteLog(tmp_path).recover()


async def test_what_is_written_to_a_removed_file_is_not_acknowledged(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    await log.recover()
    await log.wait(log.append([b"kept"]))
    (tmp_path / "log.sqlite").unlink()
    with pytest.raises(LogFailed, match="somebody removed or replaced the file"):
        await log.wait(log.append([b"lost"]))
    assert log.durable == 1
    await log.close()


async def test_a_directory_of_another_form_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "log.version").write_text("7\n")
    with pytest.raises(LogMismatch, match="has form 7, and this program reads form 1"):
        await SqliteLog(tmp_path).recover()


# -- only the twin: a crash to order


async def test_the_twin_loses_what_was_not_flushed() -> None:
    disk = MemoryDisk(flush_s=lambda: 0.001)
    log = MemoryLog(disk)
    await log.recover()
    await log.wait(log.append([b"kept"]))
    log.append([b"lost"])
    assert log.unsynced == 1
    log.crash()
    assert disk.records() == [b"kept"]


async def test_the_twin_may_keep_what_nobody_was_told_of_and_cuts_a_torn_group() -> None:
    disk = MemoryDisk(flush_s=lambda: 60.0)
    log = MemoryLog(disk)
    await log.recover()
    log.append([b"1"])
    log.append([b"2", b"3"])
    await asyncio.sleep(0)
    log.append([b"queued"])
    log.crash(survive=1, torn=True)
    assert disk.groups[-1].torn
    log = MemoryLog(disk)
    assert await log.recover() == (None, [b"1"])
    assert log.end == 1
