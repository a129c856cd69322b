"""Rounds of small requests: who is served, how many, and how soon."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable

import pytest

from altiplano.engine.turns import REQUESTS_PER_ROUND, Turns


class Loop:
    """Callbacks, one turn of the event loop at a time."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], None]] = deque()

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()


class Client:
    """So many requests on one connection."""

    def __init__(self, turns: Turns, served: list[Client], requests: int, lane: Hashable = None) -> None:
        self.turns = turns
        self.served = served
        self.requests = requests
        self.lane = self if lane is None else lane

    def join(self) -> None:
        self.turns.join(self, self.lane)

    def take_turn(self, most: int) -> int:
        count = min(most, self.requests)
        self.requests -= count
        self.served.extend([self] * count)
        if self.requests:
            self.join()
        return count


class Pool:
    def __init__(self) -> None:
        self.loop = Loop()
        self.waiting = 0
        self.served: list[Client] = []
        self.turns = Turns(self.loop.soon.append, lambda: self.waiting)

    def client(self, requests: int, lane: Hashable = None) -> Client:
        client = Client(self.turns, self.served, requests, lane)
        client.join()
        return client


def test_whoever_is_alone_is_served_at_once_up_to_a_round() -> None:
    pool = Pool()
    pool.client(1000)
    assert len(pool.served) == REQUESTS_PER_ROUND
    pool.loop.turn()
    assert len(pool.served) == 2 * REQUESTS_PER_ROUND


@pytest.mark.parametrize("flooders", [1, 8, 64])
def test_a_flood_over_many_connections_leaves_one_call_its_turn(flooders: int) -> None:
    pool = Pool()
    for _ in range(flooders):
        pool.client(10_000)
    for _ in range(10):
        pool.loop.turn()
        before = len(pool.served)
        one = pool.client(1)
        turns = 0
        while one.requests:
            pool.loop.turn()
            turns += 1
        assert turns <= 2
        assert len(pool.served) - before <= 2 * REQUESTS_PER_ROUND


def test_a_client_that_asks_below_its_share_has_its_whole_rate() -> None:
    pool = Pool()
    for _ in range(31):
        pool.client(10_000)
    asked = []
    for _ in range(100):
        asked.append(pool.client(1))
        pool.loop.turn()
    pool.loop.turn()
    assert sum(client.requests for client in asked) == 0


def test_the_connections_of_one_stream_share_one_turn() -> None:
    pool = Pool()
    many = [pool.client(10_000, "stream") for _ in range(60)]
    alone = pool.client(10_000)
    for _ in range(20):
        pool.loop.turn()
    served = Counter(pool.served[REQUESTS_PER_ROUND:])
    assert abs(served[alone] - sum(served[one] for one in many)) <= REQUESTS_PER_ROUND


def test_rounds_shrink_to_what_is_decided_and_grow_again() -> None:
    pool = Pool()
    pool.client(100_000)
    pool.waiting = 1000
    sizes = []
    for _ in range(10):
        before = len(pool.served)
        pool.loop.turn()
        sizes.append(len(pool.served) - before)
    assert sizes == [32, 16, 8, 4, 2, 1, 1, 1, 1, 1]
    pool.waiting = 0
    before = len(pool.served)
    for _ in range(7):
        pool.loop.turn()
    assert len(pool.served) - before == 2 + 4 + 8 + 16 + 32 + 64 + 64


def test_an_empty_ring_asks_for_no_turn() -> None:
    pool = Pool()
    pool.client(10)
    pool.loop.turn()
    assert not pool.loop.soon


def test_one_that_has_nothing_any_more_is_passed_over() -> None:
    pool = Pool()
    pool.client(1000)
    gone, other = pool.client(5), pool.client(5)
    gone.requests = 0
    pool.loop.turn()
    pool.loop.turn()
    assert other.requests == 0
    assert gone not in pool.served
