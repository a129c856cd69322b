"""Guarantees and limits of roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message


class QuotaInfo(Message):
    role: Annotated[str | None, 1] = None
    principal: Annotated[str | None, 2] = None
    guarantee: Annotated[tuple[mesos.Resource, ...], 3] = ()


class QuotaRequest(Message):
    force: Annotated[bool | None, 1] = None
    role: Annotated[str | None, 2] = None
    guarantee: Annotated[tuple[mesos.Resource, ...], 3] = ()


class QuotaConfig(Message):
    role: Annotated[str, 1]
    guarantees: Annotated[Mapping[str, mesos.ValueScalar], 2] = field(default_factory=dict)
    limits: Annotated[Mapping[str, mesos.ValueScalar], 3] = field(default_factory=dict)


class QuotaStatus(Message):
    infos: Annotated[tuple[QuotaInfo, ...], 1] = ()  # deprecated
    configs: Annotated[tuple[QuotaConfig, ...], 2] = ()
