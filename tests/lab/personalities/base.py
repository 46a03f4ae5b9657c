"""What a board looks like from inside: its files, and its programs as scripts that print what the board's own print.

A personality is data. It is written below a root folder (a tree for ``root=``), or into a device of the lab. What a
program prints lies in files under SAID, one for each way it is called, so that a test or the physics may change it
while the board is up.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

SAID = "/sys/kernel/lab"  # in /sys, which a device of the lab shares with the machine that it runs on

_SCRIPT = """\
#!/bin/sh
case "$0" in
*{folder}/{name}) root=${{0%{folder}/{name}}} ;;
*) root= ;;
esac
said="$root{said}/{name}"
"""


@dataclass(frozen=True)
class Answer:
    """What a program does when called in one way: prints ``text`` after ``delay_s`` and ends with ``status``."""

    text: str
    status: int = 0
    delay_s: float = 0.0


@dataclass(frozen=True)
class Program:
    """A program by what it answers to its arguments (joined by blanks; "*": to all others), or by a shell ``body``.

    In the body ``$root`` is the board's root folder ("" on the board itself) and ``$said`` the program's folder below
    SAID, which holds ``texts``.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    body: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    def script(self, name: str, folder: str) -> str:
        """The shell script that stands for the program in ``folder`` ("/usr/bin")."""
        head = _SCRIPT.format(folder=folder, name=name, said=SAID)
        if self.body is not None:
            return head + self.body
        cases = [_case(words, answer) for words, answer in self.answers.items()]
        return head + 'case "$*" in\n' + "".join(cases) + "esac\n"

    def said(self) -> dict[str, str]:
        """What it prints: file name below SAID/NAME -> text."""
        return {said_name(words): answer.text for words, answer in self.answers.items()} | dict(self.texts)


@dataclass(frozen=True)
class Personality:
    """One board. ``files``: absolute path -> content, as text without the newline that the kernel adds, or as bytes.

    ``links``: path -> where the symbolic link points. ``modes``: pattern over paths -> permission bits (patterns as
    in fnmatch, folders too). ``android``: its programs lie in /system/bin, else in /usr/bin. ``cores``: how many CPUs
    /proc/cpuinfo should show.
    """

    name: str
    files: Mapping[str, str | bytes]
    programs: Mapping[str, Program] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    android: bool = False
    cores: int = 4

    def changed(self, name: str, **changes: Mapping[str, object]) -> Personality:
        """A variant under another name; mappings are merged, and an entry of None takes one away."""
        merged = {}
        for key, values in changes.items():
            whole = {**getattr(self, key), **values}
            merged[key] = {name: value for name, value in whole.items() if value is not None}
        return replace(self, name=name, **merged)

    @property
    def folder(self) -> str:
        """Where its programs lie."""
        return "/system/bin" if self.android else "/usr/bin"

    def content(self) -> Iterator[tuple[str, bytes]]:
        """(absolute path, bytes) of every file, what programs print with them; without the programs."""
        for path, content in self.files.items():
            yield path, content if isinstance(content, bytes) else content.encode() + b"\n"
        for name, program in self.programs.items():
            for said, text in program.said().items():
                yield f"{SAID}/{name}/{said}", text.encode()

    def scripts(self) -> Iterator[tuple[str, str]]:
        """(absolute path, text) of every program."""
        for name, program in self.programs.items():
            yield f"{self.folder}/{name}", program.script(name, self.folder)

    def write(self, root: Path) -> str:
        """The root as text, with the whole board below it: what ``AgentSpec.root`` takes.

        Root reads files whatever their mode, so what is closed to everybody on the board is not there at all.
        """
        self.write_sys(root / "sys")
        self.write_system(root, proc=True)
        if os.geteuid() == 0:
            for path in sorted((root / "sys").rglob("*"), key=lambda path: -len(path.parts)):
                if self._mode(f"/{path.relative_to(root)}") in (0o000, 0o600):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return str(root)

    def write_sys(self, sys: Path) -> None:
        """Nothing; ``sys`` holds the board's /sys."""
        for path, content in self.content():
            if path.startswith("/sys/"):
                _write(sys / path[len("/sys/") :], content)
        for path, target in self.links.items():
            if path.startswith("/sys/"):
                _link(sys / path[len("/sys/") :], target)
        self._set_modes(sys, "/sys")

    def write_system(self, root: Path, proc: bool = False) -> None:
        """Nothing; programs and the files outside /sys are below ``root``; with ``proc`` those of /proc too."""
        for path, content in self.content():
            if not path.startswith("/sys/") and (proc or not path.startswith("/proc/")):
                _write(root / path.lstrip("/"), content)
        for path, target in self.links.items():
            if not path.startswith("/sys/") and (proc or not path.startswith("/proc/")):
                _link(root / path.lstrip("/"), target)
        for path, text in self.scripts():
            script = root / path.lstrip("/")
            script.unlink(missing_ok=True)  # the phone's image may have a link to toybox under this name
            _write(script, text.encode())
            script.chmod(0o755)

    def _set_modes(self, base: Path, prefix: str) -> None:
        if not self.modes:
            return
        for path in sorted(base.rglob("*"), key=lambda path: -len(path.parts)):  # inner ones first
            mode = self._mode(f"{prefix}/{PurePosixPath(path.relative_to(base))}")
            if mode is not None and not path.is_symlink():
                path.chmod(mode)

    def _mode(self, name: str) -> int | None:
        return next((mode for pattern, mode in self.modes.items() if fnmatch.fnmatchcase(name, pattern)), None)


