"""The token that an executor shows to its agent: a JWT, signed (HS256) by the agent for one container.

The agent needs no list of tokens: what it signed it knows again, also after a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

_HEADER = {"alg": "HS256", "typ": "JWT"}


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is, by the names that Mesos uses: framework, executor and container id."""

    fid: str
    eid: str
    cid: str


def make(secret: bytes, framework_id: str, executor_id: str, container_id: str) -> str:
    claims = Claims(fid=framework_id, eid=executor_id, cid=container_id)
    signed = _text(msgspec.json.encode(_HEADER)) + "." + _text(msgspec.json.encode(claims))
    return f"{signed}.{_signature(secret, signed)}"


def read(secret: bytes, token: str) -> Claims | None:
    """The claims of a token that was signed with this secret; None for any other text."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(secret, signed).encode(), signature.encode()):
        return None
    try:
        return msgspec.json.decode(_bytes(signed.partition(".")[2]), type=Claims)
    except (msgspec.MsgspecError, binascii.Error):
        return None


def _signature(secret: bytes, signed: str) -> str:
    return _text(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
