"""The real agent as a process of its own: a spec in, its records out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import MARK, new_mark

ROOT = Path(__file__).resolve().parents[2]
AGENT = [sys.executable, "-m", "device_agents", "run"]
FAULTY = [sys.executable, str(ROOT / "tests" / "support" / "faulty_supervisor.py")]
QUICK = {"warmup_count": 1, "warmup_duration_s": 0.0, "min_count": 5, "min_duration_s": 0.0, "max_duration_s": 20.0}
LIMIT_S = 60.0


@dataclass
class Stream:
    """What an agent said: its records, its exit code, its standard error, and the mark of its processes."""

    records: list[dict[str, Any]]
    exit_code: int
    stderr: str
    mark: str

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The records of one type."""
        return [record for record in self.records if record["type"] == kind]

    def event(self, name: str) -> dict[str, Any]:
        """The detail of the only event of that name."""
        (found,) = [record["detail"] for record in self.of("event") if record["name"] == name]
        return found

    def durations(self, phase: str) -> list[int]:
        """The durations of a phase, ns."""
        blocks = [record for record in self.of("invocations") if record["phase"] == phase]
        return [value for block in blocks for value in block["duration_ns"]]

    @property
    def failure(self) -> dict[str, Any]:
        """The only failure record."""
        (found,) = self.of("failure")
        return found

    @property
    def done(self) -> dict[str, Any]:
        """The last record, which must be the only ``done``."""
        (found,) = self.of("done")
        assert self.records[-1] is found
        return found


def start(
    spec: dict[str, Any] | bytes,
    argv: Iterable[str] = AGENT,
    prepare: Callable[[], None] | None = None,
    cwd: Path | None = None,
    **popen: Any,
) -> tuple[subprocess.Popen[bytes], str]:
    """The started agent, its spec already written, and the mark that finds all of its processes."""
    mark = new_mark()
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(ROOT)}

    def before() -> None:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a test run in the background has it ignored, and that is inherited
        if prepare:
            prepare()

    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=popen.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd or ROOT,
        preexec_fn=before,
        **popen,
    )
    process.stdin.write(spec if isinstance(spec, bytes) else json.dumps(spec).encode())
    process.stdin.close()
    process.stdin = None  # communicate() would flush it again
    return process, mark


def finish(process: subprocess.Popen[bytes], mark: str, already: bytes = b"", limit_s: float = LIMIT_S) -> Stream:
    """What the agent said, once it has ended; ``already`` was read from it before."""
    try:
        stdout, stderr = process.communicate(timeout=limit_s)
    finally:
        process.kill()
        process.wait()
    lines = (already + (stdout or b"")).splitlines()
    return Stream([json.loads(line) for line in lines], process.returncode, stderr.decode(errors="replace"), mark)


def run_agent(spec: dict[str, Any] | bytes, argv: Iterable[str] = AGENT, **options: Any) -> Stream:
    """What the agent said of this spec; QUICK's values where the spec says nothing."""
    document = spec if isinstance(spec, bytes) else {**QUICK, **spec}
    return finish(*start(document, argv, **options))


def run_faulty(fault: str, spec: dict[str, Any] | None = None, **options: Any) -> Stream:
    """What the supervisor says of a worker that really does ``fault`` (tests/support/bad_worker.py)."""
    return run_agent({"runner": "null", **(spec or {})}, [*FAULTY, fault], **options)


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """What the agent has written up to and with the line that holds ``text``."""
    said = b""
    end = time.monotonic() + LIMIT_S
    for line in iter(process.stdout.readline, b""):
        said += line
        if text in line:
            return said
        assert time.monotonic() < end, said[-2000:]
    raise AssertionError(f"the stream ended before {text!r}: {said[-2000:]!r}")
