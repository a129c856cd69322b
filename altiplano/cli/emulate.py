"""`altiplano emulate`: a pool of any size for somebody who writes a framework, on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from altiplano.cli import output
from altiplano.cli.failures import USAGE, Failure
from altiplano.cli.options import json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.testing import emulated

AGENTS_MAX = 50_000
TOLD_EVERY_S = 10.0
"""Pause between two lines about what goes on."""


@click.command(epilog="Example: altiplano emulate --agents 500 --resources 'cpus:8;mem:16384' --tasks-seconds 30")
@pool_options
@click.option("--agents", type=click.IntRange(1, AGENTS_MAX), default=100, show_default=True, help="How many machines.")
@click.option(
    "--resources",
    default="cpus:8;mem:16384;disk:65536;ports:[31000-32000]",
    show_default=True,
    help="What each of them has, written as for an agent.",
)
@click.option(
    "--attributes", default="", help="Facts about each, as key:value;… – its name is there as machine_id anyway."
)
@click.option(
    "--tasks-seconds", type=click.FloatRange(0), help="How long each task runs; without it until it is killed."
)
@click.option("--seconds", type=click.FloatRange(0), help="End after so long; without it at Ctrl-C.")
@json_option
def emulate(
    master: str | None,
    token_file: str | None,
    agents: int,
    resources: str,
    attributes: str,
    tasks_seconds: float | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Join a pool with machines that do not exist.

    Each is a member like any other and tells of its tasks as a real one does, but runs nothing: to try how a
    framework behaves on a thousand machines, one real one is enough.  At the end they vanish as machines whose
    power fails, and the master tells their tasks as lost.
    """
    from altiplano.kit import eventloop
    from altiplano.testing import emulated

    where = place(master, token_file)
    try:
        swarm = emulated.Swarm(
            where.masters[0].removeprefix("http://").rstrip("/"),
            emulated.machines(agents, resources, attributes),
            emulated.running_for(tasks_seconds),
            authorization=where.authorization,
        )
    except ValueError as error:
        raise Failure(str(error), USAGE) from error
    try:
        eventloop.run(_run(swarm, seconds, as_json))
    except emulated.TooMany as error:
        raise Failure(str(error), USAGE) from error


async def _run(swarm: emulated.Swarm, seconds: float | None, as_json: bool) -> None:
    import asyncio
    import contextlib

    async with swarm.running():
        telling = asyncio.create_task(_tell(swarm, as_json))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await telling
        finally:
            telling.cancel()


async def _tell(swarm: emulated.Swarm, as_json: bool) -> None:
    """Say what goes on: once when all have joined, then again and again."""
    import asyncio
    import contextlib

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TOLD_EVERY_S):
            await swarm.joined()
    before = swarm.launched
    while True:
        now = swarm.launched
        told = {
            "members": swarm.joined_count,
            "machines": len(swarm.members),
            "tasks": swarm.tasks,
            "launched": now - before,
        }
        if as_json:
            output.print_json_line(told)
        else:
            click.echo(
                f"{told['members']} of {told['machines']} machines are members of the pool at {swarm.master}; "
                f"{told['tasks']} tasks run, {told['launched']} more were launched"
            )
        before = now
        await asyncio.sleep(TOLD_EVERY_S)
