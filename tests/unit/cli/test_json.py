"""Everything that prints a result prints it as JSON as well."""

from __future__ import annotations

from collections.abc import Iterator

import click

from altiplano.cli.main import cli

DAEMONS = {"altiplano master", "altiplano agent start"}
"""They print nothing but their logs."""


def commands(command: click.Command, name: str, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for verb in command.list_commands(ctx):
        below = command.get_command(ctx, verb)
        assert below is not None
        yield from commands(below, f"{name} {verb}", ctx)


def test_every_command_that_prints_has_json_and_every_one_an_example() -> None:
    found = dict(commands(cli, "altiplano", click.Context(cli)))
    assert len(found) > 20
    without = {name for name, one in found.items() if not any("--json" in param.opts for param in one.params)}
    assert without == DAEMONS
    assert not [name for name, one in found.items() if "xample" not in (one.epilog or "")]
