"""The agent's shell: carries out what the core decides, and tells the core what happens.

Everything from outside comes through ports, so that a simulated machine can stand in for a real one.
A part that fails in a way nobody foresaw ends the process; the next one recovers from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, assert_never

import msgspec
import structlog

from altiplano.agent import effects, events, facts, fetcher
from altiplano.agent.core import AgentEvent, Core
from altiplano.agent.settings import Node
from altiplano.engine.core import Effect
from altiplano.engine.histogram import Histogram
from altiplano.engine.journal import Journal
from altiplano.engine.loop import Engine
from altiplano.engine.recorder import Recorder
from altiplano.engine.streams import EventStream
from altiplano.kit import crash
from altiplano.link import messages
from altiplano.link.session import Arrival, StreamBytes
from altiplano.link.transport import CannotDial, Connection
from altiplano.ports import launcher, probes
from altiplano.ports.clock import Clock
from altiplano.ports.files import Files, FilesFailed
from altiplano.ports.ids import Ids
from altiplano.ports.log import Log
from altiplano.wire.codec import Codec
from altiplano.wire.messages import executor as executor_api
from altiplano.wire.messages import mesos

STOP_GRACE_S = 1.0
"""Grace for what the launcher still has when it is stopped; the tasks have had theirs by then."""

POINTS = (
    "log_read",
    "inventory_taken",
    "before_hello",
    "welcome_heard",
    "task_heard",
    "sandbox_made",
    "before_launch",
    "after_launch",
    "exit_heard",
    "update_said",
    "acknowledgement_heard",
    "before_terminate",
    "after_terminate",
    "after_forget",
    "check_begun",
    "executor_subscribed",
    "executor_update_heard",
    "executor_launch_told",
    "executor_acknowledgement_told",
)
"""Crash points of an agent's shell (`altiplano.kit.crash`)."""

_HEARD_AT = {
    messages.Welcome: "welcome_heard",
    messages.RunTask: "task_heard",
    messages.Acknowledge: "acknowledgement_heard",
}

_TOLD_AT = {
    executor_api.EventType.LAUNCH: "executor_launch_told",
    executor_api.EventType.ACKNOWLEDGED: "executor_acknowledgement_told",
}

log = structlog.get_logger("altiplano.agent")

T = TypeVar("T")

Dialler = Callable[[int], Awaitable[Connection]]
"""Connects to the master, given the newest epoch obeyed.  Raises CannotDial."""

AgentEffect = (
    effects.Dial
    | effects.HangUp
    | effects.Say
    | effects.Silence
    | effects.MakeSandbox
    | effects.Fetch
    | effects.CancelPreparing
    | effects.Launch
    | effects.RunCheck
    | effects.Probe
    | effects.StopProbe
    | effects.Limit
    | effects.Tell
    | effects.CloseStream
    | effects.Terminate
    | effects.Destroy
    | effects.Forget
    | effects.MeasureDisk
    | effects.RemoveSandbox
    | effects.Exit
)


class Fetching(Protocol):
    """Brings files into sandboxes; `fetcher.Fetcher` is the real one.  Raises FetchFailed."""

    async def fetch(
        self, uris: tuple[mesos.CommandInfoURI, ...], container_id: str, directory: str, user: str | None
    ) -> fetcher.Fetched: ...


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's shell acts with."""

    log: Log
    launcher: launcher.Launcher
    files: Files
    probes: probes.Probes
    fetcher: Fetching
    clock: Clock
    ids: Ids
    dial: Dialler
    boot_id: str
    disk_used: Callable[[], float]
    """How full the work directory's disk is, as a fraction."""


