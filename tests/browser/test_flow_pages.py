"""What a user does with the pages of flows, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from altiplano.adapters.system import SystemClock
from altiplano.frameworks.flows import pages
from altiplano.frameworks.flows.pages import FlowPicture
from altiplano.frameworks.flows.progress import RuleState
from altiplano.testing import showflows
from altiplano.testing.served import Served
from tests.browser.conftest import NARROW


class Flows:
    """What the pages show, and what changes it."""

    def __init__(self) -> None:
        now = time.time()
        self.all: dict[str, FlowPicture] = {
            flow.id: flow for flow in (showflows.comparison(now), showflows.validation(now), showflows.production(now))
        }
        self.version = 1

    def step(self, flow_id: str, key: str, state: RuleState, **more: str) -> None:
        flow = self.all[flow_id]
        rules = tuple(replace(rule, state=state, **more) if rule.key == key else rule for rule in flow.rules)
        self.all[flow_id] = FlowPicture(id=flow.id, title=flow.title, rules=rules, started_s=flow.started_s)
        self.version += 1


@pytest.fixture
def flows() -> Flows:
    return Flows()


@pytest.fixture
def served(flows: Flows) -> Iterator[Served]:
    app = pages.build(flows=lambda: list(flows.all.values()), version=lambda: flows.version, clock=SystemClock())
    with Served(app) as running:
        yield running


def test_a_flow_is_a_graph_that_changes_while_it_runs(served: Served, page: Page, flows: Flows) -> None:
    page.goto(served.url)
    page.get_by_role("link", name="examples/montecarlo/Makeflow").click()
    expect(page.locator("svg.dag [data-node]")).to_have_count(11)
    expect(page.locator("svg.dag path.edge")).to_have_count(10)
    page.wait_for_selector("#pulse[data-state=live]")
    node = page.locator("[data-node='out/demo/4c-3.json']")
    expect(node).to_have_class("s-running")
    flows.step("comparison-7", "out/demo/4c-3.json", RuleState.DONE)
    expect(node).to_have_class("s-finished")
    expect(page.locator("main")).to_contain_text("7 of 11 rules done")


def test_a_failed_rule_shows_why_with_the_end_of_its_stderr(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/ui/flows/validation-12")
    expect(page.locator("#live")).to_contain_text("wants 16 cores, the best agent has 12 free")
    page.locator("[data-node='ttbar/report.json']").click()
    expect(page.locator("#rule")).to_contain_text("exited with status 1")
    expect(page.locator("#rule .output").last).to_contain_text("FileNotFoundError")
    expect(page.locator("#rule")).to_contain_text("validation.html")


def test_what_a_rule_needs_is_lit_when_it_has_the_focus(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/ui/flows/validation-12")
    page.locator("[data-node='higgs/tracks.root']").focus()
    lit = page.locator("svg.dag [data-node].on")
    names = set(lit.evaluate_all("nodes => nodes.map(node => node.dataset.node)"))
    assert {"geometry.root", "higgs/events.hepmc", "higgs/report.json", "validation.html"} <= names
    assert "ttbar/tracks.root" not in names
    page.keyboard.press("Enter")
    expect(page.locator("#rule h2")).to_have_text("higgs/tracks.root")


def test_hundreds_of_rules_are_drawn_by_categories(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/ui/flows/production-3")
    expect(page.locator("svg.dag [data-node]")).to_have_count(5)
    page.locator("[data-node=simulate]").click()
    expect(page.locator("tbody tr")).to_have_count(100)
    assert set(page.locator("tbody td:nth-child(3)").all_inner_texts()) == {"simulate"}


def test_hostile_rules_are_text(served: Served, page: Page, flows: Flows) -> None:
    bad = "</text><script>window.hacked=1</script>"
    flows.step("comparison-7", "out/demo/comparison.png", RuleState.FAILED, title=bad, stderr_tail=bad, why=bad)
    page.goto(f"{served.url}/ui/flows/comparison-7?rule=out/demo/comparison.png")
    expect(page.locator("#rule h2")).to_have_text(bad)
    assert page.evaluate("window.hacked") is None


def test_a_phone_shows_flows_without_scrolling_the_page_sideways(served: Served, browser: Browser) -> None:
    context = browser.new_context(viewport=NARROW)
    page = context.new_page()
    for path in ("/", "/ui/flows/validation-12?rule=geometry.root", "/ui/flows/production-3"):
        page.goto(served.url + path)
        page.wait_for_selector("#pulse[data-state=live]")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
    context.close()


def test_flows_work_below_another_path(flows: Flows, page: Page) -> None:
    app = pages.build(flows=lambda: list(flows.all.values()), version=lambda: flows.version, clock=SystemClock())

    async def mounted(scope, receive, send):  # type: ignore[no-untyped-def]
        assert scope["path"].startswith("/flows")
        inner = dict(scope) | {"root_path": "/flows", "path": scope["path"].removeprefix("/flows") or "/"}
        await app(inner, receive, send)

    with Served(mounted) as running:
        page.goto(f"{running.url}/flows/")
        page.wait_for_selector("#pulse[data-state=live]")
        page.get_by_role("link", name="release-validation.mf").click()
        page.locator("[data-node='geometry.root']").click()
        expect(page.locator("#rule h2")).to_have_text("geometry.root")
        page.goto("about:blank")
