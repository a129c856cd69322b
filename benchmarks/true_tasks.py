"""1,000 times `true` on one agent, with sandboxes, cgroups and durable checkpoints.

Beside it in the same run: HyperQueue and Dask with two slots (neither keeps sandboxes nor durable
records), a bare loop that starts and reaps the command, and one that also makes, limits and removes the same two
cgroups for each.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterable

from benchmarks import storm
from benchmarks.measure import Measurement, log, median, pool, wall

COUNT = 5_000
PEER_COUNT = 2_000
ROUNDS = 2
TRUE = shutil.which("true") or "/bin/true"


def altiplano(isolation: str) -> float:
    with pool("cpus:64;mem:65536;disk:65536", isolation=isolation) as running:
        done = storm.run(storm.Storm((TRUE,), COUNT, cpus=1.0), running.address)
    return COUNT / done.seconds


def hyperqueue() -> float:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        LocalCluster() as cluster,
    ):
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        job = Job()
        for _ in range(PEER_COUNT):
            job.program([TRUE], stdout=None, stderr=None)
        return PEER_COUNT / wall(lambda: client.wait_for_jobs([client.submit(job)]))


def dask() -> float:
    from distributed import Client, LocalCluster

    def work(number: int) -> int:
        return subprocess.run([TRUE], check=False).returncode + 0 * number

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(work, range(20)))
        return PEER_COUNT / wall(lambda: client.gather(client.map(work, range(100, 100 + PEER_COUNT))))


def bare() -> float:
    """Two commands at a time, started and reaped, nothing else."""

    def loop() -> None:
        alive = 0
        for _ in range(PEER_COUNT):
            os.posix_spawn(TRUE, [TRUE], {})
            alive += 1
            if alive == 2:
                os.wait()
                alive -= 1
        while alive:
            os.wait()
            alive -= 1

    return PEER_COUNT / wall(loop)


def bare_with_cgroups() -> float | None:
    """The same, one at a time, each in a cpu and a memory cgroup of its own; None where there are no v1 cgroups."""
    roots = [f"/sys/fs/cgroup/{controller}/altiplano-bench" for controller in ("cpu", "memory")]
    limits = {"cpu": [("cpu.shares", "1024")], "memory": [("memory.limit_in_bytes", str(32 << 20))]}
    try:
        for root in roots:
            os.makedirs(root, exist_ok=True)
    except OSError:
        return None

    def write(path: str, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)

    def one(number: int) -> None:
        paths = [f"{root}/{number}" for root in roots]
        for path, controller in zip(paths, ("cpu", "memory"), strict=True):
            os.mkdir(path)
            for name, text in limits[controller]:
                write(f"{path}/{name}", text)
            write(f"{path}/cgroup.procs", "0")
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
        for path, root in zip(paths, roots, strict=True):
            write(f"{root}/cgroup.procs", "0")
            os.rmdir(path)

    def loop() -> None:
        for number in range(PEER_COUNT):
            one(number)

    try:
        seconds = wall(loop)
    finally:
        for controller, root in zip(("cpu", "memory"), roots, strict=True):
            write(f"/sys/fs/cgroup/{controller}/cgroup.procs", str(os.getpid()))
            os.rmdir(root)
    return PEER_COUNT / seconds


def run() -> Iterable[Measurement]:
    ours, posix, hq, dk, loop, cgroups = [], [], [], [], [], []
    for number in range(ROUNDS):
        log(f"round {number + 1} of {ROUNDS}")
        ours.append(altiplano("cgroups"))
        posix.append(altiplano("posix"))
        hq.append(hyperqueue())
        dk.append(dask())
        loop.append(bare())
        made = bare_with_cgroups()
        if made is not None:
            cgroups.append(made)
        log(
            f"altiplano {ours[-1]:.0f}/s, without cgroups {posix[-1]:.0f}/s, "
            f"HyperQueue {hq[-1]:.0f}/s, Dask {dk[-1]:.0f}/s, bare {loop[-1]:.0f}/s, with cgroups {made or 0:.0f}/s"
        )
    value, spread = median(ours)
    common = {"unit": "tasks/s", "better": "higher", "spread": spread}
    yield Measurement(name="true_tasks", value=value, goal=500, peer="HyperQueue", peer_value=median(hq)[0], **common)  # type: ignore[arg-type]  # machine and load
    yield Measurement(name="true_tasks/dask", value=value, goal=500, peer="Dask", peer_value=median(dk)[0], **common)  # type: ignore[arg-type]  # machine and load
    yield Measurement(name="true_tasks/bare", value=value, peer="bare loop", peer_value=median(loop)[0], **common)  # type: ignore[arg-type]  # machine and load
    yield Measurement(
        name="true_tasks/posix",
        value=median(posix)[0],
        unit="tasks/s",
        better="higher",
        peer="HyperQueue",
        peer_value=median(hq)[0],
        spread=median(posix)[1],
        note="no cgroups",
    )
    if cgroups:
        beside = median(cgroups)[0]
        yield Measurement(
            name="true_tasks/cgroups",
            value=value / beside,
            unit="of the loop",
            better="higher",
            goal=0.6,
            peer="loop with cgroups, tasks/s",
            peer_value=beside,
        )
