"""What a place that images come from is to the store: registries and local files alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from altiplano.adapters.images.manifests import Configuration
from altiplano.model.images import Digest

Progress = Callable[[int], None]
"""So many bytes more are here; negative where a download began anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A packed layer on this disk: a part of an open file.  Whoever got it closes it."""

    fd: int
    offset: int
    size_bytes: int

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that a source has.  `sizes_bytes` are those of its packed layers."""

    what: str
    manifest: Digest
    configuration: Configuration
    sizes_bytes: tuple[int, ...]


class Source(Protocol):
    """One image in one place.  Errors are `ImageRefused` and `ImageFailed`."""

    async def find(self) -> Found:
        """Look the image up and verify what names its parts."""
        ...

    async def layer(self, number: int, path: str, progress: Progress) -> Blob:
        """Have a layer as a file, at `path` where it has to be made; its unpacked digest is checked later."""
        ...

    async def close(self) -> None: ...
