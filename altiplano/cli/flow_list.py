"""The flows that a pool's host of frameworks keeps."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from altiplano.cli import output
from altiplano.cli.failures import FAILED, NO_MASTER, Failure
from altiplano.frameworks.flows.pages.picture import FlowHead
from altiplano.sdk import http
from altiplano.sdk.credentials import Place

PATH = "/flows/api/v1/flows"


def heads(where: Place) -> list[FlowHead]:
    """Those that run first, then the latest.  Raises Failure."""
    if not where.frameworks:
        raise Failure(
            f"flows are kept by `altiplano up`, and {where.masters[0]} is not known to belong to one: on its machine "
            "name its --work-dir with ALTIPLANO_WORK_DIR; 'altiplano flow status FILE' needs no pool",
            NO_MASTER,
        )
    found = asyncio.run(_ask(where))
    return sorted(found, key=lambda head: (not head.goes_on, -(head.started_s or 0.0)))


async def _ask(where: Place) -> list[FlowHead]:
    connection = http.Connection(where.frameworks, headers=where.headers)
    try:
        answer = await connection.request("GET", PATH)
    except http.ConnectionFailed as error:
        raise Failure(f"{error}. Start a pool with 'altiplano up'", NO_MASTER) from error
    finally:
        connection.close()
    if answer.status == 401:
        raise Failure(f"{where.frameworks} refuses these credentials: {answer.text.strip()}", NO_MASTER)
    if answer.status != 200:
        raise Failure(f"the host of frameworks answers {answer.status}: {answer.text.strip()}", FAILED)
    return msgspec.json.decode(answer.body, type=list[FlowHead])


def record(head: FlowHead) -> dict[str, Any]:
    """A flow as `flow list --json` prints it."""
    return {
        "run": head.id,
        "file": head.title,
        "directory": head.directory,
        "state": head.word,
        "exit_code": head.exit_code,
        "done": head.done,
        "rules": head.total,
        "started_wall_s": head.started_s,
        "ended_wall_s": head.ended_s,
        "framework_id": head.framework_id,
    }


def took(head: FlowHead) -> str:
    """How long it has run, or ran."""
    if head.started_s is None:
        return ""
    end = time.time() if head.goes_on else head.ended_s or head.started_s
    return output.span(max(0.0, end - head.started_s))
