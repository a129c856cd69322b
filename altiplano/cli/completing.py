"""What a shell is offered at TAB for tasks, agents and frameworks: the pool is asked, briefly.

A pool that does not answer gives no candidates and no message, for there is no line to write one on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from altiplano.sdk.operator import Operator

QUESTION_S_MAX = 2.0
CANDIDATES_MAX = 200
"""Offered at one time; more letters find the others."""

Names = Iterable[tuple[str, str]]
"""What may be typed, and what the shell may show beside it."""


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tasks by id, those that run first."""
    return _offered(ctx, incomplete, _tasks)


def agents(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _offered(ctx, incomplete, _agents)


def frameworks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _offered(ctx, incomplete, _frameworks)


def subjects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whatever has a story."""
    return [item for kind in (_tasks, _agents, _frameworks) for item in _offered(ctx, incomplete, kind)]


async def _tasks(operator: Operator) -> Names:
    from altiplano.cli import listing

    rows = listing.task_rows(await operator.tasks(), ended=True)
    return [(row.id, f"{row.name} {row.state}") for row in sorted(rows, key=lambda row: row.ended)]


async def _agents(operator: Operator) -> Names:
    from altiplano.cli import listing

    rows = map(listing.agent_row, await operator.agents())
    return [(row.id, row.hostname) for row in rows]


async def _frameworks(operator: Operator) -> Names:
    from altiplano.cli import listing

    rows = map(listing.framework_row, (await operator.frameworks()).frameworks)
    return [(row.id, row.name) for row in rows]


def _offered(
    ctx: click.Context, incomplete: str, names: Callable[[Operator], Coroutine[Any, Any, Names]]
) -> list[CompletionItem]:
    import asyncio
    import os

    from altiplano.cli import settings
    from altiplano.cli.options import place
    from altiplano.sdk.operator import Operator

    async def asked() -> Names:
        async with asyncio.timeout(QUESTION_S_MAX), Operator(where) as operator:
            return await names(operator)

    try:
        # At TAB no command has begun, so nobody has read the settings.
        ctx.find_root().obj = settings.load(os.environ, os.getcwd())
        with ctx.scope(cleanup=False):
            where = place(ctx.params.get("master"), ctx.params.get("token_file"))
        found = asyncio.run(asked())
    except Exception:  # whatever is wrong with the pool or our credentials, TAB is no place to say it
        return []
    fits = [CompletionItem(name, help=text) for name, text in found if name.startswith(incomplete)]
    return fits[:CANDIDATES_MAX]
