"""1,000 sleeping tasks on one agent: memory of its processes, and the time to take them up again after kill -9."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable

import psutil

from benchmarks import storm
from benchmarks.measure import Measurement, Pool, mentioning, pool, until

COUNT = 1_000
KEEP_SECONDS = 600


def own_memory(running: Pool) -> tuple[float, int]:
    """MB (proportional set size) of agent, supervisor and keeper; and how many processes they are."""
    total, count = 0.0, 0
    for pid in {running.agent.pid, *mentioning(str(running.directory / "agent"))}:
        try:
            process = psutil.Process(pid)
            if process.name() == "sleep" or process.pid == running.master.pid:
                continue
            total += process.memory_full_info().pss
            count += 1
        except psutil.NoSuchProcess:
            continue
    return total / 1e6, count


def sleepers(running: Pool) -> int:
    """Processes of our tasks; others on this machine sleep as well."""
    count = 0
    for pid in mentioning(str(running.directory / "agent")):
        try:
            count += psutil.Process(pid).name() == "sleep"
        except psutil.NoSuchProcess:
            continue
    return count


def running_tasks(running: Pool) -> int:
    tasks = running.call({"type": "GET_TASKS"}).get("get_tasks", {}).get("tasks", [])
    return sum(task["state"] == "TASK_RUNNING" for task in tasks)


def run() -> Iterable[Measurement]:
    with pool("cpus:200;mem:65536;disk:65536") as running:
        framework = storm.Storm(("sleep", str(KEEP_SECONDS)), COUNT, keep=True)
        framework.failover_timeout_s = 600.0
        thread = threading.Thread(target=storm.run, args=(framework, running.address))
        thread.start()
        thread.join()
        memory, count = own_memory(running)
        yield Measurement(
            name="sleeping_tasks/memory",
            value=memory,
            unit="MB",
            better="lower",
            goal=80,
            note=f"{count} processes, {COUNT} tasks, proportional set size",
        )
        sleeping = sleepers(running)
        running.agent.send_signal(signal.SIGKILL)
        running.agent.wait()
        start = time.perf_counter()
        running.start_agent()
        until(lambda: running_tasks(running) == COUNT, f"{COUNT} tasks of the new agent process", step_s=0.1)
        seconds = time.perf_counter() - start
        left = sleepers(running)
        if left != sleeping:
            raise SystemExit(f"{sleeping - left} tasks were lost with the agent's process")
        yield Measurement(
            name="sleeping_tasks/reattach",
            value=seconds,
            unit="s",
            better="lower",
            goal=2.0,
            note="process start of the agent included",
        )
