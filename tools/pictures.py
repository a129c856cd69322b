"""Makes the pictures of the documentation anew: pages in a browser, and the plot of the demo.

Pages are shown with pools that never were (`altiplano.testing.showcase`), so that pictures need no cluster and
show the same from release to release.  The demo's plot is copied if `make demo` has made it.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from altiplano.adapters.system import SystemClock
from altiplano.frameworks.flows import pages as flow_pages
from altiplano.master import pages as master_pages
from altiplano.pagekit.api import InProcess
from altiplano.testing import showflows
from altiplano.testing.served import Served
from altiplano.testing.showcase import Showcase

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "pictures"
DEMO_PLOT = ROOT / "out" / "demo" / "comparison.png"
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
WIDE, NARROW = (1280, 860), (380, 800)
SETTLE_MS = 1200
POINTS = 340


def take(browser: Browser, base: str, shots: Mapping[str, tuple[str, tuple[int, int], str]]) -> None:
    """Take pictures: by name, the path, the size of the window, light or dark."""
    for name, (path, (width, height), scheme) in shots.items():
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(base + path)
        page.wait_for_selector("#pulse[data-state=live]")
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=str(TARGET / f"{name}.png"))
        context.close()
        print(f"docs/pictures/{name}.png")


def main() -> int:
    if not Path(CHROMIUM).exists():
        print(f"there is no {CHROMIUM}: apt-get install chromium", file=sys.stderr)
        return 1
    TARGET.mkdir(parents=True, exist_ok=True)
    now, clock = time.time(), SystemClock()
    pool = Showcase(now=now)
    shown = master_pages.build(api=InProcess(pool), version=lambda: pool.version, clock=clock)
    flows = [showflows.comparison(now), showflows.validation(now), showflows.production(now)]
    flow_app = flow_pages.build(flows=lambda: flows, version=lambda: 1, clock=clock)
    job = next(job for job in pool.jobs.values() if job.live and job.statuses)
    task = f"/ui/tasks/{job.framework_id}/{job.id}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with Served(shown.app) as served:
            take(
                browser,
                served.url,
                {
                    "agents": ("/ui/agents", WIDE, "light"),
                    "tasks": ("/ui/tasks", WIDE, "light"),
                    "task": (task, WIDE, "light"),
                    "task-dark": (task, WIDE, "dark"),
                    "overview-phone": ("/", NARROW, "dark"),
                },
            )
        # Half an hour would be long to wait for.
        for i in range(POINTS):
            wave = math.sin(i / 40) * 9 + math.sin(i / 11) * 3
            point = {"cpus": 29 + wave, "mem": 10 + wave / 3, "tasks": float(round(295 + 4 * wave))}
            shown.history.add(now - (POINTS - i) * 5, point)
        with Served(shown.app) as served:
            take(browser, served.url, {"overview": ("/", WIDE, "light"), "overview-dark": ("/", WIDE, "dark")})
        with Served(flow_app) as served:
            take(
                browser,
                served.url,
                {
                    "flow": ("/ui/flows/validation-12", WIDE, "light"),
                    "flow-dark": ("/ui/flows/comparison-7", WIDE, "dark"),
                    "flow-large": ("/ui/flows/production-3", WIDE, "light"),
                },
            )
        browser.close()
    if DEMO_PLOT.exists():
        shutil.copy(DEMO_PLOT, TARGET / "demo.png")
        print("docs/pictures/demo.png")
    else:
        print("the demo's plot is left as it is: `make demo` makes it")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
