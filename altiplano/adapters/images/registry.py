"""Images from a registry, by the distribution protocol.

A registry is not trusted: it may send anything, and send us anywhere.  What it names by a digest is checked
against it; who we are is told to itself and to the token server it names, never to where it redirects;
unencrypted connections are made to this machine and to hosts configured so, and never follow from an
encrypted one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from altiplano.adapters.images import challenges, manifests, threads
from altiplano.adapters.images.sources import Blob, Found, Progress
from altiplano.kit.backoff import BackOff
from altiplano.model.images import DOCKER_HUB, Digest, Platform, RegistryReference
from altiplano.ports.clock import Clock
from altiplano.ports.ids import Ids
from altiplano.ports.images import Bounds, Credentials, ImageError, ImageFailed, ImageRefused

CONNECTIONS_MAX: Final = 16
CONNECT_S_MAX: Final = 30.0
REDIRECTS_MAX: Final = 5
CHUNK_BYTES: Final = 1024 * 1024
RETRY_AFTER_S_MAX: Final = 60.0
TOKEN_MARGIN_S: Final = 5.0
ERROR_BYTES_MAX: Final = 64 * 1024

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """How registries are reached."""

    endpoints: Mapping[str, str] = field(default_factory=lambda: {DOCKER_HUB: "https://registry-1.docker.io"})
    """By the host of a reference: where it is served; `http://…` here is how a plain one is allowed."""
    proxies_from_environment: bool = False
    certificates: str | None = None
    """A file of authorities to trust besides the system's."""

    def base(self, host: str) -> str:
        """The address of a registry: of this machine by plain http, of all others by https."""
        configured = self.endpoints.get(host)
        if configured is not None:
            return configured.rstrip("/")
        return f"http://{host}" if _is_loopback(urlsplit(f"//{host}").hostname or "") else f"https://{host}"


class Again(Exception):
    """An attempt brought nothing and may be repeated, after `delay_s` if the registry said when."""

    def __init__(self, sentence: str, delay_s: float | None = None) -> None:
        super().__init__(sentence)
        self.delay_s = delay_s


