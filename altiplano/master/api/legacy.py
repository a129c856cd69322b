"""GET endpoints: the older ones of Mesos, health, version, metrics, and the journal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from altiplano.engine import http
from altiplano.master import infos, legacy, maintenance, metrics, pieces, settings, view
from altiplano.master.pieces import Tree
from altiplano.master.shell import Shell

Query = Mapping[str, str]

_FUNCTION = re.compile(r"[A-Za-z_$][\w$.]{0,127}")
"""What may be the name of a function in JavaScript; anything else would be somebody's script."""


class LegacyApi:
    """Answers paths without their `/master` prefix and `.json` suffix."""

    def __init__(self, shell: Shell, shown: settings.Settings, *, jsonp: bool) -> None:
        """`jsonp`: whether answers may be wrapped into a function call; not where a token guards them."""
        state = shell.core.state
        self._shell = shell
        self._jsonp = jsonp
        self._open: Mapping[str, Callable[[], Any]] = {"/version": legacy.version}
        self._shown: Mapping[str, Callable[[Query], Any]] = {
            "/state": lambda _: legacy.state(state, shown),
            "/state-summary": lambda _: legacy.state_summary(state, shown),
            "/slaves": lambda query: legacy.slaves(state, query),
            "/frameworks": lambda query: legacy.frameworks(state, query),
            "/tasks": lambda query: legacy.tasks(state, query),
            "/roles": lambda _: legacy.roles(state),
            "/quota": lambda _: legacy.quota(state),
            "/maintenance/schedule": lambda _: msgspec.to_builtins(maintenance.schedule(state)),
            "/maintenance/status": lambda _: msgspec.to_builtins(maintenance.status_of(state)),
            "/weights": lambda _: legacy.weights(state),
            "/flags": lambda _: {"flags": settings.flags(shown)},
            "/journal": self._journal,
        }

    def serves(self, path: str) -> bool:
        return (
            path in self._shown
            or path in self._open
            or path in ("/health", "/redirect", "/metrics", "/metrics/snapshot")
        )

    async def __call__(self, path: str, scope: http.Scope, send: http.Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise http.Refusal(405, f"{path} is read with GET", headers=((b"allow", b"GET"),))
        if path == "/health":
            await http.respond(send, 200)
        elif path == "/redirect":
            info = infos.master_info(self._shell.core.state)
            location = f"//{info.hostname}:{info.port}".encode()
            await http.respond(send, 307, headers=((b"location", location),))
        elif path == "/metrics":
            text, content_type = await metrics.prometheus(self._shell, http.header(scope, b"accept") or "")
            await http.respond(send, 200, text, content_type=content_type, scope=scope)
        elif path == "/metrics/snapshot":
            if not self._shell.ready:
                raise http.Refusal(503, "Master has not finished recovery")
            await self._shell.engine.settle()
            await self._respond(scope, send, await metrics.snapshot(self._shell))
        elif path in self._open:
            await self._respond(scope, send, self._open[path]())
        else:
            if not self._shell.ready:
                raise http.Refusal(503, "Master has not finished recovery")
            await self._shell.engine.settle()
            await self._respond(scope, send, self._shown[path](http.query(scope)))

    async def _respond(self, scope: http.Scope, send: http.Send, value: Any) -> None:
        function = http.query(scope).get("jsonp")
        if function is None and isinstance(value, Tree):
            await http.respond_pieces(send, pieces.to_json(value), content_type="application/json", scope=scope)
            return
        body = b"" if isinstance(value, Tree) else msgspec.json.encode(value)
        if function is None:
            await http.respond(send, 200, body, content_type="application/json", scope=scope)
            return
        if not self._jsonp:
            raise http.Refusal(400, "JSONP is off on a guarded server: ask without ?jsonp=")
        if _FUNCTION.fullmatch(function) is None:
            raise http.Refusal(400, "?jsonp= must be the name of a JavaScript function")
        inner = pieces.to_json(value) if isinstance(value, Tree) else iter((body,))
        wrapped = itertools.chain((function.encode() + b"(",), inner, (b");",))
        await http.respond_pieces(send, wrapped, content_type="text/javascript", scope=scope)

    def _journal(self, query: Query) -> Any:
        """What the journal holds about a subject, and for a framework why it waits."""
        subject = query.get("subject", "")
        entries = self._shell.journal.story(subject) if subject else self._shell.journal.latest(200)
        shown: dict[str, Any] = {"subject": subject, "entries": entries}
        framework = self._shell.core.state.frameworks.get(subject)
        if framework is not None and framework.info is not None:
            shown["now"] = view.waiting_reason(self._shell.core.state, framework)
        return shown
