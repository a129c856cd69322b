"""Secrets and credentials."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.fields import Message, Numbered


class SecretType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    REFERENCE = "REFERENCE", 1
    VALUE = "VALUE", 2


class SecretReference(Message):
    name: Annotated[str, 1]
    key: Annotated[str | None, 2] = None


class SecretValue(Message):
    data: Annotated[bytes, 1]


class Secret(Message):
    type: Annotated[SecretType | None, 1] = None
    reference: Annotated[SecretReference | None, 2] = None
    value: Annotated[SecretValue | None, 3] = None


class Credential(Message):
    principal: Annotated[str, 1]
    secret: Annotated[str | None, 2] = None


class Credentials(Message):
    credentials: Annotated[tuple[Credential, ...], 1] = ()
