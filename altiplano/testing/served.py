"""An ASGI application on a real port, from a thread: browsers are driven by synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from altiplano.engine import http

T = TypeVar("T")
WAIT_S_MAX = 20.0
CLOSE_S = 0.05


class Served:
    """Serves while the `with` block lasts; `beside` runs in the same loop and is cancelled at the end."""

    def __init__(self, app: http.App, *, port: int = 0, beside: Callable[[], Awaitable[Any]] | None = None) -> None:
        self._app = app
        self._port = port
        self._beside = beside
        self._loop = asyncio.new_event_loop()
        self._ready: Future[int] = Future()
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        self._port = self._ready.result(WAIT_S_MAX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_S_MAX)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # the thread's end is its starter's end
            if not self._ready.done():
                self._ready.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        listener = http.listen("127.0.0.1", self._port)
        server = http.HttpServer(self._app, host="127.0.0.1", port=0, listener=listener)
        await server.start()
        beside = None if self._beside is None else asyncio.ensure_future(self._beside())
        self._ready.set_result(listener.getsockname()[1])
        await self._over.wait()
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
        await server.stop()
        # Connections that were cut are closed by the loop's next turns; a browser must see that.
        await asyncio.sleep(CLOSE_S)
