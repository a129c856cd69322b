"""`make demo`: a pool on this machine runs a small Monte Carlo production and shows the result.

Starts `altiplano up` with a work directory of its own below `out/demo`, runs
`examples/montecarlo/Makeflow` on it, and ends with the table and the plot.  On a terminal the pool then
stays up until Ctrl-C; else it stops, and the exit status says whether the result is right.

The one thing to know before changing it: pool and flow run in sessions of their own, so a Ctrl-C at
the terminal reaches this process alone, which ends first the flow and then the pool.  Signals only
leave a mark and interrupt a sleep; there is no moment at which one could lose a child.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
POOL = OUT / "pool"
FLOW = "examples/montecarlo/Makeflow"
BIN = ROOT / ".venv" / "bin"
ALTIPLANO = str(BIN / "altiplano")
START_SECONDS_MAX = 60
RUN_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 60
STAY_SECONDS_MAX = 7 * 86_400
PORTS = range(5050, 5150, 10)
INTERRUPTED = 130


class Stop:
    """Whether somebody wants the demonstration to end.

    The wakeup descriptor makes a signal end a wait at once, whenever it comes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True

    def wait(self, process: subprocess.Popen[bytes], seconds: float, also: int | None = None) -> bool:
        """Wait until a process ends, somebody asks, or a descriptor is readable; whether that one is."""
        handle = os.pidfd_open(process.pid)
        try:
            watched = [handle, *([also] if also is not None else []), *([] if self.asked else [self._reading])]
            ready, _, _ = select.select(watched, [], [], seconds)
            return also in ready
        finally:
            os.close(handle)


def free_port() -> int:
    """The usual port with its two neighbours, or the next three that are free: another pool keeps its own."""
    for first in PORTS:
        with ExitStack() as stack:
            try:
                for port in range(first, first + 3):
                    probe = stack.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise SystemExit(f"no three ports in a row are free from {PORTS[0]} to {PORTS[-1]}: end another pool first")


def environment() -> dict[str, str]:
    """Ours, but of altiplano's own variables only what leads to this pool."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALTIPLANO_")}
    return kept | {"ALTIPLANO_WORK_DIR": str(POOL), "PYTHON": str(BIN / "python")}


def start_pool(stop: Stop) -> subprocess.Popen[bytes]:
    """A pool that works, unless somebody asked to stop."""
    reading, writing = os.pipe()
    words = [ALTIPLANO, "up", "--work-dir", str(POOL), "--port", str(free_port()), "--ready-fd", str(writing)]
    pool = subprocess.Popen(words, cwd=ROOT, env=environment(), start_new_session=True, pass_fds=[writing])
    os.close(writing)
    ready = stop.wait(pool, START_SECONDS_MAX, reading) and os.read(reading, 16) == b"ready\n"
    os.close(reading)
    if not ready and not stop.asked:
        end(pool)
        raise SystemExit(f"the pool did not start; its logs are in {POOL / 'log'}")
    return pool


def run_flow(stop: Stop) -> int:
    """Run the flow anew; its exit status."""
    end(start("clean", subprocess.DEVNULL), ask=False)
    flow = start("run", None, "--retries", "1")
    stop.wait(flow, RUN_SECONDS_MAX)
    return end(flow)


def start(verb: str, output: int | None, *flags: str) -> subprocess.Popen[bytes]:
    words = [ALTIPLANO, "flow", verb, *flags, FLOW]
    return subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=output, start_new_session=True)


def end(process: subprocess.Popen[bytes], *, ask: bool = True) -> int:
    """End a process as Ctrl-C does, or wait until it ends by itself; its exit status."""
    if ask and process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} did not end within {STOP_SECONDS_MAX} s and is killed", file=sys.stderr)
        process.kill()
        return process.wait()


def show() -> bool:
    """Print the table and where the plot is; whether the result is right."""
    table, verdict = OUT / "comparison.txt", OUT / "comparison.json"
    if not table.exists() or not verdict.exists():
        print("the production did not come to its end: there is no comparison", file=sys.stderr)
        return False
    print(f"\n{table.read_text()}")
    print(f"plot   {OUT / 'comparison.png'}")
    right: bool = json.loads(verdict.read_text())["right"]
    return right


def page() -> str:
    """The address of the pool's pages, with what opens them."""
    master = json.loads((POOL / "up.json").read_text())["master"]
    return f"http://{master}/login?token={(POOL / 'token').read_text().strip()}"


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    stop = Stop()
    began = time.monotonic()
    pool = start_pool(stop)
    code, right = INTERRUPTED, False
    try:
        if not stop.asked:
            code = run_flow(stop)
        if not stop.asked:
            right = code == 0 and show()
            print(f"page   {page()}")
            print(f"all in all {time.monotonic() - began:.0f} s", flush=True)
            if sys.stdout.isatty() and sys.stdin.isatty():
                print("the pool stays up: open its page, and end it with Ctrl-C")
                stop.wait(pool, STAY_SECONDS_MAX)
    finally:
        end(pool)
    if right:
        return 0
    if not stop.asked:
        print("the result is not right", file=sys.stderr)
    return code or 1


if __name__ == "__main__":
    sys.exit(main())
