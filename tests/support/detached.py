"""The agent's verbs about runs, as processes of their own, on a folder of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.agents import ROOT
from tests.support.processes import MARK

LIMIT_S = 60.0
SLEEPER = {
    "runner": "command",
    "command": {"argv": ["sleep", "0.02"]},
    "warmup_count": 1,
    "warmup_duration_s": 0.0,
    "min_count": 5,
    "min_duration_s": 0.5,
    "max_duration_s": 60.0,
}
LONG = {**SLEEPER, "min_duration_s": 50.0}
OWNER = {"host": "desk", "user": "ann", "pid": 7, "purpose": "bench m.onnx"}


class Board:
    """A folder with runs, and the agent that works on it."""

    def __init__(self, runs: Path, mark: str, python: str = sys.executable) -> None:
        self.runs = runs
        self._mark = mark
        self._python = python

    def call(self, *arguments: str, stdin: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
        """The agent, ended."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
            **{**self._process(), **options},
        )

    def open(self, *arguments: str, stdin: bytes = b"") -> subprocess.Popen[bytes]:
        """The agent, going on; its input is given."""
        process = subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **self._process(),
        )
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of a verb."""
        return [self._python, "-m", "device_agents", verb, *arguments, "--runs", str(self.runs)]

    def start(self, *ids: str, spec: dict[str, Any] = SLEEPER, **order: Any) -> subprocess.CompletedProcess[bytes]:
        """`start` of runs with one spec."""
        return self.call("start", stdin=self.order(*ids, spec=spec, **order))

    def order(self, *ids: str, spec: dict[str, Any] = SLEEPER, **order: Any) -> bytes:
        """What `start` reads."""
        runs = [{"id": run_id, "spec": spec, "about": {"n": number}} for number, run_id in enumerate(ids)]
        return json.dumps({"runs": runs, "owner": OWNER, **order}).encode()

    def list(self, *ids: str) -> dict[str, Any]:
        """What `runs` answers."""
        done = self.call("runs", *ids)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def states(self) -> dict[str, str]:
        """The state of each run."""
        return {run["id"]: run["state"] for run in self.list()["runs"]}

    def wait_for(self, run_id: str, *states: str, within_s: float = 30.0) -> str:
        """The run's state, once it is one of these."""
        end = time.monotonic() + within_s
        while True:
            state = self.states().get(run_id)
            if state in states:
                return state
            assert time.monotonic() < end, f"{run_id} is {state}, not {states}"
            time.sleep(0.1)

    def records(self, run_id: str) -> list[dict[str, Any]]:
        """What is in a run's stream now."""
        return [json.loads(line) for line in (self.runs / run_id / "stream.jsonl").read_bytes().splitlines()]

    def pid(self, run_id: str) -> int:
        """The supervisor's process id."""
        return json.loads((self.runs / run_id / "process.json").read_text())["process"]["pid"]

    def kill(self, run_id: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to the supervisor."""
        os.kill(self.pid(run_id), number)

    def wait_for_measuring(self, run_id: str, within_s: float = 30.0) -> None:
        """Nothing, once the run has measured something."""
        path = self.runs / run_id / "stream.jsonl"
        end = time.monotonic() + within_s
        while not (path.exists() and b'"phase":"measure"' in path.read_bytes()):
            assert time.monotonic() < end, "nothing is measured"
            time.sleep(0.05)

    def _process(self) -> dict[str, Any]:
        return {"env": {**os.environ, MARK: self._mark, "PYTHONPATH": str(ROOT)}, "cwd": ROOT}
