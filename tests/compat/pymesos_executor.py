"""An executor written with pymesos: each task writes its own name to a file, once for every time it is run."""

from __future__ import annotations

import os
import sys
import threading

from pymesos import Executor, MesosExecutorDriver, decode_data


class Writer(Executor):  # type: ignore[misc]
    def launchTask(self, driver: MesosExecutorDriver, task: object) -> None:
        threading.Thread(target=self.run, args=(driver, task), daemon=True).start()

    def run(self, driver: MesosExecutorDriver, task: object) -> None:
        self.tell(driver, task, "TASK_RUNNING")
        with open(decode_data(task["data"]).decode(), "a") as file:  # type: ignore[index]
            file.write(task["task_id"]["value"] + "\n")  # type: ignore[index]
        self.tell(driver, task, "TASK_FINISHED")

    def tell(self, driver: MesosExecutorDriver, task: object, state: str) -> None:
        driver.sendStatusUpdate({"task_id": task["task_id"], "state": state})  # type: ignore[index]

    def shutdown(self, driver: MesosExecutorDriver) -> None:
        os._exit(0)


if __name__ == "__main__":
    driver = MesosExecutorDriver(Writer(), use_addict=False)
    sys.exit(driver.run())
