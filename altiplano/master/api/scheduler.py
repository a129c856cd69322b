"""`POST /api/v1/scheduler`: calls of frameworks, and the streams of their events.

The order of the checks is that of Mesos; what is wrong inside a valid call still gets 202.
"""

from __future__ import annotations

from functools import partial

from altiplano.engine import http
from altiplano.master import validation
from altiplano.master.api import endpoint
from altiplano.master.shell import Shell
from altiplano.wire.messages import scheduler

STREAM_HEADER = b"mesos-stream-id"


def _require_valid(call: scheduler.Call) -> None:
    problem = validation.call_problem(call)
    if problem is not None:
        raise http.Refusal(400, f"Failed to validate scheduler::Call: {problem}")


CALLS = endpoint.CallForm(
    message=scheduler.Call,
    name="scheduler::Call",
    check=_require_valid,
    lists=(("reconcile", "tasks"), ("decline", "offer_ids")),
)


class SchedulerApi:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._room = endpoint.Room()

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        endpoint.require_ready(self._shell)
        endpoint.require_post(scope)
        codec = endpoint.content_codec(scope)
        call = await endpoint.read_call(scope, receive, codec, CALLS, room=self._room)
        stream_id = http.header(scope, STREAM_HEADER)
        if call.type is scheduler.CallType.SUBSCRIBE and call.subscribe is not None:
            await self._subscribe(scope, receive, send, call, call.subscribe, stream_id)
            return
        done = endpoint.Awaited()
        self._shell.call(call, stream_id, None, done)
        status, text = await done
        await (http.respond_text(send, status, text) if text else http.respond(send, status))

    def small(self, scope: http.Scope, body: bytes, answer: http.Answer) -> bool:
        """The same for a short call, but for SUBSCRIBE, without a task of its own."""
        endpoint.require_ready(self._shell)
        call = endpoint.small_call(endpoint.content_codec(scope), CALLS, body)
        if call.type is scheduler.CallType.SUBSCRIBE:
            return False
        self._shell.call(call, http.header(scope, STREAM_HEADER), None, partial(http.answer_text, answer))
        return True

    async def _subscribe(
        self,
        scope: http.Scope,
        receive: http.Receive,
        send: http.Send,
        call: scheduler.Call,
        subscribe: scheduler.CallSubscribe,
        stream_id: str | None,
    ) -> None:
        if stream_id is not None:
            raise http.Refusal(400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
        codec = endpoint.answer_codec(scope)
        framework_id = call.framework_id.value if call.framework_id is not None and call.framework_id.value else None
        stream = self._shell.subscribe(codec, framework_id, subscribe, None)
        headers = ((STREAM_HEADER, stream.name.encode()),)
        await endpoint.stream(self._shell, receive, send, stream, headers=headers)
