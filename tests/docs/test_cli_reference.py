"""The reference of the command line says what the command line does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import click
import pytest

from altiplano.cli import failures
from altiplano.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "cli.md"


def every_command() -> list[tuple[str, click.Command]]:
    ctx = click.Context(cli, info_name="altiplano")
    found: list[tuple[str, click.Command]] = []

    def walk(command: click.Command, path: str) -> None:
        found.append((path, command))
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                below = command.get_command(ctx, name)
                assert below is not None
                walk(below, f"{path} {name}")

    walk(cli, "altiplano")
    return found[1:]


def test_the_page_is_what_the_commands_say() -> None:
    wanted = runpy.run_path(str(ROOT / "tools" / "cli_reference.py"))["page"]()
    assert PAGE.read_text() == wanted, "run 'python tools/cli_reference.py' and look at what changed"


def test_every_command_and_option_is_on_the_page() -> None:
    text = PAGE.read_text()
    for path, command in every_command():
        section = text.partition(f"# `{path}`\n")[2].partition("\n#")[0]
        assert section, path
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(f"`{name}`" in section for name in option.opts), (path, option.opts)


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=p) for p, c in every_command()])
def test_every_command_has_help_and_an_example(path: str, command: click.Command) -> None:
    assert command.help, path
    assert isinstance(command, click.Group) or "Example" in (command.epilog or ""), path
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, (path, option.name)


def test_the_exit_codes_are_those_of_the_program() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    named = {value for name, value in vars(failures).items() if name.isupper() and isinstance(value, int)}
    assert named == listed
