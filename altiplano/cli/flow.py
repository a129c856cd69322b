"""`altiplano flow`: graphs of jobs – run them, look at them, clean up after them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from altiplano.cli.failures import FAILED, IN_USE, NOT_FOUND, Failure
from altiplano.cli.options import json_option, place, pool_options

if TYPE_CHECKING:
    from altiplano.cli.flow_progress import Progress
    from altiplano.frameworks.flows.effects import Finish
    from altiplano.frameworks.flows.graph import Graph
    from altiplano.frameworks.flows.shell import Plan
    from altiplano.frameworks.flows.state import FlowState

FILES_SHOWN_MAX = 20

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False))
shared_option = click.option("--shared-dir", is_flag=True, help="Commands run right here: agents share this directory.")


@click.group()
def flow() -> None:
    """Graphs of jobs, written as rules in a file: `outputs : inputs`, then a command."""


@flow.command(
    epilog="Examples: altiplano flow run Makeflow;  altiplano flow run --shared-dir --jobs 100 big.mf.  Exit codes: "
    "0 all rules are done, 1 a rule failed or the file cannot be run, 5 another run has the file, 130 interrupted; "
    "run it again to go on."
)
@file_argument
@pool_options
@shared_option
@click.option("--retries", type=click.IntRange(0, 1000), default=5, show_default=True, help="Tries after the first.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Rules on agents at one time; else all that fit.")
@click.option("--local-cores", type=click.FloatRange(0.001), metavar="N", help="Cores for LOCAL rules; else all here.")
@click.option("--empty-fails", is_flag=True, help="A rule that leaves an output empty has failed.")
@click.option("--rerun-changed", is_flag=True, help="Make again what came from other sources or another command.")
@click.option("--ip", metavar="ADDRESS", help="Where agents reach this machine; found by itself.")
@click.option("--role", default="*", show_default=True, help="Whose share of the pool to use.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and why; needs no pool.")
@json_option
def run(
    file: str,
    master: str | None,
    token_file: str | None,
    shared_dir: bool,
    retries: int,
    jobs: int | None,
    local_cores: float | None,
    empty_fails: bool,
    rerun_changed: bool,
    ip: str | None,
    role: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run the rules of FILE until every output is made.

    Ctrl-C ends what runs, and a second one leaves at once; the same command goes on from there.
    """
    if dry_run:
        return _dry_run(file, shared_dir=shared_dir, rerun_changed=rerun_changed, as_json=as_json)
    from altiplano.frameworks.flows import opening
    from altiplano.frameworks.flows.core import Options
    from altiplano.frameworks.flows.shell import Plan

    cores = local_cores or len(os.sched_getaffinity(0))
    plan = Plan(
        file=file,
        root=Path.cwd(),
        place=place(master, token_file),
        environment=opening.environment_of(os.environ),
        shared_dir=shared_dir,
        ip=ip or "",
        role=role,
        options=Options(
            retries=retries,
            local_cores_milli=round(cores * 1000),
            jobs_max=jobs,
            empty_fails=empty_fails,
            rerun_changed=rerun_changed,
        ),
    )
    return _run(plan, as_json=as_json)


def _run(plan: Plan, *, as_json: bool) -> int:
    from altiplano.cli import flow_progress
    from altiplano.engine.http import CannotListen
    from altiplano.frameworks.flows.workflow import WorkflowError
    from altiplano.kit import eventloop
    from altiplano.ports.log import LogFailed, LogInUse, LogMismatch

    progress = flow_progress.Progress()
    try:
        finish = eventloop.run(_follow(plan, progress))
    except WorkflowError as error:
        raise _unusable(error) from error
    except LogInUse as error:
        raise Failure(str(error), IN_USE) from error
    except CannotListen as error:
        way_out = "; --ip must name an address of this machine" if plan.ip else ""
        raise Failure(f"{error}{way_out}", FAILED) from error
    except (LogMismatch, LogFailed) as error:
        raise Failure(str(error), FAILED) from error
    progress.summary(finish)
    if as_json:
        from altiplano.cli.output import print_json

        print_json(progress.record(finish))
    return finish.exit_code


async def _follow(plan: Plan, progress: Progress) -> Finish:
    """Run a flow, and show how it goes on."""
    import asyncio

    from altiplano.frameworks.flows.shell import FlowRun

    flow_run = FlowRun(plan, progress)
    for warning in flow_run.warnings:
        click.echo(f"altiplano: {warning}", err=True)
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        progress.interrupted()
        flow_run.interrupt("somebody pressed Ctrl-C")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    drawing = asyncio.ensure_future(progress.draw())
    try:
        return await flow_run.run()
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        progress.stop()


