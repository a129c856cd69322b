"""`/agent/<agent_id>/<path>`: an agent's own API, through its link, for agents that nobody can dial."""

from __future__ import annotations

from altiplano.engine import http
from altiplano.link.streams import Answer, StreamBroken
from altiplano.master.shell import Shell

PREFIX = "/agent/"

_HOP_BY_HOP = frozenset(
    {"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "authorization", "cookie"}
)
"""Headers that are of one connection only, and credentials, which the agent does not need from behind the link."""


class AgentProxy:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        agent_id, _, path = scope["path"].removeprefix(PREFIX).partition("/")
        connection = self._shell.connection_of(agent_id)
        if connection is None:
            known = agent_id in self._shell.core.state.agents
            sentence = f"agent {agent_id} is not connected" if known else f"No agent found with ID {agent_id}"
            raise http.Refusal(503 if known else 404, sentence)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name.decode("latin-1") not in _HOP_BY_HOP
        ]
        body = await http.read_body(scope, receive)
        try:
            answer = await connection.streams.request(
                scope["method"],
                "/" + path,
                query=scope.get("query_string", b"").decode("latin-1"),
                headers=[(name, value) for name, value in headers if name != "content-encoding"],
                body=body,
                cause=self._shell.cause("proxy"),
            )
        except StreamBroken as error:
            raise http.Refusal(502, f"agent {agent_id} could not be asked: {error}") from error
        await _pass_on(answer, send)


async def _pass_on(answer: Answer, send: http.Send) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.headers
        if name.lower() not in _HOP_BY_HOP
    ]
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for part in answer.parts():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        answer.leave()
