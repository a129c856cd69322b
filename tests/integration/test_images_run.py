"""An image made here goes to a real registry, comes back by tag and by digest, and runs by a real runtime."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest

from altiplano.adapters import oci
from altiplano.adapters.images import challenges, overlay
from altiplano.adapters.images.inside import open_in
from altiplano.adapters.images.store import LocalImages, Settings
from altiplano.adapters.oci import Accounts, Asked, Device, Host, Mount, Network, Propagation, Tmpfs, UserMap
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.model.images import RegistryReference, parse
from altiplano.ports.images import Bounds, Credentials, Image, ImageRefused
from altiplano.ports.launcher import CgroupLimits, Rlimit
from altiplano.testing.image_files import BuiltImage, digest_of, directory, layer, link, member

PROGRAMS = {"crun": "crun", "busybox": "busybox-static"}
KEPT = Path.home() / ".cache" / "altiplano" / "bin"
REGISTRY = shutil.which("docker-registry") or shutil.which("docker-registry", path=str(KEPT))
ANA = Credentials(user="ana", password="for tests only")
COMMAND_S_MAX = 30
CUT_BYTES = 400_000
MAPPED = UserMap(host_uid=300_000, host_gid=300_000)
CGROUPS = Path("/sys/fs/cgroup")


def _has_interpreter(program: bytes) -> bool:
    """Whether a 64-bit program of this machine needs a loader beside it: then it runs in no bare image."""
    (start,), (size, count) = struct.unpack_from("=Q", program, 32), struct.unpack_from("=HH", program, 54)
    return any(struct.unpack_from("=I", program, start + number * size) == (3,) for number in range(count))


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "only root mounts overlays and starts containers here"
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"there is no {program}: apt-get install {package}"
    if REGISTRY is None:
        return "there is no docker-registry: tools/levels.py unpacks it of Debian's package of that name"
    if _has_interpreter(Path(str(shutil.which("busybox"))).read_bytes()):
        return "busybox is not the static one: apt-get install busybox-static"
    return None


pytestmark = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


def built() -> BuiltImage:
    """A root file system of one program; the upper layer takes something away and puts something in."""
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    base = layer(
        [
            *(directory(name) for name in ("bin", "etc", "old", "old/deep", "srv")),
            directory("tmp", mode=0o1777),
            member("bin/busybox", busybox, mode=0o755),
            *(link(f"bin/{name}", "busybox") for name in ("sh", "cat", "id", "ls", "echo", "grep", "touch", "true")),
            member("etc/passwd", b"root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/srv:/bin/sh\n"),
            member("etc/group", b"root:x:0:\nana:x:1000:\nphysics:x:2000:ana\n"),
            member("etc/gone", b"of the base"),
            member("old/deep/file", b"of the base"),
            # As many bytes that cannot be packed as make a download worth interrupting.
            member("srv/random", os.urandom(1_000_000)),
            member("dev-null-of-the-image", kind=tarfile.CHRTYPE, device=(1, 3)),
        ]
    )
    top = layer([member("etc/.wh.gone"), member("old/.wh..wh..opq"), member("old/new", b"of the top", uid=1000)])
    return BuiltImage([base, top], run={"Cmd": ["/bin/id"], "Env": ["A=image"], "User": "ana", "WorkingDir": "/srv"})


def hashed(password: str) -> str:
    """A line of htpasswd as the registry wants it; the C library of this system knows how."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found = library.crypt(password.encode(), b"$2b$05$" + b"abcdefghijklmnopqrstuu")
    assert isinstance(found, bytes)
    assert found.startswith(b"$2b$"), "libcrypt has no bcrypt"
    return found.decode()


