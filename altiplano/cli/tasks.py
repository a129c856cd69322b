"""`altiplano task …` and `altiplano why`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from altiplano.cli import completing, output
from altiplano.cli.failures import FAILED, NOT_FOUND, Failure
from altiplano.cli.options import ask, json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.cli.following import Lines
    from altiplano.cli.listing import TaskRecord, TaskRow
    from altiplano.sdk.credentials import Place
    from altiplano.sdk.operator import Line, Operator

TAIL_BYTES_MAX = 64 * 1024 * 1024


@click.group()
def task() -> None:
    """Tasks of all frameworks."""


@task.command("list", epilog="Example: altiplano task list --all --json")
@click.option("--all", "everything", is_flag=True, help="Those that have ended as well.")
@pool_options
@json_option
def list_tasks(everything: bool, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Tasks that the master knows."""
    from altiplano.cli import listing

    rows = ask(place(master, token_file), _rows)
    rows = [row for row in rows if everything or not row.ended]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ("TASK", "NAME", "STATE", "CPUS", "MEM", "SINCE", "HOST"),
        (
            (
                row.id,
                row.name,
                row.state,
                output.amount(row.resources.cpus),
                output.mb(row.resources.mem),
                listing.age(row.since_wall_s),
                row.hostname or row.agent_id,
            )
            for row in rows
        ),
        "no task is running" + ("" if everything else "; '--all' lists those that have ended"),
    )


