"""Facts to records of a log and back.

A record is JSON: the version of the facts' form, then the fact with its type.  A program reads its
own version and the one before; a newer record is refused with a sentence, never guessed at.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

import msgspec

from altiplano.engine.core import Fact
from altiplano.ports.log import LogMismatch

F = TypeVar("F", bound=Fact)
Upgrade = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Turns the JSON form of a fact of the version before into today's; None leaves the fact out."""


class FactCodec(Generic[F]):
    """Reads and writes the durable facts of one kind of process."""

    def __init__(
        self, types: Iterable[type[F]], *, version: int, upgrades: Mapping[str, Upgrade] | None = None
    ) -> None:
        union: Any = reduce(or_, types)
        self.version = version
        self._upgrades = dict(upgrades or {})
        self._prefix = b"%d " % version
        self._encoder = msgspec.json.Encoder()
        self._decoder: msgspec.json.Decoder[F] = msgspec.json.Decoder(union)
        self._union = union

    def encode(self, fact: F) -> bytes:
        return self._prefix + self._encoder.encode(fact)

    def decode(self, record: bytes) -> F | None:
        """The fact of a record; None for a fact that this version no longer knows."""
        version, _, body = record.partition(b" ")
        if version == self._prefix[:-1]:
            return self._decoder.decode(body)
        if version != b"%d" % (self.version - 1):
            raise LogMismatch(
                f"the log holds records of version {version.decode('ascii', 'replace')[:20]}, and this program "
                f"reads versions {self.version - 1} and {self.version}: use the program that wrote it, "
                "or another work directory"
            )
        raw: dict[str, Any] = msgspec.json.decode(body)
        upgrade = self._upgrades.get(raw["fact"])
        upgraded = upgrade(raw) if upgrade is not None else raw
        return None if upgraded is None else msgspec.convert(upgraded, self._union)

    def snapshot(self, facts: Iterable[F]) -> bytes:
        """All facts in one block: each record behind its length, since what clients wrote may hold line ends."""
        return b"".join(b"%d:%b" % (len(record), record) for record in map(self.encode, facts))

    def recover(self, snapshot: bytes | None, records: Sequence[bytes]) -> Iterable[F]:
        """The facts of a snapshot and of the records after it, in order."""
        for record in itertools.chain(unpack(snapshot or b""), records):
            fact = self.decode(record)
            if fact is not None:
                yield fact


def unpack(snapshot: bytes) -> Iterator[bytes]:
    """The records of a snapshot, in order."""
    start = 0
    while start < len(snapshot):
        colon = snapshot.index(b":", start)
        end = colon + 1 + int(snapshot[start:colon])
        yield snapshot[colon + 1 : end]
        start = end
