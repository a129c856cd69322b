"""Options that many commands share, and the pool they lead to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from altiplano.cli.settings import Found

if TYPE_CHECKING:
    from altiplano.sdk.credentials import Place
    from altiplano.sdk.operator import Operator

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Duration(click.ParamType[float]):
    """`15secs`, `10mins`; a bare number counts seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        import re

        from altiplano.model import durations

        if isinstance(value, float | int):
            return float(value)
        try:
            return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else durations.parse_s(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def pool_options(command: F) -> F:
    """`--master` and `--token-file`, as parameters `master` and `token_file`."""
    command = click.option(
        "--token-file",
        envvar="ALTIPLANO_TOKEN_FILE",
        metavar="PATH",
        help="File with the token; that of a running `altiplano up` is found by itself.",
    )(command)
    return click.option(
        "--master",
        envvar="ALTIPLANO_MASTER",
        metavar="HOST:PORT",
        help="The master; a running `altiplano up` is found by itself.",
    )(command)


def place(master: str | None, token_file: str | None) -> Place:
    """The pool that options, environment and settings lead to."""
    import os
    from pathlib import Path

    from altiplano.sdk import credentials

    found = click.get_current_context().find_root().obj
    common = found if isinstance(found, Found) else Found()
    token_file = token_file or common.common("token_file")
    token = credentials.read_token(Path(token_file)) if token_file else None
    work_dir = os.environ.get("ALTIPLANO_WORK_DIR") or common.common("work_dir")
    return credentials.find(master or common.common("master"), token=token, work_dir=work_dir)


def ask(where: Place, question: Callable[[Operator], Coroutine[Any, Any, T]]) -> T:
    """Ask the pool one thing."""
    import asyncio

    from altiplano.sdk.operator import Operator

    async def asked() -> T:
        async with Operator(where) as operator:
            return await question(operator)

    return asyncio.run(asked())