class Registries:
    """Connections to registries, shared by all pulls."""

    def __init__(self, hosts: Hosts, *, clock: Clock, ids: Ids) -> None:
        self.hosts = hosts
        self.clock = clock
        self.ids = ids
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made when first wanted: most agents have tasks without images only."""
        if self._session is None:
            context = ssl.create_default_context()
            if self.hosts.certificates is not None:
                context.load_verify_locations(self.hosts.certificates)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Bytes are hashed as they come, and no answer may grow on its way in.
                auto_decompress=False,
                trust_env=self.hosts.proxies_from_environment,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class RegistrySource:
    """One image on a registry, for one user of it."""

    def __init__(
        self,
        registries: Registries,
        reference: RegistryReference,
        credentials: Credentials | None,
        *,
        platform: Platform,
        bounds: Bounds,
    ) -> None:
        self._registries = registries
        self._reference = reference
        self._credentials = credentials
        self._platform = platform
        self._bounds = bounds
        self._base = registries.hosts.base(reference.host)
        self._what = f"the image {reference}"
        self._authorization: str | None = None
        self._authorized_until_s = 0.0
        self._layers: tuple[manifests.Descriptor, ...] = ()

    async def find(self) -> Found:
        what = self._what
        wanted: Digest | None = self._reference.digest
        name = wanted or self._reference.tag
        for _ in range(manifests.INDEX_DEPTH_MAX):
            raw, media_type = await self._document(
                f"manifests/{name}", ", ".join(manifests.ACCEPTED), self._bounds.manifest_bytes_max
            )
            found = manifests.verified(raw, wanted, what)
            document = manifests.document(raw, what, media_type)
            if isinstance(document, manifests.Manifest):
                break
            descriptor = manifests.choose(document, self._platform, what)
            name = wanted = manifests.check_descriptor(descriptor, what)
        else:
            raise ImageRefused(f"{what} is an index of indices, more than {manifests.INDEX_DEPTH_MAX} deep.")
        manifests.check(document, self._bounds, what)
        id_ = manifests.check_descriptor(document.config, what)
        raw, _ = await self._document(f"blobs/{id_}", "*/*", self._bounds.manifest_bytes_max)
        manifests.verified(raw, id_, f"the configuration of {what}")
        configuration = manifests.configuration(raw, self._platform, what)
        manifests.match_layers(len(document.layers), configuration, what)
        self._layers = tuple(document.layers)
        sizes = tuple(layer.size for layer in document.layers)
        return Found(what=what, manifest=found, configuration=configuration, sizes_bytes=sizes)

    async def layer(self, number: int, path: str, progress: Progress) -> Blob:
        """Download a layer, going on where the connection broke, and check its digest."""
        descriptor = self._layers[number]
        download = _Download(path, descriptor, progress, f"layer {number + 1} of {self._what}")
        try:
            await self._download(download)
        except BaseException:  # closed whatever happened, and passed on
            os.close(download.fd)
            raise
        return Blob(fd=download.fd, offset=0, size_bytes=descriptor.size)

    async def close(self) -> None:
        """Connections belong to all sources."""

    async def _download(self, download: _Download) -> None:
        attempts = _Attempts(self._bounds.attempts_max, self._registries.ids, download.what)
        while not await download.complete():
            before = download.done_bytes
            try:
                with _telling_again():
                    await self._download_some(download)
            except Again as reason:
                await attempts.failed(reason, progress=download.done_bytes > before)

    async def _download_some(self, download: _Download) -> None:
        headers = {"Range": f"bytes={download.done_bytes}-"} if download.done_bytes else {}
        async with self._get(f"blobs/{download.digest}", headers) as response:
            if response.status == 206:
                match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if match is None or int(match[1]) != download.done_bytes:
                    await download.restart()
                    raise Again("it was asked for the rest and sent something else")
            elif download.done_bytes:
                # Asked for the rest, it sends all of it again.
                await download.restart()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                await download.write(chunk)
        if download.done_bytes < download.size_bytes:
            raise Again(f"the connection ended after {download.done_bytes} of {download.size_bytes} bytes")

    async def _document(self, path: str, accept: str, bytes_max: int) -> tuple[bytes, str]:
        """A small document as a whole, and the type it was sent as."""
        attempts = _Attempts(self._bounds.attempts_max, self._registries.ids, self._what)
        while True:
            try:
                with _telling_again():
                    async with self._get(path, {"Accept": accept}) as response:
                        raw = await _bounded(response, bytes_max, self._what)
                        return raw, response.headers.get("Content-Type", "")
            except Again as reason:
                await attempts.failed(reason, progress=False)

    @contextlib.asynccontextmanager
    async def _get(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with content, after being let in and sent elsewhere as often as is allowed."""
        address = f"{self._base}/v2/{self._reference.repository}/{path}"
        asked_who = False
        for _ in range(REDIRECTS_MAX + 2):
            at_home = _origin(address) == _origin(self._base)
            sent = {"Accept-Encoding": "identity", **headers}
            if at_home and self._authorization is not None and self._now_s() < self._authorized_until_s:
                sent["Authorization"] = self._authorization
            async with self._registries.session.get(
                URL(address, encoded=True), headers=sent, allow_redirects=False, timeout=self._timeout()
            ) as response:
                if response.status in (301, 302, 303, 307, 308):
                    address = self._redirected(address, response.headers.get("Location", ""))
                elif response.status == 401 and at_home and not asked_who:
                    asked_who = True
                    await self._authorize(response.headers.getall("WWW-Authenticate", []))
                else:
                    await self._check(response)
                    yield response
                    return
        raise ImageRefused(f"{self._what} is redirected more than {REDIRECTS_MAX} times.")

    def _redirected(self, address: str, location: str) -> str:
        target = urljoin(address, location)
        try:
            old, new = urlsplit(address), urlsplit(target)
            _ = new.port
        except ValueError:
            raise ImageRefused(f"{self._what} is redirected to {location!r:.200}, which is no address.") from None
        if new.scheme not in ("http", "https") or not new.hostname or new.username is not None or not location:
            raise ImageRefused(f"{self._what} is redirected to {location!r:.200}, which is no plain http address.")
        if _origin(target) == _origin(address):
            return target
        if new.scheme == "http" and not (old.scheme == "http" and self._may_be_plain(new.netloc, new.hostname)):
            raise ImageRefused(
                f"{self._what} is redirected to {new.scheme}://{new.netloc}, which is not encrypted: "
                "configure that host as a plain one if that is meant."
            )
        if _is_loopback(new.hostname) and not _is_loopback(old.hostname or ""):
            raise ImageRefused(f"{self._what} is redirected from {old.netloc} to this machine itself, {new.netloc}.")
        return target

    def _may_be_plain(self, host: str, name: str) -> bool:
        return _is_loopback(name) or any(
            endpoint.startswith("http://") and urlsplit(endpoint).netloc == host
            for endpoint in self._registries.hosts.endpoints.values()
        )

    async def _authorize(self, headers: list[str]) -> None:
        host = self._reference.host
        challenge = challenges.parse(headers, host)
        match challenge:
            case challenges.Basic():
                if self._credentials is None:
                    raise ImageRefused(f"{host} wants a user and a password for {self._what}; none were given.")
                self._authorization = challenges.basic(self._credentials)
                self._authorized_until_s = float("inf")
            case challenges.Bearer():
                text, life_s = await self._token(challenge)
                self._authorization = f"Bearer {text}"
                self._authorized_until_s = self._now_s() + max(life_s - TOKEN_MARGIN_S, 1.0)

    async def _token(self, challenge: challenges.Bearer) -> tuple[str, float]:
        realm, base = urlsplit(challenge.realm), urlsplit(self._base)
        if realm.scheme == "http" and (
            base.scheme != "http"
            or not (realm.hostname == base.hostname or self._may_be_plain(realm.netloc, str(realm.hostname)))
        ):
            raise ImageRefused(f"{self._reference.host} wants a password to be sent unencrypted to {realm.netloc}.")
        if _is_loopback(realm.hostname or "") and not _is_loopback(base.hostname or ""):
            raise ImageRefused(f"{self._reference.host} sends us to this machine itself for a token, {realm.netloc}.")
        headers = {"Accept-Encoding": "identity"}
        if self._credentials is not None:
            headers["Authorization"] = challenges.basic(self._credentials)
        where = f"the token server {realm.netloc}"
        async with self._registries.session.get(
            URL(challenge.address(self._reference.repository), encoded=True),
            headers=headers,
            allow_redirects=False,
            timeout=self._timeout(),
        ) as response:
            if response.status in (401, 403):
                who = "anybody" if self._credentials is None else repr(self._credentials.user)
                raise ImageRefused(f"{where} of {self._what} does not let {who} in: {await _reason(response)}")
            if response.status >= 500 or response.status == 429:
                raise Again(f"{where} answered {response.status}", _retry_after_s(response))
            if response.status != 200:
                raise ImageRefused(f"{where} of {self._what} answered {response.status}: {await _reason(response)}")
            return challenges.token(await _bounded(response, self._bounds.manifest_bytes_max, where), where)

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        """Raise for an answer without the content asked for."""
        status = response.status
        host = response.url.authority
        if status in (200, 206):
            return
        if status in (401, 403):
            who = "anybody" if self._credentials is None else repr(self._credentials.user)
            raise ImageRefused(f"{host} does not let {who} have {self._what}: {await _reason(response)}")
        if status == 404:
            raise ImageRefused(f"{host} does not have {self._what}: {await _reason(response)}")
        if status == 416 or status == 408 or status == 429 or status >= 500:
            raise Again(f"{host} answered {status}", _retry_after_s(response))
        raise ImageRefused(f"{host} answered {status} for {self._what}: {await _reason(response)}")

    def _timeout(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX, sock_read=self._bounds.stall_s_max)

    def _now_s(self) -> float:
        return self._registries.clock.now().mono_s


