"""Connections of machines that are gone end by themselves."""

from __future__ import annotations

import socket

from altiplano.engine import silence


def test_the_kernel_watches_a_connection_and_gives_it_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as near,
        listening.accept()[0] as far,
    ):
        silence.watch(far)
        assert far.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        asked_s = silence.IDLE_SECONDS + silence.ASKED_MAX * silence.ASK_SECONDS
        assert asked_s <= silence.UNHEARD_SECONDS_MAX
        assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == silence.IDLE_SECONDS
        assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == silence.UNHEARD_SECONDS_MAX * 1000
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_a_socket_of_this_machine_only_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        silence.watch(one)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
