"""Where sandboxes lie, and which paths of the files API lead into them.

The layout is that of Mesos, since tools and people know their way in it.
"""

from __future__ import annotations

import posixpath

from altiplano.agent import state


def directory(work_dir: str, agent_id: str, framework_id: str, executor_id: str, container_id: str) -> str:
    """The sandbox of a container."""
    return f"{_executor(work_dir, agent_id, framework_id, executor_id)}/runs/{container_id}"


def nested(executor: str, container_id: str) -> str:
    """The sandbox of a task of a group, within that of its executor."""
    return f"{executor}/containers/{container_id}"


def links(work_dir: str, agent_id: str, sandbox: str, task_id: str = "") -> tuple[tuple[str, str], ...]:
    """Links that point to the newest sandbox and the newest agent id, as (path, target).

    Below the sandbox of a group's executor there is a link for each task, by its id.
    """
    outer, inside, nested_id = sandbox.rpartition("/containers/")
    if inside and "/" not in nested_id:
        return (*links(work_dir, agent_id, outer), (f"{outer}/tasks/{task_id}", sandbox))
    runs, container_id = sandbox.rsplit("/", 1)
    return ((f"{runs}/latest", container_id), (f"{work_dir}/slaves/latest", agent_id))


def resolve(known: state.State, work_dir: str, path: str) -> tuple[str, str] | None:
    """The root that a requested path may not leave, and the path below it; None if it is in no sandbox.

    A path is that of a sandbox as `/state` shows it, with `runs/latest` or `slaves/latest` in place of the ids, or
    `/frameworks/<id>/executors/<id>/runs/<id or latest>`, each followed by a path in the sandbox.
    """
    if "\0" in path or not path.startswith("/"):
        return None
    clean = posixpath.normpath(path)
    if clean.startswith("//"):
        clean = clean[1:]
    base = posixpath.normpath(work_dir)
    if clean.startswith("/frameworks/"):
        parts = clean.split("/")[1:]
    elif clean.startswith(f"{base}/slaves/"):
        parts = clean[len(base) + 1 :].split("/")
        if parts[1:2] not in (["latest"], [known.agent_id]) and not _kept(known, clean):
            return None
        parts = parts[2:]
    else:
        return None
    return _sandbox(known, base, clean, parts)


def _sandbox(known: state.State, base: str, clean: str, parts: list[str]) -> tuple[str, str] | None:
    if len(parts) < 6 or parts[0] != "frameworks" or parts[2] != "executors" or parts[4] != "runs":
        return None
    framework_id, executor_id, run, rest = parts[1], parts[3], parts[5], "/".join(parts[6:])
    for root, container_id in _runs(known, framework_id, executor_id):
        if run in ("latest", container_id):
            return root, rest
    return None


def _runs(known: state.State, framework_id: str, executor_id: str) -> list[tuple[str, str]]:
    """(directory, container id) of all runs of an executor, newest first."""
    key = (framework_id, executor_id)
    task, executor = known.tasks.get(key), known.executors.get(key)
    runs = [(executor.directory, executor.container_id)] if executor is not None else []
    runs += [(task.directory, task.container_id)] if task is not None and not (task.hosted or task.grouped) else []
    runs += [(kept.directory, kept.container_id) for kept in known.sandboxes_of(key)]
    return runs


def _kept(known: state.State, path: str) -> bool:
    """Whether a path lies in a kept sandbox of an agent id of before."""
    parts = path.split("/runs/", 1)
    return len(parts) == 2 and parts[1].split("/", 1)[0] in known.kept


def _executor(work_dir: str, agent_id: str, framework_id: str, executor_id: str) -> str:
    return f"{work_dir}/slaves/{agent_id}/frameworks/{framework_id}/executors/{executor_id}"
