"""What must hold in every run: `safety`, `statuses` and `views` at every moment, `quiet` and `liveness` once
faults have stopped.

A checker sees everything and changes nothing.  Each one is proved by a planted fault that it must
find (`tests/sim/test_planted.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altiplano.sim.checkers.liveness import EndsWell
from altiplano.sim.checkers.quiet import NoOrphans, Reconciled, SumsUp
from altiplano.sim.checkers.safety import (
    DurableFirst,
    EndsInTime,
    KeptBeforeAcknowledged,
    OneExecutor,
    OneInFlight,
    RunOnce,
    SaidOnce,
    SoldOnce,
)
from altiplano.sim.checkers.statuses import AllowedOrder, AllowedWords, TrueStatus
from altiplano.sim.checkers.views import FitsTogether, Followed
from altiplano.sim.history import Checker

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

__all__ = ["Checker", "all_checkers"]

KINDS: tuple[type[Checker], ...] = (
    SoldOnce,
    RunOnce,
    OneExecutor,
    DurableFirst,
    KeptBeforeAcknowledged,
    OneInFlight,
    SaidOnce,
    EndsInTime,
    AllowedWords,
    AllowedOrder,
    TrueStatus,
    FitsTogether,
    Followed,
    NoOrphans,
    SumsUp,
    Reconciled,
    EndsWell,
)


def all_checkers(cluster: Cluster) -> list[Checker]:
    return [kind(cluster) for kind in KINDS]
