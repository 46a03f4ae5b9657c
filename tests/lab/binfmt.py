"""Makes the kernel run aarch64 programs through qemu."""

from __future__ import annotations

from pathlib import Path

from tests.lab.process import LabError, run

_KERNEL = Path("/proc/sys/fs/binfmt_misc")
_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")


def register() -> None:
    """Nothing; aarch64 programs run here, also in a chroot. The rule stays for as long as the machine runs.

    The package writes the rule but only systemd loads it. Its flag F makes the kernel open qemu now: a root
    without qemu in it needs that.
    """
    if not (_KERNEL / "register").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", _KERNEL])
    if (_KERNEL / "qemu-aarch64").exists():
        return
    if not _RULE.exists():
        raise LabError(f"{_RULE} is missing: install the package qemu-user-static")
    try:
        (_KERNEL / "register").write_text(_RULE.read_text().splitlines()[0])
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        raise LabError(f"binfmt_misc refuses the rule for aarch64: {error.strerror}") from error
