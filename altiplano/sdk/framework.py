"""What a framework's author writes: a class with the callbacks that matter to it.

Callbacks may be plain methods or coroutines; they are called one at a time, in the order of events.
`Driver`, which calls them, does no input or output, so the same framework runs on a real session
(`altiplano.sdk.running`) and on a master in memory (`altiplano.testing.master`).
"""

from __future__ import annotations

import getpass
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import assert_never

from altiplano.sdk import calls, events
from altiplano.sdk.offers import Offer, calls_for
from altiplano.sdk.tasks import Status
from altiplano.wire.messages import mesos

FAILOVER_S_DEFAULT = 120.0
"""How long the pool waits for a framework that went silent before it ends its tasks."""

log = logging.getLogger("altiplano.sdk")

CAPABILITIES = (
    mesos.FrameworkInfoCapabilityType.PARTITION_AWARE,
    mesos.FrameworkInfoCapabilityType.TASK_KILLING_STATE,
    mesos.FrameworkInfoCapabilityType.MULTI_ROLE,
    mesos.FrameworkInfoCapabilityType.RESERVATION_REFINEMENT,
)


class NotRunning(Exception):
    """A framework asked the master for something before it ran: ask in a callback."""


class Framework:
    """Base of frameworks.  Override what you care about.

    Offers that a callback neither uses nor holds are let go, and an update counts as taken when
    `update` returns, so that the simplest framework cannot hoard or lose anything.  An error that a
    callback raises ends the framework: the update it came from is told again next time.
    """

    name = ""
    """How people find the framework; the name of the class unless set."""
    roles: Sequence[str] = ("*",)
    user = ""
    """As whom tasks run; the user who starts the framework unless set."""
    principal: str | None = None
    webui_url: str | None = None
    failover_timeout_s = FAILOVER_S_DEFAULT
    gpus = False
    """Whether to be offered machines that have some."""
    labels: Mapping[str, str] = {}
    manual_acknowledgement = False
    """Updates are acknowledged by calling `acknowledge`, not by returning from `update`."""

    framework_id: str | None = None
    _perform: Callable[[calls.FrameworkCall], None] | None = None
    _leave: Callable[[], None] | None = None

    def info(self) -> mesos.FrameworkInfo:
        """How the framework introduces itself.

        It always asks for checkpoints, so that its tasks outlive the restart of an agent.
        """
        kinds = [*CAPABILITIES, *([mesos.FrameworkInfoCapabilityType.GPU_RESOURCES] if self.gpus else [])]
        labels = tuple(mesos.Label(key=key, value=value) for key, value in self.labels.items())
        return mesos.FrameworkInfo(
            user=self.user or getpass.getuser(),
            name=self.name or type(self).__name__,
            id=None if self.framework_id is None else mesos.FrameworkID(value=self.framework_id),
            failover_timeout=self.failover_timeout_s,
            checkpoint=True,
            principal=self.principal,
            webui_url=self.webui_url,
            capabilities=tuple(mesos.FrameworkInfoCapability(type=kind) for kind in kinds),
            labels=mesos.Labels(labels=labels) if labels else None,
            roles=tuple(self.roles),
        )

    def tasks(self) -> Mapping[str, str | None]:
        """Tasks that ran when the framework stopped (id, agent id if known): what a framework with a memory knows."""
        return {}

    # What happens; override these.

    def subscribed(self, again: bool) -> Awaitable[None] | None:
        """The master knows us; `framework_id` is set."""

    def disconnected(self, sentence: str) -> Awaitable[None] | None:
        """The master is out of reach: all offers are void, tasks go on, the session tries again by itself."""
        log.warning("%s: %s", self.name or type(self).__name__, sentence)
        return None

    def offers(self, offers: list[Offer]) -> Awaitable[None] | None:
        """Resources to use: `offer.launch(task)`, or leave them alone."""

    def update(self, status: Status) -> Awaitable[None] | None:
        """A task has a new state."""

    def rescinded(self, offer_id: str) -> Awaitable[None] | None:
        """An offer that was held is void."""

    def message(self, agent_id: str, executor_id: str, data: bytes) -> Awaitable[None] | None:
        """An executor of ours says something."""

    def executor_failed(self, agent_id: str, executor_id: str, wait_status: int) -> Awaitable[None] | None:
        """An executor of ours ended."""

    def agent_failed(self, agent_id: str) -> Awaitable[None] | None:
        """An agent is gone for good; its tasks are told one by one."""

    def refused(self, sentence: str) -> Awaitable[None] | None:
        """The master refused a call."""
        log.error("%s: %s", self.name or type(self).__name__, sentence)
        return None

    def inverse_offers(self, offers: Sequence[mesos.InverseOffer]) -> Awaitable[None] | None:
        """Machines that their operator wants back for a time."""

    def operation_updated(self, status: mesos.OperationStatus) -> Awaitable[None] | None:
        """What became of an operation that had an id; it is acknowledged on return."""

    # What can be asked for; call these.

    def kill(self, task_id: str, *, agent_id: str | None = None, grace_s: float | None = None) -> None:
        """End a task; repeated by the session until it has ended."""
        self.ask(calls.Kill(task_id=task_id, agent_id=agent_id, grace_s=grace_s))

    def suppress(self, *roles: str) -> None:
        """No offers until `revive`: what a framework with nothing to do owes to the others."""
        self.ask(calls.Suppress(roles=roles))

    def revive(self, *roles: str) -> None:
        """Offers again, at once, those that were declined included."""
        self.ask(calls.Revive(roles=roles))

    def acknowledge(self, status: Status) -> None:
        """We have taken this status for good (with `manual_acknowledgement`)."""
        self.ask(calls.Acknowledge(status=status.message))

    def answer(self, *offers: Offer) -> None:
        """Use held offers, or let them go."""
        for offer in offers:
            offer.held = False
        for call in calls_for(offers):
            self.ask(call)

    def send(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Bytes for an executor; they may get lost."""
        self.ask(calls.SendMessage(agent_id=agent_id, executor_id=executor_id, data=data))

    def reconcile(self, tasks: Iterable[tuple[str, str | None]] = ()) -> None:
        """Ask for the latest state of tasks; of all, if none is named."""
        self.ask(calls.Reconcile(tasks=tuple(tasks)))

    def stop(self) -> None:
        """End the framework and all that it runs."""
        self.ask(calls.Teardown())

    def leave(self) -> None:
        """Stop here and leave the tasks running: the framework comes back within `failover_timeout_s`."""
        if self._leave is None:
            raise NotRunning(f"framework '{self.name}' does not run yet, so it cannot leave")
        self._leave()

    def ask(self, call: calls.FrameworkCall) -> None:
        """Ask for anything that `altiplano.sdk.calls` knows."""
        if self._perform is None:
            raise NotRunning(
                f"framework '{self.name}' does not run yet: ask for things in a callback, from `subscribed` on"
            )
        self._perform(call)


class Driver:
    """Turns events into callbacks, and what the callbacks left open into calls.

    A callback that ends the framework does so when it has returned and what it took is acknowledged.
    """

    def __init__(
        self, framework: Framework, perform: Callable[[calls.FrameworkCall], None], leave: Callable[[], None]
    ) -> None:
        self._framework = framework
        self._perform = perform
        self._leave = leave
        self._busy = False
        self._end: Callable[[], None] | None = None
        framework._perform = self._ask
        framework._leave = self._ask_to_leave

    async def handle(self, event: events.SchedulerEvent) -> None:
        """Call back for one event and wait for the callback."""
        self._busy = True
        try:
            await self._call_back(event)
        finally:
            self._busy = False
        if self._end is not None:
            end, self._end = self._end, None
            end()

    def _ask(self, call: calls.FrameworkCall) -> None:
        if self._busy and isinstance(call, calls.Teardown):
            self._end = lambda: self._perform(call)
        else:
            self._perform(call)

    def _ask_to_leave(self) -> None:
        if self._busy:
            self._end = self._leave
        else:
            self._leave()

    async def _call_back(self, event: events.SchedulerEvent) -> None:
        framework = self._framework
        match event:
            case events.Offered():
                offers = [Offer(message) for message in event.offers]
                await _done(framework.offers(offers))
                for call in calls_for(offers):
                    self._perform(call)
            case events.Updated():
                await _done(framework.update(Status.of(event.status)))
                if not framework.manual_acknowledgement:
                    self._perform(calls.Acknowledge(status=event.status))
            case events.Subscribed():
                framework.framework_id = event.framework_id
                await _done(framework.subscribed(event.again))
            case events.Disconnected():
                await _done(framework.disconnected(event.sentence))
            case events.Rescinded():
                await _done(framework.rescinded(event.offer_id))
            case events.Received():
                await _done(framework.message(event.agent_id, event.executor_id, event.data))
            case events.ExecutorFailed():
                await _done(framework.executor_failed(event.agent_id, event.executor_id, event.wait_status))
            case events.AgentFailed():
                await _done(framework.agent_failed(event.agent_id))
            case events.CallRefused():
                await _done(framework.refused(event.sentence))
            case events.InverseOffered():
                await _done(framework.inverse_offers(event.inverse_offers))
            case events.InverseRescinded():
                pass
            case events.OperationUpdated():
                await _done(framework.operation_updated(event.status))
                self._perform(calls.AcknowledgeOperation(status=event.status))
            case _:
                assert_never(event)


async def _done(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result