@dataclass
class Registry:
    host: str

    async def push(self, repository: str, tag: str, image: BuiltImage) -> None:
        """By the distribution protocol, as any tool does."""
        known = {"Authorization": challenges.basic(ANA)}
        async with aiohttp.ClientSession(f"http://{self.host}", headers=known, raise_for_status=True) as client:
            for raw in image.blobs.values():
                async with client.post(f"/v2/{repository}/blobs/uploads/") as begun:
                    where = begun.headers["Location"]
                joint = "&" if "?" in where else "?"
                async with client.put(f"{where}{joint}digest={digest_of(raw)}", data=raw):
                    pass
            headers = {"Content-Type": image.media_type}
            async with client.put(f"/v2/{repository}/manifests/{tag}", data=image.manifest, headers=headers):
                pass


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = tmp_path / "registry"
    place.mkdir()
    (place / "htpasswd").write_text(f"{ANA.user}:{hashed(ANA.password)}\n")
    (place / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}\n"
    )
    with open(place / "log", "wb") as log:
        server = await asyncio.create_subprocess_exec(
            *(str(REGISTRY), "serve", str(place / "config.yml")), stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert server.returncode is None, (place / "log").read_text()
                await asyncio.sleep(0.05)
        yield Registry(f"127.0.0.1:{port}")
    finally:
        server.terminate()
        async with asyncio.timeout(COMMAND_S_MAX):
            await server.wait()


class CuttingProxy:
    """Stands before a registry and cuts each of the first connections that bring much."""

    def __init__(self, host: str, cuts: int) -> None:
        self._target = host.rpartition(":")[::2]
        self.cuts = cuts
        self.host = ""

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        asking = asyncio.create_task(self._copy(reader, there_writer, None))
        try:
            await self._copy(there_reader, writer, CUT_BYTES)
        finally:
            asking.cancel()
            for one in (writer, there_writer):
                one.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_max: int | None) -> None:
        done = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                done += len(data)
                if bytes_max is not None and self.cuts and done > bytes_max:
                    self.cuts -= 1
                    return
                writer.write(data)
                await writer.drain()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalImages]:
    store = LocalImages(
        str(tmp_path / "store"), Settings(bounds=Bounds(attempts_max=3)), clock=SystemClock(), ids=SystemIds()
    )
    await store.open()
    yield store
    await store.close()


class Container:
    """An image with a place to write, and a bundle; used in this order: make, run, remove."""

    def __init__(self, directory: Path, image: Image, *, owner: int = 0) -> None:
        self.id = f"altiplano-test-{os.getpid()}-{directory.name}"
        self.directory = directory
        self.image = image
        for name in ("upper", "work", "root"):
            os.makedirs(directory / name)
        os.chown(directory / "upper", owner, owner)
        overlay.mount(image.layers, str(directory / "upper"), str(directory / "work"), str(directory / "root"))

    def run(self, *arguments: str, runtime: str = "crun", **asked: object) -> subprocess.CompletedProcess[str]:
        config = oci.bundle(
            self.image.config,
            Asked(
                rootfs=str(self.directory / "root"),
                arguments=arguments or None,
                cgroup=f"/{self.id}",
                **asked,
            ),  # type: ignore[arg-type]
            Accounts(passwd=self._file("etc/passwd"), group=self._file("etc/group")),
            Host(),
        )
        (self.directory / "config.json").write_bytes(oci.text(config))
        # crun 1.8 refuses hybrid cgroups: it is shown the first version only.  What the host mounts still comes in.
        alone = [
            "unshare",
            "-m",
            "--propagation",
            "slave",
            "sh",
            "-c",
            'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"',
            "sh",
        ]
        words = [runtime, "--root", str(self.directory / "state"), "run", "-b", str(self.directory), self.id]
        return subprocess.run([*alone, *words], capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False)

    def remove(self) -> None:
        overlay.unmount(str(self.directory / "root"))
        shutil.rmtree(self.directory)

    def _file(self, name: str) -> str:
        """Read as the image's links lead, and not out of it."""
        root = os.open(self.directory / "root", os.O_PATH)
        try:
            with open(open_in(root, name.encode(), os.O_RDONLY)) as file:
                return file.read()
        finally:
            os.close(root)


