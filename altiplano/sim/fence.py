"""The store of one life of a framework: closed to it as soon as another life has taken over."""

from __future__ import annotations

from collections.abc import Callable

from altiplano.testing.store import MemoryStore, MemoryTable


class Fenced(Exception):
    """The store belongs to another instance of the framework now."""


class FencedStore(MemoryStore):
    """A `MemoryStore` whose operations raise Fenced once `is_mine` says no, a write under way included."""

    def __init__(self, table: MemoryTable, is_mine: Callable[[], bool]) -> None:
        self._is_mine = is_mine
        super().__init__(table)

    @property
    def _table(self) -> MemoryTable:  # looked at whenever an operation takes effect
        if not self._is_mine():
            raise Fenced
        return self._whole

    @_table.setter
    def _table(self, table: MemoryTable) -> None:
        self._whole = table
