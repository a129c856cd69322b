"""Pages without a browser: what is sent, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from altiplano.pagekit import api as apis
from altiplano.pagekit import app
from altiplano.pagekit.live import Pulse
from altiplano.testing.clock import ManualClock

TEMPLATE = """{% extends "base.html" %}
{% block title %}T{% endblock %}
{% block live %}<div id="live" {{ ui.live(self_url, mark) }}>{{ word }}</div>{% endblock %}
{% block more %}<p>more of {{ word }}</p>{% endblock %}
"""


class Asked:
    """Sends one request to an application and keeps the answer."""

    def __init__(self, application: object) -> None:
        self._application = application

    async def __call__(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, root: str = ""
    ) -> apis.Answer:
        extra = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]

        async def with_headers(scope, receive, send):  # type: ignore[no-untyped-def]
            await self._application(  # type: ignore[operator]
                {**scope, "headers": [*scope["headers"], *extra], "root_path": root}, receive, send
            )

        return await apis.InProcess(with_headers).request(method, path)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    (tmp_path / "page.html").write_text(TEMPLATE)

    async def build(request: object) -> Mapping[str, str]:
        return {"word": "<b>bold</b>"}

    async def broken(request: object) -> Mapping[str, str]:
        raise RuntimeError("a bug")

    async def missing(request: object) -> Mapping[str, str]:
        raise app.NotThere("no such <thing>")

    async def moved(request: object) -> Mapping[str, str]:
        raise apis.Refused(307, "", location="//leader:5050/api/v1")

    async def act(request: object) -> str:
        return "/done"

    return Asked(
        app.build(
            app.Site(
                title="tests",
                clock=ManualClock(),
                pulse=Pulse(lambda: 3),
                templates=(tmp_path,),
                pages=(
                    app.Page(path="/", template="page.html", build=build),
                    app.Page(path="/broken", template="page.html", build=broken),
                    app.Page(path="/missing", template="page.html", build=missing),
                    app.Page(path="/moved", template="page.html", build=moved),
                ),
                actions=(app.Action(path="/act", run=act),),
            )
        )
    )


async def test_a_browser_gets_a_page_and_htmx_the_panel_it_names(asked: Asked) -> None:
    whole = (await asked("GET", "/")).body.decode()
    assert whole.startswith("<!doctype html>")
    panel = (await asked("GET", "/", {"HX-Request": "true", "HX-Target": "live"})).body.decode()
    assert panel.startswith('<div id="live"')
    assert panel in whole
    assert (await asked("GET", "/", {"HX-Request": "true", "HX-Target": "more"})).body.startswith(b"<p>more")


async def test_everything_is_escaped(asked: Asked) -> None:
    assert b"<b>bold" not in (await asked("GET", "/")).body


async def test_every_answer_forbids_inline_and_foreign_content(asked: Asked) -> None:
    for path in ("/", "/broken", "/nowhere", "/static/nothing"):
        policy = (await asked("GET", path)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_pages_have_no_inline_script_or_style(asked: Asked) -> None:
    text = (await asked("GET", "/")).body.decode()
    assert "<script>" not in text
    assert "style=" not in text
    assert "onclick" not in text


async def test_a_bug_in_a_page_is_a_page_that_says_so(asked: Asked) -> None:
    answer = await asked("GET", "/broken")
    assert answer.status == 500
    assert b"This page is broken" in answer.body
    assert b"a bug" not in answer.body


async def test_what_is_not_there_is_told_in_a_sentence(asked: Asked) -> None:
    answer = await asked("GET", "/missing")
    assert answer.status == 404
    assert b"no such &lt;thing&gt;" in answer.body


async def test_what_was_not_there_and_has_come_is_loaded_as_a_whole_page(asked: Asked) -> None:
    assert b'id="absent"' in (await asked("GET", "/missing")).body
    from_there = {"HX-Request": "true", "HX-Target": "absent"}
    assert (await asked("GET", "/missing", from_there)).status == 404
    answer = await asked("GET", "/", from_there)
    assert (answer.status, answer.headers["hx-refresh"], answer.body) == (204, "true", b"")


async def test_a_master_that_does_not_lead_sends_browsers_to_the_one_that_does(asked: Asked) -> None:
    answer = await asked("GET", "/moved")
    assert (answer.status, answer.headers["location"]) == (303, "http://leader:5050/")


async def test_static_files_are_kept_for_ever_under_a_name_of_their_content(asked: Asked) -> None:
    text = (await asked("GET", "/")).body.decode()
    address = text.split('rel="stylesheet" href="')[2].split('"')[0]
    answer = await asked("GET", address)
    assert answer.status == 200
    assert "immutable" in answer.headers["cache-control"]
    assert (await asked("GET", "/static/../app.py")).status == 404


async def test_pages_themselves_are_not_kept(asked: Asked) -> None:
    assert (await asked("GET", "/")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_forms_of_other_pages_are_refused(asked: Asked, headers: dict[str, str]) -> None:
    assert (await asked("POST", "/act", headers)).status == 403


async def test_forms_of_our_pages_are_done_and_lead_on(asked: Asked) -> None:
    answer = await asked("POST", "/act", {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"})
    assert (answer.status, answer.headers["location"]) == (303, "/done")


@pytest.mark.parametrize("path", ["/flows/", "/"])
async def test_below_another_path_all_addresses_have_it(asked: Asked, path: str) -> None:
    text = (await asked("GET", path, root="/flows")).body.decode()
    assert 'href="/flows/static/' in text
    assert 'hx-get="/flows/"' in text
    assert 'data-stream="/flows/ui/live"' in text
