"""Peers whose machine is gone without a word: the kernel gives their connections up in minutes.

By itself TCP repeats what is not acknowledged for some fifteen minutes, and asks a silent peer nothing for two
hours.  A scheduler whose machine lost its power would keep its session and the offers it was sent for as long.
"""

from __future__ import annotations

import socket
from typing import Final

IDLE_SECONDS: Final = 60
"""A peer that says nothing for so long is asked whether it is there."""

ASK_SECONDS: Final = 20
ASKED_MAX: Final = 3

UNHEARD_SECONDS_MAX: Final = 120
"""What was sent must be acknowledged by the peer's kernel within this time, and room be made for what waits.

It is long enough for a switch that restarts, and for a process that was stopped for a moment.
"""


def watch(there: socket.socket) -> None:
    """Have the kernel end this connection when its peer has fallen silent; sockets that are not TCP are left alone."""
    if there.family not in (socket.AF_INET, socket.AF_INET6):
        return
    there.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_SECONDS)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASKED_MAX)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_SECONDS_MAX * 1000)
