"""The transaction log on a real file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.frameworks.flows import facts, transactions
from altiplano.frameworks.flows.transactions import FlowLog
from altiplano.ports.log import LogFailed, LogInUse, LogMismatch


async def records_of(path: Path) -> list[bytes]:
    log = FlowLog(path)
    _, records = await log.recover()
    await log.close()
    return list(records)


async def written(path: Path, *groups: list[bytes]) -> None:
    log = FlowLog(path)
    await log.recover()
    for group in groups:
        log.append(group)
    await log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return transactions.log_path(str(tmp_path / "Makeflow"))


async def test_what_was_appended_is_recovered_in_order(path: Path) -> None:
    await written(path, [b"1 {}"], [b"1 {a}", b"1 {b}"])
    assert await records_of(path) == [b"1 {}", b"1 {a}", b"1 {b}"]
    assert transactions.read_records(path) == [b"1 {}", b"1 {a}", b"1 {b}"]


async def test_positions_count_on_over_restarts(path: Path) -> None:
    await written(path, [b"a"], [b"b", b"c"])
    log = FlowLog(path)
    await log.recover()
    assert (log.durable, log.end, log.append([b"d"])) == (3, 3, 4)
    told: list[int] = []
    log.notify(told.append)
    await log.wait(4)
    assert (log.durable, told) == (4, [4])
    await log.close()


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_torn_end_is_cut_off_with_its_whole_transaction_and_kept_aside(path: Path, cut: int) -> None:
    await written(path, [b"a"], [b"b", b"c"])
    os.truncate(path, path.stat().st_size - cut)
    assert await records_of(path) == [b"a"]
    assert path.with_name(path.name + ".damaged").exists()
    assert await records_of(path) == [b"a"]


async def test_a_damaged_line_ends_the_log(path: Path) -> None:
    await written(path, [b"aaaa"], [b"bbbb"])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"bbbb", b"bxbb"))
    assert await records_of(path) == [b"aaaa"]


async def test_two_runs_of_one_file_are_refused(path: Path) -> None:
    log = FlowLog(path)
    await log.recover()
    with pytest.raises(LogInUse, match="another run of this workflow goes on"):
        await FlowLog(path).recover()
    await log.close()
    assert await records_of(path) == []


async def test_another_file_is_refused(path: Path) -> None:
    path.write_text("# STARTED 123\n")
    with pytest.raises(LogMismatch, match="move it away"):
        await FlowLog(path).recover()


async def test_a_snapshot_takes_the_place_of_what_it_sums_up(path: Path) -> None:
    log = FlowLog(path)
    await log.recover()
    log.append([b"a"])
    log.append([b"b"])
    await log.wait(2)
    log.compact(b"2:s12:s22:s3", 2)
    assert log.append([b"c"]) == 3
    await log.close()
    log = FlowLog(path)
    _, records = await log.recover()
    assert (list(records), log.end) == ([b"s1", b"s2", b"s3", b"c"], 3)
    with pytest.raises(LogInUse):
        await FlowLog(path).recover()
    await log.close()


async def test_a_compacted_log_leads_to_the_same_facts(path: Path) -> None:
    codec: FactCodec[Fact] = FactCodec(facts.DURABLE_TYPES, version=facts.VERSION)
    known = [
        facts.RunBegan(run_id="r", file="a\tb\nc", wall_s=1.0),
        facts.FrameworkKnown(framework_id="f"),
    ]
    log = FlowLog(path)
    await log.recover()
    await log.wait(log.append([codec.encode(fact) for fact in known]))
    log.compact(codec.snapshot(known), 2)
    log.append([codec.encode(facts.RunResumed(wall_s=2.0))])
    await log.close()
    log = FlowLog(path)
    _, records = await log.recover()
    await log.close()
    assert list(codec.recover(None, records)) == [*known, facts.RunResumed(wall_s=2.0)]


async def test_who_has_the_log_can_be_told(path: Path) -> None:
    assert transactions.holder(path) is None
    log = FlowLog(path)
    await log.recover()
    assert transactions.holder(path) in (os.getpid(), 0)
    await log.close()
    assert transactions.holder(path) is None


async def test_the_log_is_readable_by_its_owner_only(path: Path) -> None:
    await written(path, [b"a"])
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_failed_write_is_told_and_nothing_after_it_becomes_durable(path: Path) -> None:
    log = FlowLog(path)
    await log.recover()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._fd)
    os.close(full)
    position = log.append([b"a"])
    with pytest.raises(LogFailed, match="could not be written"):
        await log.failed()
    with pytest.raises(LogFailed):
        await log.wait(position)
    assert log.durable == 0
    await log.close()
