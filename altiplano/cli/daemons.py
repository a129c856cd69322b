"""The processes of a pool: `altiplano master`, `altiplano agent --master …`.

The only module of the command line that may know what masters and agents are made of.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import click
import structlog

from altiplano.agent import settings as agent_settings
from altiplano.agent.settings import Kind
from altiplano.cli.failures import FAILED, UNREADABLE, USAGE, Failure
from altiplano.cli.options import Duration
from altiplano.engine.verbosity import verbosity
from altiplano.kit import eventloop
from altiplano.master import settings as master_settings

_BYTES = re.compile(r"(\d+)\s*(B|KB|MB|GB|TB)?", re.IGNORECASE)
_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


class Size(click.ParamType[int]):
    """`2GB`, `512MB`; a bare number counts bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _BYTES.fullmatch(value.strip())
        if match is None:
            self.fail(f"'{value}' is not a size: write a number and a unit, such as 512MB or 2GB", param, ctx)
        return int(match[1]) * _UNITS[(match[2] or "B").upper()]


_TYPES: dict[Kind, click.ParamType[Any]] = {
    Kind.TEXT: click.STRING,
    Kind.INTEGER: click.INT,
    Kind.FRACTION: click.FloatRange(0.0, 1.0),
    Kind.DURATION: Duration(),
    Kind.BYTES: Size(),
}


def configure_logs() -> None:
    """One event per line on standard error, as key=value, `action` first."""
    structlog.configure(
        processors=[
            verbosity.filter,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "action", "event", "cause"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _agent_options(command: Callable[..., None]) -> Callable[..., None]:
    for flag in reversed(agent_settings.FLAGS):
        if flag.kind is Kind.SWITCH:
            name = f"--{flag.name}/--no-{flag.name}"
            option = click.option(name, flag.field, default=bool(flag.default), show_default=True, help=flag.help)
        else:
            option = click.option(
                f"--{flag.name}",
                flag.field,
                type=_TYPES[flag.kind],
                required=flag.required,
                default=flag.default,
                show_default=flag.default is not None,
                help=flag.help,
            )
        command = option(command)
    return command


@click.command("start", epilog="Example: altiplano agent --master 10.0.0.1:5050 --work-dir /var/lib/altiplano")
@_agent_options
def agent(**values: Any) -> None:
    """Run an agent: this machine becomes a member of the pool.

    SIGTERM stops the agent and leaves its tasks, which go on and are taken up again when it returns.
    SIGUSR1 ends the tasks and takes the machine out of the pool for good.
    """
    from altiplano.adapters.supervisor.client import SupervisorUnreachable
    from altiplano.agent import daemon
    from altiplano.agent.api.access import BadCredentials
    from altiplano.agent.detect import BadSetting
    from altiplano.engine.http import CannotListen
    from altiplano.ports.launcher import LauncherError
    from altiplano.ports.log import LogDamaged, LogFailed, LogInUse, LogMismatch

    configure_logs()
    try:
        status = eventloop.run(daemon.run(agent_settings.Settings(**values)))
    except (BadSetting, BadCredentials) as error:
        raise Failure(str(error), USAGE) from error
    except (LogDamaged, LogMismatch) as error:
        raise Failure(str(error), UNREADABLE) from error
    except (CannotListen, LogInUse, LogFailed, SupervisorUnreachable, LauncherError) as error:
        raise Failure(str(error), FAILED) from error
    sys.exit(status)


class MasterCommand(click.Command):
    """Refuses flags of Mesos that this master does not have with a sentence of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for argument in args:
            name = argument.partition("=")[0].removeprefix("--").replace("-", "_")
            if argument.startswith("--") and name in master_settings.NOT_BUILT:
                raise Failure(f"--{name.replace('_', '-')}: {master_settings.NOT_BUILT[name]}", USAGE)
        return super().parse_args(ctx, args)


def _master_options(command: Callable[..., None]) -> Callable[..., None]:
    for flag in reversed(master_settings.options()):
        dashed = flag.name.replace("_", "-")
        name = f"--{dashed}/--no-{dashed}" if flag.type is bool else f"--{dashed}"
        command = click.option(
            name, flag.name, type=flag.type, default=flag.default, show_default=flag.default is not None, help=flag.help
        )(command)
    return command


@click.command(
    "master", cls=MasterCommand, epilog="Example: altiplano master --ip 10.0.0.1 --work-dir /var/lib/altiplano/master"
)
@_master_options
def master(**values: Any) -> None:
    """Run a master: it knows the machines of the pool and offers what is free to frameworks.

    Options carry the names of Mesos' flags.  SIGTERM and SIGINT stop it; tasks go on, and agents and
    frameworks come back to the next master in the same work directory.
    """
    from altiplano.engine.http import CannotListen
    from altiplano.master.server import Server
    from altiplano.ports.log import LogDamaged, LogFailed, LogInUse, LogMismatch

    configure_logs()
    try:
        eventloop.run(Server(master_settings.Settings(**values)).run())
    except ValueError as error:
        raise Failure(str(error), USAGE) from error
    except (LogDamaged, LogMismatch) as error:
        raise Failure(str(error), UNREADABLE) from error
    except (CannotListen, LogInUse, LogFailed) as error:
        raise Failure(str(error), FAILED) from error


def machine(work_dir: str, isolation: str = "posix") -> tuple[str, ...]:
    """What an agent would find on this machine, in sentences: for `altiplano doctor`."""
    from altiplano.agent import detect

    return detect.machine(work_dir, isolation, switch_user=True)
