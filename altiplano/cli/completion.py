"""`altiplano completion` and `altiplano version`."""

from __future__ import annotations

import click

from altiplano.cli import output
from altiplano.cli.options import json_option


@click.command(epilog='Example: eval "$(altiplano completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete the commands of altiplano."""
    from click.shell_completion import get_completion_class

    from altiplano.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "altiplano", "_ALTIPLANO_COMPLETE").source()
    if as_json:
        output.print_json({"shell": shell, "script": script})
    else:
        click.echo(script)


@click.command(epilog="Example: altiplano version --json")
@json_option
def version(as_json: bool) -> None:
    """Version of this program."""
    import altiplano

    if as_json:
        output.print_json({"version": altiplano.__version__})
    else:
        click.echo(f"altiplano {altiplano.__version__}")
