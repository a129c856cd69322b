"""Resource providers and the storage plugins behind them."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages.commands import CommandInfo
from altiplano.wire.messages.containers import ContainerInfo
from altiplano.wire.messages.fields import Message, Numbered, always
from altiplano.wire.messages.ids import ResourceProviderID
from altiplano.wire.messages.resources import Resource, ResourceReservationInfo
from altiplano.wire.messages.values import Attribute


class CSIPluginContainerInfoService(Numbered):
    UNKNOWN = "UNKNOWN", 0
    CONTROLLER_SERVICE = "CONTROLLER_SERVICE", 1
    NODE_SERVICE = "NODE_SERVICE", 2


class CSIPluginContainerInfo(Message):
    services: Annotated[tuple[CSIPluginContainerInfoService, ...], 1] = ()
    command: Annotated[CommandInfo | None, 2] = None
    resources: Annotated[tuple[Resource, ...], 3] = ()
    container: Annotated[ContainerInfo | None, 4] = None


class CSIPluginEndpoint(Message):
    csi_service: Annotated[CSIPluginContainerInfoService, 1]
    endpoint: Annotated[str, 2]


class CSIPluginInfo(Message):
    type: Annotated[str, 1]
    name: Annotated[str, 2] = always(default="default")
    containers: Annotated[tuple[CSIPluginContainerInfo, ...], 3] = ()
    endpoints: Annotated[tuple[CSIPluginEndpoint, ...], 4] = ()
    target_path_root: Annotated[str | None, 5] = None
    target_path_exists: Annotated[bool | None, 6] = None


class ResourceProviderInfoStorage(Message):
    plugin: Annotated[CSIPluginInfo, 1]
    reconciliation_interval_seconds: Annotated[float | None, 2] = None


class ResourceProviderInfo(Message):
    id: Annotated[ResourceProviderID | None, 1] = None
    attributes: Annotated[tuple[Attribute, ...], 2] = ()
    type: Annotated[str, 3]
    name: Annotated[str, 4]
    default_reservations: Annotated[tuple[ResourceReservationInfo, ...], 5] = ()
    storage: Annotated[ResourceProviderInfoStorage | None, 6] = None