@pytest.fixture
def container(tmp_path: Path, image: Image) -> Iterator[Container]:
    container = Container(tmp_path / "c1", image)
    yield container
    container.remove()
    _nothing_left(tmp_path, container.id)


def _nothing_left(place: Path, id_: str) -> None:
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
    assert list(CGROUPS.glob(f"*/{id_}")) == []
    for process in psutil.process_iter(["cmdline"]):
        assert id_ not in " ".join(process.info["cmdline"] or ())


@pytest.fixture
async def image(registry: Registry, store: LocalImages) -> Image:
    await registry.push("tests/root", "1", built())
    return await store.pull(parse(f"{registry.host}/tests/root:1"), holder="c1", credentials=ANA)


async def test_by_tag_and_by_digest_with_a_password_through_an_interrupted_download(
    registry: Registry, store: LocalImages, tmp_path: Path
) -> None:
    made = built()
    await registry.push("tests/root", "1", made)
    async with CuttingProxy(registry.host, cuts=2) as proxy:
        tag = parse(f"{proxy.host}/tests/root:1")
        with pytest.raises(ImageRefused, match="wants a user and a password"):
            await store.pull(tag, holder="c1")
        with pytest.raises(ImageRefused, match="does not let 'ana'"):
            await store.pull(tag, holder="c1", credentials=Credentials(user="ana", password="wrong"))
        by_tag = await store.pull(tag, holder="c1", credentials=ANA)
        assert proxy.cuts == 0
    pinned = RegistryReference(host=registry.host, repository="tests/root", tag=None, digest=made.digest)
    assert await store.pull(pinned, holder="c2", credentials=ANA) == by_tag
    assert by_tag.id == made.config_digest
    with pytest.raises(ImageRefused, match="does not have"):
        await store.pull(parse(f"{registry.host}/tests/other:1"), holder="c3", credentials=ANA)
    for holder in ("c1", "c2"):
        await store.release(holder)
    assert (await store.collect(size_bytes_max=0, age_s_max=0)).images == (made.config_digest,)
    left = [path for path in (tmp_path / "store").rglob("*") if path.parent != tmp_path / "store"]
    assert left == []


async def test_it_runs_as_the_image_says(container: Container) -> None:
    done = container.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "uid=1000(ana) gid=1000(ana) groups=1000(ana),2000(physics)\n"


async def test_layers_hide_what_is_below(container: Container) -> None:
    done = container.run(
        "/bin/sh", "-c", "ls /etc /old; cat /old/new; ls -d /dev-null-of-the-image; pwd; echo $A $HOME"
    )
    assert done.stdout.split() == [
        *("/etc:", "group", "passwd", "/old:", "new"),
        *("of", "the", "top/srv", "image", "/srv"),
    ]
    assert "No such file" in done.stderr


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_it_runs_as_the_task_says(container: Container, tmp_path: Path, runtime: str) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"there is no {runtime}: apt-get install {runtime}")
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "in").write_text("brought\n")
    script = "; ".join(
        [
            "cat /v/in",
            "echo out > /v/out",
            "touch /ro/x || echo ro",
            "touch /x || echo root-ro",
            "touch /scratch/x && echo scratch",
            "echo $A $B",
            "ulimit -n",
            "test -c /dev/fake-gpu && echo gpu",
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
            "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status",
            "busybox unshare -m true || echo no-namespaces",
            "ls /proc/self/net/dev && grep -c : /proc/net/dev",
            "exit 42",
        ]
    )
    done = container.run(
        *("/bin/sh", "-c", script),
        runtime=runtime,
        user="0:0",
        environment=(("B", "task"), ("PATH", "/bin")),
        directory="/tmp",
        mounts=(
            Mount(source=str(volume), target="/v"),
            Mount(source=str(volume), target="/ro", read_only=True, propagation=Propagation.SLAVE),
        ),
        tmpfs=(Tmpfs(target="/scratch", size_bytes=1 << 20),),
        devices=(Device(path="/dev/fake-gpu", kind="c", major=1, minor=5),),
        read_only_root=True,
        no_new_privileges=True,
        capabilities=("CAP_KILL",),
        rlimits=(Rlimit(name="RLIMIT_NOFILE", soft=64, hard=128),),
        limits=CgroupLimits(memory_hard_bytes=64 << 20, pids_max=20),
        network=Network.NONE,
    )
    assert done.returncode == 42, done.stderr
    assert done.stdout.splitlines() == [
        *("brought", "ro", "root-ro", "scratch", "image task", "64", "gpu", str(64 << 20)),
        *("CapEff:\t0000000000000020", "NoNewPrivs:\t1", "Seccomp:\t2", "no-namespaces", "/proc/self/net/dev", "1"),
    ]
    assert (volume / "out").read_text() == "out\n"
    assert not (volume / "x").exists()


