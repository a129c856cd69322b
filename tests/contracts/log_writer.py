"""Appends groups of three for ever and prints each position once it is durable: a victim for kill -9."""

from __future__ import annotations

import asyncio
import os
import sys

sys.path.insert(0, os.getcwd())

from altiplano.adapters.sqlite import SqliteLog

GROUPS_MAX = 200_000


async def main() -> None:
    log = SqliteLog(sys.argv[1])
    await log.recover()
    log.notify(lambda position: os.write(1, b"%d\n" % position) and None)
    for group in range(GROUPS_MAX):
        log.append([b"%d" % (group * 3 + number) for number in (1, 2, 3)])
        if group % 7 == 0:
            await asyncio.sleep(0)


asyncio.run(main())
