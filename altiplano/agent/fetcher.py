"""Files for sandboxes: copied or downloaded, unpacked, made executable, and some kept for the next task.

Everything is first collected in a directory that only the agent can write to (`staging`) and then carried
into the sandbox.  For a task of another user, reading local files and writing into the sandbox is
done by small programs that run as that user: whatever a task puts into its sandbox – links to
`/etc/shadow`, say – the agent never reads or writes with rights that the task does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import lzma
import os
import posixpath
import pwd
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import IO
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
import structlog

from altiplano.agent.environment import PATH_DEFAULT
from altiplano.wire.messages import mesos

FETCHES_MAX = 16
"""Tasks that are fetched for at once; the others wait."""

FILE_BYTES_MAX = 256 * 1024**3
"""Largest file that is fetched, and largest sum of what one archive holds."""

ARCHIVE_MEMBERS_MAX = 1_000_000
CHUNK_BYTES = 1024 * 1024
CONNECT_S_MAX = 30.0
HELPER_S_MAX = 3600.0

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

log = structlog.get_logger("altiplano.agent.fetcher")


class FetchFailed(Exception):
    """A file could not be brought into a sandbox; the text names it and the reason."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    files: int
    size_bytes: int


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A user to act as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


class Cache:
    """Fetched files that later tasks may use, by user and URI.

    Tasks that want the same file at once share one download.  The least recently used files go when there
    is no room; a file that is being copied is not touched.  A file larger than the cache is handed to
    whoever waits for it and not kept.
    """

    def __init__(self, directory: str, size_bytes_max: int) -> None:
        self.directory = directory
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0
        self._entries: OrderedDict[str, int] = OrderedDict()
        self._users: dict[str, int] = {}
        self._downloads: dict[str, asyncio.Future[None]] = {}

    def wipe(self) -> None:
        """Begin empty: what an earlier process left is of unknown age."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        for name in os.listdir(self.directory):
            if name.startswith("altiplano-"):
                os.unlink(os.path.join(self.directory, name))

    async def use(
        self,
        user: str | None,
        uri: str,
        download: Callable[[str], Awaitable[None]],
        copy: Callable[[str], Awaitable[None]],
    ) -> None:
        """Have `copy` called with the path of the file, after `download` has made it if need be."""
        name = "altiplano-" + hashlib.sha256(f"{user}\0{uri}".encode()).hexdigest()
        path = os.path.join(self.directory, name)
        self._users[name] = self._users.get(name, 0) + 1
        try:
            await self._ensure(name, path, download)
            await copy(path)
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
            self._shrink()

    async def _ensure(self, name: str, path: str, download: Callable[[str], Awaitable[None]]) -> None:
        while name not in self._entries:
            running = self._downloads.get(name)
            if running is not None:
                await asyncio.wait((running,))
                continue
            done = self._downloads[name] = asyncio.get_running_loop().create_future()
            try:
                await download(path + ".part")
                os.replace(path + ".part", path)
                self._entries[name] = os.stat(path).st_size
                self.size_bytes += self._entries[name]
            finally:
                del self._downloads[name]
                done.set_result(None)
                if os.path.exists(path + ".part"):
                    os.unlink(path + ".part")
        self._entries.move_to_end(name)

    def _shrink(self) -> None:
        for name in [name for name in self._entries if name not in self._users]:
            if self.size_bytes <= self.size_bytes_max:
                return
            self.size_bytes -= self._entries.pop(name)
            os.unlink(os.path.join(self.directory, name))


class Fetcher:
    """Fills sandboxes.  `staging` lies on the same disk as the sandboxes, so that carrying over is a rename."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        cache: Cache,
        *,
        staging: str,
        frameworks_home: str | None = None,
        stall_s: float = 60.0,
    ) -> None:
        self._client = client
        self._cache = cache
        self._staging = staging
        self._frameworks_home = frameworks_home
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX, sock_read=stall_s)
        self._slots = asyncio.Semaphore(FETCHES_MAX)

    def prepare(self) -> None:
        """Remove what an earlier process left half done."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._staging)
        os.makedirs(self._staging, mode=0o711)
        self._cache.wipe()

    async def fetch(
        self, uris: Sequence[mesos.CommandInfoURI], container_id: str, directory: str, user: str | None
    ) -> Fetched:
        """Bring all URIs, in their order, into the sandbox `directory`.

        Raises FetchFailed; then nothing is promised of the sandbox.
        """
        async with self._slots:
            stage = os.path.join(self._staging, container_id)
            identity = identity_of(user) if user is not None else None
            try:
                await asyncio.to_thread(_fresh_directory, stage)
                for uri in uris:
                    await self._one(uri, stage, identity)
                size_bytes = await asyncio.to_thread(_tree_bytes, stage)
                await _deliver(stage, directory, identity)
            except OSError as error:
                raise FetchFailed(f"the sandbox could not be filled: {error}") from error
            except FetchFailed:
                raise
            except Exception as error:  # whatever a URI or what it brings makes of us costs its task, not the agent
                log.exception("a fetch broke", action="fetch-broke", container=container_id)
                raise FetchFailed(f"the sandbox could not be filled: {type(error).__name__}: {error}") from error
            finally:
                await asyncio.to_thread(shutil.rmtree, stage, True)
        return Fetched(files=len(uris), size_bytes=size_bytes)

    async def _one(self, uri: mesos.CommandInfoURI, stage: str, identity: Identity | None) -> None:
        name = target_name(uri)
        target = os.path.join(stage, name)
        await asyncio.to_thread(os.makedirs, os.path.dirname(target), 0o755, True)
        if uri.cache:
            user = identity.name if identity is not None else None
            await self._cache.use(
                user,
                uri.value,
                lambda path: self._get(uri.value, path, identity),
                lambda path: asyncio.to_thread(_copy, path, target),
            )
        else:
            await self._get(uri.value, target, identity)
        if uri.executable:
            await asyncio.to_thread(os.chmod, target, 0o755)
        elif uri.extract:
            await asyncio.to_thread(unpack, target, stage, uri.value)

    async def _get(self, source: str, target: str, identity: Identity | None) -> None:
        """Make the file `target` from an address or a local path."""
        parts = urlsplit(source)
        if parts.scheme in ("http", "https"):
            await self._download(source, target)
            return
        path = self._local_path(source)
        if identity is None:
            await asyncio.to_thread(_copy_local, source, path, target)
        else:
            await _copy_as(identity, source, path, target)

    def _local_path(self, source: str) -> str:
        parts = urlsplit(source)
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise FetchFailed(f"{source} names another host: a file URI has none, as in file:///path")
            return unquote(parts.path)
        if parts.scheme and "://" in source:
            raise FetchFailed(f"{source} cannot be fetched: this agent knows http, https, file and plain paths")
        if source.startswith("/"):
            return source
        if self._frameworks_home is None:
            raise FetchFailed(f"{source} is a relative path, and the agent has no --frameworks-home to look in")
        return os.path.join(self._frameworks_home, source)

    async def _download(self, source: str, target: str) -> None:
        size_bytes = 0
        try:
            async with self._client.get(source, timeout=self._timeout) as response:
                if response.status != 200:
                    raise FetchFailed(f"{source} answered {response.status} {response.reason or ''}".rstrip())
                with open(target, "xb") as file:
                    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                        size_bytes += len(chunk)
                        if size_bytes > FILE_BYTES_MAX:
                            raise FetchFailed(f"{source} is larger than {FILE_BYTES_MAX} bytes, the limit of one file")
                        await asyncio.to_thread(file.write, chunk)
        except TimeoutError as error:
            raise FetchFailed(f"{source} brought nothing for {self._timeout.sock_read:g} s") from error
        except aiohttp.InvalidURL as error:
            raise FetchFailed(f"{source} is not an address") from error
        except aiohttp.ClientError as error:
            raise FetchFailed(f"{source} could not be downloaded: {error}") from error


def identity_of(user: str) -> Identity:
    """The ids of a user.  Raises FetchFailed if there is none of that name."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise FetchFailed(f"there is no user {user} on this machine") from None
    groups = tuple(os.getgrouplist(user, entry.pw_gid))
    return Identity(name=user, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups)


