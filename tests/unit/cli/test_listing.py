"""Rows of tasks, from what a master reports."""

from __future__ import annotations

from altiplano.cli import listing
from altiplano.wire.messages import mesos


def test_a_row_says_how_a_task_is_by_its_last_status() -> None:
    seen = mesos.CheckStatusInfo(type=mesos.CheckInfoType.HTTP, http=mesos.CheckStatusInfoHttp(status_code=503))
    task_id = mesos.TaskID(value="t1")
    running = mesos.TaskState.TASK_RUNNING
    task = mesos.Task(
        name="t1",
        task_id=task_id,
        framework_id=mesos.FrameworkID(value="f"),
        agent_id=mesos.AgentID(value="a"),
        state=running,
        statuses=(
            mesos.TaskStatus(task_id=task_id, state=mesos.TaskState.TASK_STARTING),
            mesos.TaskStatus(task_id=task_id, state=running, healthy=False, check_status=seen),
        ),
    )
    row = listing.task_row(task)
    assert row.healthy is False
    assert row.check == "its page answers with 503"
    assert listing.task_record(row, None).check == row.check
