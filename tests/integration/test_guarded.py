"""What `altiplano up` refuses: everybody without the token, wrong names, foreign pages, other users of the machine.

The list of endpoints comes from the sources of the routers: every text that is a path is asked, so a
new endpoint is in the list by itself.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pools import Pool, pool

from altiplano.link.transport import LINK_PATH
from altiplano.sdk import credentials

ROOT = Path(__file__).parents[2] / "altiplano"
PATH = re.compile(r'"(/[a-z{(][\w./(){}:-]*|/)"')
SOURCES = {
    "master": ["master/server.py", "master/api", "master/pages", "pagekit", "link/transport.py"],
    "agent": ["agent/server.py", "agent/api"],
    "frameworks": ["frameworks/host.py", "frameworks/flows"],
}
ALSO_BELOW = {"master": ("/master",), "agent": ("/slave(1)",), "frameworks": ("/flows",)}
OPEN = {"/health", "/version", "/master/health", "/master/version", "/slave(1)/health", "/slave(1)/version"}
EXECUTORS = "/api/v1/executor"
EXECUTORS_OWN = {EXECUTORS, "/slave(1)" + EXECUTORS}
"""Executors have tokens of their own: see their own test."""
LOGIN = "/login"
METHODS = ("GET", "POST", "PUT", "DELETE")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def endpoints() -> list[tuple[str, str]]:
    """Server and path of everything that is served."""
    found = set()
    for server, sources in SOURCES.items():
        for source in sources:
            place = ROOT / source
            for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
                for path in PATH.findall(file.read_text()):
                    path = re.sub(r"{\w+(:\w+)?}", "x", path)
                    found.add((server, path))
                    found.update((server, prefix + path) for prefix in ALSO_BELOW[server])
    return sorted(found)


ENDPOINTS = endpoints()


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    with pool() as made:
        yield made


class Caller:
    """Asks one server over connections of its own."""

    def __init__(self, address: str) -> None:
        self.address = address

    def status(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> int:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in ({"Host": self.address, "Content-Length": str(len(body))} | dict(headers)).items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            return connection.getresponse().status
        finally:
            connection.close()


def callers(one: Pool) -> dict[str, Caller]:
    record = credentials.read_up(one.directory)
    assert record is not None
    return {
        "master": Caller(record.master),
        "agent": Caller(record.agent),
        "frameworks": Caller(record.frameworks),
    }


def token(one: Pool) -> str:
    return credentials.read_token(one.directory / credentials.TOKEN_FILE)


def refusals(one: Pool, headers: Mapping[str, str], *, but: set[str]) -> dict[str, set[int]]:
    """Status of everything asked with these headers, by server and path, apart from the paths in `but`."""
    asked = callers(one)
    found: dict[str, set[int]] = {}
    for server, path in ENDPOINTS:
        if path not in but:
            statuses = {asked[server].status(method, path, headers) for method in METHODS}
            if server == "master" and path in (LINK_PATH, "/master" + LINK_PATH):
                statuses.add(asked[server].status("GET", path, {**headers, **UPGRADE}))
            found[f"{server} {path}"] = statuses
    return found


def test_the_list_of_endpoints() -> None:
    print(*(f"{server:10} {path}" for server, path in ENDPOINTS), sep="\n")
    assert {
        ("master", "/api/v1"),
        ("master", "/api/v1/scheduler"),
        ("master", LINK_PATH),
        ("master", "/state"),
        ("master", "/ui/agents"),
        ("agent", "/api/v1"),
        ("agent", EXECUTORS),
        ("agent", "/state"),
        ("frameworks", "/flows/api/v1/flow"),
    } <= set(ENDPOINTS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + base64.b64encode(b"admin:wrong").decode()},
        {"Cookie": "altiplano_token=wrong"},
        {"Authorization": "Bearer "},
    ],
    ids=["nothing", "bearer", "basic", "cookie", "empty"],
)
def test_without_the_token_everything_is_refused(one: Pool, headers: dict[str, str]) -> None:
    found = refusals(one, headers, but=OPEN | EXECUTORS_OWN | {LOGIN})
    # A handshake is refused without the chance to say 401.
    wrong = {what: statuses for what, statuses in found.items() if not statuses <= {401, 403} or 401 not in statuses}
    assert not wrong


def test_health_and_version_are_open(one: Pool) -> None:
    asked = callers(one)
    opened = [("master", path) for path in OPEN if "slave" not in path]
    opened += [("agent", path) for path in OPEN if "master" not in path] + [("frameworks", "/health")]
    assert {asked[server].status("GET", path, {}) for server, path in opened} == {200}


def test_an_executor_without_its_own_token_is_refused(one: Pool) -> None:
    call = b'{"type":"SUBSCRIBE","framework_id":{"value":"f"},"executor_id":{"value":"e"},"subscribe":{}}'
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    for prefix in ("", "/slave(1)"):
        # One that the agent never launched is unknown to begin with: 400, as from Mesos.
        assert callers(one)["agent"].status("POST", prefix + EXECUTORS, headers, call) in (400, 401, 403)


def test_a_login_link_opens_nothing_without_the_token(one: Pool) -> None:
    for server, caller in callers(one).items():
        assert caller.status("GET", "/login", {}) == 401, server
        assert caller.status("GET", "/login?token=wrong", {}) == 401, server
        assert caller.status("GET", f"/login?token={token(one)}", {}) == 303, server


@pytest.mark.parametrize("kind", ["bearer", "cookie"])
@pytest.mark.parametrize(
    "foreign",
    [
        {"Host": "pool.example.com"},
        {"Host": "127.0.0.1.example.com:80"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
    ids=["host", "host-like-ours", "no-host", "origin", "null-origin"],
)
def test_a_foreign_host_or_origin_is_refused_even_with_the_token(one: Pool, kind: str, foreign: dict[str, str]) -> None:
    secret = token(one)
    known = {"bearer": {"Authorization": f"Bearer {secret}"}, "cookie": {"Cookie": f"altiplano_token={secret}"}}
    found = refusals(one, {**known[kind], **foreign}, but=set())
    allowed = {403} if foreign.get("Host") != "" else {400, 403}
    assert not {what: statuses for what, statuses in found.items() if not statuses <= allowed}


def test_the_token_opens(one: Pool) -> None:
    headers = {"Authorization": f"Bearer {token(one)}"}
    assert [
        caller.status("GET", path, headers)
        for caller, path in zip(callers(one).values(), ("/state", "/state", "/frameworks"), strict=True)
    ] == [200, 200, 200]


def as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NOBODY, *words], capture_output=True, text=True, timeout=20, check=False, cwd="/")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_reads_nothing_and_reaches_no_socket(one: Pool) -> None:
    done = one.run("run", "--", "sh", "-c", "echo secret > kept; sleep 0.1")
    assert done.returncode == 0
    # The base directory of the test may be entered by all: what closes is the pool's own.
    one.directory.parent.chmod(0o755)
    token_file = one.directory / credentials.TOKEN_FILE
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert as_nobody("true").returncode == 0
    for path in (token_file, one.directory / "up.json", one.directory / "agent", one.directory / "master"):
        assert as_nobody("test", "-r", str(path)).returncode != 0, path
        assert as_nobody("ls", "-l", str(path)).returncode != 0 or not as_nobody("ls", str(path)).stdout.strip(), path
    sockets = [path for path in one.directory.rglob("*") if path.is_socket()]
    assert sockets, "the supervisor has a socket"
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        refused = as_nobody("/usr/bin/env", "python3", "-c", script)
        assert refused.returncode != 0
        assert "PermissionError" in refused.stderr, refused.stderr
