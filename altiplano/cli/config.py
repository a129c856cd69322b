"""`altiplano config show`: every setting, its value, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from altiplano.cli import output, settings
from altiplano.cli.options import json_option


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it holds now."""

    path: str
    value: str
    source: str


@click.group()
def config() -> None:
    """Settings: files, then ALTIPLANO_… variables, then flags; each later one wins."""


@config.command(epilog="Example: altiplano config show --all")
@click.option("--all", "everything", is_flag=True, help="Those that nobody has set as well.")
@json_option
@click.pass_context
def show(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """What is set, by path, and by what.  A file says `[run]` and `cpus = 2` where this says `run.cpus`."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    found = root.obj if isinstance(root.obj, settings.Found) else settings.Found()
    rows = [row for row in _all(root.command, root, found) if everything or row.source != "default"]
    if as_json:
        output.print_json(rows)
        return
    for path in found.files:
        click.echo(f"# {path}")
    output.print_table(
        ("SETTING", "VALUE", "FROM"), ((r.path, r.value, r.source) for r in rows), "nothing is set: all is default"
    )


def _all(root: click.Group, ctx: click.Context, found: settings.Found) -> Iterator[Setting]:
    for name in settings.COMMON:
        variable = f"{settings.PREFIX}_{name.upper()}"
        yield _setting((name,), found, variable, None)
    yield from _below(root, (), ctx, found)


def _below(group: click.Group, above: tuple[str, ...], ctx: click.Context, found: settings.Found) -> Iterator[Setting]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        path = (*above, name)
        if isinstance(command, click.Group):
            yield from _below(command, path, ctx, found)
        for option in settings.options_of(command) if command is not None else ():
            if option.name in (*settings.COMMON, "as_json") or option.name is None:
                continue
            variable = "_".join((settings.PREFIX, *path, option.name)).upper().replace("-", "_")
            if option.envvar:
                variable = option.envvar if isinstance(option.envvar, str) else option.envvar[0]
            yield _setting((*path, option.name), found, variable, option.default)


def _setting(path: tuple[str, ...], found: settings.Found, variable: str, default: Any) -> Setting:
    name = ".".join(path)
    if os.environ.get(variable):
        return Setting(path=name, value=os.environ[variable], source=variable)
    if path in found.values:
        return Setting(path=name, value=_text(found.values[path].value), source=found.values[path].file)
    return Setting(path=name, value=_text(default), source="default")


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case list() | tuple():
            return ",".join(_text(one) for one in value)
        case _:
            return ""
