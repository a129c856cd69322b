"""What a user does with the pages of a pool, in a real browser."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from altiplano.testing.served import Served
from altiplano.testing.showcase import Showcase
from altiplano.wire.messages.mesos import TaskState
from tests.browser.conftest import NARROW, TOKEN, Viewer, log_in, open_live, serve

HOSTILE = '<img src=x onerror="window.hacked=1;alert(1)"><script>window.hacked=2</script>\'"&{{7*7}}'


def mark(page: Page) -> None:
    """Leave a sign in the page that a reload would remove."""
    page.evaluate("window.notReloaded = true")


def assert_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.notReloaded === true"), "the page was loaded again"


def test_the_overview_tells_how_full_the_pool_is_and_what_needs_a_look(site: str, page: Page, pool: Showcase) -> None:
    page.goto(site)
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    expect(page.locator("#tile-cpus")).to_contain_text(f"of {sum(m.cpus for m in pool.machines.values()):g}")
    expect(page.locator("#tile-tasks")).to_contain_text("failed")
    expect(page.locator("#lists")).to_contain_text("draining")
    expect(page.locator("#lists")).to_contain_text("workqueue")


def test_what_happens_is_shown_without_a_reload(site: str, page: Page, pool: Showcase) -> None:
    open_live(page, site)
    mark(page)
    before = page.locator("#tile-tasks .big").inner_text()
    pool.start("fresh-one")
    expect(page.locator("#lists")).to_contain_text("fresh-one")
    assert page.locator("#tile-tasks .big").inner_text() != before
    assert_not_reloaded(page)


def test_utilisation_is_plotted(site: str, page: Page) -> None:
    open_live(page, site)
    figure = page.locator("[data-plot]")
    expect(figure).to_have_attribute("data-points", re.compile(r"^[1-9]"))
    # One point makes no line; the note says that more come.
    expect(figure.locator(".empty, canvas").first).to_be_attached()


def test_tasks_are_filtered_while_one_types_and_the_address_keeps_it(site: str, page: Page, pool: Showcase) -> None:
    pool.start("needle-in-the-haystack")
    open_live(page, site)
    page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    mark(page)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("needle hay")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("needle-in-the-haystack")
    expect(page).to_have_url(re.compile(r"q=needle"))
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert_not_reloaded(page)
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("needle hay")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_filter_without_match_offers_the_way_back(site: str, page: Page) -> None:
    page.goto(f"{site}/ui/tasks?q=nothing-is-called-so")
    expect(page.get_by_role("heading", name="No task matches")).to_be_visible()
    page.get_by_role("link", name=re.compile("Show all")).click()
    expect(page.locator("tbody tr")).to_have_count(100)


def test_tables_sort_by_their_headings_and_groups_narrow_them(site: str, page: Page) -> None:
    page.goto(f"{site}/ui/agents")
    page.get_by_role("link", name="CPUs", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("CPUs")
    used = [float(text.split()[0]) for text in page.locator("tbody td:nth-child(3) .amount-text").all_inner_texts()]
    assert used == sorted(used, reverse=True)
    assert used[0] > used[-1]
    page.goto(f"{site}/ui/tasks")
    page.get_by_role("group", name="States").get_by_role("link", name=re.compile("failed")).click()
    states = set(page.locator("tbody .pill").all_inner_texts())
    assert states == {"failed"}


def test_pages_are_used_with_the_keyboard_alone(site: str, page: Page) -> None:
    open_live(page, f"{site}/ui/tasks?q=pilot")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("tbody a.name").first.focus()
    name = page.locator("tbody a.name").first.inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("tab", name="stdout").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="stderr")).to_have_attribute("aria-selected", "true")
    expect(page.locator("pre.log")).to_contain_text("geometry is older")


def test_output_grows_under_the_eyes(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("talker")
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    expect(page.locator(".log-note")).to_have_text("Nothing written yet.")
    mark(page)
    job.files["stdout"] += b"first line\n"
    expect(page.locator("pre.log")).to_have_text("first line\n")
    job.files["stdout"] += "".join(f"line {i}\n" for i in range(300)).encode()
    expect(page.locator("pre.log .ln")).to_have_count(301)
    bottom = "(e => e.scrollTop + e.clientHeight >= e.scrollHeight - 2)"
    assert page.locator("pre.log").evaluate(bottom), "following keeps the end in view"
    page.locator("[data-follow]").uncheck()
    page.locator("pre.log").evaluate("e => { e.scrollTop = 0 }")
    job.files["stdout"] += b"the end\n"
    expect(page.locator("pre.log")).to_contain_text("the end")
    assert page.locator("pre.log").evaluate("e => e.scrollTop") == 0, "without following the view stays"
    assert_not_reloaded(page)


def test_output_is_shown_as_text_whatever_it_is(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("noise")
    job.files["stdout"] = (
        b"<b>bold?</b><script>window.hacked=3</script>\n"
        b"\x1b[31mred\x1b[0m plain \x1b]0;title\x07\x1b[2Kafter\n"
        b"\xff\xfe binary \x00\x01 \xc3\xa9\xe2\x82\xac\n"
        b"10 %\r50 %\r100 %\n"
    )
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    lines = page.locator("pre.log .ln")
    expect(lines).to_have_count(4)
    assert lines.nth(0).inner_text().rstrip("\n") == "<b>bold?</b><script>window.hacked=3</script>"
    assert lines.nth(1).inner_text().rstrip("\n") == "red plain after"
    expect(lines.nth(1).locator(".ink1")).to_have_text("red")
    assert lines.nth(2).inner_text().rstrip("\n") == "�� binary ␀␁ é€"
    assert lines.nth(3).inner_text().rstrip("\n") == "100 %"
    assert page.evaluate("window.hacked") is None


def test_a_sign_cut_in_two_between_reads_is_put_together(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("slow")
    euro = "€".encode()
    job.files["stdout"] = b"costs 3 " + euro[:1]
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    expect(page.locator("pre.log")).to_contain_text("costs 3")
    job.files["stdout"] += euro[1:] + b" \x1b[3"
    expect(page.locator("pre.log")).to_have_text("costs 3 € ")
    job.files["stdout"] += b"2mgreen\x1b[0m\n"
    expect(page.locator("pre.log .ink2")).to_have_text("green")


def test_of_a_long_output_the_end_comes_first_and_earlier_lines_on_demand(
    site: str, page: Page, pool: Showcase
) -> None:
    job = pool.start("chatter")
    job.files["stdout"] = b"".join(b"%07d abcdefghijklmnopqrstuvwxyz\n" % i for i in range(4000))
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    expect(page.locator("pre.log")).to_contain_text("0003999")
    first = page.locator("pre.log .ln").first.inner_text()
    assert first.split()[1].strip() == "abcdefghijklmnopqrstuvwxyz", "it begins with a whole line"
    assert not first.startswith("0000000")
    page.get_by_role("button", name="earlier lines").click()
    expect(page.locator("pre.log")).to_contain_text("0000000")
    expect(page.locator("pre.log .ln")).to_have_count(4000)


def test_a_task_is_killed_after_a_question(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("victim")
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    page.get_by_role("button", name="Kill …").click()
    page.get_by_role("button", name="Let it run").click()
    assert job.live
    page.get_by_role("button", name="Kill …").click()
    expect(page.get_by_role("dialog")).to_contain_text("victim")
    page.get_by_role("button", name="Kill it").click()
    expect(page.locator("h1 + .pill")).to_have_text("killed")
    assert job.state is TaskState.TASK_KILLED
    expect(page.get_by_role("button", name="Kill …")).to_have_count(0)


def test_a_task_says_why_across_master_and_agent(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("explained")
    pool.tell(job, "agent", "started as process 99", pool.now + 1)
    pool.tell(job, "master", "accepted an offer of node001", pool.now)
    pool.say(job, TaskState.TASK_FAILED, pool.now + 2, "Command exited with status 3")
    page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    expect(page.locator(".note.s-failed")).to_have_text("Command exited with status 3")
    says = page.locator(".story .says")
    expect(says).to_have_text(["accepted an offer of node001", "started as process 99"])
    expect(page.locator("#steps")).to_contain_text("failed")
    expect(page.locator(".files")).to_contain_text("stdout")


def test_a_silent_agent_does_not_hold_its_tasks_page(site: str, viewer: Viewer, pool: Showcase) -> None:
    viewer.expected.append("404")
    job = pool.start("cut-off", state=TaskState.TASK_UNREACHABLE)
    job.agent_id = "gone"
    viewer.page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
    expect(viewer.page.get_by_role("heading", level=1)).to_have_text(job.name)
    expect(viewer.page.locator(".log-note")).to_contain_text("stdout is not there")


def test_hostile_names_are_text_and_nothing_runs(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start(HOSTILE, task_id="hostile'\"<b>", state=TaskState.TASK_RUNNING)
    pool.say(job, TaskState.TASK_FAILED, pool.now, HOSTILE)
    pool.tell(job, "master", HOSTILE, pool.now)
    job.files[HOSTILE.replace("/", "_")] = b"x"
    for path in ("/", "/ui/tasks", f"/ui/tasks?q={'%3Cscript%3Ealert(1)%3C%2Fscript%3E'}&sort=%22%3E&state=%3Cb%3E"):
        open_live(page, site + path)
    page.goto(f"{site}/ui/tasks?q=onerror")
    page.locator("tbody a.name").first.click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    assert page.locator("h1").inner_text() == HOSTILE
    expect(page.locator(".story")).to_contain_text("{{7*7}}")
    expect(page.locator(".files")).to_contain_text("<img src=x")
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_script_that_got_into_the_page_could_not_run(site: str, viewer: Viewer) -> None:
    viewer.expected.append("Content Security Policy")
    viewer.page.goto(site)
    viewer.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 4";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src='data:,x' onerror='window.hacked = 5'>");
        }"""
    )
    time.sleep(0.3)
    assert viewer.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_page_without_scrolling_sideways(
    browser: Browser, served: Served, pool: Showcase, scheme: str
) -> None:
    job = pool.start("w" * 120, task_id=f"{scheme:i<200}")
    pool.tell(job, "master", "x" * 300, pool.now)
    pool.say(job, TaskState.TASK_FAILED, pool.now, "y" * 300)
    agent_id = next(iter(pool.machines))
    context = browser.new_context(viewport=NARROW, color_scheme=scheme)  # type: ignore[arg-type]
    log_in(context, served.url)
    page = context.new_page()
    for path in (
        "/",
        "/ui/agents",
        f"/ui/agents/{agent_id}",
        "/ui/frameworks",
        f"/ui/frameworks/{job.framework_id}",
        "/ui/tasks",
        f"/ui/tasks/{job.framework_id}/{job.id}",
        "/ui/nothing-here",
    ):
        open_live(page, served.url + path)
        for panel in page.locator("[data-slow]").all():
            expect(panel).not_to_contain_text("…")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"], f"{path} is {width} pixels wide"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128
    assert dark is (scheme == "dark")
    context.close()


