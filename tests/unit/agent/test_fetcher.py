"""The fetcher against a real server on this machine."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import web

from altiplano.agent import fetcher
from altiplano.wire.messages import mesos


class Server:
    """Files by name, and how often each was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: dict[str, int] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked[name] = self.asked.get(name, 0) + 1
        await self.gate.wait()
        if name not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[name])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_get("/{name}", served.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


class Bench:
    def __init__(self, client: aiohttp.ClientSession, tmp_path: Path, cache_bytes: int) -> None:
        self.sandbox = tmp_path / "sandbox"
        self.sandbox.mkdir()
        self.cache = fetcher.Cache(str(tmp_path / "cache"), cache_bytes)
        self.fetcher = fetcher.Fetcher(client, self.cache, staging=str(tmp_path / "staging"), stall_s=5)
        self.fetcher.prepare()
        self.count = 0

    async def fetch(self, value: str, *, user: str | None = None, **more: object) -> fetcher.Fetched:
        self.count += 1
        uri = mesos.CommandInfoURI(value=value, **more)  # type: ignore[arg-type]
        return await self.fetcher.fetch((uri,), f"c{self.count}", str(self.sandbox), user)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession() as client:
        yield Bench(client, tmp_path, 1000)


def tar(name: str = "dir/inner.txt", data: bytes = b"packed") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


async def test_a_file_comes_over_http(server, bench):
    server.files["a.txt"] = b"hello"
    found = await bench.fetch(server.url + "/a.txt?token=1")
    assert (bench.sandbox / "a.txt").read_bytes() == b"hello"
    assert (found.files, found.size_bytes) == (1, 5)


@pytest.mark.parametrize("form", ["file://{}", "{}"])
async def test_a_local_file_is_copied(bench, tmp_path, form):
    (tmp_path / "local.txt").write_text("near")
    await bench.fetch(form.format(tmp_path / "local.txt"))
    assert (bench.sandbox / "local.txt").read_text() == "near"


async def test_an_executable_is_not_unpacked(server, bench):
    server.files["prog.tar.gz"] = tar()
    await bench.fetch(server.url + "/prog.tar.gz", executable=True)
    assert os.access(bench.sandbox / "prog.tar.gz", os.X_OK)
    assert not (bench.sandbox / "dir").exists()


async def test_a_tar_is_unpacked_and_stays(server, bench):
    server.files["p.tgz"] = tar()
    await bench.fetch(server.url + "/p.tgz")
    assert (bench.sandbox / "dir" / "inner.txt").read_bytes() == b"packed"
    assert (bench.sandbox / "p.tgz").exists()


async def test_a_zip_keeps_its_modes(server, bench):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("bin/run")
        info.external_attr = 0o100755 << 16
        archive.writestr(info, "#!/bin/sh\n")
    server.files["p.zip"] = out.getvalue()
    await bench.fetch(server.url + "/p.zip")
    assert os.access(bench.sandbox / "bin" / "run", os.X_OK)


async def test_a_gz_becomes_the_file_it_holds(server, bench):
    server.files["log.gz"] = gzip.compress(b"plain")
    await bench.fetch(server.url + "/log.gz")
    assert (bench.sandbox / "log").read_bytes() == b"plain"


async def test_an_archive_is_left_alone_on_request(server, bench):
    server.files["p.tar.gz"] = tar()
    await bench.fetch(server.url + "/p.tar.gz", extract=False)
    assert sorted(path.name for path in bench.sandbox.iterdir()) == ["p.tar.gz"]


async def test_the_output_file_may_lie_in_a_directory(server, bench):
    server.files["a"] = b"x"
    (bench.sandbox / "sub").mkdir()
    (bench.sandbox / "sub" / "kept").write_text("")
    await bench.fetch(server.url + "/a", output_file="sub/b")
    assert sorted(path.name for path in (bench.sandbox / "sub").iterdir()) == ["b", "kept"]


@pytest.mark.parametrize(
    ("value", "more", "words"),
    [
        ("/missing", {}, "404"),
        ("/a", {"output_file": "../out"}, "sandbox"),
        ("/a", {"output_file": "/out"}, "sandbox"),
        ("/", {}, "file name"),
    ],
)
async def test_what_cannot_be_fetched_is_told(server, bench, value, more, words):
    server.files["a"] = b"x"
    with pytest.raises(fetcher.FetchFailed, match=words):
        await bench.fetch(server.url + value, **more)
    assert not list(bench.sandbox.iterdir())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("hdfs://x/y", "http, https, file"),
        ("relative", "frameworks-home"),
        ("/no/such/file", "No such file"),
        ("/dev/null", "ordinary"),
    ],
)
async def test_other_places_are_refused_with_a_sentence(bench, value, words):
    with pytest.raises(fetcher.FetchFailed, match=words):
        await bench.fetch(value)