def target_name(uri: mesos.CommandInfoURI) -> str:
    """The path below the sandbox that a URI's file gets.  Raises FetchFailed for one that leads out of it."""
    if uri.output_file:
        name = posixpath.normpath(uri.output_file)
        if name.startswith(("/", "../")) or name in ("..", ".") or "\0" in name:
            raise FetchFailed(f"the output_file {uri.output_file!r} of {uri.value} does not lie in the sandbox")
        return name
    path = urlsplit(uri.value).path if "://" in uri.value else uri.value
    name = path.rsplit("/", 1)[-1]
    if not name or name in (".", "..") or any(sign in name for sign in "\\'\0"):
        raise FetchFailed(f"{uri.value} does not end in a usable file name: give it an output_file")
    return name


def unpack(path: str, directory: str, source: str) -> None:
    """Unpack an archive beside itself, known by the ending of its name; anything else stays as it is.

    The archive itself stays too, as in Mesos.  Members that would leave the directory are refused.
    """
    lower = path.lower()
    try:
        if lower.endswith(TAR_ENDINGS):
            with tarfile.open(path) as archive:
                _check_members((member.size for member in archive), source)
                archive.extractall(directory, filter="data")
        elif lower.endswith(".zip"):
            _unzip(path, directory, source)
        elif lower.endswith(".gz"):
            with gzip.open(path, "rb") as packed, open(path[: -len(".gz")], "xb") as plain:
                _copy_bounded(packed, plain, source)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
        raise FetchFailed(f"{source} could not be unpacked: {error}") from error


