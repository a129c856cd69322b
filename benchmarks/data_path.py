"""1 GiB into and out of the flows' data path, beside a server that receives, hashes, writes and does nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measure import (  # noqa: E402  # run as a program it must find the checkout first
    Measurement,
    environment,
    free_port,
    go_first,
    log,
    median,
    until,
)

SIZE_BYTES = 1 << 30
PART_BYTES = 1 << 26
BLOCK_BYTES = 1 << 18
ROUNDS = 3
SECRET = "bench"


def serve_flows(directory: str, port: int) -> None:
    """The data path as a flow runs it, with one input and the outputs of a task per round."""
    from altiplano.engine import http
    from altiplano.frameworks.flows import contents, datapath
    from altiplano.kit import eventloop

    path = datapath.DataPath(Path(directory), SECRET)
    ways = [path.allow(f"task-{number}", (f"out-{number}",)) for number in range(ROUNDS)]
    source = path.offer(contents.describe(Path(directory) / "in"))

    async def run() -> None:
        server = http.HttpServer(path, host="127.0.0.1", port=port)
        await server.start()
        print("\n".join([source, *ways]), flush=True)
        await asyncio.Event().wait()

    eventloop.run(run())


def serve_plain(directory: str, port: int) -> None:
    """Receives a body, hashes and writes it; or reads a file and sends it.  One connection at a time."""
    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        print("ready", flush=True)
        buffer = bytearray(BLOCK_BYTES)
        while True:
            sock, _ = listener.accept()
            with sock:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += sock.recv(4096)
                head, _, rest = head.partition(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE_BYTES)
                    with open(f"{directory}/in", "rb") as file:
                        while count := file.readinto(buffer):
                            sock.sendall(memoryview(buffer)[:count])
                    continue
                if b"100-continue" in head.lower():
                    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                digest, left = hashlib.sha256(rest), SIZE_BYTES - len(rest)
                with open(f"{directory}/plain", "wb") as file:
                    file.write(rest)
                    while left:
                        count = sock.recv_into(buffer)
                        digest.update(memoryview(buffer)[:count])
                        file.write(memoryview(buffer)[:count])
                        left -= count
                    file.flush()
                    os.fsync(file.fileno())
                sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def start(mode: str, directory: str, port: int) -> tuple[subprocess.Popen[str], list[str]]:
    """A server in a process of its own, and what it says of itself."""
    command = [sys.executable, __file__, mode, directory, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
    go_first(process.pid)
    assert process.stdout is not None
    return process, [process.stdout.readline().strip() for _ in range(1 + ROUNDS if mode == "flows" else 1)]


def curl(*words: str) -> float:
    """MiB per second."""
    begun = time.perf_counter()
    code = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *words], check=True, capture_output=True, text=True
    ).stdout
    if code not in ("200", "201"):
        raise SystemExit(f"the server answered {code} to curl {' '.join(words)}")
    return SIZE_BYTES / (time.perf_counter() - begun) / 2**20


def memory_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"the process {pid} has ended")


def make_source(path: Path) -> str:
    """A file nobody can compress; its sha256."""
    digest = hashlib.sha256()
    part = os.urandom(PART_BYTES)
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // PART_BYTES):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def run() -> Iterable[Measurement]:
    with tempfile.TemporaryDirectory(prefix="altiplano-bench-", dir=os.environ.get("TMPDIR", "/tmp")) as directory:
        sha256 = make_source(Path(directory) / "in")
        source = f"{directory}/in"
        port, plain_port = free_port(), free_port()
        flows, said = start("flows", directory, port)
        plain, _ = start("plain", directory, plain_port)
        base, beside = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{plain_port}"
        until(lambda: _answers(port), "the data path")
        try:
            before = memory_mib(flows.pid, "VmRSS")
            rates: dict[str, list[float]] = {"out": [], "out beside": [], "in": [], "in beside": []}
            for number in range(ROUNDS):
                query = f"size={SIZE_BYTES}&sha256={sha256}&kind=file&mode=644"
                rates["out"].append(curl("-T", source, f"{base}{said[1 + number]}/0?{query}"))
                rates["out beside"].append(curl("-T", source, f"{beside}/"))
                rates["in"].append(curl(f"{base}{said[0]}"))
                rates["in beside"].append(curl(f"{beside}/"))
                os.unlink(f"{directory}/out-{number}")
                log(", ".join(f"{name} {values[-1]:.0f} MiB/s" for name, values in rates.items()))
            more = memory_mib(flows.pid, "VmHWM") - before
        finally:
            for process in (flows, plain):
                process.kill()
                process.wait()
    for name in ("out", "in"):
        value, other = median(rates[name])[0], median(rates[f"{name} beside"])[0]
        yield Measurement(
            name=f"data_path/{name}",
            value=value / other,
            unit="of plain",
            better="higher",
            goal=0.8,
            peer="plain server, MiB/s",
            peer_value=other,
            note=f"{value:.0f} MiB/s of 1 GiB",
        )
    yield Measurement(name="data_path/memory", value=more, unit="MiB more", better="lower", goal=32)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    {"flows": serve_flows, "plain": serve_plain}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
