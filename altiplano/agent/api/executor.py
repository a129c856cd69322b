"""The executor API, v1.  This agent runs command tasks by itself, so no custom executor can be known to it:
every well-formed call is answered with the words that Mesos has for an unknown framework or executor."""

from __future__ import annotations

from altiplano.agent.api import operator
from altiplano.agent.shell import Agent
from altiplano.engine import http
from altiplano.wire.errors import WireError
from altiplano.wire.messages import executor as api

Type = api.CallType
UUID_BYTES = 16
Payload = {Type.SUBSCRIBE: "subscribe", Type.UPDATE: "update", Type.MESSAGE: "message"}


class ExecutorApi:
    """Checks calls in the order that Mesos does."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["method"] != "POST":
            raise http.Refusal(405, "this endpoint takes POST only", headers=((b"allow", b"POST"),))
        codec = operator.request_codec(scope)
        body = await http.read_body(scope, receive)
        try:
            call = codec.decode(api.Call, body)
        except WireError as error:
            raise http.Refusal(400, f"Failed to parse body into Call: {error}") from error
        problem = _problem(call)
        if problem is not None:
            raise http.Refusal(400, f"Failed to validate Executor::Call: {problem}")
        if call.type is Type.SUBSCRIBE:
            operator.answer_codec(scope)
        if call.type is Type.HEARTBEAT:
            await http.respond(send, 202)
            return
        await self._agent.engine.settle()
        busy = {task.framework_id for task in self._agent.core.state.tasks.values()}
        if call.framework_id.value not in busy:
            raise http.Refusal(400, "Framework cannot be found")
        raise http.Refusal(400, "Executor cannot be found")


def _problem(call: api.Call) -> str | None:
    if call.type is None:
        return "Expecting 'type' to be present"
    if call.type is Type.UNKNOWN:
        raise http.Refusal(501, "a call of type UNKNOWN cannot be answered")
    payload = Payload.get(call.type)
    if payload is not None and getattr(call, payload) is None:
        return f"Expecting '{payload}' to be present"
    if call.update is not None and len(call.update.status.uuid or b"") != UUID_BYTES:
        return f"Expecting 'uuid' of {UUID_BYTES} bytes in the status"
    return None