class _Download:
    """A file that grows to a size and a digest known beforehand."""

    def __init__(self, path: str, descriptor: manifests.Descriptor, progress: Progress, what: str) -> None:
        self.digest = descriptor.digest
        self.size_bytes = descriptor.size
        self.done_bytes = 0
        self.what = what
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.sha256()
        self._progress = progress
        self._wrong = 0

    async def write(self, data: bytes) -> None:
        if self.done_bytes + len(data) > self.size_bytes:
            raise ImageRefused(f"{self.what} should have {self.size_bytes} bytes, and the registry sends more.")
        await threads.finish(self._write, data)
        self.done_bytes += len(data)
        self._progress(len(data))

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.fd, left) :]
        except OSError as error:
            raise ImageFailed(f"{self.what} cannot be kept: {error.strerror}.") from error

    async def complete(self) -> bool:
        """Whether all of it is here and right; what is wrong is thrown away, and tried once more."""
        if self.done_bytes < self.size_bytes:
            return False
        found = f"sha256:{self._hash.hexdigest()}"
        if found == self.digest:
            return True
        self._wrong += 1
        if self._wrong > 1:
            raise ImageRefused(
                f"{self.what} should be {self.digest}, and what came twice is {found}: "
                "it was changed on the way or at its source."
            )
        await self.restart()
        return False

    async def restart(self) -> None:
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._progress(-self.done_bytes)
        self.done_bytes = 0


