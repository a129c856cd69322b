"""`POST /api/v1/executor`: calls of custom executors, and the streams of their events.

The order of the checks is that of Mesos.  A call that passes them is answered at once; that an update is
safe the event ACKNOWLEDGED says.
"""

from __future__ import annotations

from altiplano.agent import executor_token
from altiplano.agent.api import operator
from altiplano.agent.executor_state import Executor, Stage
from altiplano.agent.shell import Agent
from altiplano.engine import http, streams
from altiplano.engine.loop import InboxFull
from altiplano.model import ids
from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos

Type = api.CallType
Payload = {Type.SUBSCRIBE: "subscribe", Type.UPDATE: "update", Type.MESSAGE: "message"}


class ExecutorApi:
    """Answers calls."""

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
        answer = operator.answer_codec(scope) if call.type is Type.SUBSCRIBE else codec
        if call.type is Type.HEARTBEAT:
            await http.respond(send, 202)
            return
        executor = self._executor(call)
        self._check_token(scope, executor)
        try:
            if call.subscribe is not None and call.type is Type.SUBSCRIBE:
                stream = self._agent.subscribe(answer, call, call.subscribe)
                try:
                    await streams.carry(stream, receive, send)
                finally:
                    self._agent.executor_left(call, stream)
                return
            if executor.stage is not Stage.RUNNING:
                raise http.Refusal(403, "Executor is not subscribed")
            if call.type is Type.UPDATE and call.update is not None:
                self._agent.executor_updated(call, call.update.status)
            elif call.message is not None:
                self._agent.executor_said(call, call.message.data)
        except InboxFull:
            raise http.Refusal(503, "the agent has more to do than it can remember; try again") from None
        await http.respond(send, 202)

    def _executor(self, call: api.Call) -> Executor:
        state = self._agent.core.state
        executor = state.executors.get((call.framework_id.value, call.executor_id.value))
        if executor is not None:
            return executor
        if call.framework_id.value not in state.busy_frameworks():
            raise http.Refusal(400, "Framework cannot be found")
        raise http.Refusal(400, "Executor cannot be found")

    def _check_token(self, scope: http.Scope, executor: Executor) -> None:
        secret = self._agent.node.executor_secret
        if secret is None:
            return
        scheme, _, token = (http.header(scope, b"authorization") or "").partition(" ")
        claims = executor_token.read(secret, token.strip()) if scheme.lower() == "bearer" else None
        if claims is None:
            raise http.Refusal(
                401,
                "an executor shows the token from MESOS_EXECUTOR_AUTHENTICATION_TOKEN, as 'Authorization: Bearer …'",
                headers=((b"www-authenticate", b"Bearer"),),
            )
        if claims != executor_token.Claims(fid=executor.framework_id, eid=executor.id, cid=executor.container_id):
            raise http.Refusal(403, "the token is that of another executor")


def _problem(call: api.Call) -> str | None:
    if call.type is None:
        return "Expecting 'type' to be present"
    if call.type is Type.UNKNOWN:
        raise http.Refusal(501, "a call of type UNKNOWN cannot be answered")
    payload = Payload.get(call.type)
    if payload is not None and getattr(call, payload) is None:
        return f"Expecting '{payload}' to be present"
    said = [call.update] if call.type is Type.UPDATE and call.update is not None else []
    if call.type is Type.SUBSCRIBE and call.subscribe is not None:
        said += call.subscribe.unacknowledged_updates
    return next((problem for update in said if (problem := _status_problem(call, update.status)) is not None), None)


def _status_problem(call: api.Call, status: mesos.TaskStatus) -> str | None:
    """Why an executor may not send a status."""
    problem = ids.uuid_problem(status.uuid or b"")
    if problem is not None:
        return f"Expecting 'uuid' in the status: {problem}"
    if status.executor_id is not None and status.executor_id != call.executor_id:
        named = status.executor_id.value
        return f"ExecutorID in Call: {call.executor_id.value} does not match ExecutorID in TaskStatus: {named}"
    if status.source is not mesos.TaskStatusSource.SOURCE_EXECUTOR:
        source = status.source.value if status.source is not None else "none"
        return f"Received Call from executor {call.executor_id.value} with invalid source {source}: SOURCE_EXECUTOR"
    if status.state is mesos.TaskState.TASK_STAGING:
        return "Received TASK_STAGING: an executor tells what it does, and staging comes before it"
    if not json.finite(status):
        return "A number in the status is not finite"
    return _check_status_problem(status.check_status)


def _check_status_problem(check: mesos.CheckStatusInfo | None) -> str | None:
    if check is None or check.type is None or check.type is mesos.CheckInfoType.UNKNOWN:
        return None if check is None else "Expecting 'check_status.type' to be present"
    results = {
        mesos.CheckInfoType.COMMAND: check.command,
        mesos.CheckInfoType.HTTP: check.http,
        mesos.CheckInfoType.TCP: check.tcp,
    }
    if results[check.type] is None:
        return f"Expecting '{check.type.value.lower()}' to be set for the check's status"
    if sum(result is not None for result in results.values()) > 1:
        return "Expecting the check's status to have the result of its own type only"
    return None
