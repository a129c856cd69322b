"""An operator who looks, follows and interferes while everything breaks."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from altiplano.sim.history import Violation
from altiplano.wire import json
from altiplano.wire.messages import master as operator
from altiplano.wire.messages import mesos

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster

PAUSE_S_TYPICAL = 6.0
"""Between two calls."""

SILENCE_S_MAX = 45.0
"""A stream without heartbeats for so long is given up."""

LOOK_S = 5.0
Type = operator.CallType


class Operator:
    """One run's operator."""

    def __init__(self, cluster: Cluster, *, window_s: float) -> None:
        self._cluster = cluster
        self._window_s = window_s
        self._dice = random.Random(f"{cluster.seed} operator")
        self._heard_s = 0.0

    async def run(self) -> None:
        """Call at random moments."""
        end_s = self._cluster.now_s + self._window_s
        while True:
            await asyncio.sleep(self._dice.expovariate(1 / PAUSE_S_TYPICAL))
            if self._cluster.now_s >= end_s:
                return
            (kind,) = self._dice.choices(
                (self._look, self._weigh, self._tear_down, self._mark_gone), weights=(12, 4, 1, 1)
            )
            call = kind()
            if call is None:
                continue
            self._cluster.history.line(f"operator: {call.type.value if call.type is not None else ''}")
            answer = await self._cluster.operate(call)
            self._cluster.history.line(f"operator: answer {answer[0] if answer is not None else 'lost'}")
            if answer is not None:
                self._answered(call, *answer)

    async def follow(self) -> None:
        """Follow the events for ever; a stream that ended is begun again."""
        while True:
            following = asyncio.ensure_future(self._cluster.follow(self._heard))
            self._heard_s = self._cluster.now_s
            while not following.done() and self._cluster.now_s - self._heard_s < SILENCE_S_MAX:
                await asyncio.wait((following,), timeout=LOOK_S)
            following.cancel()
            await asyncio.sleep(self._dice.uniform(0.5, 4.0))

    def _heard(self, body: bytes) -> None:
        self._heard_s = self._cluster.now_s
        self._cluster.history.followed(json.decode(operator.Event, body))

    def _answered(self, call: operator.Call, status: int, body: bytes) -> None:
        if call.type is Type.GET_STATE and status == 200:
            response = json.decode(operator.Response, body)
            assert response.get_state is not None
            self._cluster.history.shown(response.get_state)
        elif status >= 500 and status != 503:
            self._cluster.history.fail(Violation(f"operators are answered: {call.type}: {status} {body!r}"))

    def _look(self) -> operator.Call:
        return operator.Call(type=Type.GET_STATE)

    def _weigh(self) -> operator.Call:
        weight = mesos.WeightInfo(
            role=self._dice.choice(self._cluster.workload.frameworks), weight=self._dice.choice((0.5, 1.0, 3.0))
        )
        return operator.Call(
            type=Type.UPDATE_WEIGHTS, update_weights=operator.CallUpdateWeights(weight_infos=(weight,))
        )

    def _tear_down(self) -> operator.Call | None:
        core = self._cluster.master_core
        ids = list(core.state.frameworks) if core is not None else []
        if not ids:
            return None
        framework_id = self._dice.choice(ids)
        self._cluster.asked.torn.setdefault(framework_id, self._cluster.now_s)
        return operator.Call(
            type=Type.TEARDOWN, teardown=operator.CallTeardown(framework_id=mesos.FrameworkID(value=framework_id))
        )

    def _mark_gone(self) -> operator.Call | None:
        core = self._cluster.master_core
        ids = [*core.state.agents, *core.state.unreachable] if core is not None else []
        if not ids:
            return None
        agent_id = self._dice.choice(ids)
        self._cluster.asked.gone.setdefault(agent_id, self._cluster.now_s)
        return operator.Call(
            type=Type.MARK_AGENT_GONE,
            mark_agent_gone=operator.CallMarkAgentGone(agent_id=mesos.AgentID(value=agent_id)),
        )
