"""The environment with nvidia-pytriton, and a real tritonserver in it for as long as a test wants it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.cli import environment

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "EDGEWISE_PYTRITON_PYTHON"
# The conftest clears the variables of this name for every test, so it is looked at here, once.
PYTHON = Path(os.environ.get(VARIABLE, ROOT / ".venv-pytriton/bin/python"))
STOP_S = 20.0
STARTS = 3  # a server with a model that does not hear is started anew: see pytriton_server.py


@contextmanager
def tritonserver(*packages: str | Path, log: Path) -> Iterator[dict[str, int]]:
    """{"http": port, "grpc": port} of a tritonserver with the packages' models. Its own words are in ``log``."""
    command = [str(PYTHON), "-m", "tests.support.pytriton_server", *map(str, packages)]
    for _ in range(STARTS):
        with log.open("w", encoding="utf-8") as words, _started(command, words, log.parent) as process:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                    return
    raise RuntimeError(f"the tritonserver did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")


@contextmanager
def _started(command: list[str], words: IO[str], home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(HOME=str(home), PYTRITON_HOME=str(home / "pytriton")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
