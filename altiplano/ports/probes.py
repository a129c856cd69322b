"""What an agent asks of the thing that knocks at ports of its own machine: once, for a check of a task.

`altiplano.adapters.probes` is the real one, `altiplano.testing.probes` the twin in memory; both pass
`tests/contracts/test_probes.py`.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

REDIRECTS_MAX: Final = 5
"""Redirects that one HTTP probe follows."""


class Http(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """GET a page of this machine.  Certificates are not looked at: nobody has one for a loopback address."""

    port: int
    path: str = "/"
    scheme: str = "http"
    ipv6: bool = False

    @property
    def url(self) -> str:
        return f"{self.scheme}://{'[::1]' if self.ipv6 else '127.0.0.1'}:{self.port}{self.path}"


class Tcp(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Connect to a port of this machine, and hang up."""

    port: int
    ipv6: bool = False

    @property
    def host(self) -> str:
        return "::1" if self.ipv6 else "127.0.0.1"


Target = Http | Tcp


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.  Not `connected`, or no `status_code` where one was asked for: the sentence says why."""

    connected: bool
    status_code: int | None = None
    sentence: str = ""


class Probes(Protocol):
    """Asks; has no patience of its own: who asks cancels what takes too long."""

    async def ask(self, target: Target) -> Answer:
        """Whatever the other side does is an answer.  Reads no more than the head of a reply."""
        ...

    async def close(self) -> None: ...
