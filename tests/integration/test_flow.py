"""`altiplano flow` on a pool of one machine, as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pools import ALTIPLANO, Pool, pool, processes_of, wait_until

DIAMOND = """
a: s
	cat s s > a
b: a
	tr a-z A-Z < a > b
c: a
	wc -l < a > c
d: b c
	cat b c > d
"""
FLOW_S_MAX = 60.0
"""For one flow on a busy machine; on an idle one most take a second."""


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with pool() as made:
        yield made


class Flow:
    """A directory with a workflow file, and the flow that is run there."""

    def __init__(self, pool: Pool, directory: Path, text: str) -> None:
        self.pool = pool
        self.directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "Makeflow").write_text(text.replace("GATE", self.gate.replace("$", "\\$")))

    def begin(self, *words: str, verb: str = "run") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ALTIPLANO, "flow", verb, *words, "Makeflow"],
            cwd=self.directory,
            env=self.pool.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, verb: str = "run") -> subprocess.CompletedProcess[str]:
        running = self.begin(*words, verb=verb)
        try:
            out, err = running.communicate(timeout=FLOW_S_MAX)
        finally:
            running.kill()
        return subprocess.CompletedProcess(running.args, running.returncode, out, err)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    @property
    def gate(self) -> str:
        """Shell text that waits until the test says `go`; given up after half a minute."""
        return f"for i in $(seq 300); do [ -e {self.directory}/go ] && break; sleep 0.1; done"

    def go(self) -> None:
        (self.directory / "go").touch()

    def there(self, name: str) -> Callable[[], bool]:
        return (self.directory / name).exists


@pytest.fixture
def flow(one: Pool, tmp_path: Path) -> Callable[[str], Flow]:
    return lambda text: Flow(one, tmp_path, text)


@pytest.mark.parametrize("how", [(), ("--shared-dir",)])
def test_a_flow_runs_to_its_end_and_a_second_time_has_nothing_to_do(
    flow: Callable[[str], Flow], how: tuple[str, ...]
) -> None:
    made = flow(DIAMOND)
    made.write("s", "one\n")
    first = made.run("--json", *how)
    assert first.returncode == 0, first.stderr
    assert made.read("d") == "ONE\nONE\n2\n"
    assert "all 4 rules are done" in first.stderr
    assert json.loads(first.stdout)["ran"] == 4
    second = made.run("--json", *how)
    assert (second.returncode, json.loads(second.stdout)["kept"]) == (0, 4)
    assert json.loads(second.stdout)["ran"] == 0


def test_the_framework_of_a_flow_has_its_page_and_goes_with_it(flow: Callable[[str], Flow]) -> None:
    made = flow("a: s\n\tGATE; cp s a\n")
    made.write("s", "x")
    running = made.begin()
    wait_until(lambda: "flow Makeflow" in made.pool.run("framework", "list").stdout, "the flow is listed", FLOW_S_MAX)
    made.go()
    _, err = running.communicate(timeout=FLOW_S_MAX)
    assert running.returncode == 0, err
    (line,) = [line for line in err.splitlines() if "page: http://127.0.0.1:" in line]
    assert "/login?token=" in line
    assert "flow Makeflow" not in made.pool.run("framework", "list").stdout


def test_a_page_needs_the_token_and_shows_the_rules(flow: Callable[[str], Flow]) -> None:
    import urllib.error
    import urllib.request

    made = flow("slow: s\n\tGATE; cp s slow\n")
    made.write("s", "x")
    running = made.begin()
    try:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "page: " in line)
        address, _, token = line.split("page: ")[1].strip().partition("/login?token=")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/", timeout=10)
        assert refused.value.code == 401
        asked = urllib.request.Request(f"{address}/", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert "slow" in answer.read().decode()
        asked = urllib.request.Request(f"{address}/api/v1/rules", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert [rule["title"] for rule in json.load(answer)] == ["slow"]
    finally:
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=FLOW_S_MAX)
    assert running.returncode == 130
    assert "run it again to go on" in err


def test_files_and_directories_travel_there_and_back_whole(flow: Callable[[str], Flow]) -> None:
    made = flow(
        "big tree: in tool\n\t./tool in > big; mkdir -p tree/deep; cp big tree/deep/copy\n"
        "sum: big tree\n\tcat big tree/deep/copy | sha256sum > sum\n"
    )
    (made.directory / "in").mkdir()
    data = os.urandom(3_000_000)
    (made.directory / "in" / "part").write_bytes(data)
    made.write("tool", "#!/bin/sh\ncat $1/part\n")
    (made.directory / "tool").chmod(0o755)
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert (made.directory / "big").read_bytes() == data
    assert (made.directory / "tree" / "deep" / "copy").read_bytes() == data


def test_a_rule_that_fails_is_named_with_the_end_of_its_stderr(flow: Callable[[str], Flow]) -> None:
    made = flow("good:\n\techo x > good\nbad: good\n\techo it is too cold >&2; exit 3\nlast: bad\n\tcp bad last\n")
    done = made.run("--retries", "1")
    assert done.returncode == 1
    assert "FAILED: bad (Makeflow:3): its command ended with status 3 (after 2 tries)" in done.stderr
    assert "    it is too cold" in done.stderr
    assert "not run: last" in done.stderr
    assert made.read("good") == "x\n"
    status = made.run(verb="status")
    assert "it is too cold" in status.stdout


def test_what_cannot_work_is_told_before_anything_runs(flow: Callable[[str], Flow]) -> None:
    made = flow("a: b\n\tcp b a\nb: a\n\tcp a b\n\nc: nowhere\n\tcp nowhere c\n")
    done = made.run()
    assert done.returncode == 1
    assert "Makeflow:6: the input 'nowhere' is not there and no rule makes it" in done.stderr
    assert "Makeflow:1: rules in a circle can never run" in done.stderr
    assert not (made.directory / "Makeflow.altiplanolog").exists()


def test_a_rule_that_no_agent_can_hold_fails_by_name(flow: Callable[[str], Flow]) -> None:
    made = flow("huge:\n@CORES=64\n\techo x > huge\n")
    done = made.run()
    assert done.returncode == 1
    assert "FAILED: huge (Makeflow:1): no agent can hold it" in done.stderr
    assert "needs 64 cpus on one agent; the largest agent has 4 in all" in done.stderr


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("true", (), "did not make 'out'"),
        (": > out", ("--empty-fails",), "left 'out' empty"),
    ],
)
def test_a_rule_that_does_not_make_its_output_has_failed(
    flow: Callable[[str], Flow], command: str, flags: tuple[str, ...], words: str
) -> None:
    for how in ((), ("--shared-dir",)):
        made = flow(f"out:\n\t{command}\n")
        done = made.run("--retries", "0", *flags, *how)
        assert done.returncode == 1, done.stderr
        assert words in done.stderr, how


def test_nested_and_local_rules_take_part(flow: Callable[[str], Flow]) -> None:
    made = flow(
        "export COLOUR=blue\n"
        "inner.mf:\n\tLOCAL printf 'deep: s\\\\n\\\\techo \\\\$COLOUR > deep\\\\n' > inner.mf\n"
        "deep: inner.mf s\n\tMAKEFLOW inner.mf\n"
        "here: deep\n\tLOCAL cat deep deep > here\n"
    )
    made.write("s", "x")
    done = made.run()
    assert done.returncode == 0, done.stderr + made.read("inner.mf")
    assert made.read("here") == "blue\nblue\n"


def test_a_killed_flow_goes_on_without_doing_anything_twice(flow: Callable[[str], Flow]) -> None:
    made = flow(
        "first:\n\tdate +%N > first\n"
        "later: first\n\tcat first > later; GATE; date >> later\n"
        "here: first\n\tLOCAL echo begun >> marks; sleep 30; echo ended >> marks; cp first here\n"
        "end: later\n\tcp later end\n"
    )
    running = made.begin()
    wait_until(made.there("marks"), "the LOCAL rule runs", FLOW_S_MAX)
    wait_until(lambda: "later" in made.pool.run("task", "list").stdout, "the long rule runs", FLOW_S_MAX)
    stamp = made.read("first")
    running.kill()
    running.communicate(timeout=FLOW_S_MAX)
    wait_until(lambda: not any(_sleeps_30(pid) for pid in processes_of(made.directory)), "the LOCAL command is gone")
    made.write("Makeflow", made.read("Makeflow").replace("sleep 30; ", ""))
    made.go()
    done = made.run("--json")
    assert done.returncode == 0, done.stderr
    assert made.read("first") == stamp
    assert made.read("end").startswith(stamp)
    assert made.read("marks") == "begun\nbegun\nended\n"
    record = json.loads(done.stdout)
    assert (record["kept"], record["retried"]) == (1, 0)
    started = json.loads(made.pool.run("task", "list", "--all", "--json").stdout)
    assert len([task for task in started if task["name"] == "later"]) == 1


def _sleeps_30(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"sleep 30" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return False


def test_a_flow_outlives_the_kill_of_the_agent(flow: Callable[[str], Flow]) -> None:
    made = flow("a:\n\techo x > a; GATE\nb: a\n\tcp a b\n")
    running = made.begin()
    wait_until(lambda: "RUNNING" in made.pool.run("task", "list").stdout, "a task runs", FLOW_S_MAX)
    (agent,) = [pid for pid in processes_of(made.pool.directory) if _is_agent(pid)]
    os.kill(agent, signal.SIGKILL)
    made.go()
    _, err = running.communicate(timeout=FLOW_S_MAX)
    assert running.returncode == 0, err
    assert made.read("b") == "x\n"


def _is_agent(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"altiplano.cli.child" in words and b"agent" in words and b"start" in words
    return False


def test_a_second_run_of_one_file_is_refused_with_the_pid_of_the_first(flow: Callable[[str], Flow]) -> None:
    made = flow("a:\n\tGATE\n")
    running = made.begin()
    wait_until(made.there("Makeflow.altiplanolog"), "the first run has its log")
    wait_until(lambda: made.run(verb="status").returncode == 0, "the log can be read")
    second = made.run()
    assert second.returncode == 5
    assert f"(process {running.pid})" in second.stderr
    assert made.run(verb="clean").returncode == 5
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=FLOW_S_MAX)
    assert running.returncode == 130
    assert "RUNNING" not in made.pool.run("task", "list").stdout


def test_jobs_limits_what_runs_at_one_time(flow: Callable[[str], Flow]) -> None:
    rules = "".join(f"o{n}:\n\techo + >> all; sleep 0.3; wc -l < all > o{n}; echo x >> ends\n" for n in range(4))
    made = flow(rules)
    done = made.run("--shared-dir", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert sorted(int(made.read(f"o{n}")) for n in range(4)) == [1, 2, 3, 4]


def test_clean_removes_what_runs_have_made_and_nothing_else(flow: Callable[[str], Flow]) -> None:
    made = flow(DIAMOND)
    made.write("s", "one\n")
    made.write("other", "stays")
    assert made.run().returncode == 0
    assert "would remove d" in made.run("--dry-run", verb="clean").stdout
    assert (made.directory / "d").exists()
    assert "removed d" in made.run(verb="clean").stdout
    assert sorted(path.name for path in made.directory.iterdir()) == ["Makeflow", "other", "s"]


def test_looking_at_a_flow_needs_no_pool(flow: Callable[[str], Flow]) -> None:
    made = flow(DIAMOND)
    made.write("s", "one\n")
    assert "level 2: 1 rule" in made.run(verb="graph").stdout
    assert '"a" -> "b"' in made.run("--dot", verb="graph").stdout
    assert "4 of 4 rules would run" in made.run("--dry-run").stdout
    assert made.run(verb="status").returncode == 3


def test_two_hundred_rules_run_with_a_shared_directory(
    flow: Callable[[str], Flow], capsys: pytest.CaptureFixture[str]
) -> None:
    width, rules = 40, []
    for layer in range(5):
        for n in range(width):
            need = f"l{layer - 1}.{(n + layer) % width}" if layer else ""
            rules.append(f"l{layer}.{n}: {need}\n\techo {n} > l{layer}.{n}\n")
    made = flow("CORES=0.1\nMEMORY=10\n" + "".join(rules))
    began = time.monotonic()
    done = made.run("--shared-dir", "--json")
    assert done.returncode == 0, done.stderr
    assert len(list(made.directory.glob("l*.*"))) == 200
    with capsys.disabled():
        inside = json.loads(done.stdout)["seconds"]
        print(f" [200 rules: {inside:.1f} s, with the start of the program {time.monotonic() - began:.1f} s]")
