"""What a device is, before anything is put on it: asked in shell, parsed here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import scripts

if TYPE_CHECKING:
    from mobile.transports.base import Transport

OLDEST_PYTHON = (3, 8)
PROBE_LIMIT_S = 60.0  # of each of the three commands; a loaded board starts an interpreter in seconds

# e_machine of an ELF header -> (Python's name of the machine where 64 bit, where 32 bit)
_MACHINES = {0xB7: "aarch64", 0x3E: "x86_64", 0x28: "armv7l", 0x03: "i686", 0xF3: "riscv64"}


@dataclass(frozen=True)
class PythonFound:
    """An interpreter on the device. ``version`` is (0, 0, 0) for one that does not start."""

    path: str
    version: tuple[int, int, int]
    bits: int = 64
    implementation: str = "CPython"
    abiflags: str = ""

    @property
    def usable(self) -> bool:
        """True for a CPython that the agent runs on, with the usual ABI."""
        return self.implementation == "CPython" and self.version[:2] >= OLDEST_PYTHON and "t" not in self.abiflags

    @property
    def short(self) -> str:
        """The version as wheels are chosen by it: "3.11"."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def text(self) -> str:
        """The version in full, or that it does not start."""
        return ".".join(map(str, self.version)) if any(self.version) else "does not start"


@dataclass(frozen=True)
class DeviceProbe:
    """What a device is. None for what it did not say; errors are the words of its own tools, None when it worked."""

    machine: str
    system: str = "Linux"
    kernel: str = ""
    uid: int | None = None
    glibc: tuple[int, int] | None = None
    musl: bool = False
    libstdcxx: str | None = None
    pythons: tuple[PythonFound, ...] = ()
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    free_bytes: int | None = None
    write_error: str | None = None
    exec_error: str | None = None
    tmp_error: str | None = None
    clock_s: int | None = None
    charmap: str | None = None
    ld_library_path: str | None = None
    tools: frozenset[str] = field(default_factory=frozenset)
    android: str | None = None
    jetson: str | None = None
    model: str | None = None

    @property
    def python(self) -> PythonFound | None:
        """The first usable interpreter, the inventory's own first; None when there is none."""
        return next((python for python in self.pythons if python.usable), None)


def probe(transport: Transport, folder: str, python: str, deadline: Deadline) -> DeviceProbe:
    """What the device is; ``folder`` is the working folder, ``python`` the inventory's. Three short commands."""
    answers = []
    for script, arguments in ((scripts.SYSTEM, []), (scripts.PYTHONS, [python]), (scripts.PLACE, [folder])):
        limit = deadline.sooner(PROBE_LIMIT_S)
        done = transport.run(["sh", "-c", script, "sh", *arguments], deadline=limit, output_limit_bytes=1024 * 1024)
        if not done.ok:
            raise SetupError(
                f"{transport.name}: the device's shell does not run edgewise's questions ({done.why()})",
                hint="the user's shell there must be a POSIX shell",
            )
        answers.append(done.stdout)
    return parse(answers)


def parse(answers: Sequence[bytes]) -> DeviceProbe:
    """What the answers of the scripts say; lines that are none of theirs are passed over.

    >>> parse([b"machine\\taarch64\\nlibc\\tglibc 2.31\\n"]).glibc
    (2, 31)
    """
    said: dict[str, list[str]] = {}
    for line in b"\n".join(answers).decode("utf-8", "replace").splitlines():
        key, tab, value = line.partition("\t")
        if tab and value.strip():
            said.setdefault(key, []).append(value.strip())

    def one(key: str) -> str | None:
        return said.get(key, [None])[0]

    libc = one("libc") or ""
    musl = "musl" in said or "musl" in libc
    return DeviceProbe(
        machine=_userland(one("elf"), one("machine") or "unknown"),
        system=one("system") or "unknown",
        kernel=one("kernel") or "",
        uid=_whole(one("uid")),
        glibc=None if musl else _glibc(libc),
        musl=musl,
        libstdcxx=one("libstdcxx"),
        pythons=tuple(python for text in said.get("python", []) if (python := _python(text)) is not None),
        memory_bytes=_kibibytes(one("MemTotal:")),
        memory_available_bytes=_kibibytes(one("MemAvailable:")),
        free_bytes=_free(one("df")),
        write_error=_error(one("write")),
        exec_error=_error(one("exec")) if _error(one("write")) is None else None,
        tmp_error=_error(one("tmp")),
        clock_s=_whole(one("clock")),
        charmap=one("charmap"),
        ld_library_path=one("ld_library_path"),
        tools=frozenset(said.get("tool", [])),
        android=one("android"),
        jetson=one("jetson"),
        model=one("model"),
    )


def _userland(elf: str | None, machine: str) -> str:
    """The machine that programs there are for: a 64-bit kernel may carry a 32-bit system, and `uname` shows the kernel.

    >>> _userland("7f 45 4c 46 01 01 01 00 00 00 00 00 00 00 00 00 02 00 28 00", "aarch64")
    'armv7l'
    """
    digits = "".join((elf or "").split())
    if re.fullmatch("7f454c46[0-9a-f]{32}", digits) is None:
        return machine
    header = bytes.fromhex(digits)
    return _MACHINES.get(int.from_bytes(header[18:20], "little"), machine)


def _glibc(text: str) -> tuple[int, int] | None:
    """The version in what getconf, ldd or the library itself says.

    >>> _glibc("ldd (Ubuntu GLIBC 2.27-3ubuntu1.6) 2.27"), _glibc("glibc 2.36"), _glibc("ldd: not found")
    ((2, 27), (2, 36), None)
    """
    match = re.search(r"(?i)(?:glibc|ldd|gnu c library|libc)\D.*?\b(2)\.(\d{1,3})\b", text)
    return (int(match[1]), int(match[2])) if match else None


def _python(text: str) -> PythonFound | None:
    path, _, rest = text.partition("|")
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)\|(\d+)\|(\w+)\|(\w*)", rest)
    if match is None:
        return PythonFound(path, (0, 0, 0), implementation="unknown") if path.startswith("/") else None
    return PythonFound(path, (int(match[1]), int(match[2]), int(match[3])), int(match[4]), match[5], match[6])


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _kibibytes(text: str | None) -> int | None:
    value = _whole(text)
    return None if value is None else value * 1024


def _free(text: str | None) -> int | None:
    """The free bytes in the last line of ``df -Pk``.

    >>> _free("/dev/mmcblk0p2 30358 1000 28000 4% /")
    28672000
    """
    words = (text or "").split()
    for before, word in itertools.pairwise(words):
        if word.endswith("%") and before.isdigit():
            return int(before) * 1024
    return None


def _error(text: str | None) -> str | None:
    """None for "ok", else the tool's own words after the last path.

    >>> _error("mkdir: cannot create directory '/x': Read-only file system")
    'Read-only file system'
    """
    if text == "ok":
        return None
    words = (text or "no answer").rsplit(": ", 1)[-1].strip()
    return words or "no answer"
