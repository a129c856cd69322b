"""`make demo`: a pool on this machine runs a small Monte Carlo production and shows the result.

Starts `altiplano up` with a work directory of its own below `out/demo`, submits
`examples/montecarlo/Makeflow`, follows it, and ends with the table and the plot.  On a terminal the pool then stays up
until Ctrl-C; else it stops, and the exit status says whether the result is right.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
POOL = OUT / "pool"
FLOW = "examples/montecarlo/Makeflow"
ALTIPLANO = ROOT / ".venv" / "bin" / "altiplano"
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
PORTS = range(5050, 5100, 10)


def free_port() -> int:
    """The usual port, or the next one that is free: a second pool of the user keeps its own."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def wait_until_healthy(pool: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        if pool.poll() is not None:
            raise SystemExit(f"the pool did not start: its exit status is {pool.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > end:
                raise SystemExit(
                    f"the pool did not answer within {START_SECONDS_MAX} s; its log is in {POOL}"
                ) from None
            time.sleep(0.1)


def submit(port: int) -> int:
    """Run the flow anew; its exit status."""
    environment = dict(os.environ, PYTHON=str(ROOT / ".venv" / "bin" / "python"), ALTIPLANO_WORK_DIR=str(POOL))
    master = ["--master", f"127.0.0.1:{port}"]
    subprocess.run([str(ALTIPLANO), "flow", "clean", FLOW], cwd=ROOT, env=environment, check=False)
    return subprocess.run(
        [str(ALTIPLANO), "flow", "run", *master, FLOW], cwd=ROOT, env=environment, check=False
    ).returncode


def show() -> bool:
    """Print the table and say where the plot lies; whether the result is right."""
    table, verdict = OUT / "comparison.txt", OUT / "comparison.json"
    if not table.exists() or not verdict.exists():
        print("the production did not come to its end: there is no comparison", file=sys.stderr)
        return False
    print()
    print(table.read_text())
    print(f"plot: {RESULTS / 'comparison.png'}")
    right: bool = json.loads(verdict.read_text())["right"]
    return right


def stop(pool: subprocess.Popen[bytes]) -> None:
    if pool.poll() is None:
        pool.send_signal(signal.SIGTERM)
        try:
            pool.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            pool.kill()


def main() -> int:
    POOL.mkdir(parents=True, exist_ok=True)
    port = free_port()
    start = time.monotonic()
    pool = subprocess.Popen([str(ALTIPLANO), "up", "--work-dir", str(POOL), "--port", str(port)])
    try:
        wait_until_healthy(pool, port)
        code = submit(port)
        right = show()
        print(f"all in all {time.monotonic() - start:.0f} s")
        if sys.stdout.isatty() and sys.stdin.isatty():
            print("the pool stays up: look at its pages (the link above), and end it with Ctrl-C")
            pool.wait()
    except KeyboardInterrupt:
        print()
        stop(pool)
        return 130
    finally:
        stop(pool)
    if code or not right:
        print("the result is not right", file=sys.stderr)
        return code or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
