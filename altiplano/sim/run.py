"""One seed from begin to end, and many."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from altiplano.sim import loop as virtual
from altiplano.sim.checkers.liveness import EndsWell
from altiplano.sim.cluster import Cluster
from altiplano.sim.faults import WINDOW_S, Faults
from altiplano.sim.history import Violation
from altiplano.sim.operator import Operator
from altiplano.sim.process import Parts
from altiplano.sim.workloads.batch import Batch

PATIENCE_S = 1500.0
"""Simulated time after the last fault until which everything must have come to its end."""

LOOK_S = 5.0
"""Between two looks whether it has."""

AUDIT_S = 40.0
"""For so long frameworks wait for the answers when all is quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one seed."""

    seed: int
    violation: str | None
    digest: str
    lines: int
    simulated_s: float
    story: tuple[str, ...]
    restarts: int
    details: str = ""
    wire: bool = False

    @property
    def replay(self) -> str:
        """The command that does the same again."""
        return f"python -m altiplano.sim {'--wire ' if self.wire else ''}--seed {self.seed}"


def run_seed(
    seed: int,
    *,
    parts: Callable[[], Parts] | None = None,
    faults: bool = True,
    check: bool = True,
    without: frozenset[str] = frozenset(),
) -> Report:
    """Simulate one seed.

    `parts` replaces pieces of the processes, to plant a fault; `without` names checkers that are switched off.
    """
    made = parts() if parts is not None else None
    return virtual.run(
        simulate(lambda: Cluster(seed, Batch(seed), parts=made, check=check), faults=faults, without=without)
    )


async def simulate(
    make: Callable[[], Cluster], *, faults: bool, without: frozenset[str] = frozenset(), wire: bool = False
) -> Report:
    """Start a pool, let things go wrong, wait for its end."""
    cluster = make()
    cluster.checkers[:] = [one for one in cluster.checkers if type(one).__name__ not in without]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: cluster.broke(context))
    started_s = loop.time()
    cluster.start_all()
    driving = asyncio.ensure_future(_drive(cluster, faults=faults))
    failed = asyncio.ensure_future(cluster.history.failed.wait())
    await asyncio.wait((driving, failed), return_when=asyncio.FIRST_COMPLETED)
    failed.cancel()
    driving.cancel()
    violation = cluster.history.violation
    if driving.done() and not driving.cancelled():
        driving.result()
    return Report(
        seed=cluster.seed,
        violation=str(violation) if violation is not None else None,
        digest=cluster.history.digest,
        lines=cluster.history.lines,
        simulated_s=asyncio.get_running_loop().time() - started_s,
        story=tuple(cluster.history.story),
        restarts=sum(cluster.lives(name) - 1 for name in cluster.names),
        details=_details(violation),
        wire=wire,
    )


async def _drive(cluster: Cluster, *, faults: bool) -> None:
    """Break things for a while; then let all become quiet, look at every account, and let go what stays."""
    operator = Operator(cluster, window_s=WINDOW_S)
    following = asyncio.ensure_future(operator.follow())
    try:
        if faults:
            await asyncio.gather(Faults(cluster).run(), operator.run())
        await _wait(cluster, cluster.history.waits)
        cluster.workload.audit_s = cluster.now_s
        await asyncio.sleep(AUDIT_S)
        cluster.history.at_quiet()
        cluster.workload.audit_s = None
        cluster.workload.release()
        ends = next((one for one in cluster.checkers if isinstance(one, EndsWell)), None)
        if ends is not None:
            await _wait(cluster, ends.left)
        cluster.history.at_the_end()
    finally:
        following.cancel()


async def _wait(cluster: Cluster, left: Callable[[], list[str]]) -> None:
    deadline_s = cluster.now_s + PATIENCE_S
    while (waiting := left()) and cluster.now_s < deadline_s:  # noqa: ASYNC110  (many conditions at once; time is free here)
        await asyncio.sleep(LOOK_S)
    if waiting:
        for checker in cluster.checkers:
            if sentences := checker.waits():
                cluster.history.fail(Violation(f"{checker.promise}: {'; '.join(sentences[:10])}"))


def _details(violation: Violation | None) -> str:
    """The program's own traceback, where a violation was an error."""
    if violation is None or violation.__cause__ is None:
        return ""
    return "".join(traceback.format_exception(violation.__cause__))