class _Attempts:
    """Counts attempts in a row that brought nothing, and waits longer after each."""

    def __init__(self, attempts_max: int, ids: Ids, what: str) -> None:
        self._max = attempts_max
        self._ids = ids
        self._what = what
        self._failed = 0
        self._back_off = BackOff(base_s=0.2, cap_s=15.0)

    async def failed(self, reason: Again, *, progress: bool) -> None:
        """Wait before the next attempt; `ImageFailed` if there is none."""
        if progress:
            self._failed, self._back_off = 0, self._back_off.reset()
        self._failed += 1
        if self._failed >= self._max:
            raise ImageFailed(f"{self._what} could not be had in {self._failed} attempts: {reason}.") from reason
        delay_s, self._back_off = self._back_off.next(self._ids.fraction())
        await asyncio.sleep(delay_s if reason.delay_s is None else max(delay_s, reason.delay_s))


@contextlib.contextmanager
def _telling_again() -> Iterator[None]:
    """What the network does becomes a reason to try again."""
    try:
        yield
    except (Again, ImageError):
        raise
    except aiohttp.ClientConnectorCertificateError as error:
        raise ImageRefused(
            f"the certificate of {error.host}:{error.port} is not trusted: {error.certificate_error}."
        ) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
        raise ImageRefused(f"an address of the registry cannot be used: {error}.") from error
    except TimeoutError as error:
        raise Again("nothing came for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Again(str(error) or type(error).__name__) from error


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int, what: str) -> bytes:
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > bytes_max:
            raise ImageRefused(f"a document of {what} has more than the {bytes_max} bytes that are read.")
    return b"".join(parts)


async def _reason(response: aiohttp.ClientResponse) -> str:
    """What a registry says, in one line that is safe to show."""
    try:
        raw = await response.content.read(ERROR_BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError):
        raw = b""
    text = raw.decode("utf-8", "replace").strip()
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return f"{response.status} {shown[:200]}".strip() + "."


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _origin(address: str) -> tuple[str, str, int]:
    parts = urlsplit(address)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
