"""Tables that sort, filter and page by their address, so that a view can be kept as a bookmark and sent to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

R = TypeVar("R")

ROWS_PER_PAGE = 100
FILTER_CHARS_MAX = 200
WORDS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[R]):
    """One column: `value` is what rows are ordered by; None comes last in either direction."""

    key: str
    title: str
    value: Callable[[R], float | str | None] | None = None
    numeric: bool = False
    priority: int = 1
    """1 is always shown; 2 and 3 give way on narrower screens."""
    descending_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What the address asks of a table."""

    sort: str = ""
    descending: bool = False
    text: str = ""
    choice: str = ""
    page: int = 1

    def words(self) -> tuple[str, ...]:
        return tuple(self.text.casefold().split())[:WORDS_MAX]


def query(params: Mapping[str, str]) -> Query:
    """The query in the parameters of an address; what makes no sense is read as absent.

    >>> query({"sort": "-cpus", "q": " web ", "page": "x"})
    Query(sort='cpus', descending=True, text='web', choice='', page=1)
    """
    sort = params.get("sort", "")[:40]
    page = params.get("page", "")
    return Query(
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        text=params.get("q", "").strip()[:FILTER_CHARS_MAX],
        choice=params.get("state", "")[:40],
        page=int(page) if page.isascii() and page.isdigit() and 0 < int(page[:9]) < 10**6 else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column's heading, and where clicking it leads."""

    title: str
    href: str | None
    sorted: str
    """`ascending`, `descending` or `none`, as ARIA says it."""
    numeric: bool
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Generic[R]):
    """The rows to show, and what to say around them."""

    heads: tuple[Head, ...]
    rows: tuple[R, ...]
    total: int
    matching: int
    page: int
    pages: int
    query: Query
    previous_href: str | None
    next_href: str | None

    @property
    def first(self) -> int:
        return (self.page - 1) * ROWS_PER_PAGE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1 if self.rows else 0


def arrange(
    rows: Sequence[R],
    columns: Sequence[Column[R]],
    asked: Query,
    *,
    text: Callable[[R], str],
    choice: Callable[[R], str] | None = None,
    rows_per_page: int = ROWS_PER_PAGE,
) -> Table[R]:
    """The page of the table that was asked for.

    `text` is what the filter's words are looked for in (all must occur); `choice` is the group of a row,
    of which the query may name one.  Without a sort the order of `rows` stays.
    """
    words = asked.words()
    found = [row for row in rows if _matches(text(row), words)] if words else list(rows)
    if asked.choice and choice is not None:
        found = [row for row in found if choice(row) == asked.choice]
    by = next((c for c in columns if c.key == asked.sort and c.value is not None), None)
    if by is not None and by.value is not None:
        found = _ordered(found, by.value, descending=asked.descending)
    pages = max(1, -(-len(found) // rows_per_page))
    page = min(asked.page, pages)
    shown = tuple(found[(page - 1) * rows_per_page : page * rows_per_page])
    return Table(
        heads=tuple(_head(column, asked) for column in columns),
        rows=shown,
        total=len(rows),
        matching=len(found),
        page=page,
        pages=pages,
        query=asked,
        previous_href=_href(asked, page=page - 1) if page > 1 else None,
        next_href=_href(asked, page=page + 1) if page < pages else None,
    )


def _matches(text: str, words: tuple[str, ...]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)


def _ordered(rows: list[R], value: Callable[[R], float | str | None], *, descending: bool) -> list[R]:
    keyed = [(value(row), row) for row in rows]
    known = [(key.casefold() if isinstance(key, str) else key, row) for key, row in keyed if key is not None]
    # Two sorts, as Python keeps the order of equals in both directions.
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + [row for key, row in keyed if key is None]


def _head(column: Column[R], asked: Query) -> Head:
    here = asked.sort == column.key
    descending = not asked.descending if here else column.descending_first
    return Head(
        title=column.title,
        href=None if column.value is None else _href(asked, sort=("-" if descending else "") + column.key),
        sorted=("descending" if asked.descending else "ascending") if here else "none",
        numeric=column.numeric,
        priority=column.priority,
    )


def _href(asked: Query, *, sort: str | None = None, page: int = 1) -> str:
    """The address of the same table, differently sorted or another page of it; it begins with `?`."""
    now = ("-" if asked.descending else "") + asked.sort if asked.sort else ""
    wanted = {
        "q": asked.text,
        "state": asked.choice,
        "sort": now if sort is None else sort,
        "page": str(page) if page > 1 else "",
    }
    return "?" + urlencode({name: value for name, value in wanted.items() if value})
