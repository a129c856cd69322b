"""A registry on this machine that serves what a test gives it, asks who is there, and misbehaves when told."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import Counter
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl

from aiohttp import web

from altiplano.testing.image_files import BuiltImage, digest_of

REALM = "/token"
CHUNK_BYTES = 16 * 1024


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on."""

    cut_after_bytes: int | None = None
    """Each answer with a blob ends after so many bytes."""
    ranges: bool = True
    """Whether the rest of a blob may be asked for."""
    refuse_next: int = 0
    """So many requests are answered with `refuse_status`."""
    refuse_status: int = 503
    retry_after: str | None = None
    corrupt: bool = False
    """Blobs of layers have one wrong byte."""
    longer: bool = False
    """Blobs of layers have one byte too many."""
    blobs_at: str | None = None
    """Blobs are redirected to this address."""
    challenge: str | None = None
    """Sent instead of the right one."""


class TestRegistry:
    """Start with `async with`.  `users`: names and passwords; none: everybody may read."""

    __test__ = False

    def __init__(self, *, users: dict[str, str] | None = None, tokens: bool = False, token_life_s: int = 300) -> None:
        self.users = users or {}
        self.tokens = tokens
        self.token_life_s = token_life_s
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        """Of each path."""
        self.blob_bytes = 0
        self.ranges: list[str] = []
        self.authorizations: list[tuple[str, str]] = []
        """(path, Authorization) of all requests that had one."""
        self.gate: asyncio.Event | None = None
        """Blobs wait for it."""
        self._manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._blobs: dict[str, bytes] = {}
        self._issued: set[str] = set()
        self._configs: set[str] = set()
        self._runner: web.AppRunner | None = None
        self.host = ""

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.gate is not None:
            self.gate.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def publish(self, repository: str, tag: str, image: BuiltImage) -> None:
        self.publish_document(repository, tag, image.manifest, image.media_type)
        self.publish_document(repository, image.digest, image.manifest, image.media_type)
        self._blobs.update(image.blobs)
        self._configs.add(image.config_digest)

    def publish_document(self, repository: str, name: str, raw: bytes, media_type: str) -> None:
        self._manifests[repository, name] = raw, media_type
        self._manifests[repository, digest_of(raw)] = raw, media_type

    def layer_requests(self) -> int:
        """How often a layer was asked for."""
        return sum(
            count
            for path, count in self.requests.items()
            if "/blobs/" in path and path.rpartition("/")[2] not in self._configs
        )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests[path] += 1
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            self.authorizations.append((path, authorization))
        if self.faults.refuse_next:
            self.faults.refuse_next -= 1
            headers = {} if self.faults.retry_after is None else {"Retry-After": self.faults.retry_after}
            return web.Response(status=self.faults.refuse_status, headers=headers, text="not now")
        if path == REALM:
            return self._token(request)
        if not self._may(authorization):
            return web.Response(status=401, headers={"WWW-Authenticate": self.faults.challenge or self._challenge()})
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            found = self._manifests.get((match[1], match[2]))
            if found is not None:
                return web.Response(body=found[0], headers={"Content-Type": found[1]})
        elif (match := re.fullmatch(r"/(?:v2/.+/)?blobs/([^/]+)", path)) and match[1] in self._blobs:
            return await self._blob(request, match[1])
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": "nothing of that name"}]}, status=404)

    async def _blob(self, request: web.Request, name: str) -> web.StreamResponse:
        raw = self._blobs[name]
        is_layer = name not in self._configs
        if is_layer and self.gate is not None:
            await self.gate.wait()
        if is_layer and self.faults.blobs_at is not None and request.path.startswith("/v2/"):
            return web.Response(status=307, headers={"Location": f"{self.faults.blobs_at}/blobs/{name}"})
        if is_layer and self.faults.corrupt:
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        start = 0
        response = web.StreamResponse()
        wanted = request.headers.get("Range")
        if wanted is not None:
            self.ranges.append(wanted)
            if self.faults.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                response.set_status(206)
                response.headers["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
        content = raw[start:]
        if is_layer and self.faults.longer:
            content += b"!"
        response.content_length = len(content)
        await response.prepare(request)
        end = self.faults.cut_after_bytes if is_layer else None
        for at in range(0, len(content if end is None else content[:end]), CHUNK_BYTES):
            piece = content[at : min(at + CHUNK_BYTES, len(content) if end is None else end)]
            self.blob_bytes += len(piece)
            await response.write(piece)
        if end is not None and end < len(content):
            assert request.transport is not None
            request.transport.close()
        return response

    def _challenge(self) -> str:
        if self.tokens:
            return f'Bearer realm="http://{self.host}{REALM}",service="registry of tests",scope="repository:x:pull"'
        return 'Basic realm="registry of tests"'

    def _may(self, authorization: str | None) -> bool:
        if self.tokens:
            return authorization is not None and authorization.removeprefix("Bearer ") in self._issued
        return not self.users or self._user(authorization) is not None

    def _user(self, authorization: str | None) -> str | None:
        if authorization is None or not authorization.startswith("Basic "):
            return None
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return user if self.users.get(user) == password else None

    def _token(self, request: web.Request) -> web.Response:
        if self.users and self._user(request.headers.get("Authorization")) is None:
            return web.Response(status=401, text="who is that")
        scope = dict(parse_qsl(request.query_string)).get("scope", "")
        token = f"token-{len(self._issued)}-{scope.replace(':', '.').replace('/', '.')}"
        self._issued.add(token)
        return web.json_response({"token": token, "expires_in": self.token_life_s})

    def expire_tokens(self) -> None:
        self._issued.clear()