class _Link:
    """One connection to the master, from its first attempt to its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.connection: Connection | None = None
        self.silence_s: float | None = None
        self.heard_mono_s = 0.0
        self.hung_up = False
        self.task: asyncio.Task[None] | None = None


class Agent:
    """One agent process.  `run` returns how it ended."""

    def __init__(self, node: Node, outside: Outside, *, check: bool = False) -> None:
        self.node = node
        self.outside = outside
        self.core = Core(node)
        self.journal = Journal("agent")
        self.engine: Engine[Any] = Engine(
            self.core,
            log=outside.log,
            codec=facts.codec(),
            clock=outside.clock,
            perform=self._perform,
            bug=self._bug,
            wake=lambda cause: events.Wake(cause=cause, seed=self._seed()),
            journal=self.journal,
            recorder=Recorder(),
            check=check,
        )
        self.launch_s = Histogram()
        """How long the launcher takes from an order to its answer."""
        self.started_wall_s = outside.clock.now().wall_s
        self.recovered = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._exit: asyncio.Future[effects.Exit] | None = None
        self._takes_tasks_along = False
        self._link: _Link | None = None
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._streams: dict[str, EventStream] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> effects.Exit:
        """Recover, then serve until an Exit is decided or the task is cancelled.

        Raises LogFailed, LauncherError or whatever else ended a part of the agent.  Afterwards the launcher is
        closed or stopped as the Exit says, and the log is closed.
        """
        self._exit = asyncio.get_running_loop().create_future()
        ended: effects.Exit | None = None
        try:
            ended = await self._serve(self._exit)
        finally:
            if ended is not None and ended.stop_launcher:
                await self.outside.launcher.stop(STOP_GRACE_S)
            elif ended is None and self._takes_tasks_along:
                # Its log is gone, or the disk full: it cannot decide any more how each task ends, but that they do.
                with contextlib.suppress(launcher.LauncherError):
                    await self.outside.launcher.stop(STOP_GRACE_S)
            else:
                await self.outside.launcher.close()
            await self.outside.log.close()
        return ended

    async def _serve(self, exit_: asyncio.Future[effects.Exit]) -> effects.Exit:
        await self.engine.recover()
        crash.at("log_read")
        inventory = await self.outside.launcher.inventory()
        crash.at("inventory_taken")
        recovered = events.Recovered(
            cause=self._cause("start"), seed=self._seed(), inventory=inventory, boot_id=self.outside.boot_id
        )
        self.engine.post(recovered)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                parts = [
                    group.create_task(self.engine.run(), name="engine"),
                    group.create_task(self._listen(), name="launcher events"),
                ]
                self.recovered.set()
                ended = await exit_
                self._hang_up("the agent stops")
                for stream in self._streams.values():
                    stream.close()
                for part in [*parts, *self._preparing.values(), *self._probing.values()]:
                    part.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        finally:
            self._group = None
        return ended

    def stop(self, *, with_tasks: bool = False, for_good: bool = False) -> None:
        """Ask the agent to end; `run` returns when it has."""
        self._takes_tasks_along = self._takes_tasks_along or with_tasks or for_good
        self._post(
            events.StopOrdered(cause=self._cause("stop"), seed=self._seed(), with_tasks=with_tasks, for_good=for_good)
        )

    def kill(self, container_id: str) -> None:
        """Ask a container to end, as its scheduler could."""
        self._post(events.KillAsked(cause=self._cause("kill"), seed=self._seed(), container_id=container_id))

    # -- executors

    def subscribe(self, codec: Codec, call: executor_api.Call, subscribe: executor_api.CallSubscribe) -> EventStream:
        """Open the event stream of an executor."""
        name = self._cause("executor")
        stream = self._streams[name] = EventStream(name, codec)
        crash.at("executor_subscribed")
        subscribed = events.ExecutorSubscribed(
            cause=name,
            seed=self._seed(),
            framework_id=call.framework_id.value,
            executor_id=call.executor_id.value,
            stream=name,
            task_ids=tuple(task.task_id.value for task in subscribe.unacknowledged_tasks),
            updates=tuple(update.status for update in subscribe.unacknowledged_updates),
        )
        self._post(subscribed)
        return stream

    def executor_updated(self, call: executor_api.Call, status: mesos.TaskStatus) -> None:
        crash.at("executor_update_heard")
        updated = events.ExecutorUpdated(
            cause=self._cause("update"),
            seed=self._seed(),
            framework_id=call.framework_id.value,
            executor_id=call.executor_id.value,
            status=status,
        )
        self._post(updated)

    def executor_said(self, call: executor_api.Call, data: bytes) -> None:
        said = events.ExecutorSaid(
            cause=self._cause("message"),
            seed=self._seed(),
            framework_id=call.framework_id.value,
            executor_id=call.executor_id.value,
            data=data,
        )
        self._post(said)

    def executor_left(self, call: executor_api.Call, stream: EventStream) -> None:
        """The connection of an executor's stream has ended."""
        stream.close()
        if self._streams.pop(stream.name, None) is None or self._exit is None or self._exit.done():
            return
        left = events.ExecutorLeft(
            cause=stream.name,
            seed=self._seed(),
            framework_id=call.framework_id.value,
            executor_id=call.executor_id.value,
            stream=stream.name,
        )
        self._post(left)

    def _tell(self, effect: effects.Tell) -> None:
        stream = self._streams.get(effect.stream)
        if stream is None:
            return
        if not stream.put(stream.codec.record(effect.event)):
            # The carrier of the stream ends with it and tells the core.
            log.warning("cut off", action="cut-stream", cause=stream.name, reason=stream.cut_because)
        crash.at_entry(_TOLD_AT, effect.event.type)

    def _close_stream(self, name: str) -> None:
        if (stream := self._streams.get(name)) is not None:
            stream.close()

    # -- what happens

    def _post(self, event: AgentEvent) -> None:
        self.engine.post(event)

    async def _listen(self) -> None:
        """Ends of containers, for as long as the launcher lives."""
        async for event in self.outside.launcher.events():
            if isinstance(event, launcher.Exited):
                crash.at("exit_heard")
                cause = self._cause("exit")
                self._post(events.ContainerExited(cause=cause, seed=self._seed(), exited=event))
            else:
                cause = self._cause("launcher")
                self._post(events.LauncherDegraded(cause=cause, seed=self._seed(), sentences=event.sentences))
        raise launcher.LauncherClosed("the connection to the supervisor of the tasks has ended")

    def _heard(self, link: _Link, arrival: Arrival) -> None:
        link.heard_mono_s = self.outside.clock.now().mono_s
        if isinstance(arrival, StreamBytes) or not isinstance(arrival, messages.FromMaster):
            return
        crash.at_entry(_HEARD_AT, type(arrival))
        cause = arrival.cause or self._cause("master")
        self._post(events.Heard(cause=cause, seed=self._seed(), connection=link.number, message=arrival))

    # -- what is done

    def _perform(self, effect: Effect) -> None:
        self._act(effect)  # type: ignore[arg-type]  # the engine hands over the effects of our own core only

    def _act(self, effect: AgentEffect) -> None:
        match effect:
            case effects.Say():
                self._say(effect)
            case effects.Launch():
                self._launch(effect)
            case effects.RunCheck():
                begun = self.outside.launcher.launch(effect.spec)
                self._when(begun, lambda answer: self._check_begun(effect, answer))
            case effects.Probe():
                self._probing[effect.run] = self._begin(self._probe(effect), f"probe {effect.run}")
            case effects.StopProbe():
                if (probing := self._probing.pop(effect.run, None)) is not None:
                    probing.cancel()
            case effects.Forget():
                forgotten = self.outside.launcher.forget(effect.container_id)
                self._when(forgotten, lambda answer: self._forgotten(effect.container_id, answer))
            case effects.MakeSandbox():
                self._prepare(effect.container_id, self._make_sandbox(effect))
            case effects.Fetch():
                self._prepare(effect.container_id, self._fetch(effect))
            case effects.CancelPreparing():
                if (task := self._preparing.pop(effect.container_id, None)) is not None:
                    task.cancel()
            case effects.Tell():
                self._tell(effect)
            case effects.CloseStream():
                self._close_stream(effect.stream)
            case effects.Limit():
                self._begin(self._limit(effect), f"limit {effect.container_id}")
            case effects.Terminate():
                self._begin(self._terminate(effect.container_id), f"terminate {effect.container_id}")
            case effects.Destroy():
                self._begin(self._destroy(effect.container_id), f"destroy {effect.container_id}")
            case effects.Dial():
                self._link = _Link(effect.connection)
                self._link.task = self._begin(self._keep_link(self._link, effect.epoch), f"link {effect.connection}")
            case effects.Silence():
                if self._link is not None and self._link.number == effect.connection:
                    self._link.silence_s = effect.silence_s
            case effects.HangUp():
                self._close_link(effect.connection)
            case effects.MeasureDisk():
                self._begin(self._measure_disk(), "measure disk")
            case effects.RemoveSandbox():
                self._begin(self._remove_sandbox(effect), f"remove {effect.container_id}")
            case effects.Exit():
                if self._exit is not None and not self._exit.done():
                    self._exit.set_result(effect)
            case _:
                assert_never(effect)

    def _when(self, awaited: Awaitable[T], then: Callable[[asyncio.Future[T]], None]) -> None:
        """Go on when an answer is there.  What `then` raises ends the process like a task's failure."""
        answer = asyncio.ensure_future(awaited)
        answer.add_done_callback(lambda done: self._settle(done, then))

    def _settle(self, answer: asyncio.Future[T], then: Callable[[asyncio.Future[T]], None]) -> None:
        if answer.cancelled() or self._group is None or self._exit is None or self._exit.done():
            # Too late: the next process asks again.  An error counts as looked at.
            _ = answer.cancelled() or answer.exception()
            return
        try:
            then(answer)
        except Exception as error:  # a callback's bug ends the process, as a task's does
            self._begin(_fail(error), "failure")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._group is not None, "nothing is done before the agent runs or after it has ended"
        return self._group.create_task(work, name=name)

    # -- the link

    def _say(self, effect: effects.Say) -> None:
        link = self._link
        if link is not None and link.number == effect.connection and link.connection is not None:
            if isinstance(effect.message, messages.Hello):
                crash.at("before_hello")
            link.connection.send(effect.message)
            if isinstance(effect.message, messages.StatusUpdate):
                crash.at("update_said")

    def _close_link(self, number: int) -> None:
        link = self._link
        if link is None or link.number != number:
            return
        link.hung_up = True
        if link.connection is not None:
            link.connection.close("the agent hangs up")

    def _hang_up(self, reason: str) -> None:
        """Close the connection after what was said, or give up dialling."""
        link, self._link = self._link, None
        if link is not None and link.connection is not None:
            link.connection.close(reason)
        elif link is not None and link.task is not None:
            link.task.cancel()

    async def _keep_link(self, link: _Link, epoch: int) -> None:
        """Connect, carry the connection until it ends, and tell why it did."""
        try:
            connection = await self.outside.dial(epoch)
        except CannotDial as error:
            self._lost(link, str(error))
            return
        link.connection = connection
        link.heard_mono_s = self.outside.clock.now().mono_s
        if link.hung_up:
            connection.close("the agent hangs up")
        else:
            self._post(events.Connected(cause=self._cause("link"), seed=self._seed(), connection=link.number))
        watch = asyncio.create_task(self._watch_silence(link, connection), name=f"silence {link.number}")
        try:
            reason = await connection.run(lambda _, arrival: self._heard(link, arrival))
        finally:
            watch.cancel()
        self._lost(link, reason)

    async def _watch_silence(self, link: _Link, connection: Connection) -> None:
        """Close a connection that brings nothing for too long: its other end may be gone without a word."""
        while True:
            silence_s = link.silence_s or 30.0
            left_s = link.heard_mono_s + silence_s - self.outside.clock.now().mono_s
            if left_s <= 0:
                connection.close(f"the master has said nothing for {silence_s:g} s")
                return
            await asyncio.sleep(left_s)

    def _lost(self, link: _Link, reason: str) -> None:
        if self._exit is not None and self._exit.done():
            return
        cause = self._cause("link")
        self._post(events.LinkLost(cause=cause, seed=self._seed(), connection=link.number, sentence=reason))

    # -- the launch path

    def _prepare(self, container_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._begin(work, f"prepare {container_id}")
        self._preparing[container_id] = task
        task.add_done_callback(lambda done: self._prepared(container_id, done))

    def _prepared(self, container_id: str, task: asyncio.Task[None]) -> None:
        if self._preparing.get(container_id) is task:
            del self._preparing[container_id]

    async def _make_sandbox(self, effect: effects.MakeSandbox) -> None:
        try:
            await self.outside.files.make_sandbox(effect.directory, effect.user, effect.links)
        except FilesFailed as error:
            self._post(self._failed(effect.container_id, str(error), effect.cause))
            return
        crash.at("sandbox_made")
        made = events.SandboxMade(cause=effect.cause, seed=self._seed(), container_id=effect.container_id)
        self._post(made)

    def _launch(self, effect: effects.Launch) -> None:
        if effect.sandbox is None:
            self._start(effect)
        else:
            box = effect.sandbox
            made = self.outside.files.make_sandbox(box.directory, box.user, box.links)
            self._when(made, lambda answer: self._sandbox_made(effect, answer))

    def _sandbox_made(self, effect: effects.Launch, made: asyncio.Future[None]) -> None:
        try:
            made.result()
        except FilesFailed as error:
            self._post(self._failed(effect.spec.container_id, str(error), effect.cause))
            return
        crash.at("sandbox_made")
        self._start(effect)

    def _start(self, effect: effects.Launch) -> None:
        crash.at("before_launch")
        began_s = self.outside.clock.now().mono_s
        started = self.outside.launcher.launch(effect.spec)
        name = effect.spec.container_id
        self._when(started, lambda answer: self._launched(effect.cause, name, began_s, answer))

    def _launched(
        self,
        cause: str,
        container_id: str,
        began_s: float,
        answer: asyncio.Future[launcher.Started | launcher.LaunchFailed],
    ) -> None:
        crash.at("after_launch")
        self.launch_s.observe(self.outside.clock.now().mono_s - began_s)
        try:
            outcome = answer.result()
        except launcher.LaunchRefused as error:
            # The disk of the records is full: that costs this task, not the agent and all others.
            outcome = launcher.LaunchFailed(container_id=container_id, sentence=str(error))
        self._post(events.LaunchAnswered(cause=cause, seed=self._seed(), outcome=outcome))

    def _check_begun(
        self, effect: effects.RunCheck, answer: asyncio.Future[launcher.Started | launcher.LaunchFailed]
    ) -> None:
        try:
            outcome = answer.result()
        except launcher.LauncherClosed:
            raise
        except launcher.LauncherError as error:
            run = effect.spec.container_id
            self._post(events.CheckNotBegun(cause=effect.cause, seed=self._seed(), run=run, sentence=str(error)))
            return
        crash.at("check_begun")
        self._post(events.LaunchAnswered(cause=effect.cause, seed=self._seed(), outcome=outcome))

    async def _probe(self, effect: effects.Probe) -> None:
        answer = await self.outside.probes.ask(effect.target)
        self._probing.pop(effect.run, None)
        self._post(events.ProbeAnswered(cause=effect.cause, seed=self._seed(), run=effect.run, answer=answer))

    async def _fetch(self, effect: effects.Fetch) -> None:
        begun = self.outside.clock.now().mono_s
        try:
            found = await self.outside.fetcher.fetch(effect.uris, effect.container_id, effect.directory, effect.user)
        except fetcher.FetchFailed as error:
            self._post(self._failed(effect.container_id, str(error), effect.cause))
            return
        self._post(
            events.Fetched(
                cause=effect.cause,
                seed=self._seed(),
                container_id=effect.container_id,
                files=found.files,
                size_bytes=found.size_bytes,
                took_s=self.outside.clock.now().mono_s - begun,
            )
        )

    def _failed(self, container_id: str, sentence: str, cause: str) -> events.PreparingFailed:
        return events.PreparingFailed(cause=cause, seed=self._seed(), container_id=container_id, sentence=sentence)

    async def _terminate(self, container_id: str) -> None:
        # An unknown one has ended by itself meanwhile, and its end is on the way.
        crash.at("before_terminate")
        with contextlib.suppress(launcher.UnknownContainer):
            await self.outside.launcher.kill(container_id, signal.SIGTERM, launcher.Scope.CONTAINER)
        crash.at("after_terminate")

    async def _limit(self, effect: effects.Limit) -> None:
        # An unknown one has ended meanwhile, or has not been started yet and gets its limits then.
        try:
            with contextlib.suppress(launcher.UnknownContainer):
                await self.outside.launcher.update(effect.container_id, effect.limits)
        except launcher.LauncherClosed:
            raise
        except launcher.LauncherError as error:
            log.warning("limits stay as they were", action="limit", container=effect.container_id, reason=str(error))
            cause, seed = self._cause("limit"), self._seed()
            self._post(
                events.LimitRefused(cause=cause, seed=seed, container_id=effect.container_id, sentence=str(error))
            )

    async def _destroy(self, container_id: str) -> None:
        await self.outside.launcher.destroy(container_id)

    def _forgotten(self, container_id: str, answer: asyncio.Future[None]) -> None:
        try:
            answer.result()
            crash.at("after_forget")
        except launcher.LauncherClosed:
            raise
        except launcher.LauncherError as error:
            log.warning(
                "a container could not be forgotten", action="forget", container=container_id, reason=str(error)
            )

    # -- disk

    async def _measure_disk(self) -> None:
        used = self.outside.disk_used()
        self._post(events.DiskMeasured(cause=self._cause("disk"), seed=self._seed(), used=used))

    async def _remove_sandbox(self, effect: effects.RemoveSandbox) -> None:
        try:
            await self.outside.files.remove(effect.directory)
        except FilesFailed as error:
            log.warning("a sandbox stays", action="remove-sandbox", container=effect.container_id, reason=str(error))
            return
        cause = self._cause("disk")
        self._post(events.SandboxRemoved(cause=cause, seed=self._seed(), container_id=effect.container_id))

    # -- names

    def _seed(self) -> bytes:
        return self.outside.ids.uuid_bytes()

    def _cause(self, kind: str) -> str:
        return f"{kind}-{self.outside.ids.uuid_bytes()[:6].hex()}"

    def _bug(self, event: Any, error: Exception) -> None:
        """`decide` failed: leave a recording that plays the way to it."""
        path = self.engine.recorder.save(os.path.join(self.node.work_dir, "recordings"), event.cause)
        log.error("a bug in the agent; the event was dropped", action="bug", cause=event.cause, recording=path)
        if isinstance(event, events.Heard) and isinstance(event.message, messages.RunTask | messages.RunTaskGroup):
            sentence = f"A fault of the agent kept it from starting the task: {error!r}; a recording is in {path}"
            broke = events.OrderBroke(cause=event.cause, seed=self._seed(), order=event.message, sentence=sentence)
            self._post(broke)


async def _fail(error: Exception) -> None:
    """A part of the process that has failed."""
    raise error


def disk_used(directory: str) -> float:
    """How full the disk of a directory is, as a fraction."""
    usage = shutil.disk_usage(directory)
    return (usage.total - usage.free) / usage.total if usage.total else 0.0
