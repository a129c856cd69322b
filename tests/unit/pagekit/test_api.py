from __future__ import annotations

import pytest

from altiplano.engine import http
from altiplano.pagekit import api as apis
from altiplano.wire.messages import master

HEALTH = master.Call(type=master.CallType.GET_HEALTH)


def answering(status: int, body: bytes, headers: http.Headers = ()) -> apis.InProcess:
    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await http.read_body(scope, receive)
        await http.respond(send, status, body, headers=headers)

    return apis.InProcess(app)


async def test_a_call_is_a_post_of_json() -> None:
    seen = {}

    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        seen.update(scope, body=await http.read_body(scope, receive))
        await http.respond(send, 200, b'{"type":"GET_HEALTH","get_health":{"healthy":true}}')

    answer = await apis.call(apis.InProcess(app), HEALTH)
    assert answer.get_health is not None
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/api/v1", b'{"type":"GET_HEALTH"}')
    assert (b"content-type", b"application/json") in seen["headers"]


async def test_ids_cannot_change_the_path() -> None:
    seen = []

    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        seen.append((scope["raw_path"], scope["query_string"]))
        await http.respond(send, 404, b"no")

    api = apis.InProcess(app)
    with pytest.raises(apis.Refused):
        await apis.get(api, f"/agent/{apis.quoted('a/../b?c#d')}/journal?subject=1")
    assert seen == [(b"/agent/a%2F..%2Fb%3Fc%23d/journal", b"subject=1")]


async def test_a_refusal_carries_the_sentence_of_the_api() -> None:
    with pytest.raises(apis.Refused, match="no such agent") as caught:
        await apis.get(answering(404, b"no such agent\n"), "/x")
    assert caught.value.status == 404


async def test_a_master_that_does_not_lead_names_the_one_that_does() -> None:
    api = answering(307, b"", headers=((b"location", b"//leader:5050/api/v1"),))
    with pytest.raises(apis.Refused) as caught:
        await apis.call(api, HEALTH)
    assert caught.value.location == "//leader:5050/api/v1"


async def test_an_answer_that_is_no_message_is_no_answer() -> None:
    with pytest.raises(apis.Unanswered, match="could not be read"):
        await apis.call(answering(200, b"<html>"), HEALTH)


async def test_an_application_that_says_nothing_is_no_answer() -> None:
    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        return

    with pytest.raises(apis.Unanswered, match="gave no answer"):
        await apis.get(apis.InProcess(app), "/x")
