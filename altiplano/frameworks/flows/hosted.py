"""The flows of a pool, in the host of frameworks: those that run and those that have ended.

    PUT  /api/v1/flows/RUN         a run tells of itself (`registration`)
    POST /api/v1/flows/RUN/look    read its log now, and keep what it says
    GET  /api/v1/flows             the flows there are; /api/v1/flows/RUN one with its rules
    /, /ui/…, /static/…            the same as pages

The one thing to know before changing it: a run is never asked.  Its transaction log says all that stays true, so a
page here is right after a kill -9 of the run, of this process and of the whole pool.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from altiplano.adapters.system import SystemClock
from altiplano.engine import http
from altiplano.engine.core import Fact
from altiplano.engine.records import FactCodec
from altiplano.frameworks.flows import facts, keeping, registration, transactions
from altiplano.frameworks.flows.api import is_loopback
from altiplano.frameworks.flows.graph import Graph
from altiplano.frameworks.flows.pages.picture import FlowHead, FlowPicture, of_state
from altiplano.frameworks.flows.progress import RuleState
from altiplano.frameworks.flows.state import FlowState
from altiplano.frameworks.flows.tail import Tail
from altiplano.frameworks.host import Context
from altiplano.ports.log import LogMismatch

LOOK_S = 0.5
"""Time between two looks at the logs of flows that run."""

LOOKS_PER_PROBE = 4
"""A log in which nothing is new is asked at every so manyth look whether a process has it."""

RUNNING_MAX = 64
"""Flows that are followed at one time; runs beyond that ask again until there is room."""

API = "/api/v1/flows"
T = TypeVar("T")

log = structlog.get_logger("altiplano.flows")


def hosted(context: Context) -> Flows:
    return Flows(context)


class Followed:
    """A flow whose run goes on.  Its methods take their time, and are for one thread at a time."""

    def __init__(self, head: registration.Head, graph: Graph) -> None:
        self.head = head
        self.state = FlowState(graph)
        self.alive = True
        self.room = asyncio.Lock()
        """Held by whoever has a thread with this flow."""
        self._graph = graph
        self._path = Path(head.log)
        self._tail = Tail(self._path)
        self._codec: FactCodec[Fact] = FactCodec(facts.DURABLE_TYPES, version=facts.VERSION)
        self._quiet = 0

    def look(self) -> bool:
        """Take in what is new; whether anything is."""
        before = self.alive
        try:
            new = self._take()
            while self._tail.behind and self._take():
                new = True
        except FileNotFoundError:
            # Cleaned away, with its directory perhaps: nothing more will come.
            self.alive = False
            return True
        self._quiet = 0 if new else self._quiet + 1
        if self._quiet % LOOKS_PER_PROBE == LOOKS_PER_PROBE - 1 or self.state.exit_code is not None:
            self.alive = transactions.holder(self._path) is not None
        return new or self.alive != before

    def _take(self) -> bool:
        anew, records = self._tail.read()
        if anew:
            self.state = FlowState(self._graph)
        for fact in self._codec.recover(None, records):
            self.state.apply(fact)
        return anew or bool(records)

    def picture(self) -> FlowPicture:
        found = of_state(self.state, directory=self.head.directory, own_url=self.head.url, alive=self.alive)
        # A log does not tell of the moment at which a task that was launched begins to run.
        rules = tuple(
            dataclasses.replace(rule, state=RuleState.RUNNING) if rule.state is RuleState.LAUNCHED else rule
            for rule in found.rules
        )
        found = dataclasses.replace(found, rules=rules)
        # A log that was begun anew under our eyes has no run yet; the flow keeps its name.
        return dataclasses.replace(found, id=self.head.run_id) if found.id != self.head.run_id else found


class Flows:
    """Implements `Hosted`."""

    def __init__(self, context: Context, *, store: keeping.Store | None = None) -> None:
        self._context = context
        self._store = store or keeping.Store(context.directory)
        self._disk = asyncio.Lock()
        self._heads: dict[str, FlowHead] = {}
        self._followed: dict[str, Followed] = {}
        self._came = asyncio.Event()
        self._version = 0
        self._newest: tuple[str, int, FlowPicture] | None = None
        self._pages: http.App | None = None
        self._loading = asyncio.Lock()

    async def run(self, opened: Callable[[], None]) -> None:
        """Take up what was kept, then follow the flows that run until cancelled."""
        self._heads = await self._on_disk(self._store.load)
        for run_id, content in (await self._on_disk(self._store.registrations)).items():
            try:
                head, graph = await asyncio.to_thread(registration.read, content)
            except registration.NotRegistered:
                await self._on_disk(self._store.unregister, run_id)
                continue
            if run_id in self._heads and not Path(head.log).exists():
                # It ended while nobody looked, and its log has been removed since.
                await self._on_disk(self._store.unregister, run_id)
                continue
            await self._follow(head, graph)
        opened()
        while True:
            if not self._followed:
                self._came.clear()
                await self._came.wait()
            for run_id in tuple(self._followed):
                await self._look(run_id)
            await asyncio.sleep(LOOK_S)

    # Following.

    async def _follow(self, head: registration.Head, graph: Graph) -> None:
        followed = await asyncio.to_thread(Followed, head, graph)
        self._followed[head.run_id] = followed
        self._came.set()
        await self._look(head.run_id)

    async def _look(self, run_id: str) -> None:
        """Read what a log has brought; a flow that has ended is kept and followed no more."""
        followed = self._followed.get(run_id)
        if followed is None:
            return
        try:
            async with followed.room:
                if not await asyncio.to_thread(followed.look):
                    return
                picture = await asyncio.to_thread(followed.picture)
        except Exception as error:  # one log that is not what it should be must not cost the pages of the others
            sentence = str(error) if isinstance(error, LogMismatch | OSError) else repr(error)
            log.error("a flow cannot be followed", action="flow-left", cause=run_id, sentence=sentence)
            followed.alive = False
            picture = await asyncio.to_thread(followed.picture)
        if self._followed.get(run_id) is not followed:
            # It has registered anew meanwhile.
            return
        self._show(picture)
        if not followed.alive:
            await self._keep(picture)
            if self._followed.get(run_id) is followed:
                del self._followed[run_id]
                await self._on_disk(self._store.unregister, run_id)

    def _show(self, picture: FlowPicture) -> None:
        self._heads.pop(picture.id, None)
        self._heads[picture.id] = picture.head
        self._version += 1
        self._newest = (picture.id, self._version, picture)

    async def _keep(self, picture: FlowPicture) -> None:
        try:
            gone = await self._on_disk(self._store.keep, picture)
        except OSError as error:
            log.error("a page was not kept", action="page-not-kept", cause=picture.id, sentence=str(error))
            return
        for run_id in gone:
            if run_id not in self._followed:
                self._heads.pop(run_id, None)

    async def find(self, run_id: str) -> FlowPicture | None:
        """One flow with its rules, as it is known now."""
        if run_id not in self._heads:
            return None
        newest = self._newest
        if newest is not None and newest[0] == run_id and newest[2].head == self._heads[run_id]:
            return newest[2]
        followed = self._followed.get(run_id)
        if followed is not None:
            async with followed.room:
                picture: FlowPicture | None = await asyncio.to_thread(followed.picture)
        else:
            picture = await self._on_disk(self._store.read, run_id)
        if picture is not None:
            self._newest = (run_id, self._version, picture)
        return picture

    # What is asked for.

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        path: str = scope["path"]
        if scope["type"] != "http" or not (path == API or path.startswith(API + "/")):
            await (await self._load_pages())(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send, path.removeprefix(API).strip("/").split("/"))
        except http.Refusal as refusal:
            await http.refuse(send, refusal)

    async def _answer(self, scope: http.Scope, receive: http.Receive, send: http.Send, parts: list[str]) -> None:
        match scope["method"], parts:
            case "GET", [""]:
                await _respond(send, list(self._heads.values()))
            case "GET", [run_id]:
                picture = await self.find(run_id)
                if picture is None:
                    raise http.Refusal(404, f"no flow has the id '{run_id}': GET {API} lists those there are")
                await _respond(send, picture)
            case "PUT", [run_id]:
                await self._register(run_id, scope, receive)
                await http.respond(send, 204)
            case "POST", [run_id, "look"]:
                await self._look_to_the_end(run_id)
                await http.respond(send, 204)
            case _:
                raise http.Refusal(404, f"nothing is here: {API}, {API}/RUN and {API}/RUN/look are served")

    async def _register(self, run_id: str, scope: http.Scope, receive: http.Receive) -> None:
        content = await http.read_body(scope, receive, limit_bytes=registration.REGISTRATION_BYTES_MAX)
        try:
            head, graph = await asyncio.to_thread(registration.read, content)
        except registration.NotRegistered as error:
            raise http.Refusal(422, str(error)) from error
        if head.run_id != run_id:
            raise http.Refusal(422, f"this describes the flow '{head.run_id}', and was sent for '{run_id}'")
        if run_id not in self._followed and len(self._followed) >= RUNNING_MAX:
            raise http.Refusal(503, f"{RUNNING_MAX} flows run already, the limit of this host: ask again later")
        await self._on_disk(self._store.register, run_id, content)
        await self._follow(head, graph)

    async def _look_to_the_end(self, run_id: str) -> None:
        """Read a log and keep its page, so that both may be removed now."""
        followed = self._followed.get(run_id)
        if followed is None:
            return
        await self._look(run_id)
        async with followed.room:
            picture = await asyncio.to_thread(followed.picture)
        await self._keep(picture)

    # Small things.

    async def _on_disk(self, function: Callable[..., T], *arguments: object) -> T:
        async with self._disk:
            return await asyncio.to_thread(function, *arguments)

    async def _load_pages(self) -> http.App:
        """Pages are loaded when somebody looks."""
        async with self._loading:
            if self._pages is None:
                self._pages = await asyncio.to_thread(self._build_pages)
        return self._pages

    def _build_pages(self) -> http.App:
        from altiplano.frameworks.flows import pages

        return pages.build(
            heads=lambda: list(self._heads.values()),
            find=self.find,
            version=lambda: self._version,
            clock=SystemClock(),
            pool_url=_pool_of(self._context.place.masters[0]),
        )


def _pool_of(master: str) -> str:
    """Where the pool's pages are: on this machine by their port, since viewers may know it by another name."""
    url = urlsplit(master)
    return f":{url.port}" if url.port and is_loopback(url.hostname or "") else master


async def _respond(send: http.Send, value: object) -> None:
    body = await asyncio.to_thread(msgspec.json.encode, value)
    await http.respond(send, 200, body, content_type="application/json")
