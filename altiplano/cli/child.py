"""What a child of `altiplano up` runs first: it shall not outlive its parent.

The kernel kills it when the parent is gone, however that went.  SIGKILL is the right signal here:
every process of ours recovers from its log anyway, and any other signal would make the agent end
its tasks, which are to go on until the next `up`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """`python -m altiplano.cli.child PARENT_PID COMMAND …`."""
    parent, arguments = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        # It died before we asked to be told.
        sys.exit(1)
    from altiplano.cli import main as command_line

    command_line.main(arguments)


if __name__ == "__main__":
    main()
