"""The command `edgewise` as a user runs it: a process of its own, with its streams and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 100
BINARY = Path(sys.executable).parent / "edgewise"
# The command is also tried where the tests run from a checkout that is not installed.
START = [str(BINARY)] if BINARY.exists() else [sys.executable, "-c", "from mobile.cli.main import entry; entry()"]


def edgewise(
    *arguments: str | Path, cwd: Path, limit_s: float = LIMIT_S, **env: str
) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    return subprocess.run(
        [*START, *map(str, arguments)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=limit_s,
        stdin=subprocess.DEVNULL,
    )


def edgewise_json(*arguments: str | Path, cwd: Path, limit_s: float = LIMIT_S, **env: str) -> dict[str, Any]:
    """The JSON document of a command that must succeed."""
    done = edgewise(*arguments, "--json", cwd=cwd, limit_s=limit_s, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start_edgewise(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """The started command, in a session of its own, with Ctrl-C switched on even where the test run has it off."""
    return subprocess.Popen(
        [*START, *map(str, arguments)],
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with changes, able to import the checkout."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "160", **changes}
