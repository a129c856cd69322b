"""A custom executor of the standard library alone: the jobs of a `ledger.HostedLedger`, over the executor API.

    python hosted.py

It keeps every update until that is acknowledged, and comes back to an agent that was killed.  The data of a task
says what to do: `{"line": text, "file": path, "seconds": s, "code": n, "killed": bool}`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import time
import uuid
from typing import Any

ENDPOINT = os.environ["MESOS_AGENT_ENDPOINT"]
IDS = {
    "framework_id": {"value": os.environ["MESOS_FRAMEWORK_ID"]},
    "executor_id": {"value": os.environ["MESOS_EXECUTOR_ID"]},
}
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
if "MESOS_EXECUTOR_AUTHENTICATION_TOKEN" in os.environ:
    HEADERS["Authorization"] = f"Bearer {os.environ['MESOS_EXECUTOR_AUTHENTICATION_TOKEN']}"

AWAY_S_MAX = 60.0
"""An agent that is gone for longer does not come back."""

RETRY_S = 0.1
ANSWER_S_MAX = 10.0

Message = dict[str, Any]


class Executor:
    """What is not acknowledged yet, shared by the reader and one thread for each job."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tasks: dict[str, Message] = {}
        """Tasks of which no update was acknowledged."""
        self.updates: dict[str, Message] = {}
        """Updates by uuid, oldest first."""
        self.killed: dict[str, threading.Event] = {}

    def serve(self) -> None:
        """Listen until told to end, or until the agent is gone for too long."""
        heard_s = time.monotonic()
        while time.monotonic() - heard_s < AWAY_S_MAX:
            try:
                if self._listen():
                    return
                heard_s = time.monotonic()
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(RETRY_S)

    def _listen(self) -> bool:
        """Subscribe and take events until the stream ends; whether that was for good."""
        connection = http.client.HTTPConnection(ENDPOINT)
        with self.lock:
            subscribe = {
                "unacknowledged_tasks": list(self.tasks.values()),
                "unacknowledged_updates": list(self.updates.values()),
            }
        connection.request(
            "POST", "/api/v1/executor", json.dumps({**IDS, "type": "SUBSCRIBE", "subscribe": subscribe}), HEADERS
        )
        answer = connection.getresponse()
        if answer.status != 200:
            return False
        while length := answer.readline():
            event = json.loads(answer.read(int(length)))
            match event["type"]:
                case "LAUNCH":
                    self._launch(event["launch"]["task"])
                case "ACKNOWLEDGED":
                    self._acknowledged(event["acknowledged"])
                case "KILL":
                    if (killed := self.killed.get(event["kill"]["task_id"]["value"])) is not None:
                        killed.set()
                case "SHUTDOWN":
                    return True
        return False

    def _launch(self, task: Message) -> None:
        name = task["task_id"]["value"]
        self.killed[name] = threading.Event()
        with self.lock:
            self.tasks[name] = task
        threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def _acknowledged(self, what: Message) -> None:
        with self.lock:
            self.tasks.pop(what["task_id"]["value"], None)
            self.updates.pop(what["uuid"], None)

    def _run(self, task: Message) -> None:
        """One job, as the command of a command task would do it."""
        order, name = json.loads(base64.b64decode(task["data"])), task["task_id"]["value"]
        self._tell(task, "TASK_RUNNING", "")
        with open(order["file"], "a") as file:
            file.write(order["line"] + "\n")
        if self.killed[name].wait(None if order["killed"] else order["seconds"]):
            self._tell(task, "TASK_KILLED", "")
        else:
            end = "TASK_FAILED" if order["code"] else "TASK_FINISHED"
            self._tell(task, end, f"Command exited with status {order['code']}")

    def _tell(self, task: Message, state: str, sentence: str) -> None:
        """Say it until it is acknowledged: an agent that was killed may have heard it or not."""
        name = base64.b64encode(uuid.uuid4().bytes).decode()
        status = {
            "task_id": task["task_id"],
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "uuid": name,
            "message": sentence,
            "timestamp": time.time(),
            "executor_id": IDS["executor_id"],
        }
        with self.lock:
            self.updates[name] = {"status": status}
        while name in self.updates:
            connection = http.client.HTTPConnection(ENDPOINT, timeout=ANSWER_S_MAX)
            try:
                connection.request(
                    "POST",
                    "/api/v1/executor",
                    json.dumps({**IDS, "type": "UPDATE", "update": {"status": status}}),
                    HEADERS,
                )
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(RETRY_S)


if __name__ == "__main__":
    Executor().serve()
