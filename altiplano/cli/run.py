"""`altiplano run`: a command, somewhere in the pool, as if it ran here."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from altiplano.cli.failures import INTERRUPTED, NOT_RUN, USAGE, Failure
from altiplano.cli.options import place, pool_options

if TYPE_CHECKING:
    from altiplano.cli.following import Follower
    from altiplano.cli.run_framework import Outcome, RunFramework
    from altiplano.sdk.credentials import Place
    from altiplano.sdk.operator import Operator

SAY_WHY_AFTER_S = 2.0
SAY_WHY_AGAIN_S = 30.0
SHELL_SIGNS = ";&|()<>"
"""What may stick to the first word of a line for the shell and is no part of the program's name."""

LEAVE_S_MAX = 1.0
"""How long the pool may take to hear of it when somebody leaves at once."""

BYTES_AT_ONCE_MAX = 1024 * 1024
"""Output of one stream that is copied before it is the other one's turn."""


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Examples: altiplano run -- echo hello;  altiplano run --cpus 4 --mem 2048 'make -j4 | tail'.  Exit codes: "
    "those of the command; 128+n if signal n ended it, 126 and 127 as a shell's; 125 if the pool could not run it.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@click.option("--cpus", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Processors.")
@click.option("--mem", type=click.FloatRange(min=1), default=128.0, show_default=True, help="Memory in MB.")
@click.option("--disk", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Disk in MB.")
@click.option("--gpus", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Graphics processors.")
@click.option("--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="A variable; without value, ours.")
@click.option("--uri", "uris", multiple=True, metavar="URI", help="A file to fetch into the sandbox first.")
@click.option("--name", metavar="NAME", help="Name of task and framework; that of the program unless given.")
@click.option("--user", metavar="USER", help="As whom to run; you unless given.")
@click.option("--role", default="*", show_default=True, help="Whose share of the pool to use.")
@click.option("--image", metavar="IMAGE", help="Container image to run in.")
@pool_options
@click.option("--json", "as_json", is_flag=True, help="Print how it ended as JSON; the output then goes to stderr.")
def run(
    command: tuple[str, ...],
    cpus: float,
    mem: float,
    disk: float,
    gpus: float,
    variables: tuple[str, ...],
    uris: tuple[str, ...],
    name: str | None,
    user: str | None,
    role: str,
    image: str | None,
    master: str | None,
    token_file: str | None,
    as_json: bool,
) -> int:
    """Run COMMAND in the pool, show what it writes, and end as it ends.

    One word is a line for the shell; several are a program with its arguments.  Ctrl-C ends the
    command; a second one leaves at once.
    """
    from altiplano.cli.run_framework import RunFramework
    from altiplano.sdk.tasks import Task

    where = place(master, token_file)
    program = (command[0].split() or ["run"])[0].strip(SHELL_SIGNS)
    title = name or os.path.basename(program) or "run"
    task = Task(
        id=f"run-{secrets.token_hex(6)}",
        command=command[0] if len(command) == 1 else command,
        name=title,
        cpus=cpus,
        mem=mem,
        disk=disk,
        gpus=gpus,
        env=dict(_variable(text) for text in variables),
        uris=uris,
        user=user,
        image=image,
    )
    framework = RunFramework(task, role=role, name=f"run {title}", say=_say, masters=len(where.masters))
    framework.user = user or ""
    outcome = asyncio.run(Run(framework, where, to_stderr=as_json).run())
    if outcome is None:
        return INTERRUPTED
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(outcome))
    elif outcome.exit_code == NOT_RUN or not framework.running:
        _say(f"task {outcome.task_id} is {outcome.state}: {outcome.sentence or 'no reason was given'}")
    elif outcome.exit_code > 128 and not framework.interrupts:
        _say(f"{outcome.sentence}; 'altiplano why {outcome.task_id}' tells more")
    return outcome.exit_code


class Run:
    """One framework on its session, with the output of its task copied to ours."""

    def __init__(self, framework: RunFramework, where: Place, *, to_stderr: bool) -> None:
        self._framework = framework
        self._where = where
        self._out = sys.stderr.buffer if to_stderr else sys.stdout.buffer
        self._change = asyncio.Event()
        self._left = asyncio.Event()
        framework.on_change = self._change.set

    async def run(self) -> Outcome | None:
        """How the task ended; None when we left before."""
        from altiplano.sdk.operator import Operator
        from altiplano.sdk.running import Runner, first_of

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        runner = Runner(self._framework, self._where)
        try:
            async with asyncio.TaskGroup() as group, Operator(self._where) as operator:
                session = group.create_task(runner.run())
                watch = group.create_task(self._watch(operator))
                waits = [asyncio.ensure_future(watch), asyncio.ensure_future(self._left.wait())]
                await asyncio.wait([*waits, session], return_when=asyncio.FIRST_COMPLETED)
                waits[1].cancel()
                watch.cancel()
                await self._stop(session)
        except BaseExceptionGroup as errors:
            raise first_of(errors) from errors
        return self._framework.outcome

    async def _stop(self, session: asyncio.Task[None]) -> None:
        if session.done():
            return
        self._framework.stop()
        await asyncio.wait([session], timeout=LEAVE_S_MAX)
        session.cancel()

    def _interrupted(self) -> None:
        if self._framework.interrupt():
            self._left.set()

    async def _watch(self, operator: Operator) -> None:
        """Say why it waits, copy output while it runs, and return when it has ended and all is copied."""
        from altiplano.cli.following import LOOK_AGAIN_S, LOOK_AGAIN_S_MAX, Follower

        framework, pause_s = self._framework, SAY_WHY_AFTER_S
        while not framework.running and framework.outcome is None:
            if not await self._changed(pause_s) and not framework.placed:
                await self._say_why(operator)
                pause_s = SAY_WHY_AGAIN_S
        if not framework.placed:
            return
        followers = [
            Follower(framework.framework_id or "", framework.task.id, framework.agent_id, name, self._writer(name))
            for name in ("stdout", "stderr")
        ]
        pause_s = LOOK_AGAIN_S
        while framework.outcome is None:
            if not await self._changed(pause_s):
                came = await self._copy(operator, followers, BYTES_AT_ONCE_MAX)
                pause_s = LOOK_AGAIN_S if came else min(pause_s * 2, LOOK_AGAIN_S_MAX)
        await self._copy(operator, followers, None)

    async def _changed(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._change.wait()
        except TimeoutError:
            return False
        self._change.clear()
        return True

    async def _copy(self, operator: Operator, followers: list[Follower], size_bytes_max: int | None) -> bool:
        from altiplano.sdk.operator import OperatorError

        came = False
        for follower in followers:
            try:
                came = await follower.read(operator, size_bytes_max=size_bytes_max) or came
            except OperatorError as error:
                # While it runs we look again; at the end what is missing must be said.
                if size_bytes_max is None:
                    _say(f"the rest of its {follower.name} cannot be read: {error}")
        return came

    def _writer(self, name: str) -> Callable[[bytes], None]:
        """Copies bytes as they are, at once."""
        stream = self._out if name == "stdout" else sys.stderr.buffer

        def write(data: bytes) -> None:
            stream.write(data)
            stream.flush()

        return write

    async def _say_why(self, operator: Operator) -> None:
        from altiplano.cli import listing, waiting
        from altiplano.sdk.operator import OperatorError

        task = self._framework.task
        needs = listing.Amounts(cpus=task.cpus, mem=task.mem, disk=task.disk, gpus=task.gpus)
        try:
            agents = [listing.agent_row(agent) for agent in await operator.agents()]
            frameworks = [listing.framework_row(one) for one in (await operator.frameworks()).frameworks]
        except OperatorError as error:
            _say(f"waiting: {error}")
            return
        _say(f"waiting: {waiting.explain(needs, agents, frameworks)}")


def _say(sentence: str) -> None:
    click.echo(f"altiplano: {sentence}", err=True)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name:
        raise Failure(f"--env '{text}' names no variable: write NAME=VALUE", USAGE)
    if equals:
        return name, value
    if name not in os.environ:
        raise Failure(f"--env {name}: there is no such variable here; write {name}=VALUE", USAGE)
    return name, os.environ[name]
