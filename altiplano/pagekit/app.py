"""An application of pages: routes, templates, static files, headers, errors.

One thing to know: a page is one template with a block `live`.  Asked for by a browser the whole template is
rendered, asked for by htmx only that block; so what a page shows first and what it changes to cannot differ.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import jinja2
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from altiplano.engine.http import host_of
from altiplano.pagekit import format as formats
from altiplano.pagekit.api import Refused, Unanswered, quoted
from altiplano.pagekit.live import Pulse, TooManyViewers
from altiplano.ports.clock import Clock

log = structlog.get_logger("altiplano.pagekit")

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"
STATIC_PATH = "/static/"
LIVE_PATH = "/ui/live"
ABSENT = "absent"
"""The id of the panel that stands where a page could not be made."""
HASH_CHARS = 10
YEAR_S = 365 * 86400

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline and nothing from elsewhere: a task's name that got through unescaped still could not run."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: browsers would then send forms with `Origin: null`, which guards refuse.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Context: TypeAlias = Mapping[str, Any]
Build: TypeAlias = Callable[[Request], Awaitable[Context]]


class NotThere(Exception):
    """What the address names does not exist; the text says what and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`build` gathers what `template` shows; it may raise NotThere, Refused or Unanswered.

    `block` is what htmx gets: `live` for pages, another one for panels that are fetched by themselves.
    """

    path: str
    template: str
    build: Build
    block: str = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that is done by a form; `run` returns the address to go to."""

    path: str
    run: Callable[[Request], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All that makes an application; `nav` is the menu, as (address, title).

    An address is a path of ours, a port of the same host with a path (`:5052/flows/`), or whole.
    """

    title: str
    clock: Clock
    pulse: Pulse
    templates: Sequence[Path]
    pages: Sequence[Page]
    nav: Sequence[tuple[str, str]] = ()
    actions: Sequence[Action] = ()
    others: Mapping[str, Callable[[Request], Awaitable[Response]]] = field(default_factory=dict)
    """Addresses that answer something else than a page, such as bytes of a log."""


class Assets:
    """Our static files under names that carry their content, so that browsers may keep them for ever."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        for path in sorted(directory.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                name = path.relative_to(directory).as_posix()
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_CHARS]
                stem, dot, suffix = name.rpartition(".")
                self._names[name] = f"{stem}.{digest}{dot}{suffix}"
                self._files[self._names[name]] = path

    def url(self, name: str) -> str:
        """The address of a file, relative to the root; a KeyError names a file that is not there."""
        if name not in self._names:
            raise KeyError(f"there is no static file {name}: `make setup` fetches those of third parties")
        return STATIC_PATH + self._names[name]

    def serve(self, name: str) -> Response:
        path = self._files.get(name)
        if path is None:
            return PlainTextResponse("no such file", 404)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"cache-control": f"public, max-age={YEAR_S}, immutable"}
        return Response(path.read_bytes(), media_type=kind, headers=headers)


def build(site: Site) -> ASGIApp:
    """The application.  It answers GET on its pages, the stream of changes, static files, and its actions."""
    assets = Assets(STATIC)
    shown = _Shown(site, assets)
    routes = [Route(page.path, partial(shown.page, page), methods=["GET"]) for page in site.pages]
    routes += [Route(action.path, partial(shown.action, action), methods=["POST"]) for action in site.actions]
    routes += [Route(path, partial(shown.other, other), methods=["GET"]) for path, other in site.others.items()]
    routes.append(Route(LIVE_PATH, shown.live, methods=["GET"]))
    routes.append(Route(STATIC_PATH + "{name:path}", shown.static, methods=["GET"]))
    middleware = [Middleware(_Headers), Middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: shown.http_error})


