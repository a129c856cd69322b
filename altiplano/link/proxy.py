"""Passing an HTTP request on to the other end of the link.

The master serves `/agent/<agent id>/<path>` so: who reaches the master reaches every agent, also one
that nobody can dial.
"""

from __future__ import annotations

from urllib.parse import unquote

from altiplano.engine import http
from altiplano.link.streams import StreamBroken, Streams

PREFIX = "/agent/"
REQUEST_BODY_BYTES_MAX = 1024 * 1024

_NOT_PASSED_ON = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "host",
        "keep-alive",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection, of a body that was opened here, and credentials: the asker was checked before."""


def split(path: str) -> tuple[str, str] | None:
    """The agent id and the agent's path of `/agent/<agent id>/<path>`; None for another form.

    >>> split("/agent/a-1/files/read")
    ('a-1', '/files/read')
    """
    agent_id, slash, rest = path.removeprefix(PREFIX).partition("/")
    return (unquote(agent_id), "/" + rest) if path.startswith(PREFIX) and slash and agent_id else None


async def pass_on(
    streams: Streams, path: str, scope: http.Scope, receive: http.Receive, send: http.Send, *, cause: str
) -> None:
    """Let the application at the other end answer a request, as `path`; its answer is streamed through."""
    try:
        body = await http.read_body(scope, receive, limit_bytes=REQUEST_BODY_BYTES_MAX)
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        answer = await streams.request(
            scope["method"],
            path,
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=[(k, v) for k, v in headers if k.lower() not in _NOT_PASSED_ON],
            body=body,
            cause=cause,
        )
    except http.Refusal as refusal:
        await http.refuse(send, refusal)
        return
    except StreamBroken as broken:
        await http.respond_text(send, 502, f"the agent cannot be asked now: {broken}")
        return
    hop = ("connection", "keep-alive", "transfer-encoding")
    passed = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers if k.lower() not in hop]
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": passed})
        async for part in answer.parts():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except StreamBroken:
        # Half an answer must not look like a whole one: ending without the last part makes the
        # server close the connection.
        return
    finally:
        answer.leave()
