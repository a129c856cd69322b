"""`altiplano framework …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from altiplano.cli import completing, output
from altiplano.cli.options import ask, json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.cli.listing import FrameworkRow
    from altiplano.sdk.operator import Operator


@click.group()
def framework() -> None:
    """Frameworks: the programs that use the pool."""


@framework.command("list", epilog="Example: altiplano framework list --all")
@click.option("--all", "everything", is_flag=True, help="Those that are gone as well.")
@pool_options
@json_option
def list_frameworks(everything: bool, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Frameworks that the master knows, and what they use."""
    from altiplano.cli import listing

    rows = [row for row in ask(place(master, token_file), _rows) if everything or row.state != "completed"]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ("FRAMEWORK", "NAME", "STATE", "ROLES", "CPUS", "MEM", "SINCE"),
        (
            (
                row.id,
                row.name,
                row.state,
                ",".join(row.roles),
                output.amount(row.used.cpus),
                output.mb(row.used.mem),
                listing.age(row.registered_wall_s),
            )
            for row in rows
        ),
        "no framework is registered" + ("" if everything else "; '--all' lists those that are gone"),
    )


@framework.command(epilog="Example: altiplano framework show flows")
@click.argument("framework_id", metavar="FRAMEWORK", shell_complete=completing.frameworks)
@pool_options
@json_option
def show(framework_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """One framework: by its id, the beginning of it, or its name."""
    row = ask(place(master, token_file), lambda operator: _find(operator, framework_id))
    if as_json:
        output.print_json(row)
        return
    output.print_fields(
        (
            ("framework", row.id),
            ("name", row.name),
            ("state", row.state),
            ("roles", ", ".join(row.roles)),
            ("user", row.user),
            ("page", row.webui_url),
            ("since", "" if row.registered_wall_s is None else output.clock(row.registered_wall_s)),
            ("uses", f"{row.used.cpus:g} cpus, {output.mb(row.used.mem)} of memory"),
            ("offered", f"{row.offered.cpus:g} cpus, {output.mb(row.offered.mem)} of memory"),
        )
    )


@framework.command(epilog="Example: altiplano framework teardown 7c0f --yes")
@click.argument("framework_id", metavar="FRAMEWORK", shell_complete=completing.frameworks)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pool_options
@json_option
def teardown(framework_id: str, yes: bool, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Remove a framework: all its tasks are killed, and its id is used up."""

    async def removed(operator: Operator) -> str:
        row = await _find(operator, framework_id)
        if not yes:
            click.confirm(f"kill all tasks of {row.name} ({row.id}) and remove it?", abort=True)
        await operator.teardown(row.id)
        return row.id

    gone = ask(place(master, token_file), removed)
    if as_json:
        output.print_json({"framework_id": gone, "removed": True})
    else:
        click.echo(f"framework {gone} is removed")


async def _rows(operator: Operator) -> list[FrameworkRow]:
    from altiplano.cli import listing

    found = await operator.frameworks()
    rows = [listing.framework_row(one) for one in found.frameworks]
    return rows + [listing.framework_row(one, completed=True) for one in found.completed_frameworks]


async def _find(operator: Operator, text: str) -> FrameworkRow:
    from altiplano.cli import listing

    rows = await _rows(operator)
    living = [row for row in rows if row.state != "completed" and row.name == text]
    if len(living) == 1:
        return living[0]
    return listing.chosen("framework", text, rows, [(row.id, row.name) for row in rows])
