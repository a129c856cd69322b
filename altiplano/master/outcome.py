"""Collects what one event leads to, while it is being worked out."""

from __future__ import annotations

from altiplano.engine.core import Decision, Effect, Fact, Note
from altiplano.link import messages as link_messages
from altiplano.master import effects
from altiplano.master.state import Agent, Framework, MasterState
from altiplano.model.time import Instant
from altiplano.wire.messages import master, scheduler

SENTENCE_CHARS_MAX = 2000
"""Length of a sentence in an answer or in the journal: it may quote what a caller sent."""


class Outcome:
    """Facts and effects of one event.  The state stays as it was before the event until they are applied."""

    def __init__(self, state: MasterState, now: Instant, cause: str) -> None:
        self.state = state
        self.now = now
        self.cause = cause
        self._facts: list[Fact] = []
        self._effects: list[Effect] = []

    def holds(self, *facts: Fact) -> None:
        """From now on these facts hold."""
        self._facts.extend(facts)

    def do(self, *wanted: Effect) -> None:
        self._effects.extend(wanted)

    def note(self, sentence: str, *subjects: str) -> None:
        """Leave a line in the journal."""
        self._effects.append(Note(subjects=subjects, sentence=sentence[:SENTENCE_CHARS_MAX], cause=self.cause))

    def reply(self, to: str, status: int, body: str = "") -> None:
        self._effects.append(effects.Reply(to=to, status=status, body=body[:SENTENCE_CHARS_MAX]))

    def tell(self, framework: Framework, event: scheduler.Event) -> None:
        """Send an event to a framework, if it is connected."""
        if framework.stream is not None:
            self._effects.append(effects.Send(stream=framework.stream, event=event))

    def order(self, agent: Agent, message: link_messages.FromMaster) -> None:
        """Send a message to an agent, if it is connected."""
        if agent.link is not None:
            self._effects.append(effects.ToAgent(link=agent.link, message=message))

    def publish(self, event: master.Event) -> None:
        """Tell operators that follow the event stream."""
        if self.state.operators:
            self._effects.append(effects.Publish(event=event))

    @property
    def facts(self) -> list[Fact]:
        return self._facts

    def decision(self) -> Decision:
        return Decision(tuple(self._facts), tuple(self._effects))
