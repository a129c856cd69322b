"""Whether an agent works, as its operators want it: the states, and what leads from one to another.

                  ┌───────── reactivate ─────────┐
                  ▼                              │
    WORKING ── deactivate ──► IDLE               │
       ▲  │                    │ │               │
       │  │    ┌──── drain ────┘ └─ reactivate   │
       │  ▼    ▼                                 │
       │ DRAINING ── nothing is left ──► DRAINED ┘ ──► gone, if that was asked for
       │    ▲ └─ drain ─┘                   │
       │    └──────────── drain ────────────┘

`STEPS` says what may follow what.  Only a working agent is offered to anybody.  This is what operators said and is
written down; whether an agent is connected is another matter (`state.Membership`), and an agent may be drained while it
is away: it hears of it when it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from altiplano.link import messages as link_messages


class Standing(Enum):
    """What an agent is to do."""

    WORKING = "working"
    IDLE = "idle"
    """Deactivated: it is not offered, its tasks go on."""
    DRAINING = "draining"
    """It is not offered, and its tasks end."""
    DRAINED = "drained"
    """It is not offered, and has no tasks left."""


STEPS: Mapping[Standing, frozenset[Standing]] = MappingProxyType(
    {
        Standing.WORKING: frozenset({Standing.IDLE, Standing.DRAINING}),
        Standing.IDLE: frozenset({Standing.WORKING, Standing.DRAINING}),
        # A second order to drain may shorten the grace.
        Standing.DRAINING: frozenset({Standing.DRAINING, Standing.DRAINED}),
        Standing.DRAINED: frozenset({Standing.WORKING, Standing.DRAINING}),
    }
)


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What operators ordered for one agent.  Of an agent without orders nothing is kept: it works."""

    standing: Standing
    since_s: float
    max_grace_s: float | None = None
    """No task gets more time than this between SIGTERM and SIGKILL."""
    mark_gone: bool = False

    @property
    def drains(self) -> bool:
        return self.standing in (Standing.DRAINING, Standing.DRAINED)


def standing_of(orders: Orders | None) -> Standing:
    return Standing.WORKING if orders is None else orders.standing


def order_of(orders: Orders | None) -> link_messages.Drain | None:
    """What an agent is told of its orders: a drained one goes on turning tasks away."""
    if orders is None or not orders.drains:
        return None
    return link_messages.Drain(max_grace_s=orders.max_grace_s, mark_gone=orders.mark_gone, since_wall_s=orders.since_s)
