"""How a flow goes on, on a terminal and without one.

On a terminal: a bar for each category, numbers, what it waits for, redrawn four times a second.
Elsewhere: a line whenever something changed, at most one a second; failures are lines of their own
at once.  All of it goes to stderr, so that stdout is free for what programs read.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from altiplano.cli.output import span
from altiplano.frameworks.flows import view
from altiplano.frameworks.flows.effects import Finish, Report, What
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.state import FlowState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

DRAWN_EVERY_S = 0.25
LINE_EVERY_S = 1.0
WHY_AFTER_S = 4.0
"""Rules that have waited this long for an agent say why."""

WHY_AGAIN_S = 30.0
"""Without a terminal, the same reason is repeated after this time if nothing runs."""

TAIL_LINES_MAX = 20
REASONS_SHOWN_MAX = 3
CATEGORIES_SHOWN_MAX = 16
RULES_FOR_SLOW_DRAWING = 2_000
"""Flows with more rules are counted once a second, since counting visits every rule."""

BAR_WIDTH = 30


class Progress:
    """Watches one run."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._state: FlowState | None = None
        self._live: Live | None = None
        self._began = time.monotonic()
        self._tally: Counter[What] = Counter()
        self._ended_before = 0
        self._url = ""
        self._shown = ""
        self._line_at = 0.0
        self._reason, self._reason_at = "", 0.0
        self._stopping = 0

    # What the run tells.

    def opened(self, state: FlowState, url: str) -> None:
        self._state, self._url = state, url
        self._say(f"page: {url}")

    def reported(self, report: Report, tail: str) -> None:
        self._tally[report.what] += 1
        state = self._state
        if state is None:
            return
        match report.what:
            case What.RETRIED:
                self._say(f"again: {_named(state, report.key)}: {report.sentence}")
            case What.FAILED:
                self._say(f"FAILED: {_named(state, report.key)}: {report.sentence}")
                for line in tail.rstrip().splitlines()[-TAIL_LINES_MAX:]:
                    self._say(f"    {line}", plain=True)
            case What.BLOCKED if self._tally[What.BLOCKED] <= TAIL_LINES_MAX:
                self._say(f"not run: {_named(state, report.key)}: {report.sentence}")
            case What.RESET if report.sentence != "the last run did not come to it":
                self._say(f"again: {_named(state, report.key)}: {report.sentence}")
            case _:
                pass

    def told(self, sentence: str) -> None:
        self._say(sentence)

    def interrupted(self) -> None:
        self._stopping += 1
        if self._stopping == 1:
            self._say("ending what runs; the same command goes on from there. Press Ctrl-C again to leave at once")

    # What is shown.

    async def draw(self) -> None:
        """Show how it goes on, until cancelled."""
        while True:
            state = self._state
            if state is None:
                await asyncio.sleep(0.01)
                continue
            if self._terminal:
                self._redraw(state)
            else:
                self._line(state)
            slow = len(state.nodes) > RULES_FOR_SLOW_DRAWING or not self._terminal
            await asyncio.sleep(LINE_EVERY_S if slow else DRAWN_EVERY_S)

    def stop(self) -> None:
        """Leave the terminal as it was, with the last picture on it."""
        if self._live is not None:
            if self._state is not None:
                self._live.update(self._picture(self._state))
            self._live.stop()
            self._live = None

    def summary(self, finish: Finish) -> None:
        state = self._state
        kept = self._tally[What.KEPT]
        seconds = time.monotonic() - self._began
        done = self._tally[What.DONE]
        parts = [finish.sentence]
        if kept:
            parts.append(f"{kept} were done before")
        parts.append(f"{done} ran in {span(seconds)}" if done else f"{span(seconds)}")
        click.echo(f"altiplano: {'; '.join(parts)}", err=True)
        if state is not None and finish.exit_code == 1:
            failed = view.failures(state)
            click.echo(f"altiplano: failed: {', '.join(rule.title for rule in failed[:10])}", err=True)
            click.echo("altiplano: mend it and run the same command: what is done stays done", err=True)

    def record(self, finish: Finish) -> dict[str, Any]:
        """How it ended, as `--json` prints it."""
        state = self._state
        assert state is not None
        return {
            "exit_code": finish.exit_code,
            "sentence": finish.sentence,
            "seconds": round(time.monotonic() - self._began, 3),
            "ran": self._tally[What.DONE],
            "kept": self._tally[What.KEPT],
            "retried": self._tally[What.RETRIED],
            "flow": view.view(state),
            "failures": view.failures(state),
        }

    def _say(self, sentence: str, *, plain: bool = False) -> None:
        text = sentence if plain else f"altiplano: {sentence}"
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def _reasons(self, state: FlowState) -> list[tuple[str, int]]:
        """Why rules wait for an agent, once the one that waits longest has done so for a while."""
        oldest = state.oldest_ready()
        if oldest is None or time.monotonic() - oldest < WHY_AFTER_S:
            return []
        return view.reasons(state).most_common(REASONS_SHOWN_MAX)

    def _line(self, state: FlowState) -> None:
        """One line without a terminal, if there is anything new."""
        counts = _counts(state)
        text = ", ".join(f"{number} {word}" for word, number in counts if number or word == "done")
        now = time.monotonic()
        if text != self._shown and state.opened:
            self._shown = text
            self._say(f"{span(now - self._began)}: {text} of {_rules(len(state.nodes))}")
        for sentence, number in self._reasons(state)[:1]:
            # While rules of ours run, the others wait for them, which need not be said twice.
            again = now - self._reason_at > WHY_AGAIN_S and not dict(counts)["running"]
            if sentence != self._reason or again:
                self._reason, self._reason_at = sentence, now
                self._say(f"waiting: {_rules(number)}: {sentence}")

    def _redraw(self, state: FlowState) -> None:
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(self._picture(state), refresh=True)

    def _picture(self, state: FlowState) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for _ in range(2):
            table.add_column()
        for _ in range(3):
            table.add_column(justify="right")
        parts = view.view(state).parts
        for part in parts[:CATEGORIES_SHOWN_MAX]:
            style = "red" if part.failed else "cyan"
            table.add_row(
                Text(part.name),
                ProgressBar(
                    total=part.total, completed=part.done, width=BAR_WIDTH, complete_style=style, finished_style="green"
                ),
                Text(f"{part.done}/{part.total}"),
                Text(f"{part.running} running" if part.running else "", style="cyan"),
                Text(f"{part.failed} failed" if part.failed else "", style="red"),
            )
        lines: list[RenderableType] = [table]
        if len(parts) > CATEGORIES_SHOWN_MAX:
            lines.append(Text(f"… and {len(parts) - CATEGORIES_SHOWN_MAX} more categories", style="dim"))
        lines.append(Text(self._rates(state), style="dim"))
        for sentence, number in self._reasons(state):
            lines.append(Text(f"{_rules(number)} wait{'s' * (number == 1)}: {sentence}", style="yellow"))
        return Group(*lines)

    def _rates(self, state: FlowState) -> str:
        """Numbers of the whole, time, rate."""
        seconds = time.monotonic() - self._began
        parts = [f"{number} {word}" for word, number in _counts(state) if number]
        done = self._tally[What.DONE]
        rate = f"{done / seconds:.1f} rules/s" if done >= seconds else f"{60 * done / max(1.0, seconds):.0f} rules/min"
        return " · ".join([*parts, span(seconds), *([rate] if done else [])])


def _counts(state: FlowState) -> list[tuple[str, int]]:
    """The rules in five words."""
    counts = {one.value: number for one, number in state.counts.items()}
    sums = [
        ("done", ("done",)),
        ("running", ("launched", "running", "expanded", "checking")),
        ("ready", ("preparing", "ready")),
        ("waiting", ("waiting",)),
        ("failed", ("failed",)),
        ("not run", ("blocked", "aborted")),
    ]
    return [(word, sum(counts.get(name, 0) for name in names)) for word, names in sums]


def _named(state: FlowState, key: RuleKey) -> str:
    node = state.nodes.get(key)
    return key if node is None else f"{node.rule.title} ({node.file}:{node.rule.line})"


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count} rules"
