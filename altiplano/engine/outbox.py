"""What a process says, in order, and not before it may be said.

Every batch of effects is stamped with the log position of the facts it rests on.  A batch leaves
when that position is durable and all batches before it have left: readers included, nobody is told
what a crash can undo.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from altiplano.engine.core import Effect
from altiplano.kit import crash

EFFECTS_PER_SLICE = 256
"""Effects carried out before the event loop gets a turn."""


class Outbox:
    def __init__(self, perform: Callable[[Effect], None]) -> None:
        self._perform = perform
        self._waiting: deque[tuple[int, Sequence[Effect]]] = deque()
        self._current: Sequence[Effect] = ()
        self._next = 0

    def __len__(self) -> int:
        """Batches that have not left entirely."""
        return len(self._waiting) + (self._next < len(self._current))

    def put(self, effects: Sequence[Effect], *, after: int) -> None:
        """Queue effects that may leave once log position `after` is durable."""
        if effects:
            self._waiting.append((after, effects))

    def flush(self, durable: int) -> bool:
        """Carry out what may leave, up to one slice; whether more could leave now."""
        left = EFFECTS_PER_SLICE
        while left:
            while self._next < len(self._current) and left:
                effect = self._current[self._next]
                self._next += 1
                left -= 1
                self._perform(effect)
                crash.at("one_of_several_said" if self._next < len(self._current) else "all_said")
            if self._next < len(self._current):
                return True
            if not self._waiting or self._waiting[0][0] > durable:
                return False
            _, self._current = self._waiting.popleft()
            self._next = 0
        return self._next < len(self._current) or bool(self._waiting and self._waiting[0][0] <= durable)
