"""The state of the pool as pages see it, fetched once for all viewers.

A busy pool changes hundreds of times a second and has many viewers.  So there is one fetch at a time, all
who wait get its outcome, and the next one comes no sooner than `REST_FACTOR` times its duration: showing
pages costs a master at most a tenth of its time, however large it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from altiplano.pagekit import api as apis
from altiplano.ports.clock import Clock
from altiplano.wire.messages import master, mesos

AGE_S_MAX = 15.0
"""A snapshot is not shown for longer, even when nothing changed."""

REST_FACTOR = 9.0
REST_S_MIN = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One answer of the master, with what is looked up all the time."""

    state: master.ResponseGetState
    leader: master.ResponseGetMaster
    version: int
    """Of the moment before it was asked for, so it shows at least that."""

    @property
    def agents(self) -> master.ResponseGetAgents:
        return self.state.get_agents or master.ResponseGetAgents()

    @property
    def frameworks(self) -> master.ResponseGetFrameworks:
        return self.state.get_frameworks or master.ResponseGetFrameworks()

    @property
    def tasks(self) -> master.ResponseGetTasks:
        return self.state.get_tasks or master.ResponseGetTasks()

    def all_tasks(self) -> tuple[mesos.Task, ...]:
        tasks = self.tasks
        return (
            *tasks.pending_tasks,
            *tasks.tasks,
            *tasks.unreachable_tasks,
            *tasks.completed_tasks,
            *tasks.orphan_tasks,
        )


class Snapshots:
    """Gives the newest snapshot that may be had cheaply."""

    def __init__(
        self,
        api: apis.Api,
        version: Callable[[], int],
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._version = version
        self._clock = clock
        self._sleep = sleep
        self._last: Snapshot | None = None
        self._at = 0.0
        self._rest_until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> Snapshot:
        """A snapshot of now, or a slightly older one while the master rests.  Raises Refused or Unanswered."""
        async with self._lock:
            last, now = self._last, self._clock.now().mono_s
            if last is not None and now - self._at < AGE_S_MAX and self._is_good(last, now):
                return last
            version = self._version()
            fetched = await self._fetch(version)
            after = self._clock.now()
            self._last, self._at = fetched, after.mono_s
            self._rest_until = after.mono_s + max(REST_S_MIN, (after.mono_s - now) * REST_FACTOR)
            return fetched

    async def newer(self, than: int) -> Snapshot:
        """A snapshot of a later version than that, after the master's rest if need be; the newest if there is none.

        For who did not find what they were sent to: a task may be younger than the snapshot, and a page
        that says "not there" is not made anew by itself.
        """
        while self._version() != than and (rest_s := self._rest_until - self._clock.now().mono_s) > 0:
            await self._sleep(rest_s)
        return await self.get()

    def _is_good(self, last: Snapshot, now: float) -> bool:
        return last.version == self._version() or now < self._rest_until

    async def _fetch(self, version: int) -> Snapshot:
        state = await apis.call(self._api, master.Call(type=master.CallType.GET_STATE))
        leader = await apis.call(self._api, master.Call(type=master.CallType.GET_MASTER))
        if state.get_state is None:
            raise apis.Unanswered("the master answered GET_STATE without a state")
        return Snapshot(
            state=state.get_state,
            leader=leader.get_master or master.ResponseGetMaster(),
            version=version,
        )