@flow.command("list", epilog="Example: altiplano flow list --json")
@pool_options
@json_option
def list_flows(master: str | None, token_file: str | None, as_json: bool) -> None:
    """Flows of a pool of `altiplano up`: those that run and the latest that have ended."""
    from altiplano.cli import flow_list, listing, output

    heads = flow_list.heads(place(master, token_file))
    if as_json:
        output.print_json([flow_list.record(head) for head in heads])
        return
    output.print_table(
        ("RUN", "FLOW", "STATE", "DONE", "SINCE", "TOOK", "DIRECTORY"),
        (
            (
                head.id,
                head.title,
                head.word,
                f"{head.done}/{head.total}",
                listing.age(head.started_s),
                flow_list.took(head),
                head.directory,
            )
            for head in heads
        ),
        "no flow has run in this pool; run one with 'altiplano flow run FILE'",
    )


@flow.command(epilog="Example: altiplano flow status Makeflow")
@file_argument
@shared_option
@json_option
def status(file: str, shared_dir: bool, as_json: bool) -> int:
    """How far a flow is, from its transaction log: while it runs, and afterwards."""
    from altiplano.cli import output
    from altiplano.frameworks.flows import transactions, view

    state = _logged(file, _graph(file, shared_dir=shared_dir))
    if state is None:
        raise Failure(f"{file} has not been run yet: there is no {transactions.log_path(file)}", NOT_FOUND)
    pid = transactions.holder(transactions.log_path(file))
    seen = view.view(state)
    rules = [view.rule_view(state, key) for key in state.nodes]
    word = "runs" + (f" (process {pid})" if pid else "") if pid is not None else _ended(state)
    if as_json:
        output.print_json({"running": pid is not None, "pid": pid or None, "flow": seen, "rules": rules})
        return 0
    output.print_fields([("flow", seen.file), ("run", seen.run_id), ("state", word)])
    click.echo()
    rows = [[p.name, str(p.total), str(p.done), str(p.running), str(p.failed)] for p in seen.parts]
    output.print_table(["CATEGORY", "RULES", "DONE", "RUNNING", "FAILED"], rows, "it has no rules")
    for rule in rules:
        if rule.state == "failed":
            click.echo(f"\nfailed: {rule.title} ({rule.file}:{rule.line}): {rule.why}")
            _echo_tail(rule.stderr_tail)
    return 0


def _ended(state: FlowState) -> str:
    words = {None: "does not run now; run it again to go on", 0: "done", 130: "interrupted; run it again to go on"}
    return words.get(state.exit_code, "ended with failures")


@flow.command(
    epilog="Examples: altiplano flow graph Makeflow;  altiplano flow graph --dot Makeflow | dot -Tsvg > g.svg"
)
@file_argument
@shared_option
@click.option("--dot", is_flag=True, help="Print it for Graphviz.")
@json_option
def graph(file: str, shared_dir: bool, dot: bool, as_json: bool) -> None:
    """The rules of FILE by level: what can run side by side, and what comes after."""
    from altiplano.cli import flow_graph, output

    found = _graph(file, shared_dir=shared_dir)
    if as_json:
        output.print_json(flow_graph.records(found))
        return
    click.echo(flow_graph.dot(found) if dot else flow_graph.levels(found))


@flow.command(epilog="Example: altiplano flow clean --dry-run Makeflow")
@file_argument
@shared_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
def clean(file: str, shared_dir: bool, dry_run: bool, as_json: bool) -> None:
    """Remove what runs of FILE have made, and their log.  Files that no run has made stay."""
    from altiplano.cli import output
    from altiplano.frameworks.flows import files, transactions

    log = transactions.log_path(file)
    pid = transactions.holder(log)
    if pid is not None:
        raise Failure(f"a run of {file} goes on{f' (process {pid})' if pid else ''}: end it first", IN_USE)
    state = _logged(file, _graph(file, shared_dir=shared_dir))
    if state is None and not as_json:
        click.echo(f"nothing to remove: {file} has not been run ({log} is not there)")
        return
    targets = [] if state is None else [Path(name) for name in _made(state)]
    beside = [path for name in targets for path in (files.aside(name), *_parts_of(name))]
    logs = [log, log.with_name(log.name + transactions.DAMAGED_SUFFIX)]
    found = [path for path in (*targets, *beside, *logs) if os.path.lexists(path)]
    if not dry_run:
        for path in found:
            files.remove(path)
    if as_json:
        output.print_json({"removed": not dry_run, "paths": [str(path) for path in found]})
        return
    for path in found[:FILES_SHOWN_MAX]:
        click.echo(f"{'would remove' if dry_run else 'removed'} {path}")
    if len(found) > FILES_SHOWN_MAX:
        click.echo(f"… and {len(found) - FILES_SHOWN_MAX} more")


