"""`altiplano up` and `down`: a whole pool on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from altiplano.cli import output
from altiplano.cli.failures import FAILED, NOT_FOUND, USAGE, Failure
from altiplano.cli.options import json_option
from altiplano.cli.settings import Found

if TYPE_CHECKING:
    from altiplano.cli.pool_dir import PoolDirectory

END_S_MAX = 10.0
"""How long a pool that did not start may take to be gone."""

DETACH_S_MAX = 60.0
DOWN_S_MAX = 90.0
LOOK_AGAIN_S = 0.1
PORT_MAX = 65_533
"""The three processes take this port and the two after it."""


@click.command(
    epilog="Examples: altiplano up;  altiplano up --detach --port 6050 --work-dir /tmp/pool.  The first Ctrl-C ends "
    "all tasks and everything else; a second one leaves at once, and tasks stay for the next `up`."
)
@click.option("--work-dir", envvar="ALTIPLANO_WORK_DIR", metavar="DIR", help="Directory of the pool's state.")
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, PORT_MAX),
    default=5050,
    show_default=True,
    help="Port of the master; the next two are those of the agent and of the frameworks.",
)
@click.option("--no-auth", is_flag=True, help="No token: whoever reaches the ports runs what he likes, as you.")
@click.option("--resources", metavar="TEXT", help="What the machine offers, such as cpus:4;mem:8192; else all it has.")
@click.option("--attributes", metavar="TEXT", help="Facts about the machine, such as rack:r1, to choose it by.")
@click.option("--isolation", metavar="TEXT", help="How tasks are kept apart: posix or cgroups.")
@click.option("--detach", is_flag=True, help="Return when the pool works; 'altiplano down' ends it.")
@json_option
@click.option("--ready-fd", type=int, hidden=True, help="Descriptor to write to when the pool works.")
def up(
    work_dir: str | None,
    ip: str,
    port: int,
    no_auth: bool,
    resources: str | None,
    attributes: str | None,
    isolation: str | None,
    detach: bool,
    as_json: bool,
    ready_fd: int | None,
) -> int:
    """A whole pool on this machine: master, agent and frameworks, until Ctrl-C."""
    from altiplano.cli.pool_dir import PoolDirectory
    from altiplano.cli.up_shell import Plan, run

    _check_address(ip, no_auth)
    directory = PoolDirectory(_directory(work_dir))
    directory.prepare()
    if detach:
        return _detach(directory, as_json)
    directory.lock()
    plan = Plan(
        directory=directory,
        ip=ip,
        port=port,
        token=None if no_auth else directory.token(),
        resources=resources,
        attributes=attributes,
        isolation=isolation,
        ready_fd=ready_fd,
        as_json=as_json,
    )
    return run(plan)


@click.command(epilog="Example: altiplano down --work-dir /tmp/pool")
@click.option("--work-dir", envvar="ALTIPLANO_WORK_DIR", metavar="DIR", help="Directory of the pool's state.")
@json_option
def down(work_dir: str | None, as_json: bool) -> None:
    """End the pool of this machine, tasks included."""
    from altiplano.cli.pool_dir import PoolDirectory, start_ticks
    from altiplano.sdk import credentials

    directory = PoolDirectory(_directory(work_dir))
    record = credentials.read_up(directory.path)
    if not directory.locked_by_other() or record is None:
        raise Failure(f"no pool runs in {directory.path}", NOT_FOUND)
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        handle = None
    if handle is None or start_ticks(record.pid) != record.start_ticks:
        raise Failure(f"the pool in {directory.path} is starting or ending: try again in a moment")
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except PermissionError as error:
        raise Failure(f"process {record.pid} of the pool belongs to somebody else: end it as that user") from error
    finally:
        os.close(handle)
    end = time.monotonic() + DOWN_S_MAX
    while directory.locked_by_other():
        if time.monotonic() > end:
            raise Failure(f"the pool has not ended after {DOWN_S_MAX:g} s; its log is in {directory.path}/log")
        time.sleep(LOOK_AGAIN_S)
    if as_json:
        output.print_json({"work_dir": str(directory.path), "ended": True})
    else:
        click.echo(f"the pool in {directory.path} has ended")


def _directory(work_dir: str | None) -> Path:
    from altiplano.sdk import credentials

    found = click.get_current_context().find_root().obj
    common = found.common("work_dir") if isinstance(found, Found) else None
    return Path(work_dir or common or credentials.state_directory(os.environ)).absolute()


def _check_address(ip: str, no_auth: bool) -> None:
    import ipaddress

    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise Failure(f"--ip {ip} is not an address: write numbers, such as 127.0.0.1", USAGE) from None
    if no_auth and not address.is_loopback:
        raise Failure(
            f"--no-auth with --ip {ip} would let everybody who reaches this machine run programs on it: "
            "leave one of the two away",
            USAGE,
        )


def _detach(directory: PoolDirectory, as_json: bool) -> int:
    """Start ourselves again in a session of its own, and wait until the pool works."""
    from altiplano.sdk import credentials

    if directory.locked_by_other():
        directory.lock()
    reading, writing = os.pipe()
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    said_to = directory.open_log("up")
    environment = {name: value for name, value in os.environ.items() if name != "ALTIPLANO_UP_DETACH"}
    started = subprocess.Popen(
        [sys.executable, "-m", "altiplano.cli.main", *arguments, "--ready-fd", str(writing)],
        stdin=subprocess.DEVNULL,
        stdout=said_to,
        stderr=said_to,
        start_new_session=True,
        pass_fds=(writing,),
        env=environment,
    )
    os.close(writing)
    os.close(said_to)
    said = _read_to_end(reading)
    if said != b"ready\n":
        log = directory.path / "log" / "up.log"
        # The last line says which process ended, the one before it why.
        last = log.read_text(errors="replace").strip().splitlines()[-2:] or ["it said nothing"]
        why = f"{'; '.join(line.removeprefix('altiplano: ') for line in last)} (more in {log})"
        if said is None and directory.locked_by_other():
            raise Failure(
                f"the pool does not work after {DETACH_S_MAX:g} s and goes on trying until 'altiplano down': {why}",
                FAILED,
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Whoever tries again at once shall not be told that a pool runs here.
            started.wait(END_S_MAX)
        raise Failure(f"the pool did not start: {why}", FAILED)
    record = credentials.read_up(directory.path)
    if record is not None:
        from altiplano.cli.up_shell import greeting

        token = directory.token() if record.token else None
        click.echo(greeting(record.master, token, directory.path, as_json=as_json))
    return 0


def _read_to_end(descriptor: int) -> bytes | None:
    """What is written to a pipe until a line ends or it is closed; None if that takes longer than DETACH_S_MAX."""
    import select

    data, end = b"", time.monotonic() + DETACH_S_MAX
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            part = pipe.read(100)
            if not part:
                return data
            data += part
    return data
