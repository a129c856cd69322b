"""A custom executor's connections to the agent of its machine, where messages are values.

As over HTTP the stream and the calls are connections of their own, so neither waits for the other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from altiplano.sim.executor import Program
from altiplano.sim.weather import End
from altiplano.wire.messages import executor as api

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster


class ConduitCarrier:
    """Two conduits: one for the stream, one for calls."""

    def __init__(self, cluster: Cluster, machine: str, host: str) -> None:
        self._cluster = cluster
        self._machine = machine
        self._host = host
        self._stream: End | None = None
        self._calls: End | None = None

    def open(self, program: Program, call: api.Call) -> None:
        self.close()
        asyncio.get_running_loop().call_later(self._cluster.weather.delay_s(), self._open, program, call)

    def post(self, call: api.Call) -> None:
        if self._calls is None or not self._calls.alive:
            self._calls = self._cluster.dial_agent(self._machine, self._host)
        if self._calls is not None:
            self._calls.send(call)

    def close(self) -> None:
        for end in (self._stream, self._calls):
            if end is not None:
                end.ended = lambda _: None
                end.close("the executor hangs up")
        self._stream = self._calls = None

    def _open(self, program: Program, call: api.Call) -> None:
        if not program.alive:
            return
        end = self._cluster.dial_agent(self._machine, self._host)
        if end is None:
            program.closed("the agent cannot be reached")
            return
        self._stream = end
        end.heard = program.heard
        end.ended = program.closed
        end.send(call)
