"""A Jetson as a tree: files of /sys as its drivers show them, and programs that print recorded texts."""

from __future__ import annotations

from pathlib import Path

from tests.support.phone import TELEMETRY
from tests.support.sysfs import make_tree, read_tsv

FOLDER = TELEMETRY / "jetson"
HWMON = "/sys/class/hwmon/hwmon{}/"


def recorded_tree(name: str) -> dict[str, str | bytes]:
    """{path: content} of a .tsv file in jetson/sysfs of the recorded telemetry."""
    return read_tsv(str(FOLDER / "sysfs" / name))


def recorded_probe() -> dict[str, str]:
    """What a probe of an Orin Nano Super printed: {key: the rest of its line}."""
    text = (FOLDER / "sysfs/orin_nano_super_probe.txt").read_text(encoding="utf-8")
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def named(model: str, compatible: str = "nvidia,tegra234") -> dict[str, str | bytes]:
    """The device tree's files of a board."""
    return {
        "/proc/device-tree/model": f"{model}\0".encode(),
        "/proc/device-tree/compatible": f"{compatible}\0".encode(),
    }


def rail(channel: int, label: str | None, millivolts: int, milliamperes: int, **more: str) -> dict[str, str | bytes]:
    """The files of one channel of the INA3221 at hwmon2; ``more``: {name: content}."""
    base = HWMON.format(2)
    files: dict[str, str | bytes] = {base + "name": "ina3221"}
    files |= {f"{base}in{channel}_input": str(millivolts), f"{base}curr{channel}_input": str(milliamperes)}
    if label is not None:
        files[f"{base}in{channel}_label"] = label
    return files | {base + name: content for name, content in more.items()}


def add_program(root: Path, name: str, script: str) -> Path:
    """The path of a program of the board, a shell script."""
    path = root / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


def add_tegrastats(root: Path, *lines: str, after: str = "exec sleep 1000") -> Path:
    """A tegrastats that prints the lines, a tenth of a second apart, and then does what ``after`` says."""
    text = root / "lines"
    text.write_text("".join(f"{line}\n" for line in lines))
    return add_program(
        root, "tegrastats", f"while IFS= read -r line; do printf '%s\\n' \"$line\"; sleep 0.1; done <{text}\n{after}\n"
    )


def make_board(root: Path, *parts: dict[str, str | bytes]) -> str:
    """The root of a tree with all the files."""
    files: dict[str, str | bytes] = {}
    for part in parts:
        files |= part
    return make_tree(root, files)