def test_without_the_token_nothing_is_shown_and_the_login_link_brings_it(browser: Browser, served: Served) -> None:
    context = browser.new_context()
    page = context.new_page()
    for path in ("/", "/ui/tasks", "/ui/live", "/static/pages.css"):
        assert page.request.get(served.url + path).status == 401, path
    assert "token" in page.request.get(served.url + "/").text()
    assert page.request.get(f"{served.url}/login?token=wrong").status == 401
    page.goto(f"{served.url}/login?token={TOKEN}")
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    assert TOKEN not in page.url
    assert page.evaluate("document.cookie") == "", "scripts cannot read the token"
    context.close()


def test_forms_from_other_pages_are_refused(site: str, page: Page, pool: Showcase) -> None:
    job = pool.start("innocent")
    address = f"{site}/ui/tasks/{job.framework_id}/{job.id}/kill"
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Origin": site}, {}):
        assert page.request.post(address, headers=headers).status == 403
    assert job.live


def test_a_restart_of_the_server_is_told_and_survived(browser: Browser, pool: Showcase) -> None:
    context = browser.new_context()
    page = context.new_page()
    with serve(pool) as served:
        port = served.port
        log_in(context, served.url)
        open_live(page, served.url)
        mark(page)
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator("#tile-cpus")).to_be_visible()
    pool.start("after-the-restart")
    with serve(pool, port=port):
        expect(page.locator("#lists")).to_contain_text("after-the-restart")
        expect(page.locator("#banner")).to_be_hidden()
        assert_not_reloaded(page)
        context.close()


