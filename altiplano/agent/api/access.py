"""Who may use the agent's API: principals and secrets from a file, by HTTP basic authentication."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

import msgspec

from altiplano.engine import http
from altiplano.wire.messages import mesos

REALM_READ = "mesos-agent-readonly"
REALM_WRITE = "mesos-agent-readwrite"


class BadCredentials(Exception):
    """The file of credentials cannot be used; the text says why."""


def load(path: str) -> Mapping[str, str]:
    """Secrets by principal, from JSON as Mesos has it or from lines of `principal secret`."""
    path = path.removeprefix("file://")
    try:
        with open(path) as file:
            text = file.read()
        if text.lstrip().startswith("{"):
            read = msgspec.json.decode(text, type=mesos.Credentials)
            return {credential.principal: credential.secret or "" for credential in read.credentials}
        return dict(line.split(None, 1) for line in text.splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise BadCredentials(
            f"the credentials in {path} cannot be read: {error}; write lines of principal and secret, or JSON"
        ) from error


class Access:
    """Checks requests; `secrets` None lets everybody in."""

    def __init__(self, secrets: Mapping[str, str] | None, *, reading: bool, writing: bool) -> None:
        self._secrets = secrets or {}
        self._reading = reading
        self._writing = writing

    def check(self, scope: http.Scope, *, writes: bool) -> None:
        """Raises a Refusal with status 401 for a request without a credential that fits."""
        if not (self._writing if writes else self._reading):
            return
        principal, secret = _basic(http.header(scope, b"authorization") or "")
        known = self._secrets.get(principal)
        if known is None or not hmac.compare_digest(known.strip().encode(), secret.encode()):
            realm = REALM_WRITE if writes else REALM_READ
            raise http.Refusal(
                401,
                "this agent wants a principal and its secret, by basic authentication",
                headers=((b"www-authenticate", f'Basic realm="{realm}"'.encode()),),
            )


def _basic(header: str) -> tuple[str, str]:
    scheme, _, data = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        principal, _, secret = base64.b64decode(data, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return principal, secret
