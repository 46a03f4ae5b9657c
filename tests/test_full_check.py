"""A full check fails on a skip that nobody has allowed, also when the tests run side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def check(folder: Path, reason: str, workers: int, **env: str) -> subprocess.CompletedProcess[str]:
    """The finished run of one test that passes and one that is skipped."""
    body = f"import pytest\n\ndef test_one():\n    pass\n\ndef test_two():\n    pytest.skip({reason!r})\n"
    (folder / "test_planted.py").write_text(body)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-n",
        str(workers),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true", **env}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_skip_that_is_not_on_the_list_fails(tmp_path, workers):
    done = check(tmp_path, "I did not feel like it", workers)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert "I did not feel like it" in done.stdout.partition("not on the list")[2]


def test_a_skip_on_the_list_does_not_and_nobody_minds_outside_a_full_check(tmp_path):
    assert check(tmp_path, "no CPython 3.99 on this machine", 2).returncode == 0
    assert check(tmp_path, "I did not feel like it", 0, CI="").returncode == 0


def test_after_a_run_that_broke_off_all_tests_are_run_again(tmp_path):
    """One fails, then pytest itself breaks: what had failed until then is not all that must be looked at."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_planted.py").write_text(
        "import os, pytest\n\n"
        "def test_one():\n    assert 'AGAIN' in os.environ\n\n"
        "def test_two():\n    'AGAIN' in os.environ or pytest.exit('broken', returncode=3)\n\n"
        "def test_three():\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:xdist"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true"}
    environment.pop("PYTEST_XDIST_WORKER", None)

    def run(*arguments, **env):
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env={**environment, **env},
            capture_output=True,
            text=True,
            timeout=100,
        )

    assert run().returncode == 3
    again = run("--last-failed", AGAIN="1")
    assert "3 passed" in again.stdout, again.stdout + again.stderr
