"""The guard: tokens, hosts, origins, the login link."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from altiplano.engine import guard, http

TOKEN = "secret-token"


async def inner(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    await http.respond_text(send, 200, "inside")


async def ask(
    path: str, *, query: str = "", token: str | None = TOKEN, **headers: str
) -> tuple[int, dict[str, str], str]:
    gate = guard.Guard(inner, token=token, hosts=frozenset({"127.0.0.1", "localhost", "[::1]"}))
    given = {"host": "127.0.0.1:5050", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    await gate(scope, receive, send)
    head = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(e.get("body", b"") for e in sent[1:]).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()},
        {"cookie": f"other=1; {guard.COOKIE}={TOKEN}"},
    ],
)
async def test_the_token_opens_as_bearer_token_basic_password_or_cookie(headers: dict[str, str]) -> None:
    status, _, body = await ask("/state", **headers)
    assert (status, body) == (200, "inside")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
        {"cookie": f"{guard.COOKIE}=wrong"},
        {"cookie": "\x00;;=broken"},
        {"authorization": "Bearer " + TOKEN + "x"},
    ],
)
async def test_without_the_token_everything_but_health_and_version_is_refused(headers: dict[str, str]) -> None:
    for path in ("/", "/state", "/api/v1", "/api/v1/scheduler", "/link", "/metrics", "/no/such"):
        status, head, _ = await ask(path, **headers)
        assert status == 401
        assert head["www-authenticate"].startswith("Basic ")
    for path in ("/health", "/version"):
        assert (await ask(path, **headers))[0] == 200


async def test_a_name_that_is_not_ours_is_refused_even_with_the_token() -> None:
    status, _, body = await ask("/state", host="evil.example:5050", authorization=f"Bearer {TOKEN}")
    assert status == 403
    assert "evil.example" in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:5050", "127.0.0.1"])
async def test_our_own_names_are_known_with_and_without_port(host: str) -> None:
    assert (await ask("/health", host=host))[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
async def test_a_page_of_somebody_else_may_not_call_us_even_with_the_cookie(origin: str) -> None:
    status, _, _ = await ask("/state", origin=origin, cookie=f"{guard.COOKIE}={TOKEN}")
    assert status == 403


async def test_our_own_pages_may_call_us() -> None:
    status, _, _ = await ask("/state", origin="http://127.0.0.1:5050", cookie=f"{guard.COOKIE}={TOKEN}")
    assert status == 200


async def test_the_login_link_sets_a_strict_cookie_and_leads_to_the_first_page() -> None:
    status, head, _ = await ask("/login", query=f"token={TOKEN}")
    assert status == 303
    assert head["location"] == "/"
    assert head["set-cookie"].startswith(f"{guard.COOKIE}={TOKEN};")
    assert "HttpOnly" in head["set-cookie"]
    assert "SameSite=Strict" in head["set-cookie"]


async def test_a_wrong_login_link_sets_nothing() -> None:
    status, head, _ = await ask("/login", query="token=wrong")
    assert status == 401
    assert "set-cookie" not in head


async def test_without_a_token_foreign_hosts_and_origins_are_still_refused() -> None:
    assert (await ask("/state", token=None))[0] == 200
    assert (await ask("/state", token=None, host="evil.example"))[0] == 403
    assert (await ask("/state", token=None, origin="http://evil.example"))[0] == 403


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_server_on_loopback_is_called_by_names_of_loopback_only(ip: str) -> None:
    names = guard.names(ip, "Here", None)
    assert names is not None
    assert {"localhost", "127.0.0.1", "[::1]", "here"} <= names
    assert (f"[{ip}]" if ":" in ip else ip) in names


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "10.0.0.1", "node7"])
def test_a_server_open_to_the_world_may_have_any_name(ip: str) -> None:
    assert guard.names(ip) is None