@task.command(epilog="Example: altiplano task show run-3f2a")
@click.argument("task_id", metavar="TASK", shell_complete=completing.tasks)
@pool_options
@json_option
def show(task_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """One task: by its id, the beginning of it, or its name; with what it uses or has used."""
    found = ask(place(master, token_file), lambda operator: _record(operator, task_id))
    if as_json:
        output.print_json(found)
        return
    used = found.usage
    began_s, ended_s = (used.started_time, used.ended_time) if used is not None else (None, None)
    output.print_fields(
        (
            ("task", found.id),
            ("name", found.name),
            ("state", found.state + (f" ({found.sentence})" if found.sentence else "")),
            ("health", {None: "", True: "healthy", False: "not healthy"}[found.healthy]),
            ("check", found.check),
            ("since", "" if found.since_wall_s is None else output.clock(found.since_wall_s)),
            ("framework", found.framework_id),
            ("host", found.hostname),
            ("agent", found.agent_id),
            ("cpus", output.amount(found.resources.cpus)),
            ("memory", output.mb(found.resources.mem)),
            ("disk", output.mb(found.resources.disk) if found.resources.disk else ""),
            ("gpus", output.amount(found.resources.gpus) if found.resources.gpus else ""),
            ("ran for", output.duration(ended_s - began_s) if began_s is not None and ended_s is not None else ""),
            ("cpu time", output.duration(used.cpu_s) if used is not None and used.cpu_s is not None else ""),
            ("memory now", output.size(used.memory_bytes) if used is not None and not found.ended else ""),
            ("peak memory", output.size(used.memory_peak_bytes) if used is not None else ""),
            ("processes", str(used.processes) if used is not None and used.processes else ""),
            ("sandbox", used.directory if used is not None else ""),
        )
    )
    if used is None:
        click.echo("its agent cannot be asked or has forgotten it, so what it used is not known", err=True)


@task.command(epilog="Examples: altiplano task logs -f run-3f2a;  altiplano task logs --json --stderr run-3f2a")
@click.argument("task_id", metavar="TASK", shell_complete=completing.tasks)
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("--stderr", "errors", is_flag=True, help="What it wrote to stderr instead of stdout.")
@click.option(
    "--tail", "tail_bytes", type=click.IntRange(0, TAIL_BYTES_MAX), metavar="BYTES", help="Only so much of the end."
)
@pool_options
@json_option
def logs(
    task_id: str,
    follow: bool,
    errors: bool,
    tail_bytes: int | None,
    master: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """What a task wrote, read from its machine through the master.

    With --json each line is an object on a line of its own: stream, offset of its first byte, text.
    """
    import asyncio

    from altiplano.cli.following import Lines

    name = "stderr" if errors else "stdout"
    lines = Lines(name, output.print_json_line) if as_json else None
    asyncio.run(_logs(place(master, token_file), task_id, name, follow, tail_bytes, lines))


@task.command(epilog="Example: altiplano task kill run-3f2a")
@click.argument("task_id", metavar="TASK", shell_complete=completing.tasks)
@pool_options
@json_option
def kill(task_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """Ask a task to end (SIGTERM, later SIGKILL).  Its framework sees it as killed."""

    async def killed(operator: Operator) -> str:
        row = await _find(operator, task_id)
        if row.ended:
            raise Failure(f"task {row.id} has ended already: it is {row.state}", FAILED)
        if not row.container_id:
            raise Failure(f"task {row.id} has no container yet: it is {row.state}; try again in a moment", FAILED)
        await operator.kill_container(row.agent_id, row.container_id)
        return row.id

    asked = ask(place(master, token_file), killed)
    if as_json:
        output.print_json({"task_id": asked, "asked_to_end": True})
    else:
        click.echo(f"task {asked} is asked to end")


@task.command("why", epilog="Example: altiplano task why run-3f2a")
@click.argument("task_id", metavar="TASK", shell_complete=completing.tasks)
@pool_options
@json_option
def task_why(task_id: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """The story of a task: what master, agent and framework did with it, and why."""
    _print_story(place(master, token_file), task_id, as_json)


@click.command(epilog="Example: altiplano why run-3f2a")
@click.argument("subject", metavar="ID", shell_complete=completing.subjects)
@pool_options
@json_option
def why(subject: str, master: str | None, token_file: str | None, as_json: bool) -> None:
    """The story of a task, agent, framework, or of one cause named in a story."""
    _print_story(place(master, token_file), subject, as_json)


async def _rows(operator: Operator) -> list[TaskRow]:
    from altiplano.cli import listing

    hosts = {
        info.id.value: info.hostname for agent in await operator.agents() if (info := agent.agent_info).id is not None
    }
    return listing.task_rows(await operator.tasks(), hosts, ended=True)


async def _record(operator: Operator, text: str) -> TaskRecord:
    from altiplano.cli import listing
    from altiplano.sdk.operator import Missing, OperatorError

    row = await _find(operator, text)
    try:
        used = await operator.task_usage(row.agent_id, row.framework_id, row.id)
    except Missing:
        used = None
    except OperatorError as error:
        click.echo(f"the agent of {row.id} cannot be asked: {error}", err=True)
        used = None
    return listing.task_record(row, used)


async def _find(operator: Operator, text: str) -> TaskRow:
    from altiplano.cli import listing

    rows = await _rows(operator)
    # The newest of several tasks of one name is meant, unless several of them run.
    living = [row for row in rows if not row.ended and row.name == text]
    if len(living) == 1 and not any(row.id == text for row in rows):
        return living[0]
    return listing.chosen("task", text, rows, [(row.id, row.name) for row in rows])


async def _logs(
    where: Place, task_id: str, name: str, follow: bool, tail_bytes: int | None, lines: Lines | None
) -> None:
    import asyncio

    from altiplano.cli.following import LOOK_AGAIN_S, LOOK_AGAIN_S_MAX, Follower
    from altiplano.sdk.operator import Operator

    def write(data: bytes) -> None:
        if lines is not None:
            lines.take(data, follower.offset)
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async with Operator(where) as operator:
        row = await _find(operator, task_id)
        follower = Follower(row.framework_id, row.executor_id, row.agent_id, name, write)
        if tail_bytes is not None:
            await follower.skip_to_last(operator, tail_bytes)
        await follower.read(operator)
        pause_s = LOOK_AGAIN_S
        while follow and not row.ended:
            await asyncio.sleep(pause_s)
            came = await follower.read(operator)
            pause_s = LOOK_AGAIN_S if came else min(pause_s * 2, LOOK_AGAIN_S_MAX)
            if not came:
                row = await _find(operator, row.id)
                if row.ended:
                    await follower.read(operator)
        if lines is not None:
            lines.end()


async def _story(operator: Operator, subject: str) -> list[Line]:
    rows = [row for row in await _rows(operator) if subject in (row.id, row.name, row.framework_id, row.agent_id)]
    subjects = {row.id for row in rows if subject == row.name} or {subject}
    agents = {row.agent_id for row in rows}
    lines: dict[tuple[float, str, str], Line] = {}
    for one in sorted(subjects):
        lines |= {(line.wall_s, line.process, line.sentence): line for line in await operator.journal(one, agents)}
    return sorted(lines.values(), key=lambda line: line.wall_s)


def _print_story(where: Place, subject: str, as_json: bool) -> None:
    lines = ask(where, lambda operator: _story(operator, subject))
    if as_json:
        output.print_json(lines)
    elif not lines:
        raise Failure(
            f"nobody remembers '{subject}': it never was, or its story has been pushed out by newer ones", NOT_FOUND
        )
    width = max((len(line.process) for line in lines), default=0)
    if not as_json:
        for line in lines:
            click.echo(f"{output.clock(line.wall_s)}  {line.process.ljust(width)}  {line.sentence}")
