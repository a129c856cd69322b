"""What tools written for Mesos read from its agents: `/state`, `/files/…`, `/metrics/snapshot` and the like.

And, in the same manner, what is our own: `/journal` and `/tasks/<id>`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
import psutil

from altiplano.agent import metrics, view
from altiplano.agent.api import usage
from altiplano.agent.api.paths import SandboxFiles
from altiplano.agent.runners import Runner
from altiplano.agent.settings import FLAGS, Settings
from altiplano.agent.shell import Agent
from altiplano.engine import http
from altiplano.engine.journal import Entry
from altiplano.ports import launcher
from altiplano.ports.files import READ_BYTES_MAX

JOURNAL_ENTRIES_MAX = 1000
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,127}")

Handler = Callable[[http.Scope, http.Send], Awaitable[None]]


class Legacy:
    """Handlers by path."""

    def __init__(self, agent: Agent, settings: Settings, machine: tuple[str, ...]) -> None:
        self._agent = agent
        self._settings = settings
        self._machine = machine
        self._files = SandboxFiles(agent)
        self.routes: Mapping[str, Handler] = {
            "/health": self._health,
            "/version": self._version,
            "/flags": self._flags,
            "/state": self._state,
            "/metrics/snapshot": self._metrics,
            "/system/stats": self._system,
            "/containers": self._containers,
            "/monitor/statistics": self._statistics,
            "/files/browse": self._browse,
            "/files/read": self._read,
            "/files/download": self._download,
            "/journal": self._journal,
        }

    # -- the agent

    async def _health(self, scope: http.Scope, send: http.Send) -> None:
        await http.respond(send, 200)

    async def _version(self, scope: http.Scope, send: http.Send) -> None:
        await _json(scope, send, view.version_json(self._agent.node))

    async def _flags(self, scope: http.Scope, send: http.Send) -> None:
        await _json(scope, send, {"flags": self.flags()})

    async def _state(self, scope: http.Scope, send: http.Send) -> None:
        await self._agent.engine.settle()
        shown = view.state_json(
            self._agent.core.state,
            self._agent.node,
            flags=self.flags(),
            started_wall_s=self._agent.started_wall_s,
            machine=self._machine,
        )
        await _json(scope, send, shown)

    async def _metrics(self, scope: http.Scope, send: http.Send) -> None:
        await _json(scope, send, self.metrics())

    async def _system(self, scope: http.Scope, send: http.Send) -> None:
        numbers = {name.removeprefix("system/"): value for name, value in _system_numbers().items()}
        await _json(scope, send, numbers)

    async def prometheus(self, scope: http.Scope, send: http.Send) -> None:
        """All numbers as text for Prometheus."""
        text, content_type = metrics.prometheus(self._agent, http.header(scope, b"accept") or "")
        await http.respond(send, 200, text, content_type=content_type, scope=scope)

    def flags(self) -> dict[str, str]:
        """Settings that have a value, by the names of Mesos."""
        named = {flag.field: self._settings.text_of(flag.field) for flag in FLAGS}
        return {name: text for name, text in named.items() if text or name == "resources"}

    def metrics(self) -> dict[str, float]:
        return metrics.snapshot(self._agent)

    # -- containers

    async def _containers(self, scope: http.Scope, send: http.Send) -> None:
        await self._agent.engine.settle()
        rows = []
        for runner, used in await usage.measure_all(self._agent):
            row = self._usage_row(runner, used)
            status = view.container_status(runner, self._agent.node)
            rows.append(row | {"container_id": runner.container_id, "status": msgspec.to_builtins(status)})
        await _json(scope, send, rows)

    async def _statistics(self, scope: http.Scope, send: http.Send) -> None:
        await self._agent.engine.settle()
        await _json(scope, send, [self._usage_row(*row) for row in await usage.measure_all(self._agent)])

    def _usage_row(self, runner: Runner, used: launcher.Usage | None) -> dict[str, Any]:
        statistics = view.statistics(runner, used, self._agent.outside.clock.now().wall_s)
        return {
            "executor_id": runner.id,
            "executor_name": runner.name,
            "framework_id": runner.framework_id,
            "source": runner.info.source or "",
            "statistics": msgspec.to_builtins(statistics),
        }

    async def task(self, scope: http.Scope, send: http.Send, task_id: str) -> None:
        """One task, living or ended, with what it uses or has used."""
        await self._agent.engine.settle()
        state = self._agent.core.state
        wanted = http.query(scope).get("framework_id")
        ended = [task for tasks in state.completed.values() for task in reversed(tasks)]
        for task in [*state.tasks.values(), *ended]:
            if task.id == task_id and wanted in (None, task.framework_id):
                await _json(scope, send, view.usage_json(task, await usage.measure(self._agent, task)))
                return
        raise http.Refusal(404, f"this agent knows no task '{task_id}'")

    # -- files

    async def _browse(self, scope: http.Scope, send: http.Send) -> None:
        rows = [
            {
                "path": entry.path,
                "nlink": entry.nlink,
                "size": entry.size,
                "mtime": entry.mtime_s,
                "mode": entry.mode,
                "uid": entry.uid,
                "gid": entry.gid,
            }
            for entry in await self._files.browse(_path(scope))
        ]
        await _json(scope, send, rows)

    async def _read(self, scope: http.Scope, send: http.Send) -> None:
        path, query = _path(scope), http.query(scope)
        offset = _number(query, "offset", -1)
        if offset < 0:
            await _json(scope, send, {"data": "", "offset": await self._files.size(path)})
            return
        length = _number(query, "length", READ_BYTES_MAX)
        data = await self._files.read(path, offset, READ_BYTES_MAX if length < 0 else length)
        await _json(scope, send, {"data": data.decode("utf-8", "replace"), "offset": offset})

    async def _download(self, scope: http.Scope, send: http.Send) -> None:
        path = _path(scope)
        place = await self._files.locate(path)
        if not os.path.isfile(place):
            raise http.Refusal(404, f"'{path}' is not a file")
        name = posixpath.basename(path.rstrip("/")) or "file"
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-disposition", f"attachment; filename*=UTF-8''{quote(name)}".encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in self._files.whole(path):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    # -- the journal

    async def _journal(self, scope: http.Scope, send: http.Send) -> None:
        """`?subject=ID`: the story of a task, container, framework or cause; without it the newest entries."""
        await self._agent.engine.settle()
        query = http.query(scope)
        subject = query.get("subject")
        limit = min(JOURNAL_ENTRIES_MAX, max(0, _number(query, "limit", JOURNAL_ENTRIES_MAX)))
        journal = self._agent.journal
        entries: list[Entry] = journal.story(subject)[-limit:] if subject is not None else journal.latest(limit)
        await _json(scope, send, {"entries": msgspec.to_builtins(entries)})


async def _json(scope: http.Scope, send: http.Send, value: object) -> None:
    body = msgspec.json.encode(value)
    callback = http.query(scope).get("jsonp")
    if callback is None:
        await http.respond(send, 200, body, content_type="application/json", scope=scope)
        return
    if not _CALLBACK.fullmatch(callback):
        raise http.Refusal(400, f"'{callback[:40]}' is not the name of a JavaScript function")
    body = b"%s(%s);" % (callback.encode(), body)
    await http.respond(send, 200, body, content_type="text/javascript", scope=scope)


def _path(scope: http.Scope) -> str:
    path = http.query(scope).get("path")
    if not path:
        raise http.Refusal(400, "the parameter 'path' is missing")
    return path.encode("latin-1", "replace").decode("utf-8", "replace") if not path.isascii() else path


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise http.Refusal(400, f"the parameter '{name}' must be a whole number, not '{text[:40]}'") from None


def _system_numbers() -> dict[str, float]:
    memory = psutil.virtual_memory()
    load = os.getloadavg()
    return {
        "system/cpus_total": float(os.cpu_count() or 0),
        "system/load_1min": load[0],
        "system/load_5min": load[1],
        "system/load_15min": load[2],
        "system/mem_total_bytes": float(memory.total),
        "system/mem_free_bytes": float(memory.available),
    }
