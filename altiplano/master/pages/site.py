"""The pages of a master: what each gathers, and what its forms do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from altiplano.engine import journal
from altiplano.master.pages import views
from altiplano.master.pages.snapshot import Snapshot, Snapshots
from altiplano.pagekit import api as apis
from altiplano.pagekit import app, live, tables
from altiplano.pagekit.api import quoted
from altiplano.pagekit.series import Series
from altiplano.pagekit.tables import Column
from altiplano.ports.clock import Clock
from altiplano.wire.messages import agent as agent_api
from altiplano.wire.messages import master, mesos

TEMPLATES = Path(__file__).resolve().parent / "templates"

SAMPLE_S = 5.0
RECENT_TASKS = 10
TAIL_BYTES_MAX = 64 * 1024
"""What one request for output carries."""

TAIL_WAIT_S_MAX = 12.0
"""How long a request for output that has not grown is kept waiting."""

TAIL_POLL_S = 0.4
TAILS_MAX = 256
"""Viewers of output at once; each asks an agent a few times a second."""

AGENT_SECONDS_MAX = 5.0
FILES_MAX = 200
LOGS = frozenset({"stdout", "stderr"})

NAV = (("/", "Overview"), ("/ui/agents", "Agents"), ("/ui/frameworks", "Frameworks"), ("/ui/tasks", "Tasks"))

TASK_COLUMNS: Sequence[Column[views.TaskRow]] = (
    Column(key="name", title="Task", value=lambda t: t.name),
    Column(key="state", title="State", value=lambda t: float(views.GROUP_ORDER.index(t.group))),
    Column(key="framework", title="Framework", value=lambda t: t.framework, priority=2),
    Column(key="host", title="Agent", value=lambda t: t.host or None, priority=3),
    Column(key="cpus", title="CPUs", value=lambda t: t.cpus, numeric=True, priority=3, descending_first=True),
    Column(key="mem", title="Memory", value=lambda t: t.mem, numeric=True, priority=3, descending_first=True),
    Column(
        key="started", title="Started", value=lambda t: t.started_s, numeric=True, priority=2, descending_first=True
    ),
    Column(key="changed", title="Changed", value=lambda t: t.changed_s, numeric=True, descending_first=True),
)
TASKS_OF_AGENT = [column for column in TASK_COLUMNS if column.key != "host"]
TASKS_OF_FRAMEWORK = [column for column in TASK_COLUMNS if column.key != "framework"]
AGENT_COLUMNS: Sequence[Column[views.AgentRow]] = (
    Column(key="host", title="Agent", value=lambda a: a.host),
    Column(key="state", title="State", value=lambda a: a.state, priority=2),
    Column(key="cpus", title="CPUs", value=lambda a: a.cpus.used, descending_first=True),
    Column(key="mem", title="Memory", value=lambda a: a.mem.used, descending_first=True),
    Column(key="disk", title="Disk", value=lambda a: a.disk.used, priority=3, descending_first=True),
    Column(key="tasks", title="Tasks", value=lambda a: a.tasks, numeric=True, descending_first=True),
    Column(
        key="since", title="Registered", value=lambda a: a.registered_s, numeric=True, priority=3, descending_first=True
    ),
)
FRAMEWORK_COLUMNS: Sequence[Column[views.FrameworkRow]] = (
    Column(key="name", title="Framework", value=lambda f: f.name),
    Column(key="state", title="State", value=lambda f: f.state, priority=2),
    Column(key="tasks", title="Tasks", value=lambda f: f.live_tasks, descending_first=True),
    Column(key="share", title="Share", value=lambda f: f.share, numeric=True, descending_first=True),
    Column(key="cpus", title="CPUs", value=lambda f: f.cpus, numeric=True, priority=2, descending_first=True),
    Column(key="mem", title="Memory", value=lambda f: f.mem, numeric=True, priority=3, descending_first=True),
    Column(
        key="since", title="Registered", value=lambda f: f.registered_s, numeric=True, priority=3, descending_first=True
    ),
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What the master's server gets: the application, and the work that runs beside it."""

    app: ASGIApp
    sample: Callable[[], Any]
    """`async sample()`: measures how full the pool is every 5 s, until cancelled."""
    history: Series
    """What was measured: per cent of `cpus` and `mem` in use, number of running `tasks`."""


