"""The pages of flows in the host of `altiplano up`: they outlive the run, the host and the pool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pools import ALTIPLANO, Pool, pool, processes_of, wait_until

FLOW_S_MAX = 60.0
GATE = "for i in $(seq 300); do [ -e {0}/go ] && break; sleep 0.1; done"


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with pool() as made:
        yield made


def token(one: Pool) -> str:
    return (one.directory / "token").read_text().strip()


def ask(one: Pool, path: str, *, secret: str | None = None) -> tuple[int, str]:
    """A request to the host of frameworks."""
    request = urllib.request.Request(f"http://127.0.0.1:{one.port + 2}{path}")
    request.add_header("Authorization", f"Bearer {token(one) if secret is None else secret}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def listed(one: Pool, directory: Path) -> dict[str, Any] | None:
    """What `flow list` says of the flow of a directory."""
    done = one.run("flow", "list", "--json")
    assert done.returncode == 0, done.stderr
    return next((flow for flow in json.loads(done.stdout) if flow["directory"] == str(directory)), None)


def begin(one: Pool, directory: Path, text: str, *words: str) -> subprocess.Popen[str]:
    (directory / "Makeflow").write_text(text.replace("GATE", GATE.format(directory).replace("$", "\\$")))
    return subprocess.Popen(
        [*ALTIPLANO, "flow", "run", *words, "Makeflow"],
        cwd=directory,
        env=one.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(one: Pool, directory: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    running = begin(one, directory, text, *words)
    try:
        out, err = running.communicate(timeout=FLOW_S_MAX)
    finally:
        running.kill()
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def has_state(one: Pool, directory: Path, state: str) -> bool:
    flow = listed(one, directory)
    return flow is not None and flow["state"] == state


def host_of(one: Pool) -> int:
    for pid in processes_of(one.directory):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"altiplano.cli.child" in words and b"host" in words:
                return pid
    raise AssertionError("the host of frameworks does not run")


def test_a_flow_that_has_ended_keeps_its_page_when_its_directory_is_gone(one: Pool, tmp_path: Path) -> None:
    text = "good:\n\techo x > good\nbad: good\n\techo too cold >&2; exit 3\nlast: bad\n\tcp bad last\n"
    done = run(one, tmp_path, text, "--retries", "0")
    assert done.returncode == 1, done.stderr
    shutil.rmtree(tmp_path)
    flow = listed(one, tmp_path)
    assert flow is not None
    assert (flow["file"], flow["done"], flow["rules"]) == ("Makeflow", 1, 3)
    wait_until(lambda: has_state(one, tmp_path, "failed"), "the flow has failed")
    status, page = ask(one, f"/flows/ui/flows/{flow['run']}?rule=bad")
    assert status == 200
    assert "too cold" in page
    assert "its command ended with status 3" in page
    rules = json.loads(ask(one, f"/flows/api/v1/flows/{flow['run']}")[1])["rules"]
    assert [(rule["title"], rule["state"]) for rule in rules] == [
        ("good", "done"),
        ("bad", "failed"),
        ("last", "blocked"),
    ]
    assert rules[0]["ended_s"] >= rules[0]["started_s"] > 0


def test_a_flow_that_runs_is_listed_with_what_is_done(one: Pool, tmp_path: Path) -> None:
    running = begin(one, tmp_path, "a:\n\techo x > a\nb: a\n\tGATE; cp a b\n")
    try:
        wait_until(lambda: (listed(one, tmp_path) or {}).get("done") == 1, "one rule is done", FLOW_S_MAX)
        flow = listed(one, tmp_path)
        assert flow is not None
        assert (flow["state"], flow["rules"]) == ("running", 2)
        assert "What it waits for" in ask(one, f"/flows/ui/flows/{flow['run']}")[1]
        framework = json.loads(one.run("framework", "list", "--json").stdout)
        urls = [row["webui_url"] for row in framework if row["id"] == flow["framework_id"]]
        assert urls == [f"http://127.0.0.1:{one.port + 2}/flows/ui/flows/{flow['run']}"]
    finally:
        (tmp_path / "go").touch()
        running.communicate(timeout=FLOW_S_MAX)
    wait_until(lambda: has_state(one, tmp_path, "done"), "the flow is done")


def test_a_killed_run_is_broken_off_and_goes_on_under_its_name(one: Pool, tmp_path: Path) -> None:
    text = "a:\n\techo x > a\nb: a\n\tGATE; cp a b\n"
    running = begin(one, tmp_path, text)
    wait_until(lambda: (listed(one, tmp_path) or {}).get("done") == 1, "one rule is done", FLOW_S_MAX)
    running.kill()
    running.communicate(timeout=FLOW_S_MAX)
    wait_until(lambda: has_state(one, tmp_path, "broken off"), "the end of the process is noticed")
    first = listed(one, tmp_path)
    (tmp_path / "go").touch()
    done = run(one, tmp_path, text)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: has_state(one, tmp_path, "done"), "the flow is done")
    last = listed(one, tmp_path)
    assert first is not None
    assert last is not None
    assert (last["run"], last["done"]) == (first["run"], 2)


def test_the_rules_of_a_nested_workflow_are_on_the_page(one: Pool, tmp_path: Path) -> None:
    (tmp_path / "inner.mf").write_text("deep:\n\techo x > deep\n")
    done = run(one, tmp_path, "deep: inner.mf\n\tMAKEFLOW inner.mf\nend: deep\n\tcp deep end\n")
    assert done.returncode == 0, done.stderr
    flow = listed(one, tmp_path)
    assert flow is not None
    assert (flow["done"], flow["rules"]) == (3, 3)


def test_flows_are_behind_the_token_and_in_the_menu(one: Pool) -> None:
    assert ask(one, "/flows/", secret="guessed")[0] == 401
    assert ask(one, "/flows/api/v1/flows", secret="guessed")[0] == 401
    assert ask(one, "/flows/")[0] == 200
    request = urllib.request.Request(f"http://127.0.0.1:{one.port}/")
    request.add_header("Authorization", f"Bearer {token(one)}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert f'href="http://127.0.0.1:{one.port + 2}/flows/"' in answer.read().decode()


def test_a_restart_of_the_host_keeps_flows_that_run_and_flows_that_have_ended(one: Pool, tmp_path: Path) -> None:
    ended, goes_on = tmp_path / "ended", tmp_path / "goes-on"
    ended.mkdir()
    goes_on.mkdir()
    assert run(one, ended, "a:\n\techo x > a\n").returncode == 0
    running = begin(one, goes_on, "a:\n\techo x > a\nb: a\n\tGATE; cp a b\n")
    try:
        wait_until(lambda: (listed(one, goes_on) or {}).get("done") == 1, "one rule is done", FLOW_S_MAX)
        old = host_of(one)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: one.run("flow", "list").returncode == 0, "the host is back", FLOW_S_MAX)
        assert host_of(one) != old
        assert has_state(one, ended, "done")
        assert has_state(one, goes_on, "running")
    finally:
        (goes_on / "go").touch()
        running.communicate(timeout=FLOW_S_MAX)
    wait_until(lambda: has_state(one, goes_on, "done"), "the flow is done")


def test_a_restart_of_the_pool_keeps_flows(tmp_path: Path) -> None:
    with pool() as restarted:
        assert run(restarted, tmp_path, "a:\n\techo x > a\n").returncode == 0
        assert restarted.stop() == 0
        restarted.start()
        assert has_state(restarted, tmp_path, "done")