def _parts_of(path: Path) -> list[Path]:
    """Outputs of broken runs that came half."""
    import glob

    return sorted(path.parent.glob(f"{glob.escape(path.name)}.*.part"))


def _made(state: FlowState) -> list[str]:
    """The outputs of every rule that was started, in the order of the file."""
    names: dict[str, None] = {}
    for key, progress in state.progress.items():
        if progress.tries or progress.outputs:
            node = state.nodes.get(key)
            names.update(dict.fromkeys(progress.outputs))
            names.update(dict.fromkeys(use.local for use in node.rule.outputs) if node is not None else {})
    return list(names)


def _dry_run(file: str, *, shared_dir: bool, rerun_changed: bool, as_json: bool) -> int:
    from altiplano.cli import flow_graph, output
    from altiplano.frameworks.flows import contents, resume
    from altiplano.frameworks.flows.placement import amount_of, describe
    from altiplano.frameworks.flows.progress import Progress, RuleState

    found = _graph(file, shared_dir=shared_dir)
    state = _logged(file, found)
    progress = {key: state.progress[key] if state else Progress() for key in found.nodes}
    stamps = {name: contents.stamp_of(Path(name)) for one in progress.values() for name in (*one.outputs, *one.inputs)}
    again = resume.resets(found.nodes, progress, stamps, rerun_changed=rerun_changed)
    kept = [key for key in found.nodes if progress[key].state is RuleState.DONE and key not in again]
    rows = [
        {
            "rule": node.rule.title,
            "line": node.rule.line,
            "category": node.rule.category,
            "level": node.stage,
            "needs": describe(amount_of(node.rule.needs)),
            "runs": key not in kept,
            "why": again.get(key, ""),
        }
        for key, node in found.nodes.items()
    ]
    if as_json:
        output.print_json(rows)
        return 0
    click.echo(flow_graph.levels(found))
    for row in rows:
        if row["why"]:
            click.echo(f"again: {row['rule']}: {row['why']}")
    click.echo(f"{len(rows) - len(kept)} of {len(rows)} rules would run; {len(kept)} are done already")
    kinds = Counter((row["category"], row["needs"]) for row in rows if row["runs"])
    for (category, needs), count in kinds.items():
        click.echo(f"  {count} of category {category}, each with {needs}")
    return 0


def _graph(file: str, *, shared_dir: bool) -> Graph:
    from altiplano.frameworks.flows import opening
    from altiplano.frameworks.flows.workflow import WorkflowError

    try:
        return opening.read(file, Path.cwd(), environment=opening.environment_of(os.environ), shared_dir=shared_dir)
    except WorkflowError as error:
        raise _unusable(error) from error


def _unusable(error: Any) -> Failure:
    problems = error.problems
    head = "this workflow cannot be run" if len(problems) == 1 else f"this workflow has {len(problems)} problems"
    return Failure("\n".join([f"{head}:", *map(str, problems)]), FAILED)


def _logged(file: str, found: Graph) -> FlowState | None:
    """The state that the log of a flow leads to, without touching it; None without a log."""
    from altiplano.engine.core import Fact
    from altiplano.engine.records import FactCodec
    from altiplano.frameworks.flows import facts, transactions
    from altiplano.frameworks.flows.state import FlowState
    from altiplano.ports.log import LogMismatch

    path = transactions.log_path(file)
    if not path.exists():
        return None
    state = FlowState(found)
    codec: FactCodec[Fact] = FactCodec(facts.DURABLE_TYPES, version=facts.VERSION)
    try:
        for fact in codec.recover(None, transactions.read_records(path)):
            state.apply(fact)
    except LogMismatch as error:
        raise Failure(str(error), FAILED) from error
    return state


def _echo_tail(text: str, echo: Callable[[str], None] = click.echo) -> None:
    for line in text.rstrip().splitlines()[-20:]:
        echo(f"    {line}")
