"""A scheduler written with pymesos: pymesos_scheduler.py MASTER TASKS EXECUTOR DIRECTORY

Runs tasks until each has finished, and prints one line for each end it hears of.
"""

from __future__ import annotations

import os
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler, encode_data

PER_OFFER = 10


class Runner(Scheduler):  # type: ignore[misc]
    def __init__(self, count: int, executor: dict[str, object], directory: str) -> None:
        self.left = [f"task-{number}" for number in range(count)]
        self.open = set(self.left)
        self.executor = executor
        self.directory = directory
        self.done = threading.Event()

    def resourceOffers(self, driver: MesosSchedulerDriver, offers: list[dict[str, object]]) -> None:
        for offer in offers:
            tasks = []
            for name in self.left[:PER_OFFER] if amount(offer, "cpus") >= 1 else ():
                tasks.append(self.task(name, offer))
            del self.left[: len(tasks)]
            driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 0.2})

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
        print(name, state, update.get("reason", ""), update.get("message", ""), flush=True)
        if name in self.open:
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
    finished = runner.done.wait(100.0)
    driver.stop()
    driver.join()
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
