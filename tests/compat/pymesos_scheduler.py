"""A scheduler written with pymesos: pymesos_scheduler.py MASTER TASKS EXECUTOR DIRECTORY

Runs tasks until each has finished, and prints one line for each end it hears of.  As every framework must, it asks
for what it has launched: an ACCEPT may die with a master that has taken it, and then nobody else tells.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from http.client import HTTPException

from pymesos import MesosSchedulerDriver, Scheduler, encode_data

PER_OFFER = 10
RECONCILE_EVERY_S = 2.0
RUN_S_MAX = 100.0


class Runner(Scheduler):  # type: ignore[misc]
    def __init__(self, count: int, executor: dict[str, object], directory: str) -> None:
        self.left = [f"task-{number}" for number in range(count)]
        self.open = set(self.left)
        self.executor = executor
        self.directory = directory
        self.done = threading.Event()
        self.launched: set[str] = set()
        self.speaking = threading.Lock()
        """Held so that nothing is asked for before its ACCEPT has left."""

    def resourceOffers(self, driver: MesosSchedulerDriver, offers: list[dict[str, object]]) -> None:
        for offer in offers:
            tasks = []
            for name in self.left[:PER_OFFER] if amount(offer, "cpus") >= 1 else ():
                tasks.append(self.task(name, offer))
            names = self.left[: len(tasks)]
            del self.left[: len(tasks)]
            with self.speaking:
                # Also when it fails: whether the master has taken it nobody knows then.
                self.launched.update(names)
                driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 0.2})

    def ask(self, driver: MesosSchedulerDriver) -> None:
        """Have the master tell the state of all that was launched and has not ended."""
        with self.speaking:
            asked = [{"task_id": {"value": name}} for name in sorted(self.launched & self.open)]
            if asked:
                driver.reconcileTasks(asked)

    def task(self, name: str, offer: dict[str, object]) -> dict[str, object]:
        return {
            "task_id": {"value": name},
            "name": name,
            "agent_id": offer["agent_id"],
            "executor": self.executor,
            "data": encode_data(os.path.join(self.directory, name).encode()),
            "resources": [scalar("cpus", 0.05), scalar("mem", 1)],
        }

    def statusUpdate(self, driver: MesosSchedulerDriver, update: dict[str, object]) -> None:
        name, state = update["task_id"]["value"], update["state"]  # type: ignore[index]
        if state in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"):
            return
        if update.get("reason") == "REASON_RECONCILIATION" and name not in self.open:
            # It was asked for while the end was on its way, and the master has forgotten the task since.
            return
        print(name, state, update.get("reason", ""), update.get("message", ""), flush=True)
        self.open.discard(name)
        if state in ("TASK_LOST", "TASK_DROPPED", "TASK_GONE"):
            # It did not reach its executor, or the executor was given up: another one takes its place.
            self.open.add(name + "-again")
            self.left.append(name + "-again")
            driver.reviveOffers()
        if not self.open:
            self.done.set()


def scalar(name: str, value: float) -> dict[str, object]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def amount(offer: dict[str, object], name: str) -> float:
    return sum(r["scalar"]["value"] for r in offer["resources"] if r["name"] == name)  # type: ignore[attr-defined,misc]


def main(master: str, count: str, program: str, directory: str) -> int:
    executor = {
        "executor_id": {"value": "pymesos"},
        "command": {"value": f"exec {sys.executable} {program}"},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
    }
    framework = {"user": "root", "name": "pymesos", "checkpoint": True, "failover_timeout": 600.0}
    runner = Runner(int(count), executor, directory)
    driver = MesosSchedulerDriver(runner, framework, master, use_addict=False)
    driver.start()
    end_s = time.monotonic() + RUN_S_MAX
    while not (finished := runner.done.wait(RECONCILE_EVERY_S)) and time.monotonic() < end_s:
        try:
            runner.ask(driver)
        except (OSError, RuntimeError, HTTPException) as error:
            print("asking failed, the master may be away:", error, flush=True)
    driver.stop()
    driver.join()
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