class _Headers:
    """Puts the safe headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *HEADERS]
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


class _Shown:
    """The handlers of one site."""

    def __init__(self, site: Site, assets: Assets) -> None:
        self._site = site
        self._assets = assets
        loaders = [jinja2.FileSystemLoader(path) for path in (*site.templates, HERE / "templates")]
        self._jinja = jinja2.Environment(
            loader=jinja2.ChoiceLoader(loaders),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._jinja.filters.update(formats.FILTERS)
        self._jinja.filters["quoted"] = quoted
        self._jinja.globals.update(percent=formats.percent, ratio=formats.ratio, ago=formats.ago)
        # Blocks are rendered alone as well, where imports at the top of a template do not count.
        self._jinja.globals["ui"] = self._jinja.get_template("ui.html").module

    async def page(self, page: Page, request: Request) -> Response:
        # The mark is taken first: what changes while the page is being made leads to another fetch.  A page that
        # shows an older state than the present one puts that state's mark into its context.
        mark = self._site.pulse.mark()
        try:
            context = await page.build(request)
            return self._render(request, page.template, page.block, {"mark": mark, **context})
        except Exception as error:  # the outermost shell of a page: every failure becomes a page that says so
            return self._failed(request, error)

    async def action(self, action: Action, request: Request) -> Response:
        if not _from_here(request):
            return PlainTextResponse("forms are taken from this server's own pages only", 403)
        try:
            return RedirectResponse(_root(request) + await action.run(request), 303)
        except Exception as error:  # the outermost shell of a form
            return self._failed(request, error)

    async def other(self, run: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        try:
            return await run(request)
        except Exception as error:  # the outermost shell of a request
            status, _, sentence = self._explained(request, error)
            return JSONResponse({"error": sentence}, status)

    async def live(self, request: Request) -> Response:
        if request.method == "HEAD":
            # A page whose stream broke asks whether we still know it.
            return Response(status_code=204)
        stream = self._site.pulse.stream()
        try:
            first = await anext(stream)
        except TooManyViewers as error:
            return PlainTextResponse(error.__doc__ or "", 503)

        async def events() -> Any:
            yield b"retry: 1000\n\n" + first
            async for event in stream:
                yield event

        return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def static(self, request: Request) -> Response:
        return self._assets.serve(request.path_params["name"])

    async def http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return self._failed(request, NotThere("there is no page at this address"))
        return PlainTextResponse(str(error.detail), error.status_code)

    def _failed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, Refused) and error.location is not None and error.status in (301, 302, 303, 307, 308):
            leader = urlsplit(error.location)
            return RedirectResponse(f"{leader.scheme or request.url.scheme}://{leader.netloc}/", 303)
        status, title, sentence = self._explained(request, error)
        context = {"mark": self._site.pulse.mark(), "title": title, "sentence": sentence, "status": status}
        return self._render(request, "error.html", "live", context, status)

    def _explained(self, request: Request, error: Exception) -> tuple[int, str, str]:
        match error:
            case NotThere():
                return 404, "Not there", str(error)
            case Refused():
                return (error.status if error.status in (401, 403, 404, 409) else 502), "Refused", error.sentence
            case Unanswered():
                return 502, "No answer", str(error)
            case _:
                log.error("page failed", action="page_failed", path=request.url.path, exc_info=error)
                return 500, "This page is broken", "The server's log says more; please report it."

    def _render(
        self, request: Request, template: str, block: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        now = self._site.clock.now().wall_s
        root = _root(request)
        here = _here(request.scope["path"], root)
        url = root + quote(here, safe="/~") + (f"?{request.url.query}" if request.url.query else "")
        everything = {
            "site": self._site,
            "root": root,
            "here": here,
            "self_path": root + quote(here, safe="/~"),
            "self_url": url,
            "nav": [(href, address(request, href), title) for href, title in self._site.nav],
            "static": lambda name: root + self._assets.url(name),
            "now": now,
            **context,
        }
        if status == 200 and request.headers.get("hx-target") == ABSENT:
            # What was not there is there now: a panel alone would not make the page, so it is loaded as a whole.
            return Response(status_code=204, headers={"hx-refresh": "true", "vary": "HX-Request, HX-Target"})
        page = self._jinja.get_template(template)
        if block != "live" or request.headers.get("hx-request") == "true":
            # A page may have several panels: htmx names the one it is going to replace.
            wanted = request.headers.get("hx-target", "")
            scope = page.new_context(everything)
            text = "".join(page.blocks[wanted if wanted in page.blocks else block](scope))
        else:
            text = page.render(everything)
        return HTMLResponse(text, status, headers={"vary": "HX-Request, HX-Target"})


def _root(request: Request) -> str:
    """What stands before our own paths when the application is mounted below another."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def address(request: Request, href: str) -> str:
    """Where an entry of the menu leads.

    Another port is reached by the name by which the viewer reached us, which need not be the one we know.
    """
    if href.startswith("/"):
        return _root(request) + href
    if href.startswith(":"):
        return f"{request.url.scheme}://{host_of(request.headers.get('host', 'localhost'))}{href}"
    return href


def _here(path: str, root: str) -> str:
    """A path below ours.  Whoever mounts us may or may not have taken its prefix off the path."""
    below = root and (path == root or path.startswith(root + "/"))
    return path.removeprefix(root) or "/" if below else path


def _from_here(request: Request) -> bool:
    """Whether a form comes from one of our pages.

    The guard has looked at the origin already; this holds without it as well.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    return origin is not None and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
