"""The environment with nvidia-pytriton, and a real tritonserver in it for as long as a test wants it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cli import environment

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "EDGEWISE_PYTRITON_PYTHON"
# The conftest clears the variables of this name for every test, so it is looked at here, once.
PYTHON = Path(os.environ.get(VARIABLE, ROOT / ".venv-pytriton/bin/python"))
STOP_S = 20.0


@contextmanager
def tritonserver(*packages: str | Path, log: Path) -> Iterator[dict[str, int]]:
    """{"http": port, "grpc": port} of a tritonserver with the packages' models. Its own words are in ``log``."""
    command = [str(PYTHON), "-m", "tests.support.pytriton_server", *map(str, packages)]
    # Its sockets lie in its home, under the models' names: a path of more than 107 bytes is none for a socket.
    with log.open("w", encoding="utf-8") as words, tempfile.TemporaryDirectory(prefix="ew", dir="/tmp") as home:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(HOME=home, PYTRITON_HOME=home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
        )
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                    return
            raise RuntimeError(f"the tritonserver did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
