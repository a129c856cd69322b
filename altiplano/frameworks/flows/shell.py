"""Runs a flow: carries out what its core decides, and tells the core what happens.

The one thing to know before changing it: effects leave only after the facts they rest on are in the
transaction log, so a `kill -9` at any line here costs nothing but what the next run asks again.  A task
of ours that fails ends the run, and the next run goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import re
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from altiplano.adapters.system import SystemClock
from altiplano.engine import http
from altiplano.engine.core import Effect, Note, Wake
from altiplano.engine.journal import Journal
from altiplano.engine.loop import Engine
from altiplano.engine.records import FactCodec
from altiplano.frameworks.flows import api, effects, events, facts, opening, registration, transactions
from altiplano.frameworks.flows.contents import Content, ContentError
from altiplano.frameworks.flows.core import FlowCore, Options
from altiplano.frameworks.flows.datapath import DataPath
from altiplano.frameworks.flows.draft import EXIT_INTERRUPTED
from altiplano.frameworks.flows.effects import What
from altiplano.frameworks.flows.files import Files
from altiplano.frameworks.flows.graph import Graph, Node, RuleKey
from altiplano.frameworks.flows.here import Local
from altiplano.frameworks.flows.placement import Amount, Offer
from altiplano.frameworks.flows.starting import Starter
from altiplano.frameworks.flows.state import FlowState
from altiplano.frameworks.flows.transactions import FlowLog
from altiplano.frameworks.flows.workflow import WorkflowError
from altiplano.model.tasks import State
from altiplano.sdk import calls, operator
from altiplano.sdk import events as told
from altiplano.sdk.credentials import Place
from altiplano.sdk.framework import CAPABILITIES
from altiplano.sdk.offers import Offer as SdkOffer
from altiplano.sdk.operator import Operator, OperatorError, sandbox_file
from altiplano.sdk.running import first_of
from altiplano.sdk.session import MasterRefused, Session, SessionEnded
from altiplano.wire.messages import mesos

FAILOVER_S = 86_400.0
"""How long tasks go on without their flow: a day, so that one that broke in the evening goes on next morning."""

FILE_THREADS = 4
"""Threads that read, hash and remove files."""

TAILS_AT_ONCE_MAX = 4
"""Failed tasks whose stderr is read at one time."""

TAIL_BYTES = 4096
TAIL_S_MAX = 5.0
"""How long the end of a run waits for the last words of failed tasks."""

LEAVE_S_MAX = 3.0
"""How long the master may take to hear that the flow is over."""

ROUND_S, ROUNDS_MAX = 0.01, 100
SECRET_BYTES = 16
_EXITED = re.compile(r"exited with status (\d+)")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]+")
T = TypeVar("T")


class Watcher(Protocol):
    """Who is told how a run goes on; called from the event loop, and must not block."""

    def opened(self, state: FlowState, url: str) -> None:
        """The run begins or goes on; `url` leads to its page."""

    def reported(self, report: effects.Report, tail: str) -> None:
        """Something became of a rule; `tail` is what one that failed wrote last."""

    def told(self, sentence: str) -> None:
        """Something about the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and how."""

    file: str
    root: Path
    """File names start here."""
    place: Place
    environment: Mapping[str, str]
    """What the workflow file may refer to, and what LOCAL commands inherit."""
    shared_dir: bool = False
    ip: str = ""
    """Where agents reach us; empty for the address on the way to the master."""
    role: str = "*"
    options: Options = field(default_factory=Options)


class FlowRun:
    """One run of one workflow file."""

    def __init__(self, plan: Plan, watcher: Watcher) -> None:
        """Raises WorkflowError when the file cannot be run."""
        self._plan = plan
        self._watcher = watcher
        graph = opening.read(plan.file, plan.root, environment=plan.environment, shared_dir=plan.shared_dir)
        self.warnings = graph.warnings
        self._core = FlowCore(graph, plan.options)
        self._clock = SystemClock()
        self._log = FlowLog(transactions.log_path(str(plan.root / plan.file)))
        self._engine: Engine[events.FlowEvent] = Engine(
            self._core,
            log=self._log,
            codec=FactCodec(facts.DURABLE_TYPES, version=facts.VERSION),
            clock=self._clock,
            perform=self._perform,
            bug=self._bug,
            wake=lambda cause: Wake(cause=cause),
            journal=Journal("flow"),
        )
        self._files = Files(plan.root)
        self._threads = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="flow-files")
        self._starter = Starter(
            self.state,
            shared_root=plan.root if plan.shared_dir else None,
            empty_fails=plan.options.empty_fails,
            post=self._engine.post,
            ask=self._ask,
            spawn=self._spawn,
        )
        self._count_readers(graph)
        self._session: Session | None = None
        self._subscribed = False
        self._attempts_failed = 0
        self._suppressed = False
        self._new_framework = False
        self._offers: dict[str, SdkOffer] = {}
        self._updates: dict[str, mesos.TaskStatus] = {}
        self._local: dict[RuleKey, Local] = {}
        self._tails: dict[RuleKey, asyncio.Task[None]] = {}
        self._texts: dict[RuleKey, str] = {}
        self._tail_room = asyncio.Semaphore(TAILS_AT_ONCE_MAX)
        self._orphans: set[str] = set()
        self._data: DataPath | None = None
        self._url = ""
        self._interrupts = 0
        self._over: asyncio.Future[effects.Finish] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._speaking: asyncio.Task[None] | None = None
        self._registrar: registration.Registrar | None = None
        self._registered = 0
        """Rules that the host of frameworks was told of."""

    @property
    def state(self) -> FlowState:
        return self._core.state

    async def run(self) -> effects.Finish:
        """Run until every rule has ended; how that was.

        Raises LogInUse, LogMismatch and LogFailed for the transaction log, CannotListen, and SessionEnded or
        OperatorError when there is no going on with the master.
        """
        try:
            await self._engine.recover()
        except BaseException:  # also when cancelled, the log is let go
            await self._log.close()
            raise
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._over = asyncio.get_running_loop().create_future()
                deciding = group.create_task(self._engine.run())
                server = await self._open_endpoint()
                await self._begin()
                finish = await self._over
                await self._end(finish)
                await server.stop()
                deciding.cancel()
        except BaseExceptionGroup as errors:
            raise first_of(errors) from errors
        finally:
            for local in self._local.values():
                local.end()
            self._threads.shutdown(wait=False, cancel_futures=True)
            await self._log.close()
        return finish

    def interrupt(self, sentence: str) -> None:
        """The first time everything that runs is ended in order; the second time we leave at once."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._engine.post(events.Interrupted(cause="interrupt", sentence=sentence))
        elif self._over is not None and not self._over.done():
            left = "left at once: tasks on agents may go on; run it again to take them up"
            self._over.set_result(effects.Finish(exit_code=EXIT_INTERRUPTED, sentence=left))

    # The beginning.

    async def _open_endpoint(self) -> http.HttpServer:
        """Serve files and pages; at the port of the run before, since its tasks know that one."""
        ip = self._plan.ip or api.own_address(self._plan.place)
        known = self.state.endpoint
        secret = known.secret if known is not None else secrets.token_hex(SECRET_BYTES)
        try:
            listener = api.listen(ip, None if known is None else known.port)
        except http.CannotListen:
            if known is None:
                raise
            # Tasks of the run before could not send their outputs any more, so they are ended and begin again.
            self._orphans = set(self.state.by_task)
            listener = api.listen(ip, None)
        port: int = listener.getsockname()[1]
        host = f"[{ip}]" if ":" in ip else ip
        self._url = self._starter.url = f"http://{host}:{port}"
        self._data = self._starter.data = DataPath(self._plan.root, secret, tell=self._watcher.told)
        # Tasks of the run before may ask the moment we listen: what is theirs must be known by then.
        self._know_tasks()
        pages = api.Api(
            self.state,
            version=lambda: self._engine.statistics.facts,
            clock=self._clock,
            pool_url=self._plan.place.masters[0],
        )
        token = self._token(ip)
        endpoint = api.Endpoint(self._data, pages, token=token, hosts=api.names_of(ip))
        server = http.HttpServer(endpoint, host=ip, port=port, listener=listener)
        await server.start()
        if known is None or known.port != port:
            self._engine.post(events.EndpointOpened(cause="open", port=port, secret=secret))
        self._watcher.opened(self.state, f"{self._url}/" if token is None else f"{self._url}/login?token={token}")
        return server

    def _token(self, ip: str) -> str | None:
        """What opens the pages: the pool's token, so that who has opened the pool's pages may follow a link."""
        scheme, _, value = (self._plan.place.authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            return value
        return None if not scheme and api.is_loopback(ip) else secrets.token_urlsafe(SECRET_BYTES)

    async def _begin(self) -> None:
        # A run that came to its end has taken its framework along.
        self._new_framework = self.state.exit_code is not None
        stem = _NOT_IN_ID.sub("-", Path(self._plan.file).stem)[:40].strip("-") or "flow"
        stamps = await self._in_thread(self._files.stamps, self._recorded_names())
        run_id = f"{stem}-{secrets.token_hex(4)}"
        self._engine.post(events.Opened(cause="open", run_id=run_id, stamps=stamps))

    def _recorded_names(self) -> list[str]:
        progress = self.state.progress.values()
        return list({name for one in progress for name in (*one.outputs, *one.inputs)})

    def _know_tasks(self) -> None:
        """Take up the tasks of the run before; those of nested workflows when their rules are known again."""
        for task_id, key in self.state.by_task.items():
            node = self.state.nodes.get(key)
            if node is not None:
                self._take_up(node, task_id)
            elif not self._plan.shared_dir:
                self._data_path.expect(task_id)

    def _take_up(self, node: Node, task_id: str) -> None:
        """Serve a task of the run before."""
        if self._plan.shared_dir or task_id in self._orphans:
            return
        self._data_path.expect(task_id)
        self._data_path.allow(task_id, tuple(use.local for use in node.rule.outputs))
        self._spawn(self._offer_again(node, task_id))

    async def _offer_again(self, node: Node, task_id: str) -> None:
        """Serve what a task of the run before reads, each file as soon as it has been hashed."""
        for use in node.rule.inputs:
            with contextlib.suppress(ContentError, OSError):
                # One that is gone is found out when the task asks for it.
                self._data_path.offer(await self._in_thread(self._files.describe, use.local))
        self._data_path.met(task_id)

    # The end.

    async def _end(self, finish: effects.Finish) -> None:
        """Hear the last words of failed tasks, then take leave of the master."""
        for local in self._local.values():
            local.end()
        if finish.exit_code != EXIT_INTERRUPTED and self._tails:
            await self._hear_tails()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAIL_S_MAX):
                await self._engine.settle()
        if self._registrar is not None and self._interrupts < 2:
            await self._registrar.last_look()
        await self._leave()
        for task in tuple(self._background):
            task.cancel()

    async def _hear_tails(self) -> None:
        """Return when the last words of failed tasks are in the state, or too late."""
        await asyncio.wait(self._tails.values(), timeout=TAIL_S_MAX)
        for _ in range(ROUNDS_MAX):
            if all(self.state.progress[key].stderr_tail for key in self._texts):
                return
            await asyncio.sleep(ROUND_S)

    async def _leave(self) -> None:
        """A run that has ended takes its framework along; one that is left stays registered with its tasks."""
        if self._session is None or self._speaking is None or self._speaking.done():
            return
        if self._subscribed and self.state.exit_code is not None:
            self._session.perform(calls.Teardown())
        else:
            self._session.leave()
        await asyncio.wait([self._speaking], timeout=LEAVE_S_MAX)

    # Events of the master.

    def _listen(self, event: told.SchedulerEvent) -> None:
        match event:
            case told.Updated():
                self._updated(event)
            case told.Offered():
                offers = [SdkOffer(message) for message in event.offers]
                self._offers.update((offer.id, offer) for offer in offers)
                self._engine.post(events.OffersArrived(cause=event.cause, offers=tuple(map(_offer_of, offers))))
            case told.Rescinded():
                self._offers.pop(event.offer_id, None)
            case told.Subscribed():
                self._offers.clear()
                if event.again:
                    self._watcher.told(f"the master at {event.master} answers again")
                self._subscribed = True
                self._engine.post(events.Connected(cause=event.cause, framework_id=event.framework_id))
                self._end_orphans()
            case told.Disconnected():
                self._offers.clear()
                self._disconnected(event)
            case told.CallRefused():
                self._watcher.told(f"the master refused {event.call}: {event.sentence}")
            case _:
                pass

    def _disconnected(self, event: told.Disconnected) -> None:
        self._attempts_failed += 1
        never = not self._subscribed and not self.state.by_task
        if never and self._attempts_failed >= len(self._plan.place.masters):
            # Nothing was begun, so there is nothing to wait for.
            reason = event.sentence.split(";")[0]
            raise operator.Unreachable(f"{reason}. Start a pool with 'altiplano up', or name a master with --master")
        self._watcher.told(event.sentence)

    def _updated(self, event: told.Updated) -> None:
        status = event.status
        state = State(status.state.value)
        task_id = status.task_id.value
        update_id = ""
        if status.uuid is not None:
            update_id = f"{task_id}/{status.uuid.hex()}"
            self._updates[update_id] = status
        if state.ended or state is State.UNREACHABLE:
            # Nothing more is taken from it: when it comes back, another try may have its place.
            self._data_path.revoke(task_id)
        found = _EXITED.search(status.message or "")
        self._engine.post(
            events.TaskChanged(
                cause=event.cause,
                task_id=task_id,
                state=state,
                sentence=status.message or "",
                exit_status=int(found[1]) if found else None,
                began=status.reason is not mesos.TaskStatusReason.REASON_CONTAINER_LAUNCH_FAILED,
                update_id=update_id,
                agent_id="" if status.agent_id is None else status.agent_id.value,
            )
        )

    def _end_orphans(self) -> None:
        assert self._session is not None
        if not self._orphans:
            return
        self._watcher.told(
            f"the port of the last run is in use by another process: {len(self._orphans)} tasks that send "
            "their outputs there are begun again"
        )
        for task_id in self._orphans:
            self._session.perform(calls.Kill(task_id=task_id))
        self._orphans.clear()

    async def _keep_session(self, effect: effects.Connect) -> None:
        """Speak to the master.  A framework id that it does not take any more is given up with its tasks."""
        framework_id = "" if self._new_framework else effect.framework_id
        tasks: dict[str, str | None] = dict(effect.tasks)
        while True:
            self._session = Session(
                self._info(framework_id),
                self._plan.place,
                self._listen,
                tasks=tasks,
                suppressed_roles=(self._plan.role,) if self._suppressed else (),
            )
            try:
                await self._session.run()
                return
            except MasterRefused:
                raise
            except SessionEnded as error:
                if self._subscribed or not framework_id:
                    raise
                self._watcher.told(f"{error}; the flow goes on as a new framework")
            framework_id = ""
            for task_id, agent_id in tasks.items():
                self._engine.post(
                    events.TaskChanged(
                        cause="framework-gone",
                        task_id=task_id,
                        state=State.LOST,
                        sentence="its framework was removed",
                        agent_id=agent_id or "",
                    )
                )
            tasks = {}

    def _info(self, framework_id: str) -> mesos.FrameworkInfo:
        kinds = list(CAPABILITIES)
        if any(node.rule.needs.gpus for node in self.state.nodes.values()):
            kinds.append(mesos.FrameworkInfoCapabilityType.GPU_RESOURCES)
        return mesos.FrameworkInfo(
            user=getpass.getuser(),
            name=f"flow {self._plan.file}",
            id=mesos.FrameworkID(value=framework_id) if framework_id else None,
            failover_timeout=FAILOVER_S,
            checkpoint=True,
            webui_url=self._page_url,
            capabilities=tuple(mesos.FrameworkInfoCapability(type=kind) for kind in kinds),
            roles=(self._plan.role,),
        )

    # The host of frameworks, which keeps the page of this flow.

    @property
    def _page_url(self) -> str:
        """The page that stays when this process has ended, where somebody keeps one."""
        frameworks = self._plan.place.frameworks
        return f"{frameworks}/flows/ui/flows/{self.state.run_id}" if frameworks else f"{self._url}/"

    def _register(self) -> None:
        """Tell the host which rules there are; again when a nested workflow has brought more."""
        if not self._plan.place.frameworks or self._registered == len(self.state.nodes):
            return
        self._registered = len(self.state.nodes)
        if self._registrar is None:
            self._registrar = registration.Registrar(self._plan.place, self._told_of)
            self._spawn(self._registrar.run(self._watcher.told))
        self._registrar.changed()

    def _told_of(self) -> tuple[registration.Head, list[Node]]:
        head = registration.Head(
            run_id=self.state.run_id,
            file=self._plan.file,
            directory=str(self._plan.root),
            log=str(self._log.path),
            url=f"{self._url}/",
        )
        return head, list(self.state.nodes.values())

    # Effects.

    def _perform(self, effect: Effect) -> None:
        # The first effect of all follows from the facts that gave the run its id.
        self._register()
        match effect:
            case effects.Launch():
                self._starter.launch(self._offers.pop(effect.offer_id, None), effect)
            case effects.Acknowledge():
                status = self._updates.pop(effect.update_id, None)
                if status is not None:
                    self._ask(calls.Acknowledge(status=status))
            case effects.Decline():
                for offer_id in effect.offer_ids:
                    self._offers.pop(offer_id, None)
                self._ask(calls.Decline(offer_ids=effect.offer_ids, refuse_s=effect.refuse_s))
            case effects.Suppress():
                self._suppressed = True
                self._ask(calls.Suppress())
            case effects.Revive():
                self._suppressed = False
                self._ask(calls.Revive())
            case effects.KillTask() if self._starter.leave_out(effect.task_id):
                pass
            case effects.KillTask():
                self._data_path.revoke(effect.task_id)
                self._ask(calls.Kill(task_id=effect.task_id, agent_id=effect.agent_id or None))
            case effects.Connect():
                self._speaking = self._spawn(self._keep_session(effect))
            case effects.ListAgents():
                self._spawn(self._list_agents())
            case effects.ReadStderr():
                self._tails[effect.key] = self._spawn(self._read_stderr(effect))
            case effects.Report():
                self._report(effect)
            case effects.Finish():
                if self._over is not None and not self._over.done():
                    self._over.set_result(effect)
            case _:
                self._perform_files(effect)

    def _perform_files(self, effect: Effect) -> None:
        """Effects on files and processes of this machine."""
        match effect:
            case effects.Prepare():
                self._spawn(self._prepare(effect))
            case effects.OpenNested():
                self._spawn(self._open_nested(effect))
            case effects.CheckOutputs():
                self._spawn(self._check_outputs(effect))
            case effects.SetAside():
                # At once: the preparation of the next try follows and would remove it.
                with contextlib.suppress(OSError):
                    self._files.set_aside(self._rule(effect.key).rule)
            case effects.RunHere():
                self._spawn(self._run_here(effect))
            case effects.KillHere():
                if effect.key in self._local:
                    self._local[effect.key].kill()
            case Note():
                pass
            case _:
                raise AssertionError(f"the shell of flows cannot {effect}")

    def _report(self, effect: effects.Report) -> None:
        """Tell the watcher; of a rule that failed, after its last words have been read."""
        reading = self._tails.get(effect.key)
        if effect.what is What.FAILED and reading is not None and not reading.done():
            reading.add_done_callback(lambda _: self._tell(effect))
        else:
            self._tell(effect)

    def _tell(self, report: effects.Report) -> None:
        tail = self._texts.get(report.key, "") or self.state.progress[report.key].stderr_tail
        self._watcher.reported(report, tail if report.what is What.FAILED else "")

    async def _prepare(self, effect: effects.Prepare) -> None:
        node = self._rule(effect.key)
        try:
            await self._in_thread(self._files.clear, node.rule)
            if not self._plan.shared_dir:
                self._starter.inputs[effect.key] = await self._in_thread(self._describe, node)
        except (ContentError, OSError) as error:
            self._engine.post(events.PreparationFailed(cause=effect.cause, key=effect.key, sentence=str(error)))
        else:
            self._engine.post(events.Prepared(cause=effect.cause, key=effect.key))

    def _count_readers(self, graph: Graph) -> None:
        self._starter.readers.update(use.local for node in graph.nodes.values() for use in node.rule.inputs)

    def _describe(self, node: Node) -> dict[str, Content]:
        return {use.local: self._files.describe(use.local) for use in node.rule.inputs}

    async def _open_nested(self, effect: effects.OpenNested) -> None:
        node = self._rule(effect.key)
        try:
            graph = await self._in_thread(self._read_nested, node)
        except WorkflowError as error:
            self._engine.post(events.PreparationFailed(cause=effect.cause, key=effect.key, sentence=str(error)))
            return
        self._count_readers(graph)
        for task_id, key in self.state.by_task.items():
            if key in graph.nodes:
                self._take_up(graph.nodes[key], task_id)
        stamps = await self._in_thread(self._files.stamps, self._recorded_names())
        self._engine.post(events.NestedOpened(cause=effect.cause, key=effect.key, graph=graph, stamps=stamps))

    def _read_nested(self, node: Node) -> Graph:
        return opening.read_nested(
            node,
            self.state.nodes,
            self._plan.root,
            environment=self._plan.environment,
            shared_dir=self._plan.shared_dir,
        )

    async def _check_outputs(self, effect: effects.CheckOutputs) -> None:
        rule = self._rule(effect.key).rule
        look = await self._in_thread(lambda: self._files.look(rule, again=self._plan.shared_dir))
        self._starter.inputs.pop(effect.key, None)
        self._engine.post(
            events.OutputsChecked(
                cause=effect.cause,
                key=effect.key,
                tries=effect.tries,
                missing=look.missing,
                empty=look.empty,
                stamps=look.stamps,
            )
        )

    async def _run_here(self, effect: effects.RunHere) -> None:
        node = self._rule(effect.key)
        exports = opening.exports_around(node, self.state.nodes)
        environment = {**self._plan.environment, **exports, **dict(node.rule.environment)}
        try:
            local = self._local[effect.key] = Local(node.rule.command, self._plan.root, environment)
        except OSError as error:
            status, tail = 126, f"the command could not be started: {error.strerror}"
        else:
            status, tail = await local.wait()
            self._local.pop(effect.key, None)
        self._engine.post(
            events.LocalEnded(
                cause=effect.cause, key=effect.key, tries=effect.tries, exit_status=status, stderr_tail=tail
            )
        )

    async def _list_agents(self) -> None:
        listed: tuple[events.AgentTotal, ...] | None = None
        # A master that does not tell us, or not now, is no reason to stop.
        with contextlib.suppress(OperatorError):
            async with Operator(self._plan.place) as pool:
                agents = await pool.agents()
            listed = tuple(
                events.AgentTotal(
                    agent_id=agent.agent_info.id.value if agent.agent_info.id is not None else "",
                    hostname=agent.agent_info.hostname,
                    total=_total(agent.total_resources),
                )
                for agent in agents
                if agent.active
            )
        self._engine.post(events.AgentsListed(cause="agents-listed", agents=listed))

    async def _read_stderr(self, effect: effects.ReadStderr) -> None:
        path = sandbox_file(self.state.framework_id, effect.task_id, "stderr")
        try:
            async with self._tail_room, Operator(self._plan.place) as pool:
                _, size = await pool.read_file(effect.agent_id, path, 0, 1)
                data, _ = await pool.read_file(effect.agent_id, path, max(0, size - TAIL_BYTES), TAIL_BYTES)
        except OperatorError:
            # The sandbox may be gone with its agent; other masters do not lead there.
            return
        text = data.decode("utf-8", "replace")
        if text:
            self._texts[effect.key] = text
            self._engine.post(events.StderrRead(cause=effect.task_id, key=effect.key, tries=effect.tries, text=text))

    # Small things.

    @property
    def _data_path(self) -> DataPath:
        assert self._data is not None, "the endpoint is opened before anything runs"
        return self._data

    def _rule(self, key: RuleKey) -> Node:
        return self.state.nodes[key]

    def _ask(self, call: calls.FrameworkCall) -> None:
        if self._session is not None:
            self._session.perform(call)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None
        task = self._group.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _bug(self, event: events.FlowEvent, error: Exception) -> None:
        """An event that the core could not take is lost, and so may the flow be: better to stop and go on anew."""
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)


def _offer_of(offer: SdkOffer) -> Offer:
    free = Amount(
        cpus_milli=round(offer.cpus * 1000), gpus=int(offer.gpus), mem_mb=int(offer.mem), disk_mb=int(offer.disk)
    )
    return Offer(offer_id=offer.id, agent_id=offer.agent_id, hostname=offer.hostname, free=free)


def _total(resources: tuple[mesos.Resource, ...]) -> Amount:
    sums: Counter[str] = Counter()
    for resource in resources:
        if resource.scalar is not None and resource.revocable is None:
            sums[resource.name] += round(resource.scalar.value * 1000)
    return Amount(
        cpus_milli=sums["cpus"],
        gpus=sums["gpus"] // 1000,
        mem_mb=sums["mem"] // 1000,
        disk_mb=sums["disk"] // 1000,
    )
