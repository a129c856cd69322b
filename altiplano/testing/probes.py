"""Probes in memory: answers that a test sets, by port."""

from __future__ import annotations

from dataclasses import dataclass, field

from altiplano.ports import probes


@dataclass(slots=True)
class MemoryProbes:
    """`pages` are the status codes of what is served, `ports` those that only listen; nobody is at any other."""

    pages: dict[tuple[int, str], int] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)

    async def ask(self, target: probes.Target) -> probes.Answer:
        if target.port not in self.ports and target.port not in {port for port, _ in self.pages}:
            where = target.url if isinstance(target, probes.Http) else f"port {target.port}"
            return probes.Answer(connected=False, sentence=f"{where}: connection refused")
        if isinstance(target, probes.Tcp):
            return probes.Answer(connected=True)
        if target.port in self.ports:
            return probes.Answer(connected=True, sentence=f"{target.url}: nothing that is HTTP came back")
        return probes.Answer(connected=True, status_code=self.pages.get((target.port, target.path), 404))

    async def close(self) -> None:
        pass
