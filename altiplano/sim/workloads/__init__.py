"""What a simulated pool is asked to do.

A workload is a module with a class that satisfies `Workload`; `batch` is the one that is run by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.scheduler import Framework
    from altiplano.testing.store import MemoryStore


class Workload(Protocol):
    """Frameworks, and what each of them wants."""

    frameworks: tuple[str, ...]

    def framework(self, cluster: Cluster, name: str, store: MemoryStore) -> Framework:
        """One life of a framework."""
        ...

    def needs(self, task_id: str) -> tuple[float, float]:
        """cpus and MB of memory of a task."""
        ...

    def was_killed(self, cluster: Cluster, framework: str, task_id: str) -> bool:
        """Whether the framework has asked for the end of a task."""
        ...

    def has_kept(self, cluster: Cluster, task_id: str, uuid: bytes) -> bool:
        """Whether the framework of a task has durably taken the update with this uuid."""
        ...

    def missing(self, cluster: Cluster) -> list[str]:
        """What has not come true yet, one sentence each; empty when all is done."""
        ...