def said_name(words: str) -> str:
    """The file name for one way to call a program.

    >>> said_name("measure_clock arm")
    'measure_clock_arm'
    """
    return re.sub(r"[^A-Za-z0-9.-]", "_", words) or "_"


def _case(words: str, answer: Answer) -> str:
    pattern = "*" if words == "*" else "'" + words.replace("'", "'\\''") + "'"
    wait = f"sleep {answer.delay_s:g}; " if answer.delay_s else ""
    end = "" if not answer.status else f"; exit {answer.status}"
    return f'{pattern}) {wait}cat "$said/{said_name(words)}"{end} ;;\n'


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)


def cpus(policies: Mapping[int, tuple[int, int, int]], governor: str, governors: str) -> dict[str, str]:
    """The files of /sys/devices/system/cpu: first CPU of a policy -> (number of CPUs, lowest kHz, highest kHz)."""
    base = "/sys/devices/system/cpu"
    count = sum(policy[0] for policy in policies.values())
    files = {f"{base}/{name}": f"0-{count - 1}" for name in ("possible", "present", "online")}
    for first, (number, lowest, highest) in policies.items():
        folder = f"{base}/cpufreq/policy{first}"
        members = " ".join(str(cpu) for cpu in range(first, first + number))
        files |= {
            f"{folder}/scaling_cur_freq": str(highest),
            f"{folder}/scaling_max_freq": str(highest),
            f"{folder}/scaling_min_freq": str(lowest),
            f"{folder}/cpuinfo_max_freq": str(highest),
            f"{folder}/cpuinfo_min_freq": str(lowest),
            f"{folder}/scaling_governor": governor,
            f"{folder}/scaling_available_governors": governors,
            f"{folder}/related_cpus": members,
            f"{folder}/affected_cpus": members,
        }
        for cpu in range(first, first + number):
            files[f"{base}/cpu{cpu}/topology/core_id"] = str(cpu)
            files[f"{base}/cpu{cpu}/topology/physical_package_id"] = "0"
            if cpu:
                files[f"{base}/cpu{cpu}/online"] = "1"
    return files


def cpu_links(policies: Mapping[int, tuple[int, int, int]]) -> dict[str, str]:
    """The links from each CPU to its policy, as the kernel has them."""
    base = "/sys/devices/system/cpu"
    return {
        f"{base}/cpu{cpu}/cpufreq": f"../cpufreq/policy{first}"
        for first, (number, _, _) in policies.items()
        for cpu in range(first, first + number)
    }


def zones(kinds: Mapping[str, str], first: int = 0) -> dict[str, str]:
    """The files of /sys/class/thermal: zone type -> temperature in m°C, in this order."""
    files = {}
    for number, (kind, temperature) in enumerate(kinds.items(), first):
        folder = f"/sys/class/thermal/thermal_zone{number}"
        files |= {f"{folder}/type": kind, f"{folder}/temp": temperature}
    return files


def device_tree(model: str, *compatible: str) -> dict[str, str | bytes]:
    """The two entries of the device tree that say what board it is."""
    base = "/sys/firmware/devicetree/base"
    return {
        f"{base}/model": model.encode() + b"\0",
        f"{base}/compatible": "".join(name + "\0" for name in compatible).encode(),
    }


DEVICE_TREE_LINK = {"/proc/device-tree": "../sys/firmware/devicetree/base"}
