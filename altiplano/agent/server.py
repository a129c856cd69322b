"""The agent's HTTP application: every path at the root and under `/slave(1)`."""

from __future__ import annotations

import re
from urllib.parse import unquote

import structlog

from altiplano.agent.api.access import Access
from altiplano.agent.api.executor import ExecutorApi
from altiplano.agent.api.legacy import Legacy
from altiplano.agent.api.operator import Operator
from altiplano.agent.settings import Settings
from altiplano.agent.shell import Agent
from altiplano.engine import http
from altiplano.engine.verbosity import toggle_logging

PREFIX = "/slave(1)"
OPEN_PATHS = frozenset({"/health", "/version"})
_TASK = re.compile(r"/tasks/([^/]+)")

log = structlog.get_logger("altiplano.agent.http")


class Application:
    """An ASGI application."""

    def __init__(self, agent: Agent, settings: Settings, access: Access, machine: tuple[str, ...]) -> None:
        self._access = access
        self._legacy = Legacy(agent, settings, machine)
        self._posts: dict[str, http.App] = {
            "/api/v1": Operator(agent, self._legacy),
            "/api/v1/executor": ExecutorApi(agent),
        }

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except http.Refusal as refusal:
            await http.refuse(send, refusal)
        except Exception:  # the outermost shell of a request: a bug costs it a 500
            log.exception("a request failed", action="request-failed", path=scope["path"])
            await http.respond_text(send, 500, "the agent failed to answer; its log says why")

    async def _route(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        path: str = scope["path"].removeprefix(PREFIX)
        post = self._posts.get(path)
        if post is not None:
            if path != "/api/v1/executor":
                self._access.check(scope, writes=True)
            await post(scope, receive, send)
            return
        if path not in OPEN_PATHS:
            self._access.check(scope, writes=path == "/logging/toggle")
        if scope["method"] not in ("GET", "HEAD"):
            raise http.Refusal(405, "this endpoint takes GET only", headers=((b"allow", b"GET"),))
        handler = self._legacy.routes.get(path.removesuffix(".json"))
        if handler is not None:
            await handler(scope, send)
        elif path == "/logging/toggle":
            await toggle_logging(scope, send)
        elif path == "/metrics":
            await self._legacy.prometheus(scope, send)
        elif (found := _TASK.fullmatch(path)) is not None:
            await self._legacy.task(scope, send, unquote(found[1]))
        else:
            raise http.Refusal(404, f"this agent has no '{path[:200]}'")
