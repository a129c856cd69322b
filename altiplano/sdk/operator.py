"""The pool as its operators see it: what is there, what happened, files of tasks – over public HTTP.

What an agent has is asked for through the master (`/agent/<agent id>/…`), so that machines behind
a firewall are in reach too.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from altiplano.sdk import http, masters
from altiplano.sdk.credentials import Place
from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import agent as agent_messages
from altiplano.wire.messages import master, mesos
from altiplano.wire.messages.fields import Message

READ_BYTES_MAX = 64 * 1024
"""Bytes of a file that one request reads."""

REDIRECTS_MAX = 4
SIGTERM = 15
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
M = TypeVar("M", bound=Message)


class OperatorError(Exception):
    """The pool did not do what was asked; the text says why."""


class Unreachable(OperatorError):
    """No master answers."""


class NotAccepted(OperatorError):
    """The master does not accept our credentials."""


class Missing(OperatorError):
    """What was asked for does not exist."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a story."""

    wall_s: float
    process: str
    sentence: str
    subjects: tuple[str, ...] = ()
    cause: str = ""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What one process noted, oldest first; `now` says what a framework waits for at present."""

    entries: tuple[Line, ...] = ()
    now: str | None = None


class _FileAnswer(msgspec.Struct):
    """The part of an agent's answer that holds a file.

    To make a decoder for all that an agent may answer takes longer than to read a file, and
    `altiplano run` waits for it.
    """

    read_file: agent_messages.ResponseReadFile


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent found at its start, and what it cannot promise at present, in sentences."""

    machine: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


class TaskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a task uses, or has used, as its agent measured it; None where it could not."""

    container_id: str = ""
    directory: str = ""
    """Its sandbox on the agent's machine."""
    started_time: float | None = None
    """Seconds since the epoch."""
    ended_time: float | None = None
    wait_status: int | None = None
    """How its process ended, as wait(2) tells it."""
    cpu_s: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    processes: int = 0


class _AgentState(msgspec.Struct, frozen=True, kw_only=True):
    altiplano: Account = Account()


