"""Where files go in and out: an HTTP endpoint of the flow itself.

    GET  /in/PERMIT/SHA256          an input, by what is in it; directories as tar streams
    GET  /out/TOKEN/N               how many bytes of output N are here, or "done"
    PUT  /out/TOKEN/N?size=…&sha256=…&kind=file|tar&mode=755    all of it, or what is still missing
    POST /out/TOKEN/N?sha256=…      the checksum, when it was not known at the beginning of the PUT

The permit of an input belongs to its content and not to a rule, so that its URL is the same for
every rule that reads it and an agent's cache fetches it once; whoever has the URL was given it with
a task that reads that content.  The token of outputs belongs to one try of one rule and ends with it.

An output is written beside its place and renamed once its length and checksum are right and it is
on disk, so a file that is there is complete.  The body streams: no more than the server's own buffer of
an upload is in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from altiplano.frameworks.flows import contents
from altiplano.frameworks.flows.contents import BLOCK_BYTES, Content, ContentError
from altiplano.frameworks.flows.progress import Stamp

OUTPUT_BYTES_MAX = 1024**4
"""Size of one output: 1 TiB."""

UPLOADS_MAX = 64
"""Outputs taken at one time; others are asked to come back."""

BUSY_S = 2
"""When they shall come back."""

INPUT_WAIT_S_MAX = 45.0
"""How long a task of the run before waits for an input that is being hashed again; agents give up after 60 s."""

TELL_AGAIN_S = 30.0
"""The same trouble of many outputs is told once in this time."""

PERMIT_DIGITS = 32
_COMMIT_EVERY_BYTES = 64 * BLOCK_BYTES
"""Written between two calls that start the disk: the last flush then has little left to do."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """An answer other than yes."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Upload:
    """One output on its way."""

    target: Path
    part: Path
    size_bytes: int = -1
    kind: str = "file"
    mode: int = 0o644
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    fd: int = -1
    busy: bool = False
    done: bool = False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one try of a rule may put."""

    task_id: str
    uploads: tuple[Upload, ...]


class DataPath:
    """An ASGI application that serves inputs and takes outputs of one flow.

    `root` is the workflow's directory; `secret` makes permits and tokens, so a resumed run that
    knows it serves tasks of the run before.
    """

    def __init__(self, root: Path, secret: str, *, tell: Callable[[str], None] = lambda sentence: None) -> None:
        """`tell` hears, not too often, of what somebody must mend before outputs can come in."""
        self.root = root
        self._tell = tell
        self._told_at = -math.inf
        self._secret = secret.encode()
        self._contents: dict[str, Content] = {}
        self._allowances: dict[str, Allowance | None] = {}
        """None for a task whose rule is not known again yet."""
        self._expected: set[str] = set()
        self._news = asyncio.Event()
        self._uploads = 0
        self.bytes_in = 0
        self.bytes_out = 0

    # What the shell says.

    def offer(self, content: Content) -> str:
        """Serve an input from now on; the path of its URL."""
        self._contents[content.sha256] = content
        self._tell_waiting()
        return f"/in/{self._sign('in', content.sha256)}/{content.sha256}"

    def allow(self, task_id: str, names: tuple[str, ...]) -> str:
        """Let a task put its outputs; the path below which it does, each under its number."""
        token = self._sign("out", task_id)
        uploads = tuple(Upload(target=self.root / name, part=_part_of(self.root / name, task_id)) for name in names)
        self._allowances[token] = Allowance(task_id, uploads)
        return f"/out/{token}"

    def expect(self, task_id: str) -> None:
        """A task of the run before goes on: until `met`, its inputs may still come and its outputs may be unknown."""
        self._expected.add(task_id)
        self._allowances.setdefault(self._sign("out", task_id), None)

    def met(self, task_id: str) -> None:
        """All that such a task reads has been offered."""
        self._expected.discard(task_id)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def revoke(self, task_id: str) -> None:
        """A task has ended: nothing more is taken from it, and what it left half is removed."""
        self.met(task_id)
        allowance = self._allowances.pop(self._sign("out", task_id), None)
        for upload in allowance.uploads if allowance else ():
            upload.close()
            upload.part.unlink(missing_ok=True)

    def _sign(self, what: str, name: str) -> str:
        return hmac.new(self._secret, f"{what}:{name}".encode(), hashlib.sha256).hexdigest()[:PERMIT_DIGITS]

    # What comes in.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"].split("/")
        try:
            match path:
                case ["", "in", permit, sha256] if method in ("GET", "HEAD"):
                    await self._send_input(permit, sha256, method, send)
                case ["", "out", token, number] if method in ("GET", "PUT", "POST"):
                    await self._output(self._upload(token, number), method, scope, receive, send)
                case _:
                    raise Refused(404, "nothing is here: /in/PERMIT/SHA256 and /out/TOKEN/N are served")
        except Refused as refusal:
            headers = {"retry-after": str(BUSY_S)} if refusal.status == 503 else {}
            if method == "PUT":
                # The rest of a body that nobody reads: the connection cannot be used again.
                headers["connection"] = "close"
            await _answer(send, refusal.status, str(refusal), headers)

    async def _send_input(self, permit: str, sha256: str, method: str, send: Send) -> None:
        if not hmac.compare_digest(permit, self._sign("in", sha256)):
            raise Refused(403, "this permit is not for this content")
        content = await self._content(sha256)
        if content is None:
            raise Refused(404, "no rule that runs now reads this content")
        loop = asyncio.get_running_loop()
        source = contents.blocks(content)
        try:
            block = await loop.run_in_executor(None, _next_block, source)
        except (ContentError, OSError) as error:
            raise Refused(410, str(error)) from error
        headers = {"content-length": str(content.size_bytes), "content-type": "application/octet-stream"}
        await _begin(send, 200, headers)
        if method == "HEAD":
            block = b""
        # From here on a failure can only be told by an incomplete body, which every client notices.
        while block:
            self.bytes_out += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await loop.run_in_executor(None, _next_block, source)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _content(self, sha256: str) -> Content | None:
        """An input; while those of the run before are being hashed, one that may still come is waited for."""
        try:
            async with asyncio.timeout(INPUT_WAIT_S_MAX):
                while sha256 not in self._contents and self._expected:
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._contents.get(sha256)

    def _upload(self, token: str, number: str) -> Upload:
        if token not in self._allowances:
            raise Refused(410, "the rule's try that this token belongs to has ended")
        allowance = self._allowances[token]
        if allowance is None:
            raise Refused(503, "the workflow of this rule is being read: come back in a moment")
        if not number.isdigit() or int(number) >= len(allowance.uploads):
            raise Refused(404, f"the rule has {len(allowance.uploads)} outputs, numbered from 0")
        return allowance.uploads[int(number)]

    async def _output(self, upload: Upload, method: str, scope: Scope, receive: Receive, send: Send) -> None:
        if method == "GET":
            await _answer(send, 200, "done" if upload.done else str(self._present(upload)))
            return
        query = dict(parse_qsl(scope["query_string"].decode("ascii", "replace")))
        if upload.done:
            # The answer to an earlier PUT was lost.  The file is in its place.
            await _answer(send, 201, "done")
            return
        if upload.busy:
            raise Refused(503, "this output is being received on another connection")
        if self._uploads >= UPLOADS_MAX:
            raise Refused(503, f"{UPLOADS_MAX} outputs are being received: come back in {BUSY_S} s")
        upload.busy = True
        self._uploads += 1
        try:
            await self._take(upload, method, query, scope, receive, send)
        except OSError as error:
            # The task keeps its output and asks again for ten minutes, time enough to make room.
            raise self._no_room(upload, f"it cannot be written: {error.strerror}") from error
        finally:
            upload.busy = False
            self._uploads -= 1

    async def _take(
        self, upload: Upload, method: str, query: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        if method == "PUT" and not await self._receive(upload, query, scope, receive):
            return
        if upload.received != upload.size_bytes:
            raise Refused(409, str(upload.received))
        if "sha256" not in query:
            await _answer(send, 202, "its checksum is awaited")
            return
        await self._finish(upload, query["sha256"])
        await _answer(send, 201, "done")

    def _no_room(self, upload: Upload, trouble: str) -> Refused:
        """The refusal of an output that cannot be kept, told to people as well."""
        sentence = f"the output '{upload.target.name}' waits on its machine: {trouble}"
        now = time.monotonic()
        if now - self._told_at > TELL_AGAIN_S:
            self._told_at = now
            self._tell(f"{sentence}; make room at {upload.target.parent}, and it comes by itself")
        return Refused(507, sentence)

    def _present(self, upload: Upload) -> int:
        """Bytes of an output that are here.  Those of a run before are hashed again when more comes."""
        if upload.fd >= 0:
            return upload.received
        try:
            return upload.part.stat().st_size
        except FileNotFoundError:
            return 0

    async def _receive(self, upload: Upload, query: Mapping[str, str], scope: Scope, receive: Receive) -> bool:
        """Take the body; whether all of the output is here."""
        size, begin = _announced(query, scope)
        loop = asyncio.get_running_loop()
        upload.size_bytes, upload.kind = size, query.get("kind", "file")
        upload.mode = 0o755 if query.get("mode") == "755" else 0o644
        await loop.run_in_executor(None, self._open, upload)
        if begin == 0 and upload.received:
            await loop.run_in_executor(None, _restart, upload)
        if begin != upload.received:
            raise Refused(409, str(upload.received))
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            more = message.get("more_body", False)
            if chunk := message.get("body", b""):
                if upload.received + len(chunk) > size:
                    await loop.run_in_executor(None, _restart, upload)
                    raise Refused(400, f"more came than the {size} bytes announced")
                self.bytes_in += len(chunk)
                # Hashed and written on the loop, in chunks of at most 256 KiB.  A thread beside it was tried:
                # it needed more CPU (6.2-6.9 s against 4.7-6.1 s per GiB), as the two wait for the interpreter.
                # XXX A disk that throttles writers holds this loop for as long; nothing but this flow runs on it.
                _write(upload, chunk)
        if more:
            return False
        if upload.received < size:
            raise Refused(409, str(upload.received))
        return True

    def _open(self, upload: Upload) -> None:
        """Make the part ready for more."""
        if upload.fd >= 0:
            return
        upload.part.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(upload.part.parent).free
        if upload.size_bytes > free + self._present(upload):
            raise self._no_room(upload, f"it has {upload.size_bytes} bytes and {free} are free here")
        upload.fd = os.open(upload.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        upload.digest, upload.received = hashlib.sha256(), 0
        while block := os.read(upload.fd, BLOCK_BYTES):
            upload.digest.update(block)
            upload.received += len(block)

    async def _finish(self, upload: Upload, sha256: str) -> None:
        """Check an output and put it in its place."""
        loop = asyncio.get_running_loop()
        found = upload.digest.hexdigest()
        if found != sha256.lower():
            await loop.run_in_executor(None, _restart, upload)
            raise Refused(422, f"the checksum is {found} here and {sha256} there: send it again")
        try:
            await loop.run_in_executor(None, _put_in_place, upload)
        except ContentError as error:
            raise Refused(400, str(error)) from error
        upload.done = True


def output_stamps(root: Path, names: tuple[str, ...]) -> dict[str, Stamp | None]:
    """How the files of a rule are now."""
    return {name: contents.stamp_of(root / name) for name in names}


def _part_of(target: Path, task_id: str) -> Path:
    return target.with_name(f"{target.name}.{task_id}.part")


def _announced(query: Mapping[str, str], scope: Scope) -> tuple[int, int]:
    """The size of the whole output and where this body begins in it."""
    text = query.get("size", "")
    if not text.isdigit():
        raise Refused(400, "the query must tell the output's size: ?size=BYTES")
    size = int(text)
    if size > OUTPUT_BYTES_MAX:
        raise Refused(413, f"an output has at most {OUTPUT_BYTES_MAX} bytes, and this one {size}")
    for name, value in scope["headers"]:
        if name == b"content-range":
            # "bytes BEGIN-END/SIZE", as curl -C writes it
            begin = value.decode("ascii", "replace").removeprefix("bytes ").partition("-")[0].strip()
            if not begin.isdigit():
                raise Refused(400, "Content-Range must be 'bytes BEGIN-END/SIZE'")
            return size, int(begin)
    return size, 0


def _write(upload: Upload, chunk: bytes) -> None:
    upload.digest.update(chunk)
    view = memoryview(chunk)
    while view:
        view = view[os.write(upload.fd, view) :]
    before = upload.received // _COMMIT_EVERY_BYTES
    upload.received += len(chunk)
    if upload.received // _COMMIT_EVERY_BYTES > before:
        # Done with these pages: the kernel begins to write them, and keeps none for later.
        os.posix_fadvise(upload.fd, 0, upload.received, os.POSIX_FADV_DONTNEED)


def _restart(upload: Upload) -> None:
    os.ftruncate(upload.fd, 0)
    os.lseek(upload.fd, 0, os.SEEK_SET)
    upload.digest, upload.received = hashlib.sha256(), 0


def _put_in_place(upload: Upload) -> None:
    """From the part to the file itself; what was there before is replaced."""
    os.fchmod(upload.fd, upload.mode)
    os.fsync(upload.fd)
    upload.close()
    ready = upload.part
    if upload.kind == "tar":
        ready = upload.part.with_name(upload.part.name + ".d")
        shutil.rmtree(ready, ignore_errors=True)
        contents.unpack(upload.part, ready)
        upload.part.unlink()
    if upload.target.is_dir() and not upload.target.is_symlink():
        shutil.rmtree(upload.target)
    os.replace(ready, upload.target)
    directory = os.open(upload.target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _next_block(source: Iterator[bytes]) -> bytes:
    return next(source, b"")


async def _begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    body = text.encode() + b"\n"
    plain = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    await _begin(send, status, plain)
    await send({"type": "http.response.body", "body": body, "more_body": False})