async def test_it_runs_with_users_of_its_own(image: Image) -> None:
    """Root of the container is nobody in particular on the host."""
    place = Path(tempfile.mkdtemp(prefix="altiplano-mapped-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        container = Container(place / "c1", image, owner=MAPPED.host_uid)
        try:
            script = "id; cat /proc/self/uid_map; touch /x"
            done = container.run("/bin/sh", "-c", script, user="0", user_map=MAPPED, network=Network.NONE)
            made = (place / "c1/upper/x").stat()
        finally:
            container.remove()
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0].startswith("uid=0(root) gid=0(root)")
        assert done.stdout.splitlines()[1].split() == ["0", str(MAPPED.host_uid), str(MAPPED.size)]
        assert made.st_uid == MAPPED.host_uid
        _nothing_left(place, container.id)
    finally:
        shutil.rmtree(place)


def command(*words: str) -> None:
    subprocess.run(words, check=True, timeout=COMMAND_S_MAX)


async def test_what_is_mounted_on_the_host_later_is_seen_inside(container: Container, tmp_path: Path) -> None:
    """As an automounted /cvmfs is: the directory is there first, what it holds comes when somebody looks."""
    shared = tmp_path / "shared"
    (shared / "repository").mkdir(parents=True)
    (tmp_path / "content").mkdir()
    (tmp_path / "content/file").write_text("mounted later")
    command("mount", "--bind", str(shared), str(shared))
    try:
        command("mount", "--make-rshared", str(shared))
        script = (
            "echo ready > /sync/ready; i=0; "
            "while [ ! -e /v/repository/file ] && [ $i -lt 200 ]; do i=$((i+1)); busybox usleep 50000; done; "
            "cat /v/repository/file"
        )
        (tmp_path / "sync").mkdir()
        mounts = (
            Mount(source=str(shared), target="/v", read_only=True, propagation=Propagation.SLAVE),
            Mount(source=str(tmp_path / "sync"), target="/sync"),
        )
        running = asyncio.create_task(
            asyncio.to_thread(container.run, "/bin/busybox", "sh", "-c", script, user="0", mounts=mounts)
        )
        async with asyncio.timeout(20):
            while not (tmp_path / "sync/ready").exists():
                await asyncio.sleep(0.02)
        command("mount", "--bind", str(tmp_path / "content"), str(shared / "repository"))
        done = await running
        assert done.stdout == "mounted later"
    finally:
        command("umount", "-R", str(shared))


def test_as_many_layers_as_are_allowed_are_put_together(tmp_path: Path) -> None:
    """Their names alone are longer than what the kernel takes as options."""
    layers = [tmp_path / "layers" / f"{number:064}" for number in range(Bounds().layers_max)]
    for number, path in enumerate(layers):
        path.mkdir(parents=True)
        (path / "uppermost").write_text(str(number))
        (path / str(number)).touch()
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    root = tmp_path / "root"
    overlay.mount([str(path) for path in layers], str(tmp_path / "upper"), str(tmp_path / "work"), str(root))
    try:
        assert (root / "uppermost").read_text() == str(len(layers) - 1)
        assert len(os.listdir(root)) == len(layers) + 1
    finally:
        overlay.unmount(str(root))
    overlay.unmount(str(root))
    assert os.listdir(root) == []
