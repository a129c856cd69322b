"""Records: this version and the one before are read, a newer one is refused."""

from __future__ import annotations

import msgspec
import pytest

from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.ports.log import LogMismatch


class Opened(Fact, frozen=True, kw_only=True):
    name: str
    body: msgspec.Raw = msgspec.Raw(b"null")


class Closed(Fact, frozen=True, kw_only=True):
    name: str


def rename(raw: dict[str, object]) -> dict[str, object]:
    return {"fact": "Opened", "name": raw["title"]}


CODEC: FactCodec[Opened | Closed] = FactCodec(
    (Opened, Closed), version=3, upgrades={"Opened": rename, "Shouted": lambda raw: None}
)


def test_a_fact_comes_back_as_it_was() -> None:
    for fact in (Opened(name="a", body=msgspec.Raw(b'{"x":1}')), Closed(name="b")):
        assert CODEC.decode(CODEC.encode(fact)) == fact


def test_the_version_before_is_upgraded() -> None:
    assert CODEC.decode(b'2 {"fact":"Opened","title":"a"}') == Opened(name="a")


def test_a_fact_of_the_version_before_that_did_not_change_needs_no_upgrade() -> None:
    assert CODEC.decode(b'2 {"fact":"Closed","name":"a"}') == Closed(name="a")


def test_a_fact_that_is_known_no_longer_is_left_out() -> None:
    assert CODEC.decode(b'2 {"fact":"Shouted"}') is None
    assert list(CODEC.recover(None, [b'2 {"fact":"Shouted"}', b'3 {"fact":"Closed","name":"a"}'])) == [Closed(name="a")]


@pytest.mark.parametrize("version", [b"4", b"1", b"17", b""])
def test_other_versions_are_refused_with_the_way_out(version: bytes) -> None:
    with pytest.raises(LogMismatch, match="reads versions 2 and 3: use the program that wrote it"):
        CODEC.decode(version + b' {"fact":"Closed","name":"a"}')


def test_a_snapshot_and_the_records_after_it_come_back_in_order() -> None:
    facts = [Opened(name="a"), Closed(name="b")]
    later = Closed(name="c")
    assert list(CODEC.recover(CODEC.snapshot(facts), [CODEC.encode(later)])) == [*facts, later]
    assert list(CODEC.recover(CODEC.snapshot([]), [])) == []


def test_what_a_client_wrote_over_several_lines_survives_a_snapshot() -> None:
    fact = Opened(name="a", body=msgspec.Raw(b'{\n  "command": "true"\n}'))
    (found,) = CODEC.recover(CODEC.snapshot([fact]), [])
    assert found == fact
