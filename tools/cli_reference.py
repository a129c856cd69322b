"""Writes the list of commands in docs/reference/cli.md from the commands themselves.

python tools/cli_reference.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from altiplano.cli.main import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
BEGIN = "<!-- what follows is written by tools/cli_reference.py -->\n"
DEEPEST_HEADING = 4


def commands(command: click.Command, path: tuple[str, ...], ctx: click.Context) -> Iterator[str]:
    """The sections of a command and of all below it."""
    yield "#" * min(len(path), DEEPEST_HEADING) + f" `{' '.join(path)}`\n"
    yield "\n".join(line.strip() for line in (command.help or "").replace("\b", "").strip().splitlines()) + "\n"
    arguments = " ".join(p.make_metavar(ctx) for p in command.params if isinstance(p, click.Argument))
    if arguments:
        yield f"Arguments: `{arguments}`\n"
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        yield "| option | meaning |\n|---|---|\n" + "".join(_row(option, path) for option in options)
    if command.epilog:
        yield command.epilog + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from commands(below, (*path, name), ctx)


def page() -> str:
    """The whole page as it should be: what people wrote, then what the commands say."""
    head, begin, _ = PAGE.read_text().partition(BEGIN)
    ctx = click.Context(cli, info_name="altiplano")
    listed = [section for name in cli.list_commands(ctx) for section in _below(name, ctx)]
    return head + (begin or BEGIN) + "\n" + "\n".join(listed)


def _below(name: str, ctx: click.Context) -> Iterator[str]:
    command = cli.get_command(ctx, name)
    assert command is not None
    yield from commands(command, ("altiplano", name), ctx)


def _row(option: click.Option, path: tuple[str, ...]) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = option.default
    shown = f" Default: `{default}`." if option.show_default and isinstance(default, str | int | float) else ""
    text = (option.help or "").replace("|", "\\|")
    return f"| {names} | {text}{shown} |\n"


def main() -> int:
    wanted = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text() == wanted else 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
