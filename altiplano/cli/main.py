"""`altiplano`: the tree of commands.

The one thing to know before changing it: nothing heavy is imported here.  A command's module is
loaded when the command runs, and its line of help stands in the table.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click

from altiplano.cli import failures, settings


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in the list of commands."""

    module: str
    attribute: str
    help: str
    hidden: bool = False


COMMANDS: Mapping[str, Entry] = {
    "up": Entry("altiplano.cli.up", "up", "A whole pool on this machine, until Ctrl-C."),
    "down": Entry("altiplano.cli.up", "down", "End the pool that `up --detach` started."),
    "run": Entry("altiplano.cli.run", "run", "Run a command somewhere in the pool."),
    "task": Entry("altiplano.cli.tasks", "task", "Tasks: list, show, logs, kill, why."),
    "agent": Entry("altiplano.cli.agents", "agent", "Machines: list, show; and the agent itself."),
    "framework": Entry("altiplano.cli.frameworks", "framework", "Frameworks: list, show, teardown."),
    "flow": Entry("altiplano.cli.flow", "flow", "Graphs of jobs."),
    "why": Entry("altiplano.cli.tasks", "why", "The story of a task, agent or framework."),
    "master": Entry("altiplano.cli.daemons", "master", "Run a master."),
    "emulate": Entry("altiplano.cli.emulate", "emulate", "Join a pool with machines that do not exist."),
    "host": Entry("altiplano.cli.host", "host", "Run the host of frameworks.", hidden=True),
    "config": Entry("altiplano.cli.config", "config", "Settings, and where each comes from."),
    "doctor": Entry("altiplano.cli.doctor", "doctor", "Look for what is missing on this machine."),
    "completion": Entry("altiplano.cli.completion", "completion", "Completion for a shell."),
    "version": Entry("altiplano.cli.completion", "version", "Version of this program."),
}


class LazyGroup(click.Group):
    """A group that loads a command when it is asked for it.  What is not installed is not there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in COMMANDS.items() if not entry.hidden and importlib.util.find_spec(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None or importlib.util.find_spec(entry.module) is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"auto_envvar_prefix": settings.PREFIX, "help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 no master or credentials refused.",
)
@click.version_option(package_name="altiplano", message="altiplano %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """One pool out of many machines.

    \b
    altiplano up                        a pool on this machine
    altiplano run -- echo hello         run something on it
    altiplano why TASK                  what happened to it, and why
    """
    found = settings.load(os.environ, os.getcwd())
    ctx.obj = found
    if found.values:
        settings.check(found, cli, ctx)
        ctx.default_map = found.default_map()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code.  Whatever goes wrong is a sentence on stderr."""
    try:
        code = cli.main(arguments, prog_name="altiplano", standalone_mode=False)
        return code if isinstance(code, int) else failures.OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except failures.Failure as error:
        error.show()
        return error.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return failures.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; flushing at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.OK
    except Exception as error:  # the outermost shell: nobody gets a traceback for an answer
        failure = failures.translated(error) or failures.unexpected(error)
        failure.show()
        return failure.code


if __name__ == "__main__":
    main()