def test_output_goes_on_where_it_was_after_a_restart(browser: Browser, pool: Showcase) -> None:
    job = pool.start("steady")
    job.files["stdout"] = b"one\n"
    context = browser.new_context()
    page = context.new_page()
    with serve(pool) as served:
        port = served.port
        log_in(context, served.url)
        page.goto(f"{served.url}/ui/tasks/{job.framework_id}/{job.id}")
        expect(page.locator("pre.log")).to_have_text("one\n")
    job.files["stdout"] += b"two\n"
    with serve(pool, port=port):
        expect(page.locator("pre.log")).to_have_text("one\ntwo\n")
        context.close()


def test_a_master_that_cannot_answer_is_told_in_its_own_words(site: str, viewer: Viewer, pool: Showcase) -> None:
    viewer.expected += ["502", "Response Status Error"]
    open_live(viewer.page, site)
    try:
        pool.lost = True
        pool.changed()
        expect(viewer.page.locator("#banner")).to_contain_text("no leader yet")
        viewer.page.goto(f"{site}/ui/tasks")
        expect(viewer.page.locator(".blank")).to_contain_text("no leader yet")
    finally:
        pool.lost = False
        pool.changed()
    expect(viewer.page.locator("tbody tr")).to_have_count(100)
    expect(viewer.page.locator("#banner")).to_be_hidden()


