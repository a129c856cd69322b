"""Keeps the output files of a container within their bound without losing a new line.

The oldest part gives its disk back through a hole: size and offsets stay, so
readers and the writing task notice nothing.  Where the file system has no
holes, the task is stopped for a moment while its newest part is copied to the
front.
"""

from __future__ import annotations

import os

from altiplano.adapters.supervisor import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = 4096
BOUND_BYTES_MIN = 2 * BLOCK_BYTES
COPY_BYTES = 1024 * 1024


def trim(path: str, bytes_max: int, pause: Callable[[int], None], holes: bool = True) -> bool | None:
    """Bring one file within its bound.

    True: with a hole.  False: by copying, because this file system has no holes.
    None: nothing had to be done.  `pause` is called with SIGSTOP and SIGCONT
    around the copying.
    """
    bytes_max = max(bytes_max, BOUND_BYTES_MIN)
    try:
        # Nearly every look finds nothing to do, and opens nothing for it.
        if os.lstat(path).st_size <= bytes_max:
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        seen = os.fstat(descriptor)
        if seen.st_size <= bytes_max or seen.st_blocks * 512 <= bytes_max:
            return None
        # Half of the bound is kept, so that a fast writer costs one hole per half bound and not one per look.
        keep = bytes_max // 2
        if holes:
            try:
                processes.punch_hole(descriptor, (seen.st_size - keep) // BLOCK_BYTES * BLOCK_BYTES)
                return True
            except OSError:
                pass
        pause(19)
        try:
            _move_to_front(descriptor, keep)
        finally:
            pause(18)
        return False
    finally:
        os.close(descriptor)


def _move_to_front(descriptor: int, keep: int) -> None:
    size = os.fstat(descriptor).st_size
    source, target = size - keep, 0
    while source < size:
        part = os.pread(descriptor, min(COPY_BYTES, size - source), source)
        if not part:
            break
        os.pwrite(descriptor, part, target)
        source += len(part)
        target += len(part)
    os.ftruncate(descriptor, target)
