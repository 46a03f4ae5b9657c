"""The real worker with a runner that really does one bad thing: FAULT@WHEN, where WHEN is load, first or later.

A script, started by the supervisor in tests. Nothing is acted: the segfault reads address 0, the memory is allocated.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

from device_agents import worker
from device_agents.runners.null import NullRunner


def segfault():
    ctypes.string_at(0)


def abort():
    os.abort()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def memory_error():
    resource.setrlimit(resource.RLIMIT_AS, (512 * 1024**2, 512 * 1024**2))
    held = []
    while True:
        held.append(bytearray(64 * 1024**2))


def bad_alloc():
    new = ctypes.CDLL("libstdc++.so.6")._Znwm  # operator new(size_t): throws std::bad_alloc, which nobody catches
    new.argtypes = [ctypes.c_size_t]
    new(1 << 62)


def fill_memory():
    held = []
    while True:
        held.append(b"\xff" * (8 * 1024**2))


def hang():
    signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGTERM]
    )  # native code that never returns handles no signal either
    while True:
        time.sleep(3600)


def hang_with_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    hang()


def slow():
    time.sleep(0.05)


def leave():
    os._exit(3)


def leave_quietly():
    os._exit(0)


def garbage():
    os.write(int(sys.argv[sys.argv.index("--records-fd") + 1]), b"\x00\xffnot a record\n")


def unknown_record():
    os.write(int(sys.argv[sys.argv.index("--records-fd") + 1]), b'{"type":"surprise"}\n')


def endless_line():
    while True:
        os.write(int(sys.argv[sys.argv.index("--records-fd") + 1]), b"x" * 65536)


def fault_of_ours():
    raise KeyError("a bug")


def chatter():
    os.write(1, b"native libraries print here\n" * 100)


def chatter_endlessly():
    os.write(2, b"x" * 100_000)


class BadRunner(NullRunner):
    """A null runner with one fault."""

    def __init__(self, fault, when):
        super().__init__()
        self.fault = globals()[fault]
        self.when = when
        self.invoked = 0

    def load(self, spec):
        if self.when == "load":
            self.fault()
        return super().load(spec)

    def invoke(self):
        self.invoked += 1
        if self.when == "always" or (self.when, self.invoked) in (("first", 1), ("later", 4)):
            self.fault()


if __name__ == "__main__":
    name, moment = sys.argv[1].split("@")
    sys.exit(worker.main(sys.argv[2:], runner_factory=lambda runner: BadRunner(name, moment)))
