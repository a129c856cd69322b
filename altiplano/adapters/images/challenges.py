"""What a registry asks for before it lets somebody in: `WWW-Authenticate`, read strictly.  Pure.

A challenge comes from whoever answers at that address, and decides where a password goes; so anything that
is not exactly what the standard allows is refused and not guessed at.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from altiplano.ports.images import Credentials, ImageRefused

CHALLENGE_CHARS_MAX: Final = 4096
TOKEN_CHARS_MAX: Final = 16 * 1024
TOKEN_LIFE_S_DEFAULT: Final = 60.0
TOKEN_LIFE_S_MAX: Final = 3600.0

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"({_TOKEN})(?: +|$)", re.ASCII)
_PARAMETER = re.compile(
    rf'({_TOKEN})\s*=\s*(?:({_TOKEN})|"((?:[^"\\\x00-\x1f\x7f]|\\[\t !-~])*)")\s*(?:,\s*|$)', re.ASCII
)
_SENDABLE = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """Name and password with every request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A token, to be asked for at `realm`."""

    realm: str
    service: str | None

    def address(self, repository: str) -> str:
        """Where to ask for a token.  The scope is ours: a registry has no say in what we ask for elsewhere."""
        query = [("scope", f"repository:{repository}:pull")]
        if self.service is not None:
            query.insert(0, ("service", self.service))
        joint = "&" if urlsplit(self.realm).query else "?"
        return f"{self.realm}{joint}{urlencode(query)}"


Challenge = Basic | Bearer


class TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


def parse(headers: Sequence[str], host: str) -> Challenge:
    """The best of the challenges that a registry answered with; a token before a password."""
    found = [challenge for header in headers for challenge in _challenges(header, host)]
    for kind in (Bearer, Basic):
        for challenge in found:
            if isinstance(challenge, kind):
                return challenge
    raise ImageRefused(f"{host} wants to know who asks, and not in a way we understand: {list(headers)!r:.200}.")


def _challenges(header: str, host: str) -> list[Challenge]:
    found: list[Challenge] = []
    # All of it is read before any of it is believed.
    for scheme, parameters in _read(header.strip(), host):
        match scheme:
            case "basic":
                found.append(Basic())
            case "bearer":
                found.append(_bearer(parameters, host))
            case _:
                # Negotiate and others: somebody else's way in.
                pass
    return found


def _read(header: str, host: str) -> list[tuple[str, dict[str, str]]]:
    """Schemes in lower case, with their parameters."""
    if len(header) > CHALLENGE_CHARS_MAX:
        raise ImageRefused(f"{host} asks who we are in more than {CHALLENGE_CHARS_MAX} characters.")
    found = []
    at = 0
    while at < len(header):
        scheme = _SCHEME.match(header, at)
        if scheme is None:
            raise ImageRefused(f"{host} asks who we are in a way that breaks the rules: {header!r:.200}.")
        at = scheme.end()
        parameters: dict[str, str] = {}
        while match := _PARAMETER.match(header, at):
            key = match[1].lower()
            if key in parameters:
                raise ImageRefused(f"{host} asks who we are and says {key!r:.40} twice: {header!r:.200}.")
            parameters[key] = match[2] if match[2] is not None else re.sub(r"\\(.)", r"\1", match[3])
            at = match.end()
        found.append((scheme[1].lower(), parameters))
    return found


def _bearer(parameters: dict[str, str], host: str) -> Bearer:
    realm = parameters.get("realm", "")
    try:
        parts = urlsplit(realm)
        port = parts.port
    except ValueError:
        raise ImageRefused(
            f"{host} names {realm!r:.200} as the place to ask for a token, which is no address."
        ) from None
    plain = parts.username is None and parts.password is None and not parts.fragment and port != 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not _SENDABLE.fullmatch(realm):
        raise ImageRefused(
            f"{host} names {realm!r:.200} as the place to ask for a token, which is no plain http address."
        )
    return Bearer(realm=realm, service=parameters.get("service"))


def basic(credentials: Credentials) -> str:
    """The value of an Authorization header."""
    if ":" in credentials.user or not (credentials.user + credentials.password).isprintable():
        raise ImageRefused(
            f"The user {credentials.user!r:.80} or its password cannot be sent: no colon, no control signs."
        )
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


def token(raw: bytes, where: str) -> tuple[str, float]:
    """A token and how long it is good for, in seconds."""
    try:
        answer = msgspec.json.decode(raw, type=TokenAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageRefused(f"{where} did not answer with a token: {error}.") from error
    text = answer.token or answer.access_token
    if not _SENDABLE.fullmatch(text) or len(text) > TOKEN_CHARS_MAX:
        raise ImageRefused(f"{where} answered with a token that cannot be sent: {len(text)} characters.")
    life_s = TOKEN_LIFE_S_DEFAULT if answer.expires_in is None else answer.expires_in
    if not life_s > 0:
        life_s = TOKEN_LIFE_S_DEFAULT
    return text, min(life_s, TOKEN_LIFE_S_MAX)
