"""What must hold in every run: `safety` at every moment, `liveness` once faults have stopped.

A checker sees everything and changes nothing.  Each one is proved by a planted fault that it must
find (`tests/sim/test_planted.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altiplano.sim.checkers.liveness import EndsWell
from altiplano.sim.checkers.safety import DurableFirst, KeptBeforeAcknowledged, RunOnce, SoldOnce, TrueStatus
from altiplano.sim.history import Checker

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

__all__ = ["Checker", "all_checkers"]


def all_checkers(cluster: Cluster) -> list[Checker]:
    kinds = (SoldOnce, RunOnce, DurableFirst, TrueStatus, KeptBeforeAcknowledged, EndsWell)
    return [kind(cluster) for kind in kinds]