def build(
    *,
    api: apis.Api,
    version: Callable[[], int],
    clock: Clock,
    title: str = "altiplano",
    more: Sequence[tuple[str, str]] = (),
) -> Pages:
    """The pages; see the package for what is expected of `api` and `version`.  `more` comes last in the menu."""
    pulse = live.Pulse(version)
    pages = _Pages(api, version, clock, pulse)
    task_path = "/ui/tasks/{framework_id}/{task_id}"
    site = app.Site(
        title=title,
        clock=clock,
        pulse=pulse,
        templates=(TEMPLATES,),
        nav=(*NAV, *more),
        pages=(
            app.Page(path="/", template="overview.html", build=pages.overview),
            app.Page(path="/ui/agents", template="agents.html", build=pages.agents),
            app.Page(path="/ui/agents/{agent_id}", template="agent.html", build=pages.agent),
            app.Page(path="/ui/frameworks", template="frameworks.html", build=pages.frameworks),
            app.Page(path="/ui/frameworks/{framework_id}", template="framework.html", build=pages.framework),
            app.Page(path="/ui/tasks", template="tasks.html", build=pages.tasks),
            app.Page(path=task_path, template="task.html", build=pages.task),
            app.Page(path=task_path + "/why", template="panels.html", build=pages.why, block="why"),
            app.Page(path=task_path + "/sandbox", template="panels.html", build=pages.sandbox, block="sandbox"),
            app.Page(
                path="/ui/frameworks/{framework_id}/why", template="panels.html", build=pages.framework_why, block="why"
            ),
            app.Page(path="/ui/agents/{agent_id}/why", template="panels.html", build=pages.agent_why, block="why"),
        ),
        actions=(app.Action(path=task_path + "/kill", run=pages.kill),),
        others={task_path + "/log/{name}": pages.log, "/ui/series": pages.series},
    )
    return Pages(app=app.build(site), sample=pages.sample, history=pages.history)


