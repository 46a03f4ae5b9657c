"""Debian as a source of parts: the archive this machine already uses, and root folders unpacked from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.lab.process import LabError, run

SUITE = "bookworm"


def archive() -> str:
    """The address of the archive that this machine's own apt is set up with for the suite."""
    wanted = ["Created-By: Packages", "Origin: Debian", f"Codename: {SUITE}"]
    found = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]).stdout.split()
    if not found:
        raise LabError(f"apt knows no Debian archive for {SUITE}; run apt-get update, or set one up in apt's sources")
    return found[0]


def unpack(target: Path, arch: str, packages: Sequence[str], *, merge_usr: bool) -> None:
    """Nothing; `target` holds these packages and what they depend on, unpacked but not configured.

    No maintainer script runs: that takes 10 s where configuring a foreign root under qemu takes minutes. What
    the scripts would have done and a device needs is done by hand in the image modules. mmdebstrap works in a
    mount namespace of its own, so that nothing stays mounted when it is interrupted.
    """
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    hook = ["--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr"] if merge_usr else []
    where = [SUITE, str(target), archive()]
    what = [f"--arch={arch}", "--variant=extract", f"--include={','.join(packages)}", *excluded, *hook]
    run(["unshare", "--mount", "mmdebstrap", *what, *where], timeout_s=600)
