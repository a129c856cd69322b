"""Tasks of a pool whose agent could not take them along: the parent of `altiplano up` ends them itself.

The agent ends its tasks when it is asked to.  One that had just died, that cannot write its log, or that had to be
killed does not, and supervisor, keeper and tasks are still there.  How the tasks end is on record for the next agent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

GRACE_S = 5.0
"""From SIGTERM to SIGKILL, as an agent grants it."""
END_S_MAX = 30.0
"""To reach a supervisor, or start one, and to have it end everything."""


async def end_tasks(work_dir: Path) -> str | None:
    """Nothing of the agent's tasks runs afterwards, or the sentence says why it may."""
    if not (work_dir / "supervisor" / "socket").exists():
        return None  # who leaves in good order takes this along
    from altiplano.adapters.supervisor import client
    from altiplano.ports.launcher import LauncherError

    try:
        async with asyncio.timeout(END_S_MAX):
            pair = await client.connect(str(work_dir))
            await pair.stop(GRACE_S)
    except TimeoutError:
        return (
            f"tasks may still run, and the next 'altiplano up' finds them: the supervisor below {work_dir} "
            f"has not ended them within {END_S_MAX:g} s; it is paused, or the disk does not answer"
        )
    except (LauncherError, OSError) as error:
        return f"tasks may still run, and the next 'altiplano up' finds them: {error}"
    return None
