"""Probes over real sockets, by the event loop: no process and no thread for any of them."""

from __future__ import annotations

import asyncio
import contextlib
import os

import aiohttp

from altiplano.ports import probes


class SocketProbes:
    def __init__(self) -> None:
        self._client: aiohttp.ClientSession | None = None

    async def ask(self, target: probes.Target) -> probes.Answer:
        match target:
            case probes.Tcp():
                return await self._connect(target)
            case probes.Http():
                return await self._get(target)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self, target: probes.Tcp) -> probes.Answer:
        try:
            _, writer = await asyncio.open_connection(target.host, target.port)
        except OSError as error:
            return probes.Answer(connected=False, sentence=f"port {target.port}: {_reason(error)}")
        except OverflowError:
            return probes.Answer(connected=False, sentence=f"port {target.port}: there is no such port")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return probes.Answer(connected=True)

    async def _get(self, target: probes.Http) -> probes.Answer:
        try:
            async with self._session().get(target.url, max_redirects=probes.REDIRECTS_MAX) as response:
                return probes.Answer(connected=True, status_code=response.status)
        except aiohttp.ClientConnectorError as error:
            return probes.Answer(connected=False, sentence=f"{target.url}: {_reason(error.os_error)}")
        except aiohttp.TooManyRedirects:
            sentence = f"{target.url} redirects more than {probes.REDIRECTS_MAX} times"
            return probes.Answer(connected=True, sentence=sentence)
        except (aiohttp.ClientError, ValueError, OSError) as error:
            # A ValueError is a reply or a redirect that cannot be read.
            return probes.Answer(connected=True, sentence=f"{target.url}: {str(error) or type(error).__name__}")

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            # Each probe has a connection of its own: a task that takes no new ones shall be seen.
            connector = aiohttp.TCPConnector(ssl=False, force_close=True, limit=0)
            self._client = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        return self._client


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
