"""For authors of frameworks.

`Framework`, `run`  a framework is a class with callbacks; `run` connects it to a pool
`Offer`, `Task`, `Status`  what callbacks are given and what they launch
`Session`  the layer below, for frameworks with a core of their own: `events` in, `calls` out
`Operator`  the pool's operator API over HTTP

Nothing here is known to our master alone: it all speaks the public Mesos v1 API.
"""

from altiplano.model.tasks import State
from altiplano.sdk import calls, events
from altiplano.sdk.credentials import CredentialsRefused, Place, find
from altiplano.sdk.framework import Framework, NotRunning
from altiplano.sdk.masters import AddressRefused
from altiplano.sdk.offers import Offer, OfferTooSmall
from altiplano.sdk.running import run, serve
from altiplano.sdk.session import MasterRefused, Session, SessionEnded
from altiplano.sdk.tasks import Status, Task, TaskRefused, new_task_id

__all__ = [
    "AddressRefused",
    "CredentialsRefused",
    "Framework",
    "MasterRefused",
    "NotRunning",
    "Offer",
    "OfferTooSmall",
    "Place",
    "Session",
    "SessionEnded",
    "State",
    "Status",
    "Task",
    "TaskRefused",
    "calls",
    "events",
    "find",
    "new_task_id",
    "run",
    "serve",
]
