"""Turns launches into calls of the master: builds the tasks of one offer and accepts it with them.

An offer can be accepted once, so all its tasks go in one call.  A task takes about a tenth of a millisecond to
build; a launch of hundreds is built in slices, and tasks that are to be killed meanwhile are left out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from altiplano.frameworks.flows import effects, events, launching, opening
from altiplano.frameworks.flows.contents import Content
from altiplano.frameworks.flows.datapath import DataPath
from altiplano.frameworks.flows.effects import Start
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.state import FlowState
from altiplano.model.tasks import State
from altiplano.sdk import calls
from altiplano.sdk.offers import Offer, OfferTooSmall
from altiplano.sdk.tasks import Task
from altiplano.wire.messages import mesos

STARTS_PER_SLICE = 32
"""Tasks built before the event loop gets a turn: about 4 ms."""


class Starter:
    """Builds and starts the tasks of a flow."""

    def __init__(
        self,
        state: FlowState,
        *,
        shared_root: Path | None,
        empty_fails: bool,
        post: Callable[[events.FlowEvent], None],
        ask: Callable[[calls.FrameworkCall], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`shared_root` is the workflow's directory if commands run among its files, else files are carried."""
        self.inputs: dict[RuleKey, dict[str, Content]] = {}
        """What rules that are ready will read."""
        self.readers: Counter[str] = Counter()
        """How many rules read a file."""
        self.url = ""
        """Where the data path is."""
        self.data: DataPath | None = None
        self._state = state
        self._shared_root = shared_root
        self._empty_fails = empty_fails
        self._post = post
        self._ask = ask
        self._spawn = spawn
        self._building: dict[str, bool] = {}
        """Tasks that are being built, and whether they are still wanted."""

    def launch(self, offer: Offer | None, effect: effects.Launch) -> None:
        """Accept an offer with its tasks, now or after a few turns of the loop; None for one that was taken back."""
        if offer is None:
            for start in effect.starts:
                self._dropped(effect, start, f"offer {effect.offer_id} was taken back")
        elif len(effect.starts) <= STARTS_PER_SLICE:
            for start in effect.starts:
                self._add(offer, effect, start)
            self._accept(offer, effect)
        else:
            self._building.update((start.task_id, True) for start in effect.starts)
            self._spawn(self._launch_in_slices(offer, effect))

    def leave_out(self, task_id: str) -> bool:
        """Take a task out of a launch that is being built; False if it is in none, and must be killed."""
        if task_id not in self._building:
            return False
        self._building[task_id] = False
        return True

    async def _launch_in_slices(self, offer: Offer, effect: effects.Launch) -> None:
        for number, start in enumerate(effect.starts):
            if self._building[start.task_id]:
                self._add(offer, effect, start)
            if number % STARTS_PER_SLICE == STARTS_PER_SLICE - 1:
                await asyncio.sleep(0)
        unwanted = {start.task_id for start in effect.starts if not self._building.pop(start.task_id)}
        if unwanted:
            offer.operations[:] = [one for one in offer.operations if not _is_of(one, unwanted)]
        self._accept(offer, effect)
        for start in effect.starts:
            if start.task_id in unwanted:
                self._dropped(effect, start, "it was ended before it was sent")

    def _add(self, offer: Offer, effect: effects.Launch, start: Start) -> None:
        try:
            offer.launch(self._task(start))
        except OfferTooSmall as error:
            self._dropped(effect, start, str(error))

    def _accept(self, offer: Offer, effect: effects.Launch) -> None:
        self._ask(calls.Accept(offer_ids=(offer.id,), operations=tuple(offer.operations), refuse_s=effect.refuse_s))

    def _dropped(self, effect: effects.Launch, start: Start, sentence: str) -> None:
        if self.data is not None:
            self.data.revoke(start.task_id)
        self._post(
            events.TaskChanged(
                cause=effect.cause,
                task_id=start.task_id,
                state=State.DROPPED,
                sentence=sentence,
                agent_id=effect.agent_id,
            )
        )

    def _task(self, start: Start) -> Task:
        node = self._state.nodes[start.key]
        uris: tuple[mesos.CommandInfoURI, ...] = ()
        if self._shared_root is not None:
            command = launching.shared_command(node.rule.command, self._shared_root)
        else:
            assert self.data is not None, "the endpoint is opened before anything runs"
            outputs = tuple(use.local for use in node.rule.outputs)
            inputs = {
                name: (content, self.url + self.data.offer(content), self.readers[name] > 1)
                for name, content in self.inputs[start.key].items()
            }
            command, uris = launching.carried(
                node,
                inputs=inputs,
                outputs_url=self.url + self.data.allow(start.task_id, outputs),
                empty_fails=self._empty_fails,
            )
        exports = opening.exports_around(node, self._state.nodes)
        return launching.task(node, start, command=command, uris=uris, exports=exports)


def _is_of(operation: mesos.OfferOperation, task_ids: set[str]) -> bool:
    """Whether it launches one of these tasks."""
    launch = operation.launch
    return launch is not None and any(task.task_id.value in task_ids for task in launch.task_infos)
