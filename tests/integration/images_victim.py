"""A process that pulls, releases and collects one image, and may kill itself at a named point while at it."""

from __future__ import annotations

import asyncio
import sys

from altiplano.adapters.images import shelf
from altiplano.adapters.images.store import LocalImages, Settings
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.kit import crash
from altiplano.model.images import parse


async def main(root: str, reference: str) -> None:
    store = LocalImages(root, Settings(), clock=SystemClock(), ids=SystemIds())
    await store.open()
    print("open", flush=True)
    await store.pull(parse(reference), holder="victim")
    print("pulled", flush=True)
    await store.release("victim")
    await store.collect(size_bytes_max=0, age_s_max=0.0)
    await store.close()


if __name__ == "__main__":
    crash.arm("images", shelf.POINTS)
    asyncio.run(main(*sys.argv[1:]))
