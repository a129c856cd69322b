from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.pagekit import tables
from altiplano.pagekit.tables import Column, Query

ROWS = [("web", 3.0), ("Api", None), ("db", 1.0), ("cache", 3.0)]
COLUMNS = [
    Column(key="name", title="Name", value=lambda row: row[0]),
    Column(key="cpus", title="CPUs", value=lambda row: row[1], numeric=True, descending_first=True),
    Column(key="note", title="Note"),
]


def arranged(asked: Query, rows: list[tuple[str, float | None]] = ROWS, **more: int) -> tables.Table:
    return tables.arrange(rows, COLUMNS, asked, text=lambda row: row[0], choice=lambda row: row[0][0], **more)


def test_names_sort_without_regard_to_case() -> None:
    assert [name for name, _ in arranged(Query(sort="name")).rows] == ["Api", "cache", "db", "web"]


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_unknown_comes_last_in_both_directions(descending: bool) -> None:
    assert arranged(Query(sort="cpus", descending=descending)).rows[-1] == ("Api", None)


def test_equals_keep_their_order_in_both_directions() -> None:
    assert [name for name, _ in arranged(Query(sort="cpus", descending=True)).rows][:2] == ["web", "cache"]


def test_every_word_of_the_filter_must_occur() -> None:
    assert [name for name, _ in arranged(Query(text="A e")).rows] == ["cache"]


def test_a_choice_narrows_to_its_group() -> None:
    assert [name for name, _ in arranged(Query(choice="d")).rows] == ["db"]


def test_a_heading_leads_to_the_other_direction_and_keeps_the_filter() -> None:
    table = arranged(Query(sort="cpus", descending=True, text="a b"))
    name, cpus, note = table.heads
    assert name.href == "?q=a+b&sort=name"
    assert cpus.href == "?q=a+b&sort=cpus"
    assert cpus.sorted == "descending"
    assert note.href is None


def test_a_heading_may_begin_with_the_largest() -> None:
    assert arranged(Query()).heads[1].href == "?sort=-cpus"


def test_pages_lead_to_each_other_and_a_page_beyond_the_last_is_the_last() -> None:
    table = arranged(Query(page=9), rows_per_page=3)
    assert (table.page, table.pages, table.first, table.last) == (2, 2, 101, 101)
    assert table.previous_href == "?"
    assert table.next_href is None


def test_unknown_sorts_are_no_sorts() -> None:
    assert list(arranged(Query(sort="__class__")).rows) == ROWS


@given(st.dictionaries(st.sampled_from(["q", "sort", "page", "state", "x"]), st.text(max_size=300)))
def test_no_address_breaks_a_table(params: dict[str, str]) -> None:
    table = arranged(tables.query(params))
    assert table.matching <= table.total
    assert 1 <= table.page <= table.pages