def _unzip(path: str, directory: str, source: str) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_members((member.file_size for member in members), source)
        for member in members:
            where = archive.extract(member, directory)
            mode = member.external_attr >> 16 & 0o777
            if mode and not member.is_dir():
                os.chmod(where, mode)


def _check_members(sizes: Iterable[int], source: str) -> None:
    size_bytes = 0
    for count, size in enumerate(sizes):
        size_bytes += size
        if count >= ARCHIVE_MEMBERS_MAX or size_bytes > FILE_BYTES_MAX:
            raise FetchFailed(
                f"{source} unpacks to more than {FILE_BYTES_MAX} bytes or {ARCHIVE_MEMBERS_MAX} files, the limit"
            )


def _copy_bounded(packed: gzip.GzipFile, plain: IO[bytes], source: str) -> None:
    size_bytes = 0
    while chunk := packed.read(CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > FILE_BYTES_MAX:
            raise FetchFailed(f"{source} unpacks to more than {FILE_BYTES_MAX} bytes")
        plain.write(chunk)


def _fresh_directory(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o755)


def _tree_bytes(path: str) -> int:
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as read, open(target, "xb") as write:
        shutil.copyfileobj(read, write, CHUNK_BYTES)


def _copy_local(source: str, path: str, target: str) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FetchFailed(f"{source} is not an ordinary file")
        _copy(path, target)
    except OSError as error:
        raise FetchFailed(f"{source} could not be copied: {error.strerror or error}") from error


async def _copy_as(identity: Identity, source: str, path: str, target: str) -> None:
    """Copy what the user may read."""
    with open(target, "xb") as file:
        await _helper(
            identity, ("cat", "--", path), stdout=file.fileno(), cwd="/", what=f"{source} could not be copied"
        )


async def _deliver(stage: str, directory: str, identity: Identity | None) -> None:
    """Carry everything from the staging directory into the sandbox."""
    if identity is None:
        await asyncio.to_thread(_merge, stage, directory)
        return
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By descriptor, since the user need not be able to walk down to its sandbox from the root.
        command = ("cp", "-R", "--preserve=mode", "--", ".", f"/proc/self/fd/{folder}/")
        what = "the fetched files could not be put into the sandbox"
        await _helper(identity, command, cwd=stage, pass_fds=(folder,), what=what)
    finally:
        os.close(folder)


def _merge(source: str, target: str) -> None:
    """Move a tree into another, replacing files and keeping directories that are there already."""
    for entry in os.scandir(source):
        place = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False) and os.path.isdir(place) and not os.path.islink(place):
            _merge(entry.path, place)
        else:
            if os.path.isdir(place) and not os.path.islink(place):
                shutil.rmtree(place)
            os.replace(entry.path, place)


def _become(identity: Identity) -> None:
    """Give up all other rights; in the child, where nothing else runs."""
    os.setgroups(identity.groups)
    os.setgid(identity.gid)
    os.setuid(identity.uid)


async def _helper(
    identity: Identity,
    command: tuple[str, ...],
    *,
    cwd: str,
    what: str,
    stdout: int = asyncio.subprocess.DEVNULL,
    pass_fds: tuple[int, ...] = (),
) -> None:
    """Run a small program as a user.  Raises FetchFailed with its own words when it fails."""
    environment: Mapping[str, str] = {"PATH": PATH_DEFAULT, "LC_ALL": "C"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=environment,
            pass_fds=pass_fds,
            # uvloop knows neither `user` nor `group`; asyncio's own loop knows this too.
            preexec_fn=partial(_become, identity),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FetchFailed(f"{what}: {error}") from error
    try:
        async with asyncio.timeout(HELPER_S_MAX):
            _, words = await process.communicate()
    except BaseException:  # also when cancelled, the helper must not go on
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise FetchFailed(f"{what}, as user {identity.name}: {words.decode(errors='replace').strip()[:500]}")
