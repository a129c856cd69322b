"""Files in and out: the endpoint behind a real server, the wrapper in a real shell."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import uvicorn

from altiplano.frameworks.flows import contents, datapath, wrapper
from altiplano.frameworks.flows.contents import ContentError
from altiplano.frameworks.flows.datapath import DataPath
from altiplano.frameworks.flows.wrapper import Packed

TASK = "run.1"


class Place:
    """A data path on a loopback port, its directory, and a sandbox beside it."""

    def __init__(self, root: Path, sandbox: Path, port: int) -> None:
        self.root = root
        self.sandbox = sandbox
        self.url = f"http://127.0.0.1:{port}"
        self.data = DataPath(root, "secret")

    async def sh(self, script: str, *, path: str | None = None) -> tuple[int, str]:
        """Run a script in the sandbox; its status and what it wrote to stderr."""
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            cwd=self.sandbox,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PATH": path or os.environ["PATH"]},
        )
        async with asyncio.timeout(30):
            _, told = await process.communicate()
        return process.returncode or 0, told.decode()

    def wrap(self, command: str, *outputs: str, **options: object) -> str:
        return wrapper.wrap(
            command,
            url=self.url + self.data.allow(TASK, outputs),
            outputs=outputs,
            **options,  # type: ignore[arg-type]
        )

    def left(self) -> list[str]:
        """Files in the workflow's directory."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    root, sandbox = tmp_path / "root", tmp_path / "sandbox"
    root.mkdir()
    sandbox.mkdir()
    made: list[Place] = []

    async def app(scope: object, receive: object, send: object) -> None:
        await made[0].data(scope, receive, send)  # type: ignore[arg-type]

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    made.append(Place(root, sandbox, server.servers[0].sockets[0].getsockname()[1]))
    yield made[0]
    server.should_exit = True
    await serving


