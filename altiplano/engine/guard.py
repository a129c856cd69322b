"""Who may talk to a server: a token, the right Host, no foreign Origin.

An open scheduler runs anybody's code as its owner, and "bound to loopback" is no wall: any page in
the owner's browser can send requests to 127.0.0.1, directly or by a name that it points there.
So every request must carry the token, must be addressed to a name of this server, and must not
come from a page of somebody else.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import ipaddress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from altiplano.engine import http
from altiplano.engine.exchange import Small

OPEN_PATHS = frozenset(
    {"/health", "/version", "/master/health", "/master/version", "/slave(1)/health", "/slave(1)/version"}
)
"""What anybody may read: that the server lives, and which version it is."""

LOGIN_PATH = "/login"
COOKIE = "altiplano_token"


def names(ip: str, *more: str | None) -> frozenset[str] | None:
    """By which names a server may be called: those of loopback and `more`; any (None) where it listens to the world."""
    try:
        wide = not ipaddress.ip_address(ip).is_loopback
    except ValueError:
        wide = ip != "localhost"
    if wide:
        return None
    own = f"[{ip}]" if ":" in ip else ip
    return frozenset({own, "localhost", "127.0.0.1", "[::1]", *(name.lower() for name in more if name)})


class Guard:
    """Wraps an ASGI application; lets through what carries the token.

    The token comes as bearer token, as password of basic authentication (any user name), or in the
    cookie that the login link sets.  `token` None checks Host and Origin only.  `hosts` are the names
    this server may be called by; None leaves them unchecked.
    """

    def __init__(
        self,
        app: http.App,
        *,
        token: str | None,
        hosts: frozenset[str] | None,
        realm: str = "altiplano",
        open_paths: frozenset[str] = OPEN_PATHS,
        own_check: frozenset[str] = frozenset(),
    ) -> None:
        """Paths in `own_check` are left to the application, which checks credentials of its own (executors')."""
        self._app = app
        self._token = token.encode() if token is not None else None
        self._hosts = hosts
        self._realm = realm
        self._open_paths = open_paths
        self._own_check = own_check

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._foreign(scope)
        if refusal is None and scope["path"] == LOGIN_PATH and scope["type"] == "http":
            await self._login(scope, send)
            return
        if refusal is None and scope["path"] not in self._open_paths and scope["path"] not in self._own_check:
            refusal = self._unknown(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
        else:
            await http.refuse(send, refusal)

    def before(self, handler: Small) -> Small:
        """A handler of small requests behind the same checks."""

        def guarded(scope: http.Scope, body: bytes, answer: http.Answer) -> bool:
            refusal = self._foreign(scope) or self._unknown(scope)
            if refusal is None:
                return handler(scope, body, answer)
            http.answer_text(answer, refusal.status, refusal.sentence, headers=refusal.headers)
            return True

        return guarded

    def _foreign(self, scope: http.Scope) -> http.Refusal | None:
        host = http.header(scope, b"host")
        if self._hosts is not None and (host is None or http.host_of(host) not in self._hosts):
            names = ", ".join(sorted(self._hosts))
            return http.Refusal(403, f"this server is not called '{host or ''}': use one of {names}")
        origin = http.header(scope, b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            return http.Refusal(
                403, f"requests from pages of {origin} are refused: only this server's own pages may call it"
            )
        return None

    def _unknown(self, scope: http.Scope) -> http.Refusal | None:
        if self._token is None or any(self._matches(secret) for secret in _secrets(scope)):
            return None
        challenge = f'Basic realm="{self._realm}"'.encode()
        return http.Refusal(
            401,
            "this server wants a token: use the login link that `altiplano up` printed, or send it as bearer token",
            headers=((b"www-authenticate", challenge),),
        )

    def _matches(self, secret: str) -> bool:
        return self._token is not None and hmac.compare_digest(secret.encode("utf-8", "replace"), self._token)

    async def _login(self, scope: http.Scope, send: http.Send) -> None:
        values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        if self._token is not None and not any(self._matches(value) for value in values):
            await http.respond_text(send, 401, "this login link is not valid (any more): `altiplano up` prints today's")
            return
        headers = [(b"location", b"/"), (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
        if self._token is not None:
            cookie = f"{COOKIE}={self._token.decode()}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
            headers.append((b"set-cookie", cookie.encode("latin-1", "replace")))
        await http.respond(send, 303, headers=headers)


def _secrets(scope: http.Scope) -> list[str]:
    """Everything in a request that may be the token."""
    found = []
    authorization = http.header(scope, b"authorization") or ""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    elif scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    cookies = http.header(scope, b"cookie")
    if cookies:
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            morsel = None
        if morsel is not None:
            found.append(morsel.value)
    return found
