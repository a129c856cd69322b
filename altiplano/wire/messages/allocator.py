"""What a framework answered to an inverse offer."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered


class InverseOfferStatusStatus(Numbered):
    UNKNOWN = "UNKNOWN", 1
    ACCEPT = "ACCEPT", 2
    DECLINE = "DECLINE", 3


class InverseOfferStatus(Message):
    status: Annotated[InverseOfferStatusStatus, 1]
    framework_id: Annotated[mesos.FrameworkID, 2]
    timestamp: Annotated[mesos.TimeInfo, 3]
