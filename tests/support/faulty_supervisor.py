"""The agent's ``run``, with a worker that misbehaves as the first argument says. A script, started by tests."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(HERE)))

from device_agents import cli, supervisor  # noqa: E402


def main():
    """The agent's exit code."""
    worker = [sys.executable, os.path.join(HERE, "bad_worker.py"), sys.argv[1]]
    real = supervisor.Supervisor

    def with_bad_worker(spec, stream, sha256):
        return real(spec, stream, sha256, worker_argv=worker)

    supervisor.Supervisor = with_bad_worker
    return cli.main(["run"])


if __name__ == "__main__":
    sys.exit(main())
