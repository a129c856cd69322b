"""The page of metrics names what running processes tell, all of it and nothing else; promtool finds nothing amiss."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.pools import Pool, pool, wait_until

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
PROMTOOL_SECONDS_MAX = 30.0
KEPT = Path.home() / ".cache" / "altiplano" / "bin"
"""Where `tools/levels.py` unpacks what comes in packages that would start daemons."""

PARTS = ("Master", "Agent")


@pytest.fixture(scope="module")
def running() -> Iterator[Pool]:
    with pool() as one:
        assert one.run("run", "--", "true").returncode == 0
        # Roles have numbers as long as somebody is in them.
        sleeper = one.begin("run", "--", "sleep", "1000")
        wait_until(lambda: '"master/tasks_running":1.0' in read(one, "Master", "/metrics/snapshot")[0], "a task runs")
        yield one
        sleeper.kill()
        sleeper.wait(10)


def read(one: Pool, part: str, path: str, **headers: str) -> tuple[str, str]:
    """An answer of master or agent, and its content type."""
    port = one.port + PARTS.index(part)
    token = (one.directory / "token").read_text().strip()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    for name, value in headers.items():
        request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["content-type"]


def documented(part: str) -> dict[str, tuple[str, str]]:
    """Metrics named in one part of the page, each with its type and sentence."""
    rows = re.findall(
        r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|[^|]*\|[^|]*\| ([^|]*) \|", text_of(part), re.MULTILINE
    )
    return {name: (kind, sentence) for name, kind, sentence in rows}


def text_of(part: str) -> str:
    return REFERENCE.read_text().split(f"## {part}\n", 1)[1].split("\n## ", 1)[0]


def test_the_page_of_metrics_is_as_the_sources_make_it() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import reference; print(reference.metrics(), end='')"],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    assert REFERENCE.read_text() == made.stdout, "run tools/reference.py"


@pytest.mark.parametrize("part", PARTS)
def test_every_exposed_metric_is_documented_and_every_documented_one_exposed(running: Pool, part: str) -> None:
    text, content_type = read(running, part, "/metrics")
    assert content_type.startswith("text/plain; version=0.0.4")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert {name: (kind, helps[name]) for name, kind in kinds.items()} == documented(part)
    told = set(re.findall(r"^([a-z_]+?)(?:_bucket|_sum|_count)?(?:\{.*\})? \S+$", text, re.MULTILINE))
    assert told == set(kinds), "a number without HELP and TYPE, or HELP and TYPE without a number"


@pytest.mark.parametrize("part", PARTS)
def test_every_name_of_mesos_is_documented_and_every_documented_one_is_told(running: Pool, part: str) -> None:
    text, _ = read(running, part, "/metrics/snapshot")
    told = json.loads(text)
    assert all(isinstance(value, int | float) for value in told.values())
    named = re.findall(r"`([a-z]+/[^`]*)`", text_of(part))
    patterns = [re.compile(re.sub(r"<[a-z]+>", ".+", name)) for name in named]
    assert [name for name in told if not any(pattern.fullmatch(name) for pattern in patterns)] == []
    assert [each for each in patterns if not any(each.fullmatch(name) for name in told)] == []


def test_a_task_that_ran_is_counted_under_both_names(running: Pool) -> None:
    for part, mesos in zip(PARTS, ("master", "slave"), strict=True):
        text, _ = read(running, part, "/metrics")
        assert f'altiplano_{part.lower()}_tasks_ended_total{{state="finished"}} 1.0' in text
        snapshot = json.loads(read(running, part, "/metrics/snapshot")[0])
        assert snapshot[f"{mesos}/tasks_finished"] == 1
        assert snapshot[f"{mesos}/mem_total"] == 2048
    assert "altiplano_agent_launch_seconds_count 2.0" in read(running, "Agent", "/metrics")[0]


@pytest.mark.parametrize("part", PARTS)
def test_promtool_has_nothing_to_say(running: Pool, part: str) -> None:
    promtool = shutil.which("promtool") or shutil.which("promtool", path=str(KEPT))
    if promtool is None:
        pytest.skip("there is no promtool: tools/levels.py unpacks it of Debian's package prometheus")
    text, _ = read(running, part, "/metrics")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("part", PARTS)
def test_who_asks_for_open_metrics_gets_it(running: Pool, part: str) -> None:
    text, content_type = read(running, part, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