@pytest.mark.parametrize(
    "value", ["/tmp/a\0b/file", "file:///tmp/\ud800/file", "http://[1/x", "http://127.0.0.1:99999/x"]
)
async def test_what_no_library_expects_costs_the_task_and_not_the_agent(bench, value):
    with pytest.raises(fetcher.FetchFailed):
        await bench.fetch(value)
    with pytest.raises(fetcher.FetchFailed):
        await bench.fetch(value, cache=True)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.tar.gz", gzip.compress(tar())[:40]),
        ("cut.tar.xz", b"\xfd7zXZ\x00\x00\x04garbage"),
        ("cut.tar.bz2", b"BZh91AY&SYgarbage"),
        ("cut.zip", b"PK\x03\x04garbage"),
        ("cut.gz", gzip.compress(b"x" * 1000)[:-6]),
        ("wrong.gz", gzip.compress(b"x" * 1000)[:-8] + b"\0" * 8),
    ],
)
async def test_a_broken_archive_costs_its_task_with_a_sentence(server, bench, name, data):
    server.files[name] = data
    with pytest.raises(fetcher.FetchFailed, match=name):
        await bench.fetch(f"{server.url}/{name}")


async def test_nobody_answering_is_a_failure_with_a_sentence(bench):
    with pytest.raises(fetcher.FetchFailed, match="could not be downloaded"):
        await bench.fetch("http://127.0.0.1:1/x")


async def test_an_archive_cannot_leave_the_sandbox(server, bench, tmp_path):
    server.files["evil.tar.gz"] = tar("../../evil.txt")
    with pytest.raises(fetcher.FetchFailed, match="unpacked"):
        await bench.fetch(server.url + "/evil.tar.gz")
    assert not (tmp_path / "evil.txt").exists()


async def test_a_cached_file_is_downloaded_once(server, bench):
    server.files["c"] = b"cached"
    await bench.fetch(server.url + "/c", cache=True)
    del server.files["c"]
    await bench.fetch(server.url + "/c", cache=True, output_file="again")
    assert (bench.sandbox / "again").read_bytes() == b"cached"
    assert server.asked == {"c": 1}


async def test_tasks_that_want_the_same_file_at_once_share_one_download(server, bench):
    server.files["c"] = b"cached"
    server.gate.clear()
    fetches = [
        asyncio.ensure_future(bench.fetch(server.url + "/c", cache=True, output_file=f"copy{number}"))
        for number in range(5)
    ]
    while not server.asked:
        await asyncio.sleep(0)
    server.gate.set()
    await asyncio.gather(*fetches)
    assert server.asked == {"c": 1}
    assert len(list(bench.sandbox.iterdir())) == 5


async def test_a_download_that_fails_is_tried_by_the_next_who_waits(server, bench):
    server.gate.clear()
    fetches = [
        asyncio.ensure_future(bench.fetch(server.url + "/late", cache=True, output_file=f"copy{number}"))
        for number in range(2)
    ]
    while not server.asked:
        await asyncio.sleep(0)
    server.gate.set()
    results = await asyncio.gather(*fetches, return_exceptions=True)
    assert all(isinstance(result, fetcher.FetchFailed) for result in results)
    assert server.asked == {"late": 2}


async def test_the_cache_keeps_to_its_size(server, bench):
    for number in range(4):
        server.files[f"f{number}"] = b"x" * 400
        await bench.fetch(f"{server.url}/f{number}", cache=True)
    assert bench.cache.size_bytes <= 1000
    assert len(os.listdir(bench.cache.directory)) == 2
    await bench.fetch(f"{server.url}/f3", cache=True, output_file="x")
    await bench.fetch(f"{server.url}/f0", cache=True, output_file="y")
    assert (server.asked["f3"], server.asked["f0"]) == (1, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
async def test_for_another_user_only_what_it_may_read_is_copied(bench, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root only")
    secret.chmod(0o600)
    os.chown(bench.sandbox, fetcher.identity_of("nobody").uid, -1)
    with pytest.raises(fetcher.FetchFailed, match="Permission denied"):
        await bench.fetch(str(secret), user="nobody")
    await bench.fetch("/etc/hostname", user="nobody")
    assert (bench.sandbox / "hostname").stat().st_uid == fetcher.identity_of("nobody").uid


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
async def test_a_link_planted_in_a_sandbox_leads_nowhere(server, bench, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    server.files["a"] = b"x"
    os.chown(bench.sandbox, fetcher.identity_of("nobody").uid, -1)
    (bench.sandbox / "sub").symlink_to(outside)
    with pytest.raises(fetcher.FetchFailed):
        await bench.fetch(server.url + "/a", user="nobody", output_file="sub/a")
    assert not list(outside.iterdir())


async def test_an_unknown_user_is_told(bench):
    with pytest.raises(fetcher.FetchFailed, match="no user nosuchuser"):
        await bench.fetch("/etc/hostname", user="nosuchuser")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_helper_runs_as_the_user_on_every_event_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        nobody = fetcher.identity_of("nobody")
        await fetcher._helper(
            nobody, ("sh", "-c", f'test "$(id -u):$(id -g)" = {nobody.uid}:{nobody.gid}'), cwd="/", what="w"
        )
        with pytest.raises(fetcher.FetchFailed, match="as user nobody"):
            await fetcher._helper(nobody, ("cat", "/etc/shadow"), cwd="/", what="w")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())
