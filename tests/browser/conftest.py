"""A real browser in front of pages: of a pool that never was, and of one that runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from altiplano.adapters.system import SystemClock
from altiplano.engine.guard import COOKIE, Guard
from altiplano.master import pages
from altiplano.pagekit.api import InProcess
from altiplano.testing.served import Served
from altiplano.testing.showcase import Showcase

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TOKEN = "a-token-of-tests"
AGENTS, TASKS = 12, 130
WAIT_MS = 20_000
"""Generous, as it is spent on failures only: the machine may be busy with other tests."""

expect.set_options(timeout=WAIT_MS)
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 380, "height": 800}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        launched.close()


@dataclass
class Viewer:
    """A browser window, and what it complained about."""

    context: BrowserContext
    page: Page
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that belong to the story."""

    def listen(self) -> None:
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("pageerror", lambda error: self.problems.append(f"script failed: {error}"))
        self.page.on(
            "console", lambda said: self.problems.append(f"console: {said.text}") if said.type == "error" else None
        )
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def complaints(self) -> list[str]:
        return [one for one in self.problems if not any(part in one for part in self.expected)]


@pytest.fixture
def viewer(browser: Browser) -> Iterator[Viewer]:
    """A window of its own for each test, that may not complain."""
    context = browser.new_context(viewport=WIDE)
    found = Viewer(context, context.new_page())
    found.listen()
    yield found
    complaints = found.complaints()
    context.close()
    assert not complaints


@pytest.fixture
def page(viewer: Viewer) -> Page:
    return viewer.page


def serve(pool: Showcase, *, port: int = 0) -> Served:
    shown = pages.build(api=InProcess(pool), version=lambda: pool.version, clock=SystemClock())
    guarded = Guard(shown.app, token=TOKEN, hosts=frozenset({"127.0.0.1"}))
    return Served(guarded, port=port, beside=shown.sample)


@pytest.fixture(scope="module")
def pool() -> Showcase:
    """One for all tests of a module: what a test brings has a name of its own."""
    return Showcase(now=time.time(), agents=AGENTS, tasks=TASKS)


@pytest.fixture(scope="module")
def served(pool: Showcase) -> Iterator[Served]:
    with serve(pool) as running:
        yield running


@pytest.fixture
def site(served: Served, viewer: Viewer) -> str:
    """The address of the pool's pages, for a browser that has logged in."""
    log_in(viewer.context, served.url)
    return served.url


def log_in(context: BrowserContext, url: str) -> None:
    """Give a browser the cookie that the login link would set."""
    context.add_cookies([{"name": COOKIE, "value": TOKEN, "url": url, "httpOnly": True, "sameSite": "Strict"}])


def open_live(page: Page, address: str) -> None:
    """Open a page and wait until it hears of changes."""
    page.goto(address)
    page.wait_for_selector("#pulse[data-state=live]")
