"""paramiko's transport, with what it lacks: exit signals, a key exchange that cannot dead-lock, AES-GCM first."""

from __future__ import annotations

import logging
import threading
from typing import Any, ClassVar

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST

_LOG = "edgewise.ssh"

# OpenSSH's own limit for ciphers of 128-bit blocks: 2^32 blocks (RFC 4344, 3.2). paramiko's is 512 MiB, each a stall.
_REKEY_BYTES = 2**36
_REKEY_PACKETS = 2**31  # RFC 4344, 3.1

# Linux's numbers: the signals are the device's, whatever the host is (RFC 4254, 6.10 gives their names).
SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12,
    "PIPE": 13, "ALRM": 14, "TERM": 15,
}  # fmt: skip

# paramiko logs what it also raises; without a handler Python would print that on stderr.
logging.getLogger(_LOG).addHandler(logging.NullHandler())


def _take_request(channel: Any, message: paramiko.Message) -> None:
    """Keeps the name of the signal that ended a command, which paramiko passes over."""
    start = message.packet.tell()
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_signal = message.get_text()
        channel.status_event.set()
        return
    message.packet.seek(start)
    channel._handle_request(message)


class Wire(paramiko.Transport):
    """One ssh connection. Used as paramiko's own, by ssh_connect.py only."""

    _channel_handler_table: ClassVar[Any] = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _take_request,
    }

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._postponed: list[paramiko.Message] = []
        self.set_log_channel(_LOG)
        self.packetizer.REKEY_BYTES = _REKEY_BYTES
        self.packetizer.REKEY_PACKETS = _REKEY_PACKETS
        options = self.get_security_options()
        ciphers = [cipher for cipher in options.ciphers if cipher.startswith("aes")]
        options.ciphers = tuple(sorted(ciphers, key=lambda cipher: "gcm" not in cipher))

    def _send_user_message(self, data: paramiko.Message) -> None:
        """Postpones, in the reading thread, what may not be sent during a key exchange.

        paramiko waits there for the end of the exchange, which only this thread can bring: a channel that the device
        closes while keys are exchanged then ends the whole connection after 30 seconds.
        """
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._postponed.append(data)
            return
        super()._send_user_message(data)  # type: ignore[misc]

    def _parse_newkeys(self, message: paramiko.Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        postponed, self._postponed = self._postponed, []
        for data in postponed:
            self._send_message(data)  # type: ignore[attr-defined]
