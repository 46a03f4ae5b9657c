"""What a connection is told about its link, and files whose sizes do not fit into 32 bits."""

from __future__ import annotations

import socket
import sys

import pytest

from mobile.deadline import Deadline
from mobile.errors import DeviceUnreachable
from mobile.transports import sockets


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def connected(listener, link_timeout_s):
    return sockets.connect("board", "127.0.0.1", listener.getsockname()[1], Deadline(10), link_timeout_s)


def option(sock, level, name):
    return sock.getsockopt(level, name)


def test_small_messages_are_not_held_back(listener):
    with connected(listener, 20.0) as sock:
        assert option(sock, socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(sys.platform != "linux", reason="the options have other names there")
@pytest.mark.parametrize("link_timeout_s", [20.0, 3.0, 0.5])
def test_the_kernel_gives_up_a_dead_link_with_and_without_data_under_way(listener, link_timeout_s):
    with connected(listener, link_timeout_s) as sock:
        assert option(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == link_timeout_s * 1000
        assert option(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle_s = option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        probes_s = option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * option(
            sock, socket.IPPROTO_TCP, socket.TCP_KEEPCNT
        )
        assert idle_s + probes_s <= max(link_timeout_s, 4)


def test_a_name_longer_than_names_can_be_is_a_clear_error():
    with pytest.raises(DeviceUnreachable, match="does not resolve"):
        sockets.connect("board", "x" * 70 + ".example", 22, Deadline(10), 20.0)