@pytest.fixture
def without_curl(tmp_path: Path) -> str:
    """A PATH with python3 and what a shell needs, but no curl."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "wc", "tar", "mkdir", "rm", "cat", "printf", "date", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    (tools / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tools / "python3").chmod(0o755)
    return str(tools)


# The wrapper


async def test_outputs_are_put_and_complete_when_they_are_there(place: Place) -> None:
    command = "printf one > a; printf two > 'b c'; chmod 755 a"
    assert await place.sh(place.wrap(command, "a", "b c")) == (0, "")
    assert (place.root / "a").read_text() == "one"
    assert (place.root / "b c").read_text() == "two"
    assert [os.access(place.root / name, os.X_OK) for name in ("a", "b c")] == [True, False]
    assert place.left() == ["a", "b c"]
    assert [name for name in os.listdir(place.sandbox) if name.startswith(".")] == []


async def test_python_takes_the_place_of_curl(place: Place, without_curl: str) -> None:
    assert await place.sh(place.wrap("printf one > a", "a"), path=without_curl) == (0, "")
    assert (place.root / "a").read_text() == "one"


async def test_without_curl_and_python_it_is_said(place: Place, without_curl: str) -> None:
    os.unlink(Path(without_curl) / "python3")
    status, told = await place.sh(place.wrap("printf one > a", "a"), path=without_curl)
    assert status == wrapper.STATUS_TRANSFER
    assert told == "altiplano-flow: 'a' was not sent: neither curl with sha256sum nor python3 is here\n"


async def test_a_large_output_is_hashed_while_it_is_sent(place: Place) -> None:
    assert await place.sh(place.wrap("head -c 5000000 /dev/urandom > big", "big")) == (0, "")
    sent, kept = ((folder / "big").read_bytes() for folder in (place.sandbox, place.root))
    assert sent == kept


@pytest.mark.parametrize("name", ["größe", "a'b", "x[1-3]{a,b}", "$HOME", "sub/deep/file", "ends with.part"])
async def test_any_name_can_be_put(place: Place, name: str) -> None:
    (place.sandbox / "sub/deep").mkdir(parents=True)
    (place.sandbox / name).write_text("x")
    assert await place.sh(place.wrap("true", name)) == (0, "")
    assert (place.root / name).read_text() == "x"


async def test_an_empty_output_counts_as_made_unless_forbidden(place: Place) -> None:
    assert await place.sh(place.wrap(": > a", "a")) == (0, "")
    assert (place.root / "a").read_bytes() == b""
    status, told = await place.sh(place.wrap(": > a", "a", empty_fails=True))
    assert (status, told) == (
        wrapper.STATUS_EMPTY,
        "altiplano-flow: the command ended with status 0 and left 'a' empty\n",
    )


async def test_the_status_of_a_failed_command_is_its_own_and_nothing_is_put(place: Place) -> None:
    status, told = await place.sh(place.wrap("printf half > a; echo oops >&2; exit 7", "a"))
    assert (status, told, place.left()) == (7, "oops\n", [])


async def test_a_missing_output_is_named(place: Place) -> None:
    status, told = await place.sh(place.wrap("true", "a"))
    assert (status, told) == (
        wrapper.STATUS_MISSING,
        "altiplano-flow: the command ended with status 0 and did not make 'a'\n",
    )


async def test_a_try_that_has_ended_can_put_nothing(place: Place) -> None:
    script = place.wrap("printf x > a", "a")
    place.data.revoke(TASK)
    status, told = await place.sh(script)
    assert status == wrapper.STATUS_TRANSFER
    assert "410 the rule's try that this token belongs to has ended" in told
    assert place.left() == []


async def test_a_directory_is_put_as_a_whole_and_replaces_the_old_one(place: Place) -> None:
    (place.root / "d").mkdir()
    (place.root / "d/old").write_text("old")
    assert await place.sh(place.wrap("mkdir -p d/sub; printf x > d/sub/f; ln -s sub/f d/l", "d")) == (0, "")
    assert place.left() == ["d", "d/l", "d/sub", "d/sub/f"]
    assert (place.root / "d/l").read_text() == "x"


async def test_an_input_directory_is_unpacked_before_the_command(place: Place) -> None:
    (place.root / "in/deep").mkdir(parents=True)
    (place.root / "in/deep/f").write_text("hello")
    content = contents.describe(place.root / "in")
    fetched = await get(place.url + place.data.offer(content))
    (place.sandbox / "in.tar").write_bytes(fetched)
    packed = Packed(archive="in.tar", directory="in")
    script = place.wrap("cat in/deep/f > out/a", "out/a", packed=(packed,), directories=("out",))
    assert await place.sh(script) == (0, "")
    assert (place.root / "out/a").read_text() == "hello"
    assert hashlib.sha256(fetched).hexdigest() == content.sha256


async def test_a_damaged_input_directory_is_told(place: Place) -> None:
    (place.sandbox / "in.tar").write_bytes(b"no tar")
    status, told = await place.sh(place.wrap("true", packed=(Packed(archive="in.tar", directory="in"),)))
    assert status == wrapper.STATUS_INPUT
    assert "altiplano-flow: the input directory 'in' could not be unpacked" in told


# The endpoint


async def get(url: str, expect: int = 200) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == expect, await response.text()
        return await response.read()


async def ask(method: str, url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.request(method, url, data=data, headers=named) as response:
        return response.status, (await response.text()).strip()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_an_input_is_served_by_its_content(place: Place) -> None:
    source = place.root / "s"
    source.write_bytes(os.urandom(3_000_000))
    content = contents.describe(source)
    url = place.url + place.data.offer(content)
    assert await get(url) == source.read_bytes()
    assert url == place.url + place.data.offer(content)
    status, _ = await ask("HEAD", url)
    assert status == 200


async def test_a_permit_is_for_one_content_only(place: Place) -> None:
    for name in ("a", "b"):
        (place.root / name).write_text(name)
    url = place.data.offer(contents.describe(place.root / "a"))
    other = contents.describe(place.root / "b")
    place.data.offer(other)
    _, _, permit, _ = url.split("/")
    assert b"not for this content" in await get(f"{place.url}/in/{permit}/{other.sha256}", 403)


async def test_an_input_that_was_changed_is_not_served(place: Place) -> None:
    (place.root / "a").write_text("a")
    url = place.url + place.data.offer(contents.describe(place.root / "a"))
    (place.root / "a").write_text("ab")
    assert b"was changed after it was hashed" in await get(url, 410)


async def test_an_interrupted_put_goes_on_where_it_stopped(place: Place) -> None:
    content = os.urandom(100_000)
    url = place.url + place.data.allow(TASK, ("a",)) + "/0"
    query = f"?size={len(content)}&sha256={sha(content)}"
    assert await ask("PUT", url + query, content[:60_000]) == (409, "60000")
    assert await ask("GET", url) == (200, "60000")
    assert not (place.root / "a").exists()
    status, text = await ask("PUT", url + query, content[50_000:], Content_Range="bytes 50000-99999/100000")
    assert (status, text) == (409, "60000")
    status, text = await ask("PUT", url + query, content[60_000:], Content_Range="bytes 60000-99999/100000")
    assert (status, text) == (201, "done")
    assert (place.root / "a").read_bytes() == content
    assert await ask("GET", url) == (200, "done")
    assert await ask("PUT", url + query, content) == (201, "done")


async def test_a_put_goes_on_after_a_restart_of_the_manager(place: Place) -> None:
    content = os.urandom(50_000)
    url = place.url + place.data.allow(TASK, ("a",)) + "/0"
    query = f"?size={len(content)}&sha256={sha(content)}"
    await ask("PUT", url + query, content[:20_000])
    place.data = DataPath(place.root, "secret")
    assert place.url + place.data.allow(TASK, ("a",)) + "/0" == url
    assert await ask("GET", url) == (200, "20000")
    assert await ask("PUT", url + query, content[20_000:], Content_Range="bytes 20000-49999/50000") == (201, "done")
    assert (place.root / "a").read_bytes() == content


async def test_a_wrong_checksum_is_refused_and_the_output_sent_again(place: Place) -> None:
    url = place.url + place.data.allow(TASK, ("a",)) + "/0"
    status, text = await ask("PUT", f"{url}?size=3&sha256={sha(b'xyz')}", b"abc")
    assert (status, text.startswith(f"the checksum is {sha(b'abc')} here")) == (422, True)
    assert await ask("GET", url) == (200, "0")
    assert await ask("PUT", f"{url}?size=3&sha256={sha(b'abc')}", b"abc") == (201, "done")


async def test_a_checksum_may_come_later(place: Place) -> None:
    url = place.url + place.data.allow(TASK, ("a",)) + "/0"
    assert await ask("PUT", f"{url}?size=3", b"abc") == (202, "its checksum is awaited")
    assert not (place.root / "a").exists()
    assert await ask("POST", f"{url}?size=3&sha256={sha(b'abc')}") == (201, "done")
    assert (place.root / "a").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("method", "rest", "status", "sentence"),
    [
        ("PUT", "/0", 400, "the query must tell the output's size"),
        ("PUT", "/0?size=2", 400, "more came than the 2 bytes announced"),
        ("PUT", "/7?size=3", 404, "the rule has 1 outputs, numbered from 0"),
        ("PUT", f"/0?size={datapath.OUTPUT_BYTES_MAX + 1}", 413, "an output has at most"),
        (
            "PUT",
            f"/0?size={datapath.OUTPUT_BYTES_MAX}",
            507,
            "the output 'a' waits on its machine: it has 1099511627776 bytes",
        ),
        ("POST", "/0?sha256=00", 409, "0"),
        ("DELETE", "/0", 404, "nothing is here"),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_a_sentence(
    place: Place, method: str, rest: str, status: int, sentence: str
) -> None:
    url = place.url + place.data.allow(TASK, ("a",))
    got, text = await ask(method, url + rest, b"abc" if method == "PUT" else None)
    assert (got, text[: len(sentence)]) == (status, sentence)


async def test_what_a_try_left_half_is_removed_with_its_end(place: Place) -> None:
    url = place.url + place.data.allow(TASK, ("a",)) + "/0"
    await ask("PUT", f"{url}?size=5", b"abc")
    assert place.left() == [f"a.{TASK}.part"]
    place.data.revoke(TASK)
    assert place.left() == []


# Contents


def test_a_directory_has_the_same_hash_whenever_its_files_are_the_same(tmp_path: Path) -> None:
    for name, order in (("a", ("x", "y")), ("b", ("y", "x"))):
        (tmp_path / name / "sub").mkdir(parents=True)
        for file in order:
            (tmp_path / name / "sub" / file).write_text(file)
    first, second = (contents.describe(tmp_path / name) for name in ("a", "b"))
    assert (first.sha256, first.size_bytes) == (second.sha256, second.size_bytes)
    (tmp_path / "b/sub/x").write_text("z")
    assert contents.describe(tmp_path / "b").sha256 != first.sha256


def test_a_pipe_cannot_be_carried(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ContentError, match="neither file, directory nor link"):
        contents.describe(tmp_path)


def test_a_packed_directory_cannot_lead_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        (tmp_path / "f").write_text("x")
        tar.add(tmp_path / "f", "../escaped")
    with pytest.raises(ContentError, match="cannot be unpacked"):
        contents.unpack(tmp_path / "evil.tar", tmp_path / "target")
    assert not (tmp_path / "escaped").exists()


# After a restart of the manager


async def test_a_task_of_the_run_before_waits_for_inputs_that_are_hashed_again(place: Place) -> None:
    (place.root / "in").write_text("content")
    content = contents.describe(place.root / "in")
    path = DataPath(place.root, "secret").offer(content)
    place.data.expect(TASK)
    asking = asyncio.create_task(get(place.url + path))
    done, _ = await asyncio.wait([asking], timeout=0.05)
    assert not done, "it waits"
    place.data.offer(content)
    assert await asking == b"content"


async def test_an_input_that_no_such_task_reads_is_refused_when_all_are_hashed(place: Place) -> None:
    (place.root / "in").write_text("content")
    path = DataPath(place.root, "secret").offer(contents.describe(place.root / "in"))
    place.data.expect(TASK)
    asking = asyncio.create_task(get(place.url + path, 404))
    await asyncio.wait([asking], timeout=0.05)
    place.data.met(TASK)
    assert b"no rule that runs now reads this content" in await asking
    # Later ones do not wait.
    await get(place.url + path, 404)


async def test_outputs_of_a_nested_workflow_wait_until_it_has_been_read_again(place: Place) -> None:
    script = place.wrap("printf one > a", "a")
    place.data = DataPath(place.root, "secret")
    place.data.expect(TASK)
    running = asyncio.create_task(place.sh(script))
    await asyncio.wait([running], timeout=0.3)
    assert not running.done()
    place.data.allow(TASK, ("a",))
    assert await running == (0, "")
    assert (place.root / "a").read_text() == "one"
