"""A cable that delays and loses frames, for kernels without netem: one process between two TAP devices.

    python -m tests.lab.relay CONTROL NAMESPACE INTERFACE NAMESPACE INTERFACE

returns when both interfaces exist, and goes on in the background until the file CONTROL is gone. CONTROL
holds `delay_s` (one way), `jitter_s` (added or taken, evenly spread) and `loss` (0 to 1); a change is taken
up within 50 ms and copied to CONTROL's twin `.ack`. Frames are never reordered.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.lab import namespaces

_TUNSETIFF, _TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
_LONGEST_FRAME = 70_000
_MOST_WAITING = 20_000
_CONTROL_PERIOD_S = 0.05


class Relay:
    """Moves frames between two TAP descriptors."""

    def __init__(self, control: Path, a: int, b: int) -> None:
        self.control = control
        self.other = {a: b, b: a}
        self.last_due = {a: 0.0, b: 0.0}
        self.waiting: list[tuple[float, int, int, bytes]] = []
        self.count = 0
        self.text = ""
        self.delay_s = self.jitter_s = self.loss = 0.0

    def serve(self) -> None:
        """Nothing, once the control file is gone."""
        next_look = 0.0
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + _CONTROL_PERIOD_S
                if not self.read_control():
                    return
            self.send_due(now)
            pause = max(0.0, min(next_look, self.waiting[0][0] if self.waiting else next_look) - now)
            for source in select.select(list(self.other), [], [], pause)[0]:
                self.receive(source)

    def read_control(self) -> bool:
        """False when the control file is gone; else its values are in force."""
        try:
            text = self.control.read_text()
            if text != self.text:
                values = json.loads(text)
                self.delay_s, self.jitter_s, self.loss = values["delay_s"], values["jitter_s"], values["loss"]
                self.text = text
                self.control.with_suffix(".ack").write_text(text)
        except OSError:
            return False
        return True

    def send_due(self, now: float) -> None:
        """Nothing; the frames whose time has come are on their way."""
        while self.waiting and self.waiting[0][0] <= now:
            target, frame = heapq.heappop(self.waiting)[2:]
            with suppress(OSError):  # the interface is down or full: a lost frame
                os.write(target, frame)

    def receive(self, source: int) -> None:
        """Nothing; up to 64 frames that came in are waiting for their time, or lost."""
        for _ in range(64):
            try:
                frame = os.read(source, _LONGEST_FRAME)
            except OSError:
                return
            if random.random() < self.loss or len(self.waiting) >= _MOST_WAITING:
                continue
            due = time.monotonic() + self.delay_s + random.uniform(-1, 1) * self.jitter_s
            due = self.last_due[source] = max(due, self.last_due[source])
            self.count += 1
            heapq.heappush(self.waiting, (due, self.count, self.other[source], frame))


def tap(namespace: str, interface: str) -> int:
    """The descriptor of a new TAP device in the namespace; this process stays in that namespace."""
    namespaces.enter(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _TAP_WITHOUT_HEADER))
    return descriptor


def main(control: str, *ends: str) -> None:
    """Nothing, in the process that was started; its child relays."""
    relay = Relay(Path(control), tap(ends[0], ends[1]), tap(ends[2], ends[3]))
    relay.read_control()
    if os.fork():
        os._exit(0)
    os.setsid()
    log = os.open(Path(control).with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    relay.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
