"""What a simulated pool is asked to do.

A workload is a module with a class that satisfies `Workload`; `batch` is the one that is run by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from altiplano.sim.cluster import Cluster
    from altiplano.sim.scheduler import Framework
    from altiplano.sim.workloads.jobs import Job
    from altiplano.testing.store import MemoryStore


class Workload(Protocol):
    """Frameworks, and what each of them wants."""

    frameworks: tuple[str, ...]
    audit_s: float | None
    """Since when every framework shall ask once what became of its tasks; None while nobody looks."""

    def framework(self, cluster: Cluster, name: str, store: MemoryStore) -> Framework:
        """One life of a framework."""
        ...

    def needs(self, task_id: str) -> tuple[float, float]:
        """cpus and MB of memory of a task; without an id those of an executor."""
        ...

    def job_of(self, task_id: str) -> Job:
        """What a task is for."""
        ...

    def is_aware(self, framework: str) -> bool:
        """Whether a framework knows partitions."""
        ...

    def checkpoints(self, framework: str) -> bool:
        """Whether the tasks of a framework outlive their agent's process."""
        ...

    def failover_s(self, framework: str) -> float:
        """How long a framework may be away."""
        ...

    def was_killed(self, cluster: Cluster, framework: str, task_id: str) -> bool:
        """Whether somebody may have asked for the end of a task."""
        ...

    def has_kept(self, cluster: Cluster, task_id: str, uuid: bytes) -> bool:
        """Whether the framework of a task has durably taken the update with this uuid."""
        ...

    def staying(self, cluster: Cluster) -> list[str]:
        """Tasks that run until they are released."""
        ...

    def release(self) -> None:
        """What stays may go."""
        ...

    def missing(self, cluster: Cluster) -> list[str]:
        """What has not come true yet, one sentence each; empty when all is done but for what stays."""
        ...