class Operator:
    """Asks a master; an `async with` block closes its connection."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: http.Connection | None = None

    async def __aenter__(self) -> Operator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def where(self) -> str:
        """The master that answers, or the first that is asked."""
        base = self._place.masters[0] if self._connection is None else self._connection.base
        return masters.authority(base)

    async def call(self, call: master.Call) -> master.Response:
        """One call of the master's operator API."""
        answer = await self.request("POST", "/api/v1", json.encode(call))
        return _decode(master.Response, answer.body) if answer.body else master.Response()

    async def agent_call(self, agent_id: str, call: agent_messages.Call) -> agent_messages.Response:
        """One call of an agent's operator API."""
        answer = await self.request("POST", f"/agent/{quote(agent_id, safe='')}/api/v1", json.encode(call))
        return _decode(agent_messages.Response, answer.body) if answer.body else agent_messages.Response()

    async def agents(self) -> tuple[master.ResponseGetAgentsAgent, ...]:
        response = await self.call(master.Call(type=master.CallType.GET_AGENTS))
        return () if response.get_agents is None else response.get_agents.agents

    async def frameworks(self) -> master.ResponseGetFrameworks:
        response = await self.call(master.Call(type=master.CallType.GET_FRAMEWORKS))
        return response.get_frameworks or master.ResponseGetFrameworks()

    async def tasks(self) -> master.ResponseGetTasks:
        response = await self.call(master.Call(type=master.CallType.GET_TASKS))
        return response.get_tasks or master.ResponseGetTasks()

    async def teardown(self, framework_id: str) -> None:
        """Remove a framework and end its tasks."""
        teardown = master.CallTeardown(framework_id=mesos.FrameworkID(value=framework_id))
        await self.call(master.Call(type=master.CallType.TEARDOWN, teardown=teardown))

    async def kill_container(self, agent_id: str, container_id: str) -> None:
        """Send SIGTERM to a container, as an operator may; the agent makes sure that it ends."""
        kill = agent_messages.CallKillContainer(container_id=mesos.ContainerID(value=container_id), signal=SIGTERM)
        await self.agent_call(
            agent_id, agent_messages.Call(type=agent_messages.CallType.KILL_CONTAINER, kill_container=kill)
        )

    async def account(self, agent_id: str) -> Account:
        """What an agent says of itself and its machine."""
        answer = await self.get(f"/agent/{agent_id}/state")
        return msgspec.json.decode(answer.body, type=_AgentState).altiplano

    async def task_usage(self, agent_id: str, framework_id: str, task_id: str) -> TaskUsage:
        """What a task uses or has used.  Raises Missing when its agent has forgotten it."""
        path = f"/agent/{quote(agent_id, safe='')}/tasks/{quote(task_id, safe='')}"
        return msgspec.json.decode((await self.get(path, framework_id=framework_id)).body, type=TaskUsage)

    async def version(self) -> str:
        return str(msgspec.json.decode((await self.get("/version")).body, type=dict[str, object]).get("version", ""))

    async def journal(self, subject: str, agents: Iterable[str] = ()) -> list[Line]:
        """What the master, and these agents, noted about a task, agent, framework or cause; oldest first.

        An agent that cannot be asked says so in a line of its own.
        """
        story = _story(await self.get("/journal", subject=subject))
        lines = list(story.entries)
        for agent_id in agents:
            path = f"/agent/{quote(agent_id, safe='')}/journal"
            try:
                lines += _story(await self.get(path, subject=subject)).entries
            except OperatorError as error:
                last_s = max((line.wall_s for line in lines), default=0.0)
                lines.append(Line(wall_s=last_s, process=f"agent {agent_id}", sentence=f"cannot be asked: {error}"))
        if story.now:
            lines.append(
                Line(wall_s=max((line.wall_s for line in lines), default=0.0), process="now", sentence=story.now)
            )
        return sorted({(line.wall_s, line.process, line.sentence): line for line in lines}.values(), key=_time)

    async def read_file(self, agent_id: str, path: str, offset: int, length: int = READ_BYTES_MAX) -> tuple[bytes, int]:
        """Up to `length` bytes of a file of a task from `offset`, and the size of the whole file."""
        call = agent_messages.Call(
            type=agent_messages.CallType.READ_FILE,
            read_file=agent_messages.CallReadFile(path=path, offset=offset, length=length),
        )
        answer = await self.request("POST", f"/agent/{quote(agent_id, safe='')}/api/v1", json.encode(call))
        try:
            read = msgspec.json.decode(answer.body, type=_FileAnswer).read_file
        except msgspec.DecodeError as error:
            raise OperatorError(f"agent {agent_id} answered without the file {path}: {error}") from error
        return read.data, read.size

    async def list_files(self, agent_id: str, path: str) -> tuple[mesos.FileInfo, ...]:
        """The entries of a directory of a task."""
        call = agent_messages.Call(
            type=agent_messages.CallType.LIST_FILES, list_files=agent_messages.CallListFiles(path=path)
        )
        response = await self.agent_call(agent_id, call)
        return () if response.list_files is None else response.list_files.file_infos

    async def get(self, path: str, **query: str) -> http.Answer:
        """GET a path of the master."""
        return await self.request("GET", path + (f"?{urlencode(query)}" if query else ""))

    async def request(self, method: str, path: str, body: bytes = b"") -> http.Answer:
        """Ask the leading master.  Raises an OperatorError with a sentence for anything but success."""
        failures = []
        for base in (self._connection.base,) if self._connection is not None else self._place.masters:
            try:
                return await self._ask(base, method, path, body)
            except http.ConnectionFailed as error:
                self.close()
                failures.append(str(error))
        raise Unreachable(
            f"no master answers: {'; '.join(failures)}. Start a pool with 'altiplano up', or name one with --master"
        )

    async def _ask(self, base: str, method: str, path: str, body: bytes) -> http.Answer:
        for _ in range(REDIRECTS_MAX):
            if self._connection is None or self._connection.base != base:
                self.close()
                self._connection = http.Connection(base, headers={**_JSON, **self._place.headers})
            answer = await self._connection.request(method, path, body)
            leader = masters.redirected(answer.headers.get("location", ""), base) if answer.status == 307 else None
            if leader is None:
                return _checked(answer, method, path, masters.authority(base))
            base = leader
        raise Unreachable(f"the masters point to each other in a circle, last to {masters.authority(base)}")


def sandbox_file(framework_id: str, executor_id: str, name: str) -> str:
    """The path of a file in the newest sandbox of a task or executor, for `read_file`.

    A command task's executor has the id of the task.
    """
    return f"/frameworks/{framework_id}/executors/{executor_id}/runs/latest/{name}"


def _checked(answer: http.Answer, method: str, path: str, authority: str) -> http.Answer:
    if 200 <= answer.status < 300:
        return answer
    text = " ".join(answer.text.split())[:500] or "no reason given"
    if answer.status in (401, 403):
        raise NotAccepted(f"the master at {authority} does not accept our credentials: {text}")
    if answer.status == 404:
        raise Missing(text)
    if answer.status == 503:
        raise Unreachable(f"the master at {authority} cannot answer now: {text}")
    raise OperatorError(f"the master at {authority} answered {answer.status} to {method} {path.split('?')[0]}: {text}")


def _decode(message: type[M], body: bytes) -> M:
    try:
        return json.decode(message, body)
    except WireError as error:
        raise OperatorError(f"the master's answer cannot be read: {error}") from error


def _story(answer: http.Answer) -> Story:
    try:
        return msgspec.json.decode(answer.body, type=Story)
    except msgspec.DecodeError as error:
        raise OperatorError(f"the journal's answer cannot be read: {error}") from error


def _time(line: Line) -> float:
    return line.wall_s