class _Pages:
    """Gathers what templates show.  Each method may raise NotThere, Refused or Unanswered."""

    def __init__(self, api: apis.Api, version: Callable[[], int], clock: Clock, pulse: live.Pulse) -> None:
        self._api = api
        self._pulse = pulse
        self._clock = clock
        self._snapshots = Snapshots(api, version, clock)
        self._pool: tuple[object, views.Pool] | None = None
        self.history = Series(("cpus", "mem", "tasks"))
        self._tails = 0

    async def pool(self) -> views.Pool:
        """The rows of the newest snapshot; made once for each."""
        return self._rows(await self._snapshots.get())

    def _rows(self, snapshot: Snapshot) -> views.Pool:
        if self._pool is None or self._pool[0] is not snapshot:
            self._pool = (snapshot, views.pool(snapshot))
        return self._pool[1]

    async def _holding(self, held: Callable[[views.Pool], bool]) -> views.Pool:
        """The pool that holds what a page is about; where that is too young for the newest snapshot, the next one."""
        pool = await self.pool()
        return pool if held(pool) else self._rows(await self._snapshots.newer(pool.seen))

    def _of(self, pool: views.Pool) -> app.Context:
        """What every page has; the mark is that of the state which is shown, for the master may rest just now."""
        return {"pool": pool, "mark": self._pulse.mark(pool.seen)}

    async def overview(self, request: Request) -> app.Context:
        pool = await self.pool()
        return {**self._of(pool), "recent": pool.tasks[:RECENT_TASKS], "attention": views.attention(pool.agents)}

    async def agents(self, request: Request) -> app.Context:
        pool = await self.pool()
        table = tables.arrange(pool.agents, AGENT_COLUMNS, tables.query(request.query_params), text=lambda a: a.text)
        return {**self._of(pool), "table": table}

    async def agent(self, request: Request) -> app.Context:
        agent_id = request.path_params["agent_id"]
        pool = await self._holding(lambda pool: agent_id in pool.by_agent)
        row = pool.by_agent.get(agent_id)
        if row is None:
            raise app.NotThere(f"no agent has the id {agent_id}: it may have been removed, see the list of agents")
        mine = [task for task in pool.tasks if task.agent_id == agent_id]
        asked = tables.query(request.query_params)
        table = tables.arrange(mine, TASKS_OF_AGENT, asked, text=lambda t: t.text, choice=lambda t: t.group)
        return {**self._of(pool), "agent": row, "table": table, "counts": views.counts(mine)}

    async def frameworks(self, request: Request) -> app.Context:
        pool = await self.pool()
        asked = tables.query(request.query_params)
        table = tables.arrange(pool.frameworks, FRAMEWORK_COLUMNS, asked, text=lambda f: f.text)
        return {**self._of(pool), "table": table}

    async def framework(self, request: Request) -> app.Context:
        framework_id = request.path_params["framework_id"]
        pool = await self._holding(lambda pool: framework_id in pool.by_framework)
        row = pool.by_framework.get(framework_id)
        if row is None:
            raise app.NotThere(f"no framework has the id {framework_id}: the list of frameworks shows those there are")
        mine = [task for task in pool.tasks if task.framework_id == framework_id]
        asked = tables.query(request.query_params)
        table = tables.arrange(mine, TASKS_OF_FRAMEWORK, asked, text=lambda t: t.text, choice=lambda t: t.group)
        return {**self._of(pool), "framework": row, "table": table, "counts": views.counts(mine)}

    async def tasks(self, request: Request) -> app.Context:
        pool = await self.pool()
        asked = tables.query(request.query_params)
        table = tables.arrange(pool.tasks, TASK_COLUMNS, asked, text=lambda t: t.text, choice=lambda t: t.group)
        return {**self._of(pool), "table": table, "counts": pool.task_counts}

    async def _task(self, request: Request) -> views.TaskRow:
        framework_id, task_id = request.path_params["framework_id"], request.path_params["task_id"]
        pool = await self._holding(lambda pool: (framework_id, task_id) in pool.by_task)
        row = pool.by_task.get((framework_id, task_id))
        if row is None:
            raise app.NotThere(
                f"the master knows no task {task_id} of this framework: "
                "it remembers those that have ended for a while only"
            )
        return row

    async def task(self, request: Request) -> app.Context:
        row = await self._task(request)
        base = f"/ui/tasks/{quoted(row.framework_id)}/{quoted(row.id)}"
        return {
            **self._of(await self.pool()),
            "task": row,
            "base": base,
            "history": views.history(row.task),
            "downloads": {name: _download(row, views.sandbox(row.task) + "/" + name) for name in LOGS},
            "asked_to_kill": request.query_params.get("asked") == "kill" and row.live,
            "labels": [] if row.task.labels is None else row.task.labels.labels,
        }

    async def why(self, request: Request) -> app.Context:
        """The story of a task: what the master noted and what its agent noted, in one order."""
        row = await self._task(request)
        return await self._story(row.id, row.agent_id)

    async def agent_why(self, request: Request) -> app.Context:
        agent_id = request.path_params["agent_id"]
        return await self._story(agent_id, agent_id)

    async def framework_why(self, request: Request) -> app.Context:
        return await self._story(request.path_params["framework_id"], "")

    async def _story(self, subject: str, agent_id: str) -> app.Context:
        where = "/journal?" + urlencode({"subject": subject})
        stories = await asyncio.gather(
            self._entries(where), self._entries(f"/agent/{quoted(agent_id)}{where}") if agent_id else _nothing()
        )
        missing = [name for name, story in zip(("master", "agent"), stories, strict=True) if story is None]
        found = [story for story in stories if story is not None]
        return {
            "entries": journal.merge([story.entries for story in found]),
            "reason": " ".join(story.now for story in found if story.now),
            "missing": missing,
        }

    async def _entries(self, path: str) -> Story | None:
        """Lines of a journal; None when it could not be read."""
        try:
            async with asyncio.timeout(AGENT_SECONDS_MAX):
                return msgspec.json.decode(await apis.get(self._api, path), type=Story)
        except (apis.Refused, apis.Unanswered, TimeoutError, msgspec.DecodeError):
            return None

    async def sandbox(self, request: Request) -> app.Context:
        """What the task uses and which files it has, as far as its agent answers."""
        row = await self._task(request)
        path = views.sandbox(row.task)
        files: Sequence[mesos.FileInfo] | None = None
        usage: mesos.ResourceStatistics | None = None
        problem = ""
        try:
            async with asyncio.timeout(AGENT_SECONDS_MAX):
                listed = await self._agent(
                    row,
                    agent_api.Call(type=agent_api.CallType.LIST_FILES, list_files=agent_api.CallListFiles(path=path)),
                )
                files = listed.list_files.file_infos if listed.list_files is not None else ()
                if row.group == "running":
                    usage = await self._usage(row)
        except apis.Refused as refusal:
            problem = "the sandbox is not there" if refusal.status == 404 else refusal.sentence
        except (apis.Unanswered, TimeoutError):
            problem = "its agent does not answer"
        shown = [
            (
                file.path.rsplit("/", 1)[-1],
                file.size,
                _download(row, f"{path}/{file.path.rsplit('/', 1)[-1]}"),
                _is_directory(file),
            )
            for file in sorted(files or (), key=lambda file: file.path)[:FILES_MAX]
        ]
        return {"task": row, "files": shown, "usage": usage, "problem": problem, "more": len(files or ()) - len(shown)}

    async def _usage(self, row: views.TaskRow) -> mesos.ResourceStatistics | None:
        container = views.container_of(row.task)
        if container is None:
            return None
        with contextlib.suppress(apis.Refused):
            asked = agent_api.CallGetContainers(show_nested=container.parent is not None)
            answer = await self._agent(
                row, agent_api.Call(type=agent_api.CallType.GET_CONTAINERS, get_containers=asked)
            )
            for one in answer.get_containers.containers if answer.get_containers is not None else ():
                if one.container_id == container:
                    return one.resource_statistics
        return None

    async def _agent(self, row: views.TaskRow, call: agent_api.Call) -> agent_api.Response:
        return await apis.call_agent(self._api, row.agent_id, call)

    async def kill(self, request: Request) -> str:
        """Ask the agent of a task to end it, as its framework could; the framework learns of it as of any end."""
        row = await self._task(request)
        container = views.container_of(row.task)
        if container is None:
            raise apis.Refused(409, f"task {row.name} is {row.state} and has no container yet: try again in a moment")
        kill = agent_api.CallKillContainer(container_id=container)
        await self._agent(row, agent_api.Call(type=agent_api.CallType.KILL_CONTAINER, kill_container=kill))
        return f"/ui/tasks/{quoted(row.framework_id)}/{quoted(row.id)}?asked=kill"

    async def log(self, request: Request) -> Response:
        """Bytes of stdout or stderr from `offset` on; without one, the end of the file from the start of a line.

        Where there is nothing beyond `offset` the answer waits a while for more.  Headers say where
        the bytes begin, how long the file is, and whether its task has ended.
        """
        row = await self._task(request)
        name = request.path_params["name"]
        if name not in LOGS:
            raise app.NotThere(f"there is no output called {name}: a task has stdout and stderr")
        path = f"{views.sandbox(row.task)}/{name}"
        asked = request.query_params.get("offset")
        if self._tails >= TAILS_MAX:
            raise apis.Refused(503, f"more than {TAILS_MAX} viewers follow outputs: close some of them")
        self._tails += 1
        try:
            if asked is None:
                offset, size, data = await self._end(row, path)
            elif asked.isascii() and asked.isdigit() and len(asked) < 19:
                offset = int(asked)
                size, data = await self._grown(request, row, path, offset)
            else:
                raise app.NotThere(f"'{asked[:30]}' is not an offset: it is a number of bytes")
        except apis.Refused as refusal:
            if refusal.status == 404:
                sentence = (
                    "is not there yet" if row.live else "is not there any more: sandboxes are removed after a while"
                )
                raise app.NotThere(f"{name} {sentence}") from refusal
            raise
        finally:
            self._tails -= 1
        ended = not row.live and offset + len(data) >= size
        headers = {"x-log-offset": str(offset), "x-log-size": str(size), "x-log-ended": "1" if ended else "0"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def _read(self, row: views.TaskRow, path: str, offset: int, length: int) -> tuple[int, bytes]:
        read = agent_api.CallReadFile(path=path, offset=offset, length=length)
        answer = await self._agent(row, agent_api.Call(type=agent_api.CallType.READ_FILE, read_file=read))
        return (0, b"") if answer.read_file is None else (answer.read_file.size, answer.read_file.data)

    async def _end(self, row: views.TaskRow, path: str) -> tuple[int, int, bytes]:
        size, _ = await self._read(row, path, 0, 0)
        offset = max(0, size - TAIL_BYTES_MAX)
        size, data = await self._read(row, path, offset, TAIL_BYTES_MAX)
        if offset:
            # Begin with a whole line, unless the line is longer than what is shown.
            cut = data.find(b"\n") + 1
            offset, data = offset + cut, data[cut:]
        return offset, size, data

    async def _grown(self, request: Request, row: views.TaskRow, path: str, offset: int) -> tuple[int, bytes]:
        """The size of the file and bytes from `offset` on, waiting for some unless the task has ended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (TAIL_WAIT_S_MAX if row.live else 0.0)
        while True:
            size, data = await self._read(row, path, offset, TAIL_BYTES_MAX)
            if data or size < offset or loop.time() >= until or await request.is_disconnected():
                return size, data
            now = (await self.pool()).by_task.get((row.framework_id, row.id))
            if now is None or not now.live:
                until = 0.0
            await asyncio.sleep(TAIL_POLL_S)

    async def series(self, request: Request) -> Response:
        return JSONResponse(self.history.columns())

    async def sample(self) -> None:
        """Measure how full the pool is, now and every few seconds, until cancelled."""
        while True:
            with contextlib.suppress(apis.Refused, apis.Unanswered):
                call = master.Call(type=master.CallType.GET_METRICS, get_metrics=master.CallGetMetrics())
                answer = await apis.call(self._api, call)
                if answer.get_metrics is not None:
                    self._take(answer.get_metrics)
            await asyncio.sleep(SAMPLE_S)

    def _take(self, answer: master.ResponseGetMetrics) -> None:
        found = {metric.name: metric.value for metric in answer.metrics if metric.value is not None}
        point = {"tasks": found.get("master/tasks_running", 0.0)}
        for name in ("cpus", "mem"):
            total, used = found.get(f"master/{name}_total", 0.0), found.get(f"master/{name}_used", 0.0)
            point[name] = round(used / total * 100, 1) if total > 0 else 0.0
        self.history.add(self._clock.now().wall_s, point)


class Story(msgspec.Struct, frozen=True):
    """What a journal answers: lines about a subject, and for a framework why it waits just now."""

    entries: tuple[journal.Entry, ...] = ()
    now: str = ""


async def _nothing() -> Story | None:
    return Story()


def _download(row: views.TaskRow, path: str) -> str:
    return f"/agent/{quoted(row.agent_id)}/files/download?" + urlencode({"path": path})


def _is_directory(file: mesos.FileInfo) -> bool:
    return file.mode is not None and file.mode & 0o170000 == 0o040000