def test_an_empty_pool_says_what_to_do(browser: Browser) -> None:
    with serve(Showcase(now=time.time(), agents=0)) as served:
        context = browser.new_context()
        page = context.new_page()
        log_in(context, served.url)
        page.goto(served.url)
        expect(page.locator("#live")).to_contain_text("altiplano agent --master")
        expect(page.locator("#lists")).to_contain_text("altiplano run -- echo hello")
        page.goto(f"{served.url}/ui/tasks")
        expect(page.locator("main")).to_contain_text("Nothing runs yet")
        context.close()


def test_an_address_that_leads_nowhere_says_so(site: str, viewer: Viewer) -> None:
    viewer.expected += ["404"]
    viewer.page.goto(f"{site}/ui/tasks/none/none")
    expect(viewer.page.locator(".blank")).to_contain_text("knows no task none")
    viewer.page.get_by_role("link", name="Overview").last.click()
    expect(viewer.page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()


def test_what_came_after_its_page_was_asked_for_is_shown_whole(site: str, viewer: Viewer, pool: Showcase) -> None:
    viewer.expected.append("404")
    framework_id = pool.framework_id(0)
    viewer.page.goto(f"{site}/ui/tasks/{framework_id}/late")
    expect(viewer.page.locator(".blank")).to_contain_text("knows no task late")
    job = pool.start("late", task_id="late")
    pool.tell(job, "master", "accepted an offer of node001", pool.now)
    expect(viewer.page.locator("h1")).to_have_text("late")
    expect(viewer.page.locator(".story .says")).to_have_text(["accepted an offer of node001"])


def test_a_task_is_found_the_moment_it_has_come(site: str, page: Page, pool: Showcase) -> None:
    for number in range(5):
        page.goto(f"{site}/ui/tasks")
        job = pool.start(f"young-{number}")
        page.goto(f"{site}/ui/tasks/{job.framework_id}/{job.id}")
        expect(page.locator("h1")).to_have_text(job.name)
