"""`altiplano agent …`: machines, and the agent itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from altiplano.cli import completing, output
from altiplano.cli.options import Duration, ask, json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.cli.draining import Progress
    from altiplano.sdk.operator import Operator


class AgentGroup(click.Group):
    """`altiplano agent --master …` starts an agent, as `altiplano agent start --master …` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "start"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "start":
            return super().get_command(ctx, cmd_name)
        from altiplano.cli import daemons

        return daemons.agent


@click.group(cls=AgentGroup)
def agent() -> None:
    """Machines of the pool.  `altiplano agent --master HOST:PORT …` makes this machine one of them."""


@agent.command("list", epilog="Example: altiplano agent list --json")
@pool_options
@json_option
def list_agents(master: str | None, token_file: str | None, as_json: bool) -> None:
    """Machines that the master knows, and how much of each is in use."""
    from altiplano.cli import listing

    rows = [listing.agent_row(agent) for agent in ask(place(master, token_file), lambda o: o.agents())]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ("AGENT", "HOST", "STATE", "CPUS", "MEM", "DISK", "SINCE"),
        (
            (
                row.id,
                row.hostname,
                row.state,
                f"{row.used.cpus:g} of {row.total.cpus:g}",
                f"{output.mb(row.used.mem)} of {output.mb(row.total.mem)}",
                f"{output.mb(row.used.disk)} of {output.mb(row.total.disk)}",
                listing.age(row.registered_wall_s),
            )
            for row in rows
        ),
        "the master knows no agent: start one with 'altiplano agent --master HOST:PORT --work-dir DIR'",
    )


@agent.command(epilog="Example: altiplano agent show alps1")
@click.argument("agent_id", metavar="AGENT", shell_complete=completing.agents)
@pool_options
@json_option
def show(agent_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """One machine: by its id, the beginning of it, or its host name."""
    import msgspec

    from altiplano.cli import listing
    from altiplano.sdk import operator

    where = place(master, token_file)
    rows = [listing.agent_row(agent) for agent in ask(where, lambda o: o.agents())]
    row = listing.chosen("agent", agent_id, rows, [(row.id, row.hostname) for row in rows])
    with contextlib.suppress(operator.OperatorError):
        # An agent that is away has nothing to say; what the master knows of it is shown all the same.
        account = ask(where, lambda o: o.account(row.id))
        row = msgspec.structs.replace(row, machine=account.machine, degraded=account.degraded)
    if as_json:
        output.print_json(row)
        return
    output.print_fields(
        (
            ("agent", row.id),
            ("host", row.hostname),
            ("state", row.state),
            ("version", row.version),
            ("since", "" if row.registered_wall_s is None else output.clock(row.registered_wall_s)),
            ("cpus", f"{row.used.cpus:g} of {row.total.cpus:g} in use"),
            ("memory", f"{output.mb(row.used.mem)} of {output.mb(row.total.mem)} in use"),
            ("disk", f"{output.mb(row.used.disk)} of {output.mb(row.total.disk)} in use"),
            ("gpus", f"{row.used.gpus:g} of {row.total.gpus:g} in use" if row.total.gpus else ""),
            *((f"attribute {name}", value) for name, value in row.attributes.items()),
            *(("found", sentence) for sentence in row.machine),
            *(("degraded", sentence) for sentence in row.degraded),
        )
    )


@agent.command(epilog="Example: altiplano agent drain alps1 --grace 5mins --wait")
@click.argument("agent_id", metavar="AGENT", shell_complete=completing.agents)
@click.option("--grace", type=Duration(), metavar="DURATION", help="No task gets longer between SIGTERM and SIGKILL.")
@click.option("--mark-gone", is_flag=True, help="The machine does not come back: forget it once it is drained.")
@click.option("--wait", is_flag=True, help="Wait until no task is left, and say how many are.")
@click.option("--dry-run", is_flag=True, help="Only say what would end.")
@pool_options
@json_option
def drain(
    agent_id: str,
    grace: float | None,
    mark_gone: bool,
    wait: bool,
    dry_run: bool,
    master: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Take a machine out of use: its tasks end, and nothing new is started there.

    Frameworks are told that their tasks were drained, and start them elsewhere as they see fit.  The order holds until
    'altiplano agent reactivate'.
    """
    from altiplano.cli import draining

    async def drained(operator: Operator) -> Progress:
        row = await draining.find(operator, agent_id)
        if dry_run:
            return await draining.progress(operator, row, dry_run=True)
        await draining.drain(operator, row, grace_s=grace, mark_gone=mark_gone)
        if not wait:
            return await draining.progress(operator, row)
        return await draining.follow(operator, row, _say_nothing if as_json else _say)

    at = ask(place(master, token_file), drained)
    if as_json:
        output.print_json(at)
    elif dry_run or not wait:
        _say(at)


@agent.command(epilog="Example: altiplano agent deactivate alps1")
@click.argument("agent_id", metavar="AGENT", shell_complete=completing.agents)
@pool_options
@json_option
def deactivate(agent_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Start nothing new on a machine; what runs there goes on."""
    from altiplano.cli import draining

    async def deactivated(operator: Operator) -> Progress:
        row = await draining.find(operator, agent_id)
        await draining.deactivate(operator, row)
        return await draining.progress(operator, row)

    _show(ask(place(master, token_file), deactivated), as_json)


@agent.command(epilog="Example: altiplano agent reactivate alps1")
@click.argument("agent_id", metavar="AGENT", shell_complete=completing.agents)
@pool_options
@json_option
def reactivate(agent_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Use a machine again that was deactivated or drained."""
    from altiplano.cli import draining

    async def reactivated(operator: Operator) -> Progress:
        row = await draining.find(operator, agent_id)
        await draining.reactivate(operator, row)
        return await draining.progress(operator, row)

    _show(ask(place(master, token_file), reactivated), as_json)


def _show(at: Progress, as_json: bool) -> None:
    if as_json:
        output.print_json(at)
    else:
        _say(at)


def _say(at: Progress) -> None:
    from altiplano.cli import draining

    click.echo(draining.sentence(at))


def _say_nothing(_: Progress) -> None:
    pass
