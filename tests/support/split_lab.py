"""`edgewise serve` on the lab's edge server, as a process of its own that can be killed."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.lab import Lab
from tests.lab.process import wait_until
from tests.support.cli import START, environment

PORT = 8620
START_S = 60.0
ANSWERED = re.compile(r'^edgewise_serve_requests_total\{model="([^"]*)",status="([^"]*)"\} (\S+)$', re.MULTILINE)


def edge_url(lab: Lab) -> str:
    """The server's address, as the boards see it."""
    return f"http://{lab.state.node('edge').address}:{PORT}"


class EdgeServer:
    """The command, serving some packages on the node `edge`. Use as a context manager."""

    def __init__(self, lab: Lab, packages: Sequence[Path], cwd: Path) -> None:
        host = lab.state.node("edge").address
        argv, _ = lab.program("edge", [*START, "serve", *map(str, packages), "--host", host, "--port", str(PORT)])
        self._lab, self._log = lab, (cwd / "serve.log").open("a", encoding="utf-8")
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=environment(HOME=str(cwd)), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        try:
            wait_until(self._ready, START_S, f"edgewise serve does not listen, see {cwd / 'serve.log'}")
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> EdgeServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Nothing; the process is gone, without a farewell to anybody."""
        self.process.kill()
        self.process.wait(10)
        self._log.close()

    def answered(self) -> int:
        """How many inferences it has answered with 200 so far."""
        found = ANSWERED.findall(self._get("/metrics"))
        return sum(int(float(count)) for model, status, count in found if status == "200" and "." in model)

    def wait_for(self, count: int, limit_s: float = 40.0) -> None:
        """Nothing, once it has answered so many inferences."""
        wait_until(lambda: self.answered() >= count, limit_s, f"the server has not answered {count} requests")

    def _ready(self) -> bool:
        assert self.process.poll() is None, "edgewise serve ended by itself"
        try:
            self._get("/v2/health/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> str:
        """The answer of the server, asked from the developer's machine."""
        with self._lab.inside("ctl"), urllib.request.urlopen(edge_url(self._lab) + path, timeout=5) as answer:
            return str(answer.read().decode())
