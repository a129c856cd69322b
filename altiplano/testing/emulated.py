"""Many agents in one process, on the real link: a pool of any size for tests and benchmarks.

Each agent is a `Twin` (`emulated_agent`) with a WebSocket of its own to a real master.  No process is started and
nothing is written to disk: an agent is a connection and its tasks.  Agents whose connection breaks dial again, with
the tasks they have, after pauses that double and are jittered; at most `DIALS_MAX` dial at once.

    swarm = emulated.Swarm("127.0.0.1:5050", emulated.machines(500, "cpus:8;mem:16384"), emulated.running_for(60))
    async with swarm.running():
        await swarm.joined()
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
from collections.abc import AsyncIterator, Callable, Iterable

import aiohttp

from altiplano.adapters.system import SystemClock
from altiplano.engine import http
from altiplano.kit.backoff import BackOff
from altiplano.link import transport
from altiplano.link.session import Arrival
from altiplano.model import attributes as attribute_texts
from altiplano.model import resources as algebra
from altiplano.model.time import Instant
from altiplano.ports.clock import Clock
from altiplano.testing.emulated_agent import (
    Act,
    Behaviour,
    HangUp,
    Listen,
    Say,
    Stop,
    Timer,
    Twin,
    Wake,
    numbered,
)
from altiplano.testing.emulated_agent import running_for as running_for
from altiplano.testing.ids import SeededIds
from altiplano.wire import translate
from altiplano.wire.messages import mesos

DIALS_MAX = 64
"""Agents that dial at once: a master has to answer each before it gives up."""

FILES_SPARE = 256
"""Open files that a process needs beside one for each agent."""

GREETING_S_MAX = 30.0
"""A master that does not welcome an agent for so long is given up, as a real agent does."""

BACKOFF = BackOff(base_s=0.5, cap_s=15.0)
"""Pauses between two attempts to reach the master."""


class TooMany(Exception):
    """This process may not have as many connections."""


def machines(count: int, resources: str, attributes: str = "") -> tuple[mesos.AgentInfo, ...]:
    """So many machines of one kind, as `--resources` and `--attributes` of an agent describe it.

    Raises ValueError with a sentence.
    """
    try:
        held = translate.resources_to(algebra.parse(resources), refined=True, allocation=False)
    except algebra.ResourceError as error:
        raise ValueError(f"the resources of a machine cannot be used: {error}") from error
    return tuple(numbered(count, held, translate.attributes_to(attribute_texts.parse(attributes))))


class Member:
    """One agent of a swarm: its twin, and the connection it has just now."""

    def __init__(self, swarm: Swarm, twin: Twin) -> None:
        self.twin = twin
        self.connection: transport.Connection | None = None
        self.stopped_because: str | None = None
        self._swarm = swarm
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._silence_s = GREETING_S_MAX
        self._heard_s = 0.0
        self._welcomed = False

    async def run(self) -> None:
        """Stay a member until the master sends this agent away."""
        backoff = BACKOFF
        try:
            while self.stopped_because is None:
                try:
                    connection = await self._swarm.dial(self.twin.epoch)
                except transport.CannotDial:
                    pass
                else:
                    await self._carry(connection)
                    if self._welcomed:
                        backoff = backoff.reset()
                pause_s, backoff = backoff.next(self._swarm.ids.fraction())
                if self.stopped_because is None:
                    await asyncio.sleep(pause_s)
        finally:
            for handle in self._timers.values():
                handle.cancel()

    async def _carry(self, connection: transport.Connection) -> None:
        loop = asyncio.get_running_loop()
        self.connection, self._welcomed = connection, False
        self._silence_s, self._heard_s = GREETING_S_MAX, loop.time()
        watch = loop.call_later(GREETING_S_MAX, self._watch, connection)
        self._carry_out(self.twin.connected())
        try:
            await connection.run(self._heard)
        finally:
            watch.cancel()
            self.connection = None
            self._swarm.left(self)
            self.twin.disconnected()

    def _watch(self, connection: transport.Connection) -> None:
        """Give a connection up that has been silent for too long."""
        loop = asyncio.get_running_loop()
        left_s = self._heard_s + self._silence_s - loop.time()
        if left_s <= 0:
            connection.close(f"silent for {self._silence_s:g} s")
        elif not connection.closed:
            loop.call_later(left_s, self._watch, connection)

    def _heard(self, connection: transport.Connection, arrival: Arrival) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        if connection is self.connection:
            self._carry_out(self.twin.heard(arrival, self._swarm.clock.now()))

    def act(self, what: Callable[[Instant], list[Act]]) -> None:
        """Let something happen on this machine, such as `twin.restarted`."""
        self._carry_out(what(self._swarm.clock.now()))

    def restart(self) -> None:
        """kill -9 of the agent's process, and another one at once: its tasks are as its log has them."""
        self.act(self.twin.restarted)
        self.hang_up("the agent was killed")

    def hang_up(self, sentence: str) -> None:
        """Break the connection; the agent dials again."""
        if self.connection is not None:
            self.connection.close(sentence)

    def _carry_out(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case Say():
                    if self.connection is not None:
                        self.connection.send(act.message)
                case Wake():
                    self._wake(act.timer, act.after_s)
                case Listen():
                    self._silence_s, self._welcomed = act.silence_s, True
                    self._swarm.welcomed(self)
                case HangUp():
                    self.hang_up(act.sentence)
                case Stop():
                    self.stopped_because = act.sentence
                    self.hang_up(act.sentence)

    def _wake(self, timer: Timer, after_s: float | None) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()
        if after_s is not None:
            self._timers[timer] = asyncio.get_running_loop().call_later(after_s, self._due, timer)

    def _due(self, timer: Timer) -> None:
        del self._timers[timer]
        self.act(functools.partial(self.twin.due, timer))


class Swarm:
    """Agents of one process.  Raises TooMany where the system does not allow so many open files."""

    def __init__(
        self,
        master: str,
        infos: Iterable[mesos.AgentInfo],
        behaviour: Behaviour | None = None,
        *,
        authorization: str | None = None,
        seed: int | str = 0,
        clock: Clock | None = None,
    ) -> None:
        """`master` is host:port, `authorization` a header for it.  The same `seed` draws the same uuids and pauses."""
        self.master = master
        self.ids = SeededIds(f"swarm {seed}")
        self.clock: Clock = clock or SystemClock()
        told = behaviour or Behaviour()
        self.members = tuple(Member(self, Twin(info, told, self.ids)) for info in infos)
        self._headers = {} if authorization is None else {"Authorization": authorization}
        self._client: aiohttp.ClientSession | None = None
        self._dials = asyncio.Semaphore(DIALS_MAX)
        self._joined: set[Member] = set()
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Swarm]:
        """Agents come, and are gone when the block ends, as machines whose power fails."""
        allow_files(len(self.members) + FILES_SPARE)
        connector = aiohttp.TCPConnector(limit=0)
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=jar) as self._client,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(member.run(), name=member.twin.info.hostname) for member in self.members]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()

    async def joined(self) -> None:
        """Return when every agent is a member."""
        while len(self._joined) < len(self.members):
            self._changed.clear()
            await self._changed.wait()

    @property
    def joined_count(self) -> int:
        return len(self._joined)

    @property
    def launched(self) -> int:
        """Tasks that were ordered, ever."""
        return sum(member.twin.launched for member in self.members)

    @property
    def acknowledged(self) -> int:
        return sum(member.twin.acknowledged for member in self.members)

    @property
    def tasks(self) -> int:
        """Tasks that have not ended."""
        return sum(member.twin.running for member in self.members)

    async def dial(self, epoch: int) -> transport.Connection:
        assert self._client is not None
        async with self._dials:
            return await transport.dial(self._client, self.master, epoch=epoch, app=_no_sandbox, headers=self._headers)

    def welcomed(self, member: Member) -> None:
        self._joined.add(member)
        self._changed.set()

    def left(self, member: Member) -> None:
        self._joined.discard(member)
        self._changed.set()


async def _no_sandbox(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    """What an agent answers to requests that come through its master."""
    await http.respond_text(send, 404, "this machine is emulated: its tasks have no sandboxes and no output")


def allow_files(count: int) -> None:
    """Let this process open so many files.  Raises TooMany."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise TooMany(
            f"{count} open files are needed, and this process may have {hard}: raise the limit with 'ulimit -n'"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
