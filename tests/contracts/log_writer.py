"""Appends groups of three for ever and prints each position once it is durable: a victim for kill -9."""

from __future__ import annotations

import asyncio
import os
import sys

sys.path.insert(0, os.getcwd())

from altiplano.adapters.sqlite import SqliteLog

GROUPS_MAX = 200_000
AHEAD_MAX = 900
"""Records that wait for the disk: one that ran ahead without bound would say one position at the very end."""


async def main() -> None:
    log = SqliteLog(sys.argv[1])
    await log.recover()
    log.notify(lambda position: os.write(1, b"%d\n" % position) and None)
    for group in range(GROUPS_MAX):
        position = log.append([b"%d" % (group * 3 + number) for number in (1, 2, 3)])
        if group % 7 == 0:
            await asyncio.sleep(0)
        if position - log.durable > AHEAD_MAX:
            await log.wait(position - AHEAD_MAX // 2)


asyncio.run(main())
